"""Parts and pending writes on Oracle: what is left of them, what they cost, and what happens between writers."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import oracledb
import pytest

from locus_memory.backends.memory import MemoryBackend
from locus_memory.backends.oracle import OracleBackend
from locus_memory.connection import OracleConnection
from locus_memory.errors import CheckpointConflictError, CorruptCheckpointError, MissingPartsError
from locus_memory.storage import StorageBackend
from locus_memory.testing.history import new, with_parts, write
from locus_memory.urls import parse_url
from tests.contract.test_oracle_traps import run
from tests.emulators.oracle import EmulatedConnection
from tests.servers.oracle import EmulatedOracle, OracleStore, RealOracle

IDS = [f"checkpoint {number}" for number in range(6)]
PARTS = [f"part {number}" for number in range(8)]
ROWS = " UNION ALL ".join(
    f"SELECT COUNT(*) FROM <t>{table} r"  # noqa: S608 - constants
    for table in ("_threads", "", "_metadata", "_parts", "_needs", "_pending")
)


@pytest.fixture
async def oracle(oracle_store: OracleStore) -> AsyncIterator[OracleBackend]:
    connection = parse_url(oracle_store.url())
    assert isinstance(connection, OracleConnection)
    storage = OracleBackend(connection)
    yield storage
    await storage.close()


async def left_over(store: OracleStore) -> int:
    """Count the rows in all tables."""
    return sum(row[0] for row in await run(store, ROWS))


async def everything(storage: StorageBackend) -> dict[tuple[str, str], Any]:
    """What checkpoints and writes there are."""
    found = {}
    for thread_id in "ab":
        for namespace in ("", "sub"):
            complete = await storage.get_complete(thread_id, IDS, namespace=namespace)
            found[thread_id, namespace] = [
                (each.summary.checkpoint_id, each.payload, dict(each.parts), each.writes) for each in complete
            ]
    return found


async def change(storages: tuple[StorageBackend, ...], chance: random.Random) -> None:
    """Do one thing to each of them; parts that no checkpoint needs are brought."""
    thread_id, namespace, checkpoint_id = chance.choice("ab"), chance.choice(["", "sub"]), chance.choice(IDS)
    kind = chance.randrange(10)
    present = (await everything(storages[0]))[thread_id, namespace]
    needed = {name for _, _, parts, _ in present for name in parts}
    names = chance.sample(PARTS, chance.randrange(4))
    brought = {name: name.encode() for name in names if name not in needed or chance.random() < 0.3}
    writes = [write(chance.choice("xy"), chance.choice([-2, -1, 0, 1]), chance.randbytes(3)) for _ in range(3)]
    for storage in storages:
        if kind < 5:
            await storage.put(new(checkpoint_id, *names, namespace=namespace, thread_id=thread_id, **brought))
        elif kind < 7 and present:
            await storage.put_writes(thread_id, checkpoint_id, writes, namespace=namespace)
        elif kind < 9:
            await storage.delete_checkpoint(thread_id, checkpoint_id, namespace=namespace)


async def test_any_sequence_of_changes_leaves_what_it_leaves_in_memory_and_in_the_end_nothing(
    oracle: OracleBackend, oracle_store: OracleStore
) -> None:
    memory, chance = MemoryBackend(), random.Random(7)
    for step in range(150):
        await change((memory, oracle), chance)
        assert await everything(oracle) == await everything(memory), step
    for thread_id in "ab":
        for namespace in ("", "sub"):
            for checkpoint_id in IDS:
                await oracle.delete_checkpoint(thread_id, checkpoint_id, namespace=namespace)
    assert await left_over(oracle_store) == 0


async def test_a_checkpoint_saved_again_without_parts_has_none(
    oracle: OracleBackend, oracle_store: OracleStore
) -> None:
    await oracle.put(new("a", x=b"1"))
    await oracle.put(new("a"))
    [found] = await oracle.get_complete("t")
    assert found.parts == {}
    await oracle.put(new("a", y=b"2"))
    [found] = await oracle.get_complete("t")
    assert found.parts == {"y": b"2"}
    await oracle.put(new("b"))
    await oracle.delete_checkpoint("t", "a")
    assert await run(oracle_store, "SELECT COUNT(*) FROM <t>_parts") == [(0,)]


async def test_a_checkpoint_saved_again_with_other_parts_leaves_none_of_the_old_ones(oracle: OracleBackend) -> None:
    await oracle.put(new("a", x=b"1", y=b"2"))
    await oracle.put(new("b", "y"))
    await oracle.put(new("a", z=b"3"))
    with pytest.raises(MissingPartsError):
        await oracle.put(new("c", "x"))
    await oracle.put(new("c", "y", "z"))
    assert [each.parts for each in await oracle.get_complete("t")] == [{"y": b"2", "z": b"3"}]


async def test_deleting_what_is_not_there_leaves_the_writes_that_wait_for_it(oracle: OracleBackend) -> None:
    await oracle.put_writes("t", "a", [write("task", 0)])
    await oracle.put(new("b"))
    assert not await oracle.delete_checkpoint("t", "a")
    assert await oracle.get_writes("t", "a") == [write("task", 0)]


async def test_a_save_with_parts_done_again_changes_nothing(oracle: OracleBackend) -> None:
    parts = {f"part {number}": bytes([number]) for number in range(3)}
    await oracle.put(with_parts(new("a"), {"part 1": b"\x01"}))
    # The second of its parts is there already: a real database then has kept the first, the emulator has not.
    for _ in range(2):
        await oracle.put(with_parts(new("b"), parts))
    # Encrypted anew it is other bytes.
    await oracle.put(with_parts(new("c"), {"part 1": b"other bytes"}))
    found = await oracle.get_complete("t", ["b", "a", "c"])
    assert [each.parts for each in found] == [parts, {"part 1": b"\x01"}, {"part 1": b"\x01"}]


async def test_a_part_that_somebody_deleted_by_hand_is_missed(oracle: OracleBackend, oracle_store: OracleStore) -> None:
    await oracle.put(new("a", x=b"1", y=b"2"))
    await oracle.put(new("b", "x"))
    await run(oracle_store, "DELETE FROM <t>_needs n WHERE n.checkpoint_id = :id", id=b"a")
    await run(oracle_store, "DELETE FROM <t>_parts p WHERE p.part_key NOT IN (SELECT n.part_key FROM <t>_needs n)")
    with pytest.raises(CorruptCheckpointError, match="thread 't', checkpoint 'a': 2 of its 2 parts are missing"):
        await oracle.get_complete("t", ["a"])
    assert [each.parts for each in await oracle.get_complete("t")] == [{"x": b"1"}]


async def test_a_thread_with_writes_alone_is_not_there_until_it_is_saved(oracle: OracleBackend) -> None:
    for namespace in ("", "sub"):
        await oracle.put_writes("t", "a", [write("task", 0)], namespace=namespace)
    assert await oracle.list_threads(10) == await oracle.list_threads_after(None, 10) == []
    assert await oracle.list_latest(10) == []
    assert await oracle.list_namespaces("t") == []
    with pytest.raises(CheckpointConflictError):
        await oracle.put(new("a"), expected_checkpoint_id="a")
    await oracle.put(new("a"), expected_checkpoint_id=None)
    with pytest.raises(CheckpointConflictError):
        await oracle.put(new("b"), expected_checkpoint_id=None)
    assert await oracle.list_threads(10) == ["t"]
    assert await oracle.list_namespaces("t") == [""]
    assert (await oracle.get_complete("t"))[0].writes == (write("task", 0),)


async def test_of_eight_that_save_a_thread_with_writes_first_one_wins(oracle: OracleBackend) -> None:
    await oracle.put_writes("t", "a", [write("task", 0)])
    saves = [oracle.put(new(f"c{number}"), expected_checkpoint_id=None) for number in range(8)]
    outcomes = await asyncio.gather(*saves, return_exceptions=True)
    assert [type(each) for each in outcomes if each is not None] == [CheckpointConflictError] * 7
    assert len(await oracle.list_checkpoints("t", 10)) == 1


async def test_tasks_that_write_to_a_new_thread_at_once_all_keep_their_writes(oracle: OracleBackend) -> None:
    writes = [[write(f"task {number}", index) for index in range(3)] for number in range(6)]
    # Each task twice, as where a step is repeated while the first attempt is still under way.
    await asyncio.gather(*(oracle.put_writes("t", "a", each) for each in (*writes, *writes)))
    assert await oracle.get_writes("t", "a") == [one for each in writes for one in each]


async def test_of_a_task_that_runs_twice_at_once_all_writes_come_from_one_run(oracle: OracleBackend) -> None:
    runs = [[write("task", index, f"run {number}".encode()) for index in range(20)] for number in range(6)]
    await oracle.put(new("a"))
    # Connected beforehand, or one run would be over before the next begins.
    await asyncio.gather(*(oracle.get("t") for _ in runs))
    await asyncio.gather(*(oracle.put_writes("t", "a", each[:: (-1) ** n]) for n, each in enumerate(runs)))
    assert await oracle.get_writes("t", "a") in runs


async def test_writes_and_deletions_of_a_thread_may_meet(oracle: OracleBackend, oracle_store: OracleStore) -> None:
    async def go_on(number: int) -> None:
        await oracle.put(with_parts(new(f"c{number}"), {f"p{number}": b"1"}))
        await oracle.put_writes("t", f"c{number}", [write("task", 0)])

    await asyncio.gather(*(each for n in range(8) for each in (go_on(n), oracle.delete_thread("t"))))
    await oracle.delete_thread("t")
    assert await left_over(oracle_store) == 0


async def test_a_missing_part_costs_no_connection(oracle: OracleBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    await oracle.put(new("a"))
    monkeypatch.setattr(oracledb, "connect_async", None)
    with pytest.raises(MissingPartsError, match="thread 't', checkpoint 'b': a part that it needs is not there"):
        await oracle.put(new("b", "x"))
    assert [each.checkpoint_id for each in await oracle.list_checkpoints("t", 10)] == ["a"]


@pytest.mark.parametrize("size", [0, 1, 2_000, 4_001, 32_768, 1_000_000])
async def test_no_size_of_part_write_or_name_trips_ora_01461(oracle: OracleBackend, size: int) -> None:
    name, content = "é" * min(size, 50_000) + "x", random.Random(size).randbytes(size)
    for _ in range(2):  # inserted, then there already
        await oracle.put(with_parts(new("a"), {name: content, "small": b"s"}))
        await oracle.put_writes("t", "a", [write(name, -1, content, name, name), write("small", 0)])
    [found] = await oracle.get_complete("t")
    assert found.parts == {name: content, "small": b"s"}
    assert {each.task_id: each for each in found.writes} == {
        name: write(name, -1, content, name, name),
        "small": write("small", 0),
    }


async def test_more_checkpoints_than_one_query_takes_come_in_order(oracle: OracleBackend) -> None:
    ids = [f"c{number}" for number in range(131)]
    for checkpoint_id in ids:
        await oracle.put(new(checkpoint_id, shared=b"shared"))
    found = await oracle.get_complete("t", [*reversed(ids), "nobody"])
    assert [each.summary.checkpoint_id for each in found] == ids[::-1]
    assert all(each.parts == {"shared": b"shared"} for each in found)


def _calls(oracle: OracleBackend) -> dict[str, tuple[int, Callable[[], Awaitable[Any]]]]:
    """Each call with its round trips: a query that returns LOBs is executed, then fetched."""
    old, again, special = write("task", 0), write("task", 0, b"again"), write("task", -1)
    return {
        "save with a part": (4, lambda: oracle.put(replace(new("new", z=b"3"), metadata={}))),
        "save that shares a part": (3, lambda: oracle.put(replace(new("new", "x"), metadata={}))),
        "save with a part and metadata": (5, lambda: oracle.put(new("new", z=b"3"))),
        "save with a part of an id that exists": (8, lambda: oracle.put(replace(new("c1", z=b"3"), metadata={}))),
        "load complete": (2, lambda: oracle.get_complete("t")),
        "load of 3 complete": (2, lambda: oracle.get_complete("t", ["c0", "c1", "c2"])),
        "load of nothing": (1, lambda: oracle.get_complete("none")),
        "writes": (2, lambda: oracle.put_writes("t", "c2", [write("other", 0), special])),
        "writes done again": (2, lambda: oracle.put_writes("t", "c2", [old, again])),
        "writes to a thread that is not there": (4, lambda: oracle.put_writes("none", "a", [old])),
        "get_writes": (2, lambda: oracle.get_writes("t", "c2")),
        "delete of an old checkpoint with parts": (3, lambda: oracle.delete_checkpoint("t", "c0")),
        "delete of the latest with parts and writes": (6, lambda: oracle.delete_checkpoint("t", "c2")),
        "delete of a thread": (1, lambda: oracle.delete_thread("t")),
    }


@pytest.mark.parametrize("name", list(_calls(None)))  # type: ignore[arg-type]
async def test_round_trips(oracle: OracleBackend, oracle_database: EmulatedOracle | RealOracle, name: str) -> None:
    if isinstance(oracle_database, RealOracle):
        pytest.skip("needs the emulator: it counts what the driver does")
    for number in range(3):
        await oracle.put(new(f"c{number}", x=b"1", y=b"2"))
    await oracle.put_writes("t", "c2", [write("task", 0)])
    expected, call = _calls(oracle)[name]
    before = EmulatedConnection.round_trips
    await call()
    assert EmulatedConnection.round_trips - before == expected
