"""What the sweep deletes on Oracle, with all that belongs to it; and that nothing younger goes, beside writers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from locus_memory.backends.oracle import OracleBackend
from locus_memory.connection import OracleConnection
from locus_memory.storage import NewCheckpoint, PendingWrite
from locus_operator import engine
from locus_operator.backends import oracle_retention
from tests.integration.operator.oracle_stores import OracleSession, users_of
from tests.integration.operator.stores import Store

HOUR = timedelta(hours=1)
TABLES = ("", "_METADATA", "_NEEDS", "_PARTS", "_SEARCH", "_THREADS", "_WORDS")


async def keep(store: Store, **retention: Any) -> int | None:
    """Reconcile as the sweep does; return how many checkpoints have gone."""
    store.spec = {"retention": retention}
    done = await engine.reconcile(replace(store.request(), enforce_retention=True))
    store.binding = done.binding.data
    return done.expired


@pytest.fixture
async def backend(oracle_operator: Store) -> AsyncIterator[OracleBackend]:
    """The library's backend with the login of `oracle_operator`."""
    await oracle_operator.reconcile()
    document = oracle_operator.connection()
    assert isinstance(document, OracleConnection)
    backend = OracleBackend(document)
    yield backend
    await backend.close()


async def write(backend: OracleBackend, thread: str, name: str, age: timedelta, *parts: str, **fields: Any) -> None:
    """Save a checkpoint of this age, with words and parts of its own name."""
    found = NewCheckpoint(
        thread,
        name,
        f"words of {name}".encode(),
        {"name": name},
        part_names=parts,
        parts={part: part.encode() for part in parts},
        created_at=datetime.now(UTC) - age,
        **fields,
    )
    await backend.put(found)
    await backend.put_writes(thread, name, [PendingWrite("task", 0, "channel", b"value")], namespace=found.namespace)


async def rows(store: Store) -> dict[str, int]:
    async with OracleSession.of_admin(store) as admin:
        found = {}
        for table in (*(f"LOCUS_CHECKPOINTS{suffix}" for suffix in TABLES), "LOCUS_WRITES"):
            name = '"{o}"."{table}"'.format(**users_of(store), table=table)
            [[found[table]]] = await admin.rows(f"SELECT COUNT(*) FROM {name} t")  # noqa: S608 - a test's own names
    return found


async def ids(backend: OracleBackend, thread: str) -> list[str]:
    return [each.checkpoint_id for each in await backend.list_checkpoints(thread, 1000)]


async def test_what_is_too_old_goes_with_all_that_belongs_to_it(oracle_operator: Store, backend: OracleBackend) -> None:
    await write(backend, "gone", "old", 3 * HOUR, "a", "b")
    await write(backend, "half", "old", 3 * HOUR, "only", "shared")
    await write(backend, "half", "young", timedelta(minutes=50), "shared")
    await write(backend, "kept", "young", timedelta(), "c")
    assert len(await backend.search(["old"], 10, lambda payload: payload.decode())) == 1
    assert await keep(oracle_operator, maxAge="1h") == 2
    assert await ids(backend, "gone") == []
    assert await ids(backend, "half") == ["young"]
    assert await ids(backend, "kept") == ["young"]
    [complete] = await backend.get_complete("half")
    assert complete.parts == {"shared": b"shared"}
    assert await backend.get_writes("half", "young")
    assert not await backend.get_writes("half", "old")
    expected = {"": 2, "_METADATA": 2, "_NEEDS": 2, "_PARTS": 2, "_SEARCH": 2, "_THREADS": 2, "_WORDS": 6}
    assert await rows(oracle_operator) == {f"LOCUS_CHECKPOINTS{k}": v for k, v in expected.items()} | {
        "LOCUS_WRITES": 2
    }
    assert await keep(oracle_operator, maxAge="1h") == 0


async def test_the_newest_of_each_thread_and_namespace_stay(oracle_operator: Store, backend: OracleBackend) -> None:
    for number in range(5):
        await write(backend, "thread", f"c{number}", timedelta(), "shared", f"p{number}")
        await write(backend, "thread", f"n{number}", timedelta(), namespace="sub")
    await write(backend, "short", "c", 5 * HOUR)
    # Written anew, it is the newest.
    await write(backend, "thread", "c0", timedelta(), "shared")
    assert await keep(oracle_operator, maxCheckpointsPerThread=2) == 6
    assert await ids(backend, "thread") == ["c0", "c4"]
    listed = await backend.list_checkpoints("thread", 10, namespace="sub")
    assert [each.checkpoint_id for each in listed] == ["n4", "n3"]
    assert await ids(backend, "short") == ["c"]
    assert (await rows(oracle_operator))["LOCUS_CHECKPOINTS_PARTS"] == 2
    assert (await rows(oracle_operator))["LOCUS_WRITES"] == 5


async def test_the_words_of_a_state_that_is_gone_are_forgotten(oracle_operator: Store, backend: OracleBackend) -> None:
    """Its thread lives on, and is indexed again when somebody searches."""
    await write(backend, "thread", "first", timedelta())
    assert await backend.search(["first"], 10, lambda payload: payload.decode())
    await write(backend, "thread", "second", timedelta())
    assert (await rows(oracle_operator))["LOCUS_CHECKPOINTS_WORDS"] == 3
    assert await keep(oracle_operator, maxCheckpointsPerThread=1) == 1
    assert (await rows(oracle_operator))["LOCUS_CHECKPOINTS_WORDS"] == 0
    assert await backend.search(["second"], 10, lambda payload: payload.decode())


async def test_the_boundary_is_exact(
    oracle_operator: Store, backend: OracleBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(backend, "thread", "checkpoint", HOUR)
    [summary] = await backend.list_checkpoints("thread", 1)
    dated = summary.created_at.replace(tzinfo=None)
    for before, deleted in ((dated, 0), (dated + timedelta(microseconds=1), 1)):
        rules = {"old": {"before": before}}

        async def fixed(*_: object, rules: dict[str, Any] = rules) -> dict[str, Any]:
            return rules

        monkeypatch.setattr(oracle_retention, "_rules", fixed)
        assert await keep(oracle_operator, maxAge="1h") == deleted


async def test_nothing_younger_goes_beside_writers(oracle_operator: Store, backend: OracleBackend) -> None:
    threads = [f"thread-{number}" for number in range(4)]
    for thread in threads:
        for number in range(20):
            await write(backend, thread, f"old-{number}", 2 * HOUR, "shared", f"part-{number}")
    stop = asyncio.Event()
    saved: dict[str, list[str]] = {thread: [] for thread in threads}

    async def save(thread: str) -> None:
        while not stop.is_set() or not saved[thread]:
            name = f"new-{len(saved[thread])}"
            await write(backend, thread, name, timedelta(), "shared", f"part-of-{name}")
            saved[thread].append(name)
            # Made old, and young again, while the sweep looks at it.
            await write(backend, thread, "old-0", timedelta())

    async def sweep() -> int:
        deleted = 0
        for _ in range(5):
            deleted += await keep(oracle_operator, maxAge="1h") or 0
        stop.set()
        return deleted

    deleted, *_ = await asyncio.gather(sweep(), *map(save, threads))
    assert deleted in range(4 * 19, 4 * 20 + 1)
    for thread in threads:
        assert set(await ids(backend, thread)) == {*saved[thread], "old-0"}
        for stored in await backend.get_complete(thread, saved[thread]):
            assert set(stored.parts) == {"shared", f"part-of-{stored.summary.checkpoint_id}"}


@pytest.mark.parametrize("retention", [{"maxAge": "1h"}, {"maxCheckpointsPerThread": 1}])
async def test_what_was_saved_anew_since_it_was_looked_for_stays(
    oracle_operator: Store, backend: OracleBackend, monkeypatch: pytest.MonkeyPatch, retention: dict[str, Any]
) -> None:
    await write(backend, "thread", "old", 2 * HOUR)
    if "maxAge" not in retention:
        await write(backend, "thread", "newer", timedelta())
    delete = oracle_retention._delete

    async def too_late(admin: Any, texts: Any, rule: Any, found: Any, binds: Any) -> int:
        assert [checkpoint for _, checkpoint in found] == [b"old"]
        await write(backend, "thread", "old", timedelta())
        return await delete(admin, texts, rule, found, binds)

    monkeypatch.setattr(oracle_retention, "_delete", too_late)
    assert await keep(oracle_operator, **retention) == 0
    assert "old" in await ids(backend, "thread")
    assert await backend.get_writes("thread", "old")


async def test_one_run_deletes_in_batches(
    oracle_operator: Store, backend: OracleBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle_retention, "_BATCH", 3)
    for number in range(8):
        await write(backend, f"thread-{number % 2}", f"c{number}", 2 * HOUR)
    monkeypatch.setattr("locus_operator.backends.oracle.RETENTION_SECONDS", 0)
    assert await keep(oracle_operator, maxAge="1h") == 0, "the time is up before the first batch"
    monkeypatch.undo()
    monkeypatch.setattr(oracle_retention, "_BATCH", 3)
    assert await keep(oracle_operator, maxAge="1h") == 8
    assert (await rows(oracle_operator))["LOCUS_CHECKPOINTS_THREADS"] == 0
