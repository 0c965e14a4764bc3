"""Files that are damaged, foreign, locked, or on a disk that is full: an error that says so, and nothing lost."""

import asyncio
import fcntl
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from locus_memory.backends import FileCheckpointer
from locus_memory.backends.file import from_connection
from locus_memory.backends.file_document import file_name
from locus_memory.connection import FileConnection
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CorruptCheckpointError,
    InvalidArgumentError,
)
from locus_memory.retry import RetryPolicy

IMPATIENT = RetryPolicy(deadline=0.3, base_delay=0.01)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the threads go; not there yet."""
    return tmp_path / "deep" / "threads"


@pytest.fixture
def checkpointer(directory: Path) -> FileCheckpointer:
    """One that gives up soon."""
    return FileCheckpointer(directory, retry=IMPATIENT)


async def test_nothing_is_created_before_the_first_save(checkpointer: FileCheckpointer, directory: Path) -> None:
    assert await checkpointer.load("t") is None
    assert await checkpointer.list_threads() == []
    assert await checkpointer.vacuum(0) == 0
    assert not directory.parent.exists()
    await checkpointer.save({}, "t")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "t.json").stat().st_mode) == 0o600


async def test_a_thread_is_one_file_and_a_deleted_thread_is_none(
    checkpointer: FileCheckpointer, directory: Path
) -> None:
    for thread_id in ("a", "a", "A/.."):
        await checkpointer.save({}, thread_id)
    assert sorted(path.name for path in directory.iterdir()) == ["%41%2f%2e%2e.json", ".locks", "a.json"]
    await checkpointer.delete("a")
    assert sorted(path.name for path in directory.iterdir()) == ["%41%2f%2e%2e.json", ".locks"]


async def test_a_directory_is_the_one_that_was_meant_when_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpointer = FileCheckpointer(base_dir="threads")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await checkpointer.save({}, "t")
    assert (tmp_path / "threads" / "t.json").is_file()


def test_two_directories_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="base_dir"):
        FileCheckpointer("a", base_dir="b")


async def test_a_damaged_file_is_never_read_as_no_thread_nor_overwritten(
    checkpointer: FileCheckpointer, directory: Path
) -> None:
    await checkpointer.save({"n": 1}, "sound", metadata={"tag": "x"})
    await checkpointer.save({"n": 1}, "t", "a")
    path = directory / "t.json"
    path.write_bytes(path.read_bytes()[:-20])
    damaged = path.read_bytes()
    calls = (
        lambda: checkpointer.load("t"),
        lambda: checkpointer.load("t", "a"),
        lambda: checkpointer.exists("t"),
        lambda: checkpointer.save({"n": 2}, "t"),
        lambda: checkpointer.save({"n": 2}, "t", expected_checkpoint_id=None),
        lambda: checkpointer.delete("t"),
        lambda: checkpointer.delete("t", "a"),
        lambda: checkpointer.list_checkpoints("t"),
        lambda: checkpointer.copy_thread("t", "u"),
        lambda: checkpointer.copy_thread("sound", "t"),
        lambda: checkpointer.vacuum(0),
        lambda: checkpointer.search("word"),
        lambda: checkpointer.query_by_metadata("tag", "x"),
    )
    for call in calls:
        with pytest.raises(CorruptCheckpointError) as caught:
            await call()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == damaged
    assert await checkpointer.load("sound") == {"n": 1}
    assert await checkpointer.list_threads() == ["sound", "t"]


async def test_a_file_under_the_name_of_another_thread_is_not_taken_for_it(
    checkpointer: FileCheckpointer, directory: Path
) -> None:
    await checkpointer.save({"n": 1}, "l" * 300)
    (directory / file_name("l" * 300)).rename(directory / file_name("m" * 300))
    with pytest.raises(CorruptCheckpointError, match=r"holds thread 'lll.*, not 'mmm"):
        await checkpointer.load("m" * 300)


async def test_files_of_others_in_the_directory_are_no_threads(checkpointer: FileCheckpointer, directory: Path) -> None:
    await checkpointer.save({}, "t")
    for name in ("README.md", "Notes.json", "a%2F.json", ".hidden.json", ".tmp-abc"):
        (directory / name).write_text("{}")
    (directory / "sub").mkdir()
    assert await checkpointer.list_threads() == ["t"]
    assert len(await checkpointer.list_with_metadata()) == 1


async def test_listing_threads_reads_no_file_whose_name_says_its_id(
    checkpointer: FileCheckpointer, directory: Path
) -> None:
    for thread_id in ("a", "b", "c"):
        await checkpointer.save({}, thread_id)
        (directory / f"{thread_id}.json").write_text("damaged")
    assert await checkpointer.list_threads() == ["a", "b", "c"]


async def test_listing_with_metadata_reads_only_what_it_returns(
    checkpointer: FileCheckpointer, directory: Path
) -> None:
    for thread_id in ("a", "b", "c"):
        await checkpointer.save({}, thread_id)
    (directory / "c.json").write_text("damaged")
    assert [found["thread_id"] for found in await checkpointer.list_with_metadata(limit=2)] == ["a", "b"]


async def test_the_order_is_that_of_writes_whatever_the_clock_of_the_files_says(
    checkpointer: FileCheckpointer, directory: Path
) -> None:
    path = directory / "t.json"
    for checkpoint_id in "abc":
        await checkpointer.save({}, "t", checkpoint_id)
        os.utime(path, (0, 0))
    document = json.loads(path.read_text())
    document["checkpoints"][-1]["created_at"] = "1926-01-01T00:00:00Z"
    path.write_text(json.dumps(document))
    assert await checkpointer.list_checkpoints("t") == ["c", "b", "a"]


class HeldLocks:
    """Another process that holds the locks of all threads."""

    def __init__(self, directory: Path) -> None:
        program = (
            "import fcntl, pathlib, sys\n"
            f"files = [open(path) for path in pathlib.Path({str(directory / '.locks')!r}).iterdir()]\n"
            "for file in files: fcntl.flock(file, fcntl.LOCK_EX)\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "held\n"

    def release(self) -> None:
        """Let the process end."""
        self._process.communicate("")


@pytest.fixture
async def held(checkpointer: FileCheckpointer, directory: Path) -> AsyncIterator[HeldLocks]:
    """The thread `t` has one checkpoint, and another process holds its lock."""
    await checkpointer.save({"n": 1}, "t", "a")
    other = await asyncio.to_thread(HeldLocks, directory)
    yield other
    await asyncio.to_thread(other.release)


async def test_a_writer_waits_for_another_process_and_readers_do_not(
    directory: Path, checkpointer: FileCheckpointer, held: HeldLocks
) -> None:
    patient = FileCheckpointer(directory)
    waiting = [asyncio.create_task(patient.save({"n": number}, "t", f"w{number}")) for number in range(12)]
    # Reading takes no lock, and no worker that waits for one.
    for _ in range(3):
        assert await patient.load("t") == {"n": 1}
    assert not any(task.done() for task in waiting)
    await asyncio.to_thread(held.release)
    await asyncio.gather(*waiting)
    assert len(await patient.list_checkpoints("t", 50)) == 13


async def test_a_writer_that_waits_too_long_says_so_and_never_writes(
    checkpointer: FileCheckpointer, held: HeldLocks
) -> None:
    with pytest.raises(BackendUnavailableError, match=r"no answer within 0\.3 s"):
        await checkpointer.save({"n": 2}, "t", "late")
    await asyncio.to_thread(held.release)
    # The worker of the failed save has given up: this one gets the lock, and is the only one to write.
    await checkpointer.save({"n": 3}, "t", "b")
    assert await checkpointer.list_checkpoints("t") == ["b", "a"]


async def test_the_event_loop_goes_on_while_a_writer_waits(checkpointer: FileCheckpointer, held: HeldLocks) -> None:
    ticks = 0
    save = asyncio.create_task(checkpointer.save({}, "t"))
    while not save.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert isinstance(save.exception(), BackendUnavailableError)
    assert ticks > 3


async def test_a_child_process_made_by_fork_saves_as_well(directory: Path) -> None:
    checkpointer = FileCheckpointer(directory)
    await checkpointer.save({}, "t", "parent")
    program = f"""
import asyncio, os
from locus_memory.backends import FileCheckpointer
checkpointer = FileCheckpointer({str(directory)!r})
asyncio.run(checkpointer.save({{}}, "t", "before"))
if os.fork() == 0:
    asyncio.run(checkpointer.save({{}}, "t", "child"))
    os._exit(0)
os.wait()
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=True, timeout=30)
    assert await checkpointer.list_checkpoints("t") == ["child", "before", "parent"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs root and CAP_SYS_ADMIN")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def test_a_full_disk_is_an_outage_that_leaves_what_was_there(small_disk: Path) -> None:
    checkpointer = FileCheckpointer(small_disk, retry=IMPATIENT)
    await checkpointer.save({"n": 1}, "t", "a")
    with pytest.raises(BackendUnavailableError, match="No space left on device") as caught:
        await checkpointer.save({"text": "x" * 500_000}, "t")
    assert str(small_disk / "t.json") in str(caught.value)
    assert await checkpointer.load("t") == {"n": 1}
    # The torn temporary file is gone, so there is room again.
    assert [path.name for path in small_disk.glob(".tmp-*")] == []
    await checkpointer.save({"text": "x" * 20_000}, "t", "b")
    assert await checkpointer.list_checkpoints("t") == ["b", "a"]


async def test_a_directory_that_is_a_file_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "threads").write_text("")
    checkpointer = FileCheckpointer(tmp_path / "threads")
    start = time.monotonic()
    for call in (lambda: checkpointer.save({}, "t"), lambda: checkpointer.load("t")):
        with pytest.raises(BindingError, match="threads"):
            await call()
    assert time.monotonic() - start < 5


async def test_a_directory_without_permission_is_an_error_at_once(tmp_path: Path) -> None:
    await FileCheckpointer(tmp_path).save({"n": 1}, "t")
    (tmp_path / "t.json").chmod(0o600)
    tmp_path.chmod(0o500)
    checkpointer = FileCheckpointer(tmp_path)
    rights = os.geteuid()
    if rights == 0:
        os.seteuid(65534)  # root would be refused nothing
    try:
        with pytest.raises(AuthenticationError, match="Permission denied") as caught:
            await checkpointer.save({"n": 2}, "t")
    finally:
        os.seteuid(rights)
        tmp_path.chmod(0o700)
    assert str(tmp_path) in str(caught.value)
    assert await checkpointer.load("t") == {"n": 1}


async def test_a_changed_binding_is_followed(tmp_path: Path) -> None:
    current = FileConnection(directory=str(tmp_path / "old"))
    checkpointer = from_connection(lambda: current)
    await checkpointer.save({"n": 1}, "t")
    current = FileConnection(directory=str(tmp_path / "new"))
    for _ in range(2):
        await checkpointer.storage.refresh()
        assert checkpointer.storage.connection_version == 1
    assert await checkpointer.load("t") is None
    await checkpointer.save({"n": 2}, "t")
    assert (tmp_path / "new" / "t.json").is_file()


async def test_no_lock_is_left_open(directory: Path) -> None:
    checkpointer = FileCheckpointer(directory)
    await asyncio.gather(*(checkpointer.save({}, f"t{number}") for number in range(20)))
    for path in (directory / ".locks").iterdir():
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
