"""The storage port's history: parts that checkpoints share, and pending writes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import MissingPartsError
from locus_memory.storage import NewCheckpoint, PendingWrite, StorageBackend, StoredCheckpoint
from locus_memory.testing.base import ContractFixtures, requires
from locus_memory.testing.port import NAMESPACES

NAMES = ("messages", "a/b", "\0", "\x01", "é" * 200, " ", "%_*")


def new(checkpoint_id: str, *names: str, namespace: str = "", thread_id: str = "t", **parts: bytes) -> NewCheckpoint:
    """Make a checkpoint that needs the parts given by name, and brings those given with bytes."""
    return NewCheckpoint(
        thread_id,
        checkpoint_id,
        b"\x01payload of " + checkpoint_id.encode(),
        {"n": checkpoint_id},
        namespace,
        parts=parts,
        part_names=(*names, *parts),
    )


def with_parts(checkpoint: NewCheckpoint, parts: dict[str, bytes]) -> NewCheckpoint:
    """Have a checkpoint bring these parts."""
    return replace(checkpoint, parts=parts, part_names=tuple(parts))


def write(task_id: str, index: int, value: bytes = b"value", channel: str = "channel", path: str = "") -> PendingWrite:
    return PendingWrite(task_id, index, channel, value, path)


class HistoryTests(ContractFixtures):
    """Parts and pending writes of a storage backend."""

    @pytest.fixture
    def storage(self, checkpointer: BaseCheckpointer) -> StorageBackend:
        """The backend below the checkpointer."""
        assert isinstance(checkpointer, StorageBackendAdapter)
        return checkpointer.storage

    async def test_a_checkpoint_comes_back_with_its_parts_and_writes(self, storage: StorageBackend) -> None:
        for namespace in NAMESPACES:
            await storage.put(new("a", namespace=namespace, x=b"1", y=b""))
            await storage.put_writes("t", "a", [write("task", 0, b"w" + namespace.encode())], namespace=namespace)
        for namespace in NAMESPACES:
            [found] = await storage.get_complete("t", namespace=namespace)
            assert found.summary.checkpoint_id == "a"
            assert found.summary.metadata == {"n": "a"}
            assert found.payload == b"\x01payload of a"
            assert found.parts == {"x": b"1", "y": b""}
            assert found.writes == (write("task", 0, b"w" + namespace.encode()),)

    async def test_several_come_back_in_the_order_asked_for(self, storage: StorageBackend) -> None:
        for name in "abc":
            await storage.put(with_parts(new(name), {name: name.encode()}))
        found = await storage.get_complete("t", ["c", "nobody", "a"])
        assert [(each.summary.checkpoint_id, each.parts) for each in found] == [("c", {"c": b"c"}), ("a", {"a": b"a"})]
        assert await storage.get_complete("t", []) == []
        assert await storage.get_complete("nobody") == []
        assert await storage.get_complete("t", namespace="nowhere") == []

    async def test_a_part_is_written_once_and_shared(self, storage: StorageBackend) -> None:
        await storage.put(new("a", old=b"old", both=b"both"))
        await storage.put(new("b", "both", fresh=b"fresh"))
        [latest] = await storage.get_complete("t")
        assert latest.parts == {"both": b"both", "fresh": b"fresh"}
        assert await storage.delete_checkpoint("t", "a")
        [latest] = await storage.get_complete("t")
        assert latest.parts == {"both": b"both", "fresh": b"fresh"}

    async def test_awkward_names_of_parts_never_meet(self, storage: StorageBackend) -> None:
        parts = {name: str(number).encode() for number, name in enumerate(NAMES)}
        await storage.put(with_parts(new("a"), parts))
        await storage.put(new("b", *parts))
        assert [each.parts for each in await storage.get_complete("t", ["a", "b"])] == [parts, parts]

    async def test_a_part_of_a_megabyte_and_hundreds_of_parts_come_back(self, storage: StorageBackend) -> None:
        parts = {f"part {number}": bytes([number % 256]) for number in range(300)} | {"large": b"\xff\x00" * 2**19}
        await storage.put(with_parts(new("a"), parts))
        [found] = await storage.get_complete("t")
        assert found.parts == parts

    async def test_a_missing_part_is_refused_and_nothing_is_written(self, storage: StorageBackend) -> None:
        await storage.put(new("other", thread_id="other", x=b"1"))
        await storage.put(new("sub", namespace="sub", x=b"1"))
        with pytest.raises(MissingPartsError):
            await storage.put(new("first", "x"))
        assert await storage.get("t") is None
        await storage.put(new("a", y=b"2"))
        with pytest.raises(MissingPartsError):
            await storage.put(new("b", "x", "y", z=b"3"))
        assert [each.checkpoint_id for each in await storage.list_checkpoints("t", 10)] == ["a"]
        with pytest.raises(MissingPartsError):
            await storage.put(new("c", "y", "z"))

    async def test_parts_go_with_the_last_checkpoint_that_needs_them(self, storage: StorageBackend) -> None:
        await storage.put(new("a", x=b"1", y=b"2"))
        await storage.put(new("b", "y"))
        assert await storage.delete_checkpoint("t", "a")
        await storage.put(new("c", "y"))
        with pytest.raises(MissingPartsError):
            await storage.put(new("d", "x"))

    async def test_writes_come_in_the_order_in_which_a_step_applies_them(self, storage: StorageBackend) -> None:
        await storage.put(new("a"))
        late, early = write("task 1", 0, path="~b"), write("task 2", 1, path="~a")
        first, special = write("task 2", 0, path="~a"), write("task 2", -1, path="~a")
        await storage.put_writes("t", "a", [late])
        await storage.put_writes("t", "a", [early, first, special])
        assert await storage.get_writes("t", "a") == [special, first, early, late]
        [found] = await storage.get_complete("t")
        assert found.writes == (special, first, early, late)

    async def test_a_write_done_again_stays_but_a_special_one_is_replaced(self, storage: StorageBackend) -> None:
        await storage.put(new("a"))
        for value in (b"1", b"2"):
            await storage.put_writes("t", "a", [write("task", 0, value), write("task", -2, value)])
        assert await storage.get_writes("t", "a") == [write("task", -2, b"2"), write("task", 0, b"1")]

    async def test_awkward_tasks_and_channels_never_meet(self, storage: StorageBackend) -> None:
        writes = [write(name, number, channel=name, path=name) for name in NAMES for number in (0, 1)]
        await storage.put_writes("t", "a", writes)
        assert await storage.get_writes("t", "a") == sorted(writes, key=lambda each: each.order)
        assert await storage.get_writes("t", "b") == []
        assert await storage.get_writes("t", "a", namespace="sub") == []

    async def test_writes_may_come_before_their_checkpoint(self, storage: StorageBackend) -> None:
        await storage.put_writes("t", "a", [write("task", 0)])
        assert await storage.get("t") is None
        assert await storage.get_complete("t", ["a"]) == []
        await storage.put(new("a"))
        [found] = await storage.get_complete("t")
        assert found.writes == (write("task", 0),)

    async def test_deleting_what_is_not_there_leaves_writes_alone(self, storage: StorageBackend) -> None:
        await storage.put_writes("t", "a", [write("task", 0)])
        assert not await storage.delete_checkpoint("t", "b")
        assert await storage.get_writes("t", "a") == [write("task", 0)]

    async def test_a_first_checkpoint_is_the_first_although_writes_came_before_it(
        self, storage: StorageBackend
    ) -> None:
        await storage.put_writes("t", "a", [write("task", 0)])
        await storage.put(new("a"), expected_checkpoint_id=None)
        assert await storage.get_writes("t", "a") == [write("task", 0)]

    async def test_writes_of_concurrent_tasks_are_all_kept(self, storage: StorageBackend) -> None:
        await storage.put(new("a"))
        writes = [[write(f"task {number}", index) for index in range(3)] for number in range(8)]
        await asyncio.gather(*(storage.put_writes("t", "a", each) for each in writes))
        assert await storage.get_writes("t", "a") == [one for each in writes for one in each]

    async def test_deleting_a_checkpoint_deletes_its_writes_alone(self, storage: StorageBackend) -> None:
        for name in "ab":
            await storage.put(new(name))
            await storage.put_writes("t", name, [write("task", 0)])
        assert await storage.delete_checkpoint("t", "b")
        assert await storage.get_writes("t", "b") == []
        assert await storage.get_writes("t", "a") == [write("task", 0)]
        await storage.put(new("b"))
        assert (await storage.get_complete("t"))[0].writes == ()

    async def test_deleting_a_thread_leaves_no_part_and_no_write(self, storage: StorageBackend) -> None:
        for namespace in NAMESPACES:
            await storage.put(new("a", namespace=namespace, x=b"1"))
            await storage.put_writes("t", "a", [write("task", 0)], namespace=namespace)
            await storage.put_writes("t", "never", [write("task", 0)], namespace=namespace)
        assert await storage.delete_thread("t")
        for namespace in NAMESPACES:
            assert await storage.get_writes("t", "a", namespace=namespace) == []
            assert await storage.get_writes("t", "never", namespace=namespace) == []
            with pytest.raises(MissingPartsError):
                await storage.put(new("b", "x", namespace=namespace))

    async def test_the_agents_shape_sees_the_checkpoint_without_its_parts(self, storage: StorageBackend) -> None:
        await storage.put(new("a", x=b"1"))
        found = await storage.get("t")
        assert found is not None
        assert found.payload == b"\x01payload of a"

    @requires("branching")
    async def test_a_copy_has_parts_and_writes(self, storage: StorageBackend) -> None:
        for namespace in NAMESPACES:
            await storage.put(new("a", namespace=namespace, x=b"1"))
            await storage.put(new("b", "x", namespace=namespace, y=b"2"))
            await storage.put_writes("t", "b", [write("task", 0), write("task", -1)], namespace=namespace)
        assert await storage.copy_thread("t", "branch")
        assert await storage.delete_thread("t")
        for namespace in NAMESPACES:
            found = await storage.get_complete("branch", ["b", "a"], namespace=namespace)
            assert [each.parts for each in found] == [{"x": b"1", "y": b"2"}, {"x": b"1"}]
            assert found[0].writes == (write("task", -1), write("task", 0))
            await storage.put(new("c", "x", thread_id="branch", namespace=namespace))

    @requires("vacuum")
    async def test_vacuum_deletes_parts_and_writes_of_what_it_deletes(self, storage: StorageBackend) -> None:
        await storage.put(new("a", x=b"1", y=b"2"))
        await storage.put_writes("t", "a", [write("task", 0)])
        await storage.put(new("b", "y"))
        await storage.put_writes("t", "b", [write("task", 0)])
        [latest] = await storage.list_checkpoints("t", 1)
        assert await storage.vacuum(latest.created_at) == 1
        assert await storage.get_writes("t", "a") == []
        [found] = await storage.get_complete("t")
        assert found.parts == {"y": b"2"}
        assert found.writes == (write("task", 0),)
        with pytest.raises(MissingPartsError):
            await storage.put(new("c", "x"))
        assert await storage.vacuum(datetime.now(UTC) + timedelta(minutes=1)) == 1
        assert await storage.get_writes("t", "b") == []

    async def test_many_threads_that_save_at_once_keep_their_parts_apart(self, storage: StorageBackend) -> None:
        async def step(number: int) -> StoredCheckpoint:
            thread_id = f"thread {number}"
            await storage.put(new("a", thread_id=thread_id, x=str(number).encode()))
            await storage.put(new("b", "x", thread_id=thread_id, y=b"2"))
            return (await storage.get_complete(thread_id))[0]

        for number, found in enumerate(await asyncio.gather(*map(step, range(8)))):
            assert found.parts == {"x": str(number).encode(), "y": b"2"}
