"""Parts and pending writes on OpenSearch: what they cost, and what is left when something goes wrong half way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from locus_memory.backends import opensearch_checkpointer, opensearch_manifest, opensearch_retention
from locus_memory.backends.opensearch import OpenSearchBackend
from locus_memory.backends.opensearch_layout import index_body
from locus_memory.errors import (
    BackendUnavailableError,
    CheckpointConflictError,
    CheckpointError,
    CorruptCheckpointError,
    MissingPartsError,
)
from locus_memory.storage import NewCheckpoint, StorageBackend
from locus_memory.testing.history import new, with_parts, write
from tests.servers.opensearch import OpenSearchServer


@pytest.fixture
def server(opensearch_server: OpenSearchServer) -> Iterator[OpenSearchServer]:
    yield opensearch_server
    opensearch_server.ask("DELETE", "/_front/faults")


@pytest.fixture
def settings(server: OpenSearchServer, opensearch_index: str) -> dict[str, Any]:
    return {"hosts": server.address, "index_name": opensearch_index, "username": "admin", "password": server.password}


@pytest.fixture
async def storages(settings: dict[str, Any]) -> AsyncIterator[list[StorageBackend]]:
    """Backends that know nothing of each other, as in three processes; the first one has seen the index."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(opensearch_checkpointer(**settings)) for _ in range(3)]
        await opened[0].save({}, "another thread")
        await opened[0].delete("another thread")
        yield [each.storage for each in opened]


@pytest.fixture
def storage(storages: list[StorageBackend], server: OpenSearchServer) -> StorageBackend:
    server.requests()
    return storages[0]


def operations(server: OpenSearchServer) -> list[str]:
    """The last part of the path of each request since the last call."""
    return [each["path"].rpartition("/")[2] for each in server.requests()]


def kinds(server: OpenSearchServer, index: str) -> list[str]:
    """The kinds of all documents of the index."""
    return sorted(document["kind"] for document in server.documents(index))


# What it costs


async def test_each_step_of_a_graph_takes_one_request_for_its_checkpoint_and_one_for_each_task(
    storage: StorageBackend, server: OpenSearchServer
) -> None:
    await storage.put(new("a", x=b"1", y=b"2"))
    assert operations(server) == ["_mget", "_bulk"]
    for task in ("one", "two"):
        await storage.put_writes("t", "a", [write(task, 0), write(task, 1)])
    assert operations(server) == ["_bulk", "_bulk"]
    await storage.put(new("b", "x", y2=b"3"))
    assert operations(server) == ["_bulk"]


async def test_a_whole_checkpoint_takes_one_request_if_its_thread_is_known_and_two_if_not(
    storages: list[StorageBackend], storage: StorageBackend, server: OpenSearchServer
) -> None:
    for name in "abc":
        await storage.put(with_parts(new(name), {f"{name}{number}": b"1" for number in range(20)}))
        await storage.put_writes("t", name, [write("task", 0)])
    for reader, expected in ((storage, 1), (storages[1], 2)):
        server.requests()
        assert len((await reader.get_complete("t"))[0].parts) == 20
        assert operations(server) == ["_mget"] * expected
        assert len(await reader.get_complete("t", ["a", "b", "c"])) == 3
        assert operations(server) == ["_mget"] * 1
        assert len(await reader.get_writes("t", "b")) == 1
        assert await reader.get_writes("t", "nobody") == []
        assert operations(server) == ["_mget"] * 2


async def test_what_is_too_large_for_one_answer_comes_in_several(
    storage: StorageBackend, server: OpenSearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {f"part {number}": bytes(100) for number in range(10)}
    await storage.put(with_parts(new("a"), parts))
    monkeypatch.setattr(opensearch_manifest, "_REQUEST_BYTES", 250)
    server.requests()
    assert (await storage.get_complete("t"))[0].parts == parts
    assert operations(server) == ["_mget"] * 5
    assert await storage.copy_thread("t", "copy")
    assert (await storage.get_complete("copy"))[0].parts == parts


async def test_deleting_takes_no_more_requests_for_what_belongs_to_a_checkpoint(
    storage: StorageBackend, server: OpenSearchServer, opensearch_index: str
) -> None:
    for name in "ab":
        await storage.put(with_parts(new(name), {name: b"1"}))
        await storage.put_writes("t", name, [write("task", 0)])
    server.requests()
    assert await storage.delete_checkpoint("t", "a")
    assert operations(server) == ["_bulk", "_bulk"]
    assert kinds(server, opensearch_index) == ["checkpoint", "part", "thread", "writes"]
    server.requests()
    assert await storage.delete_thread("t")
    assert operations(server) == ["_bulk", "_bulk", "_bulk"]
    assert server.documents(opensearch_index) == []


# Nothing is left, and nothing piles up


async def test_writes_that_are_repeated_without_end_take_no_more_room(
    storage: StorageBackend, server: OpenSearchServer, opensearch_index: str
) -> None:
    await storage.put(new("a"))
    for number in range(10):
        await storage.put_writes("t", "a", [write("task", 0), write("task", -1, str(number).encode())])
    assert kinds(server, opensearch_index) == ["checkpoint", "thread", "writes", "writes"]
    assert await storage.get_writes("t", "a") == [write("task", -1, b"9"), write("task", 0)]


async def test_writes_whose_checkpoint_never_came_can_be_deleted(
    storage: StorageBackend, server: OpenSearchServer, opensearch_index: str
) -> None:
    await storage.put_writes("t", "never", [write("task", 0)])
    assert await storage.list_threads(10) == []
    assert await storage.list_latest(10) == []
    assert await storage.list_threads_after(None, 10) == []
    with pytest.raises(CheckpointConflictError):
        await storage.put(new("b"), expected_checkpoint_id="a")
    await storage.put(new("a"), expected_checkpoint_id=None)
    assert not await storage.delete_checkpoint("t", "never")
    assert kinds(server, opensearch_index) == ["checkpoint", "thread"]
    await storage.put_writes("alone", "never", [write("task", 0)])
    assert await storage.delete_thread("alone")
    assert kinds(server, opensearch_index) == ["checkpoint", "thread"]


async def test_a_copy_does_not_overwrite_pending_writes(storage: StorageBackend) -> None:
    await storage.put(new("a"))
    await storage.put_writes("u", "a", [write("task", 0)])
    with pytest.raises(CheckpointConflictError):
        await storage.copy_thread("t", "u")
    assert await storage.get_writes("u", "a") == [write("task", 0)]


# Several processes


async def test_no_write_of_several_processes_is_lost(
    storages: list[StorageBackend], server: OpenSearchServer, opensearch_index: str
) -> None:
    await storages[0].put(new("a"))
    tasks = [f"task {number:02}" for number in range(12)]
    await asyncio.gather(
        *(storages[n % 3].put_writes("t", "a", [write(task, 0), write(task, -1)]) for n, task in enumerate(tasks)),
        *(each.put(new(f"next {number}")) for number, each in enumerate(storages)),
    )
    expected = [write(task, index) for task in tasks for index in (-1, 0)]
    for each in storages:
        assert await each.get_writes("t", "a") == expected
        assert len(await each.list_checkpoints("t", 10)) == 4
    assert kinds(server, opensearch_index).count("writes") == 12


async def test_a_part_that_another_process_has_deleted_is_missing_however_well_it_is_known(
    storages: list[StorageBackend], server: OpenSearchServer, opensearch_index: str
) -> None:
    await storages[0].put(new("a", x=b"1"))
    await storages[0].put(new("b"))
    assert await storages[1].delete_checkpoint("t", "a")
    with pytest.raises(MissingPartsError, match="'c'"):
        await storages[0].put(new("c", "x", y=b"2"))
    assert kinds(server, opensearch_index) == ["checkpoint", "thread"]
    await storages[0].put(new("c", x=b"1", y=b"2"))
    assert (await storages[1].get_complete("t"))[0].parts == {"x": b"1", "y": b"2"}


async def test_a_part_that_another_process_has_just_stored_is_there(storages: list[StorageBackend]) -> None:
    await storages[1].put(new("first"))
    await storages[0].put(new("a", x=b"1"))
    await storages[1].put(new("b", "x"))
    assert (await storages[1].get_complete("t"))[0].parts == {"x": b"1"}


async def test_writes_that_another_process_has_deleted_are_stored_anew(storages: list[StorageBackend]) -> None:
    await storages[0].put(new("first"))
    await storages[0].put_writes("t", "a", [write("task", 0)])
    assert not await storages[1].delete_checkpoint("t", "a")
    await storages[0].put_writes("t", "a", [write("task", 0)])
    assert await storages[1].get_writes("t", "a") == [write("task", 0)]


async def test_a_part_that_two_processes_bring_is_kept_once(
    storages: list[StorageBackend], server: OpenSearchServer, opensearch_index: str
) -> None:
    await storages[0].put(new("first"))
    assert await storages[1].get("t") is not None  # so it knows the thread, and will be wrong about it
    await storages[0].put(new("a", x=b"1"))
    await storages[1].put(new("b", x=b"1"))
    assert kinds(server, opensearch_index).count("part") == 1
    assert await storages[0].delete_checkpoint("t", "a")
    assert (await storages[0].get_complete("t"))[0].parts == {"x": b"1"}


async def test_processes_that_share_and_delete_parts_at_once_keep_what_is_needed_and_nothing_else(
    storages: list[StorageBackend], server: OpenSearchServer, opensearch_index: str
) -> None:
    async def work(storage: StorageBackend, name: str) -> None:
        for number in range(6):
            checkpoint_id, shared = f"{name}{number}", f"shared {number // 2}"
            own = {checkpoint_id: b"own"}
            try:
                await storage.put(replace(new(checkpoint_id), parts=own, part_names=(shared, checkpoint_id)))
            except MissingPartsError:
                await storage.put(with_parts(new(checkpoint_id), {shared: shared.encode(), **own}))
            await storage.put_writes("t", checkpoint_id, [write(name, 0)])
            [found] = await storage.get_complete("t", [checkpoint_id])
            assert found.parts == {shared: shared.encode(), **own}
            assert found.writes == (write(name, 0),)
            if number % 3:
                assert await storage.delete_checkpoint("t", checkpoint_id)

    await asyncio.gather(*(work(storage, name) for storage, name in zip(storages, "abc", strict=True)))
    ids = [each.checkpoint_id for each in await storages[0].list_checkpoints("t", 100)]
    assert sorted(ids) == ["a0", "a3", "b0", "b3", "c0", "c3"]
    assert len(await storages[0].get_complete("t", ids)) == 6
    assert kinds(server, opensearch_index) == ["checkpoint"] * 6 + ["part"] * 8 + ["thread"] + ["writes"] * 6


# Half way


@pytest.mark.parametrize("action", ["drop_before", "drop_after"])
async def test_what_is_cut_off_is_there_as_a_whole_or_not_at_all(
    storages: list[StorageBackend], server: OpenSearchServer, action: str
) -> None:
    await storages[0].put(new("a", x=b"1"))
    server.fail("_bulk", action)
    with pytest.raises(BackendUnavailableError):
        await storages[0].put(new("b", "x", y=b"2"))
    assert await storages[0].get("t") is not None  # so that the next request is no conflict
    server.fail("_bulk", action)
    with pytest.raises(BackendUnavailableError):
        await storages[0].put_writes("t", "a", [write("task", 0), write("task", -1)])
    was_done = action == "drop_after"
    for each in storages[:2]:
        assert len(await each.get_complete("t", ["b"])) == was_done
        assert len(await each.get_writes("t", "a")) == 2 * was_done
    # Done again, by whoever takes over.
    for each in (storages[0], storages[2]):
        await each.put_writes("t", "a", [write("task", 0), write("task", -1)])
        await each.put(new("b", "x", y=b"2"))
    assert await storages[1].get_writes("t", "a") == [write("task", -1), write("task", 0)]
    assert (await storages[1].get_complete("t"))[0].parts == {"x": b"1", "y": b"2"}


async def test_vacuum_takes_what_an_interrupted_deletion_has_left_and_nothing_that_is_named(
    storages: list[StorageBackend],
    server: OpenSearchServer,
    opensearch_index: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = storages[0]
    for name in "ab":
        await storage.put(with_parts(new(name), {name: b"1"}))
        await storage.put_writes("t", name, [write("task", 0)])
    await storage.put_writes("t", "never", [write("task", 0)])
    # The manifest is changed; then the client dies.
    server.fail("_bulk", "drop_after")
    with pytest.raises(BackendUnavailableError):
        await storage.delete_checkpoint("t", "a")
    assert kinds(server, opensearch_index) == ["checkpoint"] * 2 + ["part"] * 2 + ["thread"] + ["writes"] * 3
    for each in storages:
        assert await each.get_complete("t", ["a"]) == []
        assert await each.get_writes("t", "a") == []
    with pytest.raises(MissingPartsError):
        await storages[1].put(new("c", "a"))
    monkeypatch.setattr(opensearch_retention, "_ORPHAN_AGE", 0)
    [latest] = await storage.list_checkpoints("t", 1)
    assert await storage.vacuum(latest.created_at) == 0
    assert kinds(server, opensearch_index) == ["checkpoint", "part", "thread", "writes", "writes"]
    [found] = await storages[2].get_complete("t")
    assert (found.parts, found.writes) == ({"b": b"1"}, (write("task", 0),))
    assert await storage.get_writes("t", "never") == [write("task", 0)]


async def test_a_checkpoint_that_is_refused_takes_no_pending_writes_and_no_parts_with_it(
    settings: dict[str, Any], server: OpenSearchServer, opensearch_index: str
) -> None:
    body = index_body()
    # As if somebody had made the index by hand: the items of a bulk request fail one by one.
    del body["mappings"]["properties"]["packed_terms"]
    server.ask("PUT", f"/{opensearch_index}", body)
    refused = NewCheckpoint("t", "a", b"{}", {}, text=lambda: "word", parts={"x": b"1"}, part_names=("x",))
    async with opensearch_checkpointer(**settings) as checkpointer:
        storage = checkpointer.storage
        assert isinstance(storage, OpenSearchBackend)
        await storage.put_writes("t", "a", [write("task", 0)])
        with pytest.raises(CheckpointError, match="packed_terms"):
            await storage.put(refused)
        assert await storage.get("t") is None
        assert await storage.get_writes("t", "a") == [write("task", 0)]
        assert kinds(server, opensearch_index) == ["thread", "writes"]
        await storage.put(new("b", y=b"1"))
        with pytest.raises(CheckpointError, match="packed_terms"):
            await storage.put(refused)
        assert kinds(server, opensearch_index) == ["checkpoint", "part", "thread", "writes"]
        assert [each.parts for each in await storage.get_complete("t", ["a", "b"])] == [{"y": b"1"}]


async def test_a_part_that_vanished_is_an_error_which_names_it(storages: list[StorageBackend]) -> None:
    await storages[0].put(new("a", x=b"1"))
    threads = storages[0]._threads  # type: ignore[attr-defined]  # knows the names of documents
    [entry] = threads.known("t").manifest.entries()
    await threads.delete_documents("t", [entry.parts[0].document])
    for each in storages[:2]:
        with pytest.raises(CorruptCheckpointError, match="'a': its part 'x' is missing"):
            await each.get_complete("t")
        assert await each.get("t") is not None
