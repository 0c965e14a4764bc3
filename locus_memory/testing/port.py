"""The storage port: what a backend below `StorageBackendAdapter` does beyond what the adapter shows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import JsonValue

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import CheckpointConflictError, CorruptCheckpointError
from locus_memory.storage import NewCheckpoint, StorageBackend
from locus_memory.testing.base import ContractFixtures, requires
from locus_memory.text import words

NAMESPACES = ("", "sub", "sub|graph", "sub:graph", "Sub", "a\0b/{c}*%", "🎉")


def new(
    thread_id: str,
    checkpoint_id: str,
    payload: bytes = b"\x01{}",
    namespace: str = "",
    parent_id: str | None = None,
    metadata: dict[str, JsonValue] | None = None,
) -> NewCheckpoint:
    """Describe a checkpoint, with as little as a test cares for."""
    return NewCheckpoint(thread_id, checkpoint_id, payload, metadata or {}, namespace, parent_id)


class PortTests(ContractFixtures):
    """Namespaces, parents, bytes, times."""

    @pytest.fixture
    def storage(self, checkpointer: BaseCheckpointer) -> StorageBackend:
        """The backend below the checkpointer."""
        assert isinstance(checkpointer, StorageBackendAdapter)
        return checkpointer.storage

    async def test_namespaces_of_a_thread_are_apart(self, storage: StorageBackend) -> None:
        for number, namespace in enumerate(NAMESPACES):
            await storage.put(new("t", "same", b"\x01%d" % number, namespace))
            await storage.put(new("t", f"own{number}", b"\x02", namespace), expected_checkpoint_id="same")
        for number, namespace in enumerate(NAMESPACES):
            stored = await storage.get("t", "same", namespace=namespace)
            assert stored is not None
            assert (stored.payload, stored.summary.namespace) == (b"\x01%d" % number, namespace)
            listed = await storage.list_checkpoints("t", 10, namespace=namespace)
            assert [summary.checkpoint_id for summary in listed] == [f"own{number}", "same"]
        assert await storage.get("t", namespace="other") is None

    async def test_thread_and_namespace_do_not_run_together(self, storage: StorageBackend) -> None:
        await storage.put(new("a", "c", b"\x01", "b:c"))
        await storage.put(new("a:b", "c", b"\x02", "c"))
        await storage.put(new("a", "c", b"\x03", "b|c"))
        await storage.put(new("a|b", "c", b"\x04", "c"))
        places = [("a", "b:c"), ("a:b", "c"), ("a", "b|c"), ("a|b", "c")]
        stored = [await storage.get(thread_id, namespace=namespace) for thread_id, namespace in places]
        assert [found.payload for found in stored if found] == [b"\x01", b"\x02", b"\x03", b"\x04"]

    async def test_deleting_in_one_namespace_leaves_the_others(self, storage: StorageBackend) -> None:
        await storage.put(new("t", "c", namespace=""))
        await storage.put(new("t", "c", namespace="sub"))
        assert await storage.delete_checkpoint("t", "c", namespace="sub")
        assert not await storage.delete_checkpoint("t", "c", namespace="sub")
        assert await storage.get("t", "c") is not None

    async def test_deleting_a_thread_deletes_all_its_namespaces(self, storage: StorageBackend) -> None:
        for namespace in NAMESPACES:
            await storage.put(new("t", "c", namespace=namespace))
        assert await storage.delete_thread("t")
        assert [await storage.get("t", namespace=namespace) for namespace in NAMESPACES] == [None] * len(NAMESPACES)
        assert not await storage.delete_thread("t")

    async def test_the_parent_is_kept(self, storage: StorageBackend) -> None:
        await storage.put(new("t", "a"))
        await storage.put(new("t", "b", parent_id="a\0/"))
        summaries = await storage.list_checkpoints("t", 10)
        assert [summary.parent_id for summary in summaries] == ["a\0/", None]
        await storage.put(new("t", "b"))
        summary = await storage.get_summary("t", "b")
        assert summary is not None
        assert summary.parent_id is None

    @pytest.mark.parametrize(
        "payload", [b"\0", bytes(range(256)) * 9, b'\x01{ "a" : 1.0 }', b"\x01{", b"\x01null", b"\xff"]
    )
    async def test_a_payload_comes_back_byte_for_byte(self, storage: StorageBackend, payload: bytes) -> None:
        await storage.put(new("t", "c", payload))
        stored = await storage.get("t")
        assert stored is not None
        assert stored.payload == payload

    async def test_a_summary_is_what_comes_with_the_payload(self, storage: StorageBackend) -> None:
        metadata: dict[str, JsonValue] = {"tags": ["x"]}
        await storage.put(new("t", "c", b"\x01{}", "sub", "parent", metadata))
        stored = await storage.get("t", namespace="sub")
        assert stored is not None
        summary = stored.summary
        assert (summary.thread_id, summary.checkpoint_id, summary.namespace) == ("t", "c", "sub")
        assert (summary.parent_id, summary.metadata) == ("parent", metadata)
        assert await storage.get_summary("t", namespace="sub") == summary
        assert await storage.get_summary("t", "c", namespace="sub") == summary
        assert await storage.list_checkpoints("t", 10, namespace="sub") == [summary]
        assert await storage.get_summary("t", "other", namespace="sub") is None

    async def test_the_time_of_a_write_is_known_in_utc(self, storage: StorageBackend) -> None:
        await storage.put(new("t", "c"))
        summary = await storage.get_summary("t")
        assert summary is not None
        assert summary.created_at.utcoffset() == timedelta(0)
        # The server's clock may differ a little from ours.
        assert abs(summary.created_at - datetime.now(UTC)) < timedelta(minutes=5)

    async def test_of_eight_writers_in_a_new_namespace_one_is_first(self, storage: StorageBackend) -> None:
        await storage.put(new("t", "c"))
        outcomes = await asyncio.gather(
            *(storage.put(new("t", f"w{number}", namespace="sub"), expected_checkpoint_id=None) for number in range(8)),
            return_exceptions=True,
        )
        assert outcomes.count(None) == 1, outcomes
        assert sum(isinstance(outcome, CheckpointConflictError) for outcome in outcomes) == 7, outcomes

    @requires("list_threads")
    async def test_a_thread_is_listed_whatever_its_namespaces(self, storage: StorageBackend) -> None:
        await storage.put(new("both", "c"))
        await storage.put(new("both", "c", namespace="sub"))
        await storage.put(new("only", "c", namespace="sub"))
        assert await storage.list_threads(10) == ["both", "only"]
        await storage.delete_checkpoint("only", "c", namespace="sub")
        assert await storage.list_threads(10) == ["both"]

    @requires("list_with_metadata")
    async def test_the_latest_are_those_of_the_empty_namespace(self, storage: StorageBackend) -> None:
        await storage.put(new("a", "sub", namespace="sub"))
        await storage.put(new("b", "main"))
        await storage.put(new("b", "sub", namespace="sub"))
        await storage.put(new("c", "main"))
        assert [summary.checkpoint_id for summary in await storage.list_latest(10)] == ["main", "main"]
        assert [summary.thread_id for summary in await storage.list_latest(1)] == ["b"]

    @requires("metadata_query")
    async def test_a_query_covers_the_empty_namespace(self, storage: StorageBackend) -> None:
        await storage.put(new("t", "main", metadata={"tag": "x"}))
        await storage.put(new("t", "sub", namespace="sub", metadata={"tag": "x"}))
        assert [summary.checkpoint_id for summary in await storage.query_by_metadata("tag", "x", 10)] == ["main"]

    @requires("search")
    async def test_a_search_covers_the_empty_namespace(self, storage: StorageBackend) -> None:
        # A payload as the codec makes them: a server in between decodes it itself.
        for thread_id, namespace in (("t", ""), ("u", "sub")):
            checkpoint = new(thread_id, "c", b'\x01"needle"', namespace)
            # A backend indexes the text with the save, or makes it of the payload when somebody searches.
            await storage.put(replace(checkpoint, text=lambda: "needle"))

        hits = await storage.search(words("Needle"), 10, lambda payload: payload[1:].decode())
        assert [hit.summary.thread_id for hit in hits] == ["t"]

    @requires("search")
    async def test_one_damaged_state_leaves_the_others_searchable(self, checkpointer: BaseCheckpointer) -> None:
        assert isinstance(checkpointer, StorageBackendAdapter)
        await checkpointer.storage.put(new("damaged", "c", b"\xff\xff"))
        await checkpointer.save({"text": "needle"}, "sound")
        assert [hit["thread_id"] for hit in await checkpointer.search("needle")] == ["sound"]

    async def test_a_damaged_state_is_an_error_and_not_none(self, checkpointer: BaseCheckpointer) -> None:
        assert isinstance(checkpointer, StorageBackendAdapter)
        await checkpointer.storage.put(new("damaged", "c", b"\xff\xff"))
        with pytest.raises(CorruptCheckpointError, match="damaged"):
            await checkpointer.load("damaged")

    @requires("branching")
    async def test_a_copy_has_the_same_bytes_times_and_parents_in_all_namespaces(self, storage: StorageBackend) -> None:
        # No JSON and no zstd: whoever parses it to copy it fails.
        payload = bytes(range(256))
        for namespace in NAMESPACES:
            await storage.put(new("main", "a", payload, namespace))
            await storage.put(new("main", "b", payload[::-1], namespace, "a", {"n": 1}))
        assert await storage.copy_thread("main", "branch")
        for namespace in NAMESPACES:
            for checkpoint_id in "ab":
                source = await storage.get("main", checkpoint_id, namespace=namespace)
                copied = await storage.get("branch", checkpoint_id, namespace=namespace)
                assert source is not None
                assert copied is not None
                assert copied.payload == source.payload
                assert copied.summary.thread_id == "branch"
                assert _without_thread(copied.summary) == _without_thread(source.summary)

    @requires("branching")
    async def test_a_thread_in_another_namespace_is_in_the_way_of_a_copy(self, storage: StorageBackend) -> None:
        await storage.put(new("main", "a"))
        await storage.put(new("branch", "a", namespace="sub"))
        with pytest.raises(CheckpointConflictError):
            await storage.copy_thread("main", "branch")

    @requires("vacuum")
    async def test_vacuum_deletes_exactly_what_was_written_before(self, storage: StorageBackend) -> None:
        for number in range(4):
            await storage.put(new("t", f"c{number}"))
            await storage.put(new("t", f"c{number}", namespace="sub"))
        everything = [
            summary
            for namespace in ("", "sub")
            for summary in await storage.list_checkpoints("t", 10, namespace=namespace)
        ]
        before = (await storage.list_checkpoints("t", 2))[-1].created_at
        expected = [summary for summary in everything if summary.created_at >= before]
        assert await storage.vacuum(before) == len(everything) - len(expected) > 0
        left = [
            summary
            for namespace in ("", "sub")
            for summary in await storage.list_checkpoints("t", 10, namespace=namespace)
        ]
        assert left == expected

    async def test_a_backend_is_no_checkpointer_and_says_what_is(self, storage: StorageBackend) -> None:
        with pytest.raises(TypeError, match=storage.factory):
            await storage.save({}, "t")
        with pytest.raises(TypeError, match=storage.factory):
            await storage.load("t")


def _without_thread(summary: object) -> dict[str, object]:
    names = ("checkpoint_id", "metadata", "created_at", "namespace", "parent_id")
    return {name: getattr(summary, name) for name in names}
