"""How agents call a checkpointer, what it says of itself, and how it ends."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import CapabilityNotSupportedError
from locus_memory.testing.base import ContractFixtures, Reopen, requires

_OPTIONAL_CALLS: dict[str, tuple[Callable[[Any], Awaitable[Any]], ...]] = {
    "search": (lambda checkpointer: checkpointer.search("word"),),
    "metadata_query": (
        lambda checkpointer: checkpointer.query_by_metadata("tag", "x"),
        lambda checkpointer: checkpointer.get_metadata("t"),
    ),
    "vacuum": (lambda checkpointer: checkpointer.vacuum(),),
    "branching": (lambda checkpointer: checkpointer.copy_thread("t", "u"),),
    "list_threads": (lambda checkpointer: checkpointer.list_threads(),),
    "list_with_metadata": (lambda checkpointer: checkpointer.list_with_metadata(),),
}


class LifecycleTests(ContractFixtures):
    """Call shapes, capabilities, closing."""

    async def test_calls_by_position_as_agents_make_them(self, checkpointer: BaseCheckpointer) -> None:
        assert await checkpointer.save({"n": 1}, "t", "c") == "c"
        assert await checkpointer.save({"n": 2}, "t") not in ("", "c")
        assert await checkpointer.save({"n": 3}, "t", "d", {"k": "v"}) == "d"
        assert await checkpointer.load("t") == {"n": 3}
        assert await checkpointer.load("t", "c") == {"n": 1}
        assert len(await checkpointer.list_checkpoints("t", 2)) == 2
        assert await checkpointer.exists("t", "c")
        assert await checkpointer.delete("t", "c")
        assert await checkpointer.delete("t")

    async def test_calls_by_keyword_as_graphs_make_them(self, checkpointer: BaseCheckpointer) -> None:
        saved = await checkpointer.save(state={"n": 1}, thread_id="t", metadata={"step": 1})
        assert await checkpointer.save(state={"n": 2}, thread_id="t", checkpoint_id="c", metadata=None) == "c"
        assert await checkpointer.load(thread_id="t", checkpoint_id=saved) == {"n": 1}
        assert await checkpointer.list_checkpoints(thread_id="t", limit=10) == ["c", saved]
        assert await checkpointer.exists(thread_id="t", checkpoint_id=None)
        assert await checkpointer.delete(thread_id="t", checkpoint_id="c")
        assert await checkpointer.delete(thread_id="t", checkpoint_id=None)

    async def test_every_call_is_asynchronous(self, checkpointer: BaseCheckpointer) -> None:
        names = ("save", "load", "list_checkpoints", "exists", "delete", "close")
        assert [name for name in names if not inspect.iscoroutinefunction(getattr(checkpointer, name))] == []

    async def test_capabilities_are_those_that_were_declared(self, checkpointer: BaseCheckpointer) -> None:
        assert checkpointer.capabilities == (self.capabilities or checkpointer.capabilities)
        with pytest.raises(AttributeError):
            checkpointer.capabilities.search = True  # type: ignore[misc]

    @pytest.mark.parametrize("capability", sorted(_OPTIONAL_CALLS))
    async def test_a_capability_works_exactly_when_it_is_declared(
        self, checkpointer: BaseCheckpointer, capability: str
    ) -> None:
        await checkpointer.save({"text": "word"}, "t", metadata={"tag": "x"})
        for call in _OPTIONAL_CALLS[capability]:
            if getattr(checkpointer.capabilities, capability):
                await call(checkpointer)
                continue
            with pytest.raises(CapabilityNotSupportedError, match=capability) as caught:
                await call(checkpointer)
            assert caught.value.capability == capability

    async def test_single_checkpoints_are_deleted_exactly_when_it_says_so(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, "t", "a")
        await checkpointer.save({}, "t", "b")
        assert checkpointer.deletes_single_checkpoints is True
        assert await checkpointer.delete("t", "b")
        assert await checkpointer.list_checkpoints("t") == ["a"]

    async def test_a_checkpointer_is_never_falsy(self, checkpointer: BaseCheckpointer) -> None:
        assert bool(checkpointer) is True
        await checkpointer.close()
        assert bool(checkpointer) is True

    async def test_its_representation_names_it_and_shows_no_secret(
        self, checkpointer: BaseCheckpointer, secrets: Sequence[str]
    ) -> None:
        await checkpointer.save({}, "t")
        text = f"{checkpointer!r} {checkpointer}"
        assert type(checkpointer).__name__ in text
        assert [secret for secret in secrets if secret in text] == []

    async def test_an_unknown_constructor_argument_is_an_error(self, factory: Callable[..., BaseCheckpointer]) -> None:
        with pytest.raises(TypeError, match="no_such_argument"):
            factory(no_such_argument=1)

    async def test_closing_is_idempotent_and_a_later_call_reopens(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.close()
        await checkpointer.close()
        await checkpointer.save({"n": 1}, "t")
        await checkpointer.close()
        await checkpointer.close()
        assert await checkpointer.load("t") == {"n": 1}

    async def test_it_is_its_own_context_manager(self, checkpointer: BaseCheckpointer) -> None:
        async with checkpointer as entered:
            assert entered is checkpointer
            await entered.save({"n": 1}, "t")
        assert await checkpointer.load("t") == {"n": 1}


class PersistenceTests(ContractFixtures):
    """What another process finds."""

    @requires("persistent_checkpoint_ids")
    async def test_another_process_finds_the_history(self, checkpointer: BaseCheckpointer, reopen: Reopen) -> None:
        written = [await checkpointer.save({"n": number, "text": "a\0b" * 2000}, "t\0/") for number in range(3)]
        await checkpointer.close()
        async with reopen() as other:
            assert await other.list_checkpoints("t\0/") == written[::-1]
            assert await other.load("t\0/") == {"n": 2, "text": "a\0b" * 2000}
            assert await other.load("t\0/", written[0]) == {"n": 0, "text": "a\0b" * 2000}

    @requires("persistent_checkpoint_ids")
    async def test_write_order_goes_on_from_process_to_process(
        self, checkpointer: BaseCheckpointer, reopen: Reopen
    ) -> None:
        async with reopen() as other:
            for number in range(6):
                await (checkpointer, other)[number % 2].save({"n": number}, "t", f"c{number}")
            expected = [f"c{number}" for number in range(5, -1, -1)]
            assert await checkpointer.list_checkpoints("t") == expected
            assert await other.list_checkpoints("t") == expected
            assert await other.delete("t", "c5")
            assert await checkpointer.load("t") == {"n": 4}

    @requires("persistent_checkpoint_ids")
    async def test_each_process_sees_what_the_other_deletes(
        self, checkpointer: BaseCheckpointer, reopen: Reopen
    ) -> None:
        async with reopen() as other:
            await checkpointer.save({"n": 1}, "t")
            assert await other.load("t") == {"n": 1}
            assert await other.delete("t")
            assert await checkpointer.load("t") is None
            assert not await checkpointer.exists("t")
