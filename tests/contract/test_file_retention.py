"""What a save deletes by the retention rules of its binding."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from locus_memory.backends.file import FileBackend
from locus_memory.binding import DirectoryBinding
from locus_memory.connection import FileConnection, Retention
from locus_memory.storage import NewCheckpoint, PendingWrite

HOUR = timedelta(hours=1)


@pytest.fixture
def binding(tmp_path: Path) -> DirectoryBinding:
    (tmp_path / "binding").mkdir()
    return DirectoryBinding(tmp_path / "binding")


def bind(binding: DirectoryBinding, **rules: Any) -> FileBackend:
    """Write the rules as the operator does, and return a backend that reads them."""
    write(binding, **rules)

    def source() -> FileConnection:
        connection = binding.connection()
        assert isinstance(connection, FileConnection)
        return connection

    return FileBackend(source)


def write(binding: DirectoryBinding, **rules: Any) -> None:
    document = FileConnection(directory=str(binding.directory.parent / "threads"), retention=Retention(**rules))
    new = binding.directory / "..new"
    new.write_text(json.dumps(document.document()))
    new.replace(binding.directory / "connection.json")


def checkpoint(name: str, *, age: timedelta | None = None, namespace: str = "", thread: str = "t") -> NewCheckpoint:
    created_at = None if age is None else datetime.now(UTC) - age
    return NewCheckpoint(thread, name, b"\x01{}", {}, namespace=namespace, created_at=created_at)


async def ids(backend: FileBackend, thread: str = "t", namespace: str = "") -> list[str]:
    return [each.checkpoint_id for each in await backend.list_checkpoints(thread, 100, namespace=namespace)]


async def test_a_save_keeps_the_newest_of_its_thread(binding: DirectoryBinding) -> None:
    backend = bind(binding, max_checkpoints_per_thread=2)
    for number in range(4):
        await backend.put(checkpoint(f"c{number}"))
    assert await ids(backend) == ["c3", "c2"]


async def test_each_namespace_of_a_thread_has_its_own_count(binding: DirectoryBinding) -> None:
    backend = bind(binding, max_checkpoints_per_thread=1)
    for name, namespace in (("a", ""), ("b", "inner"), ("c", "inner"), ("d", "")):
        await backend.put(checkpoint(name, namespace=namespace))
    assert (await ids(backend), await ids(backend, namespace="inner")) == (["d"], ["c"])


async def test_a_save_deletes_what_is_too_old_in_its_thread_and_nothing_younger(binding: DirectoryBinding) -> None:
    backend = bind(binding, max_age_seconds=3600)
    moment = timedelta(seconds=30)
    for name, age, thread in (
        ("old", HOUR + moment, "t"),
        ("young", HOUR - moment, "t"),
        ("idle", HOUR + moment, "another"),
    ):
        await backend.put(checkpoint(name, age=age, thread=thread))
    await backend.put(checkpoint("new"))
    assert await ids(backend) == ["new", "young"]
    assert await ids(backend, "another") == ["idle"], "that is vacuum's work, as the documentation says"


async def test_what_is_moved_in_from_elsewhere_comes_whole(binding: DirectoryBinding) -> None:
    backend = bind(binding, max_age_seconds=3600, max_checkpoints_per_thread=1)
    for number in (3, 2, 1):
        await backend.put(checkpoint(f"c{number}", age=number * HOUR))
    assert await ids(backend) == ["c1", "c2", "c3"]


async def test_the_pending_writes_and_parts_of_what_is_deleted_go_along(binding: DirectoryBinding) -> None:
    backend = bind(binding, max_checkpoints_per_thread=1)
    await backend.put(NewCheckpoint("t", "a", b"\x01{}", {}, part_names=("p", "q"), parts={"p": b"1", "q": b"2"}))
    await backend.put_writes("t", "a", [PendingWrite("task", 0, "channel", b"x")])
    await backend.put(NewCheckpoint("t", "b", b"\x01{}", {}, part_names=("q",)))
    [kept] = await backend.get_complete("t")
    assert kept.parts == {"q": b"2"}
    text = (binding.directory.parent / "threads" / "t.json").read_text()
    assert '"p"' not in text
    assert "task" not in text


async def test_a_changed_rule_counts_from_the_next_save_on(binding: DirectoryBinding) -> None:
    backend = bind(binding)
    for number in range(3):
        await backend.put(checkpoint(f"c{number}"))
    write(binding, max_checkpoints_per_thread=1)
    await backend.put(checkpoint("c3"))
    assert await ids(backend) == ["c3"]


async def test_a_binding_that_is_away_for_a_moment_keeps_its_rules(binding: DirectoryBinding) -> None:
    backend = bind(binding, max_checkpoints_per_thread=1)
    await backend.put(checkpoint("a"))
    (binding.directory / "connection.json").unlink()
    await backend.put(checkpoint("b"))
    assert await ids(backend) == ["b"]


async def test_savers_at_the_same_time_lose_nothing_that_the_rule_keeps(binding: DirectoryBinding) -> None:
    one, other = (bind(binding, max_checkpoints_per_thread=5) for _ in range(2))
    await asyncio.gather(
        *(each.put(checkpoint(f"{name}{n}")) for n in range(10) for name, each in (("a", one), ("b", other)))
    )
    assert len(await ids(one)) == 5


async def test_an_age_before_the_calendar_deletes_nothing(binding: DirectoryBinding) -> None:
    backend = bind(binding, max_age_seconds=10**12)
    await backend.put(checkpoint("a"))
    await backend.put(checkpoint("b"))
    assert await ids(backend) == ["b", "a"]
