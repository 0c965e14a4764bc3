"""The history-shaped face on each backend that keeps history, by the examples that users know."""

import secrets
from collections.abc import AsyncIterator

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.binding import URLBinding
from locus_memory.errors import InvalidArgumentError, InvalidStateError, UnknownEncryptionKeyError
from locus_memory.opening import open_checkpointer
from locus_memory.saver import CheckpointSaver
from tests.contract.test_langgraph import KEEPING_HISTORY

pytestmark = pytest.mark.parametrize("store_url", KEEPING_HISTORY, indirect=True)

KEY = secrets.token_bytes(32)


def opened(url: str, key: bytes | None = None) -> CheckpointSaver:
    checkpointer = open_checkpointer(URLBinding(url), encryption_key=key)
    assert isinstance(checkpointer, StorageBackendAdapter)
    return CheckpointSaver(checkpointer)


@pytest.fixture
async def saver(store_url: str) -> AsyncIterator[CheckpointSaver]:
    async with opened(store_url) as saver:
        yield saver


async def test_a_graphs_history_and_its_pending_writes(saver: CheckpointSaver, store_url: str) -> None:
    await saver.put(thread_id="t1", checkpoint_id="v1", checkpoint_data={"step": 1})
    await saver.put_writes(
        thread_id="t1", checkpoint_id="v1", task_id="node-a", writes=[("channel-x", "pending-write")]
    )
    latest = await saver.get(thread_id="t1")
    assert latest is not None
    assert (latest["checkpoint_id"], latest["checkpoint"]) == ("v1", {"step": 1})
    await saver.put(
        thread_id="t1",
        checkpoint_id="v2",
        checkpoint_data={"step": 2},
        parent_checkpoint_id="v1",
        metadata={"source": "loop"},
    )
    async with opened(store_url) as other:
        history = await other.list_checkpoints(thread_id="t1")
        assert [(each["checkpoint_id"], each["parent_checkpoint_id"]) for each in history] == [
            ("v2", "v1"),
            ("v1", None),
        ]
        assert history[0]["metadata"] == {"source": "loop"}
        written = await other.get_writes(thread_id="t1", checkpoint_id="v1")
    assert written == [{"task_id": "node-a", "idx": 0, "channel": "channel-x", "value": "pending-write"}]


async def test_a_step_that_is_repeated_writes_nothing_twice(saver: CheckpointSaver) -> None:
    for _ in range(2):
        await saver.put(thread_id="t", checkpoint_id="v1", checkpoint_data={"step": 1})
        await saver.put_writes(thread_id="t", checkpoint_id="v1", task_id="a", writes=[("x", 1), ("y", [2])])
    assert len(await saver.list_checkpoints(thread_id="t")) == 1
    written = await saver.get_writes(thread_id="t", checkpoint_id="v1", task_id="a")
    assert [(each["channel"], each["value"]) for each in written] == [("x", 1), ("y", [2])]
    assert await saver.get_writes(thread_id="t", checkpoint_id="v1", task_id="b") == []


async def test_history_is_paged_back_from_any_checkpoint(saver: CheckpointSaver) -> None:
    for number in range(120):
        await saver.put(thread_id="t", checkpoint_id=f"v{number}", checkpoint_data={"step": number})
    page = await saver.list_checkpoints(thread_id="t", limit=3)
    assert [each["checkpoint"]["step"] for each in page] == [119, 118, 117]
    page = await saver.list_checkpoints(thread_id="t", limit=3, before="v30")
    assert [each["checkpoint"]["step"] for each in page] == [29, 28, 27]
    assert await saver.list_checkpoints(thread_id="t", before="nobody") == []


async def test_subgraphs_are_apart(saver: CheckpointSaver) -> None:
    for namespace in ("", "child", "child|grandchild"):
        await saver.put(thread_id="t", checkpoint_id="v", checkpoint_data={"in": namespace}, checkpoint_ns=namespace)
    for namespace in ("", "child", "child|grandchild"):
        found = await saver.get(thread_id="t", checkpoint_ns=namespace)
        assert found is not None
        assert found["checkpoint"] == {"in": namespace}
    assert await saver.delete_thread("t")
    assert await saver.get(thread_id="t", checkpoint_ns="child") is None
    assert not await saver.delete_thread("t")


async def test_bad_arguments_are_named_and_nothing_is_written(saver: CheckpointSaver) -> None:
    with pytest.raises(InvalidStateError):
        await saver.put(thread_id="t", checkpoint_id="v", checkpoint_data={"x": "\ud800"})
    with pytest.raises(InvalidArgumentError, match="parent_checkpoint_id"):
        await saver.put(thread_id="t", checkpoint_id="v", checkpoint_data={}, parent_checkpoint_id="")
    with pytest.raises(InvalidArgumentError, match="checkpoint_ns"):
        await saver.put(thread_id="t", checkpoint_id="v", checkpoint_data={}, checkpoint_ns="n" * 1025)
    with pytest.raises(InvalidArgumentError, match="task_id"):
        await saver.put_writes(thread_id="t", checkpoint_id="v", task_id="", writes=[("x", 1)])
    assert await saver.get(thread_id="t") is None


async def test_checkpoints_and_writes_are_encrypted(store_url: str) -> None:
    async with opened(store_url, KEY) as owner, opened(store_url) as stranger:
        await owner.put(thread_id="t", checkpoint_id="v", checkpoint_data={"secret": 1})
        await owner.put_writes(thread_id="t", checkpoint_id="v", task_id="a", writes=[("x", "secret")])
        assert (await owner.get_writes(thread_id="t", checkpoint_id="v"))[0]["value"] == "secret"
        with pytest.raises(UnknownEncryptionKeyError, match="'v'"):
            await stranger.get(thread_id="t")
        with pytest.raises(UnknownEncryptionKeyError):
            await stranger.get_writes(thread_id="t", checkpoint_id="v")
