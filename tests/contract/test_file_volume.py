"""A directory that the operator has provided is a volume: where it is missing, it is not mounted."""

from pathlib import Path

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import file
from locus_memory.connection import FileConnection
from locus_memory.errors import BackendUnavailableError
from locus_memory.retry import RetryPolicy


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def checkpointer(volume: Path) -> StorageBackendAdapter:
    document = FileConnection(directory=str(volume), tables="provisioned")
    return file.from_connection(lambda: document, state_type=dict, retry=RetryPolicy(deadline=0.2))


async def test_a_volume_that_is_not_mounted_is_an_outage_and_is_not_made(
    checkpointer: StorageBackendAdapter, volume: Path
) -> None:
    with pytest.raises(BackendUnavailableError, match="is not mounted here"):
        await checkpointer.save({"topic": "roses"}, "thread")
    with pytest.raises(BackendUnavailableError, match="is not mounted here"):
        await checkpointer.load("thread")
    with pytest.raises(BackendUnavailableError, match="is not mounted here"):
        await checkpointer.list_threads()
    assert not volume.exists()


async def test_a_volume_that_is_mounted_is_used(checkpointer: StorageBackendAdapter, volume: Path) -> None:
    volume.mkdir()
    assert await checkpointer.load("thread") is None
    assert await checkpointer.list_threads() == []
    await checkpointer.save({"topic": "roses"}, "thread")
    assert await checkpointer.load("thread") == {"topic": "roses"}
