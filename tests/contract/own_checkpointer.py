"""A checkpointer of one's own, and the same with the defects that other checkpointers have.

`test_suite.py` runs the contract on these in a process of its own; most classes here are meant to fail.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import JsonValue

from locus_memory.backends import MemoryCheckpointer
from locus_memory.checkpointer import UNCHECKED, BaseCheckpointer, CheckpointerCapabilities, Unchecked
from locus_memory.testing import CheckpointerContract


class OwnCheckpointer(BaseCheckpointer):
    """The five methods, and nothing else."""

    def __init__(self) -> None:
        self.inner = MemoryCheckpointer()

    async def save(
        self,
        state: Any,
        thread_id: str,
        checkpoint_id: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
        *,
        expected_checkpoint_id: str | Unchecked | None = UNCHECKED,
    ) -> str:
        return await self.inner.save(
            state, thread_id, checkpoint_id, metadata, expected_checkpoint_id=expected_checkpoint_id
        )

    async def load(self, thread_id: str, checkpoint_id: str | None = None) -> Any | None:
        return await self.inner.load(thread_id, checkpoint_id)

    async def list_checkpoints(self, thread_id: str, limit: int = 10) -> list[str]:
        return await self.inner.list_checkpoints(thread_id, limit)

    async def exists(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
        return await self.inner.exists(thread_id, checkpoint_id)

    async def delete(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
        return await self.inner.delete(thread_id, checkpoint_id)


class TestOwn(CheckpointerContract):
    """One fixture is all that it takes."""

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        return OwnCheckpointer()


class TestOwnDeclared(TestOwn):
    """With its capabilities declared, nothing is skipped."""

    capabilities = CheckpointerCapabilities()


class TestFoldingCase(CheckpointerContract):
    """`Alice` reads the state of `alice`."""

    class Checkpointer(OwnCheckpointer):
        async def load(self, thread_id: str, checkpoint_id: str | None = None) -> Any | None:
            return await self.inner.load(thread_id.lower(), checkpoint_id)

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        return self.Checkpointer()


class TestAnsweringWithTheLatest(CheckpointerContract):
    """Any checkpoint id gives the latest state."""

    class Checkpointer(OwnCheckpointer):
        async def load(self, thread_id: str, checkpoint_id: str | None = None) -> Any | None:
            return await self.inner.load(thread_id)

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        return self.Checkpointer()


class TestComparingBeforeWriting(CheckpointerContract):
    """Compare-and-set in two steps."""

    class Checkpointer(OwnCheckpointer):
        async def save(self, *arguments: Any, expected_checkpoint_id: Any = UNCHECKED, **more: Any) -> str:
            return await self.inner.save(*arguments, **more)

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        return self.Checkpointer()


class TestDeletingOnePage(CheckpointerContract):
    """A thread of more than a page stays."""

    class Checkpointer(OwnCheckpointer):
        async def delete(self, thread_id: str, checkpoint_id: str | None = None) -> bool:
            if checkpoint_id is not None:
                return await self.inner.delete(thread_id, checkpoint_id)
            page = await self.inner.list_checkpoints(thread_id, 1000)
            return any([await self.inner.delete(thread_id, each) for each in page])

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        return self.Checkpointer()


class TestSortingIds(CheckpointerContract):
    """Newest is taken to be the greatest id."""

    class Checkpointer(OwnCheckpointer):
        async def list_checkpoints(self, thread_id: str, limit: int = 10) -> list[str]:
            return sorted(await self.inner.list_checkpoints(thread_id, limit), reverse=True)

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        return self.Checkpointer()


class TestSharingValues(CheckpointerContract):
    """What was loaded once is handed out again."""

    class Checkpointer(OwnCheckpointer):
        cache: Any = None

        async def load(self, thread_id: str, checkpoint_id: str | None = None) -> Any | None:
            self.cache = self.cache or await self.inner.load(thread_id, checkpoint_id)
            return self.cache

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        return self.Checkpointer()


class TestBoasting(CheckpointerContract):
    """Declares what it does not have."""

    class Checkpointer(OwnCheckpointer):
        @property
        def capabilities(self) -> CheckpointerCapabilities:
            return CheckpointerCapabilities(search=True, persistent_checkpoint_ids=True)

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        return self.Checkpointer()
