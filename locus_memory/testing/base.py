"""What the topics of the contract suite share: fixtures, and which tests need which capability."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Final, TypeVar

import pytest
import pytest_asyncio

from locus_memory.checkpointer import BaseCheckpointer, CheckpointerCapabilities

F = TypeVar("F", bound=Callable[..., Any])

CAPABILITIES: Final = tuple(field.name for field in fields(CheckpointerCapabilities))
"""Names of all capabilities."""

Reopen = Callable[[], BaseCheckpointer]
"""Opens the same data again, as another process would."""

_REQUIRED = "_required_capabilities"


def requires(*capabilities: str) -> Callable[[F], F]:
    """Mark a test as one of optional operations: a checkpointer without these capabilities has no such test."""
    unknown = set(capabilities) - set(CAPABILITIES)
    if unknown:
        raise ValueError(f"unknown capabilities: {', '.join(sorted(unknown))}")

    def mark(test: F) -> F:
        setattr(test, _REQUIRED, capabilities)
        return test

    return mark


def required_tests(suite: type, capabilities: CheckpointerCapabilities) -> frozenset[str]:
    """Return the names of the tests that a checkpointer with these capabilities has to pass."""
    tests = {name: test for name in dir(suite) if name.startswith("test_") and callable(test := getattr(suite, name))}
    return frozenset(name for name, test in tests.items() if not _missing(test, capabilities))


def _missing(test: object, capabilities: CheckpointerCapabilities) -> list[str]:
    return [name for name in getattr(test, _REQUIRED, ()) if not getattr(capabilities, name)]


class ContractFixtures:
    """Fixtures that a subclass of the suite overrides; see `CheckpointerContract`."""

    pytestmark = pytest.mark.asyncio

    capabilities: ClassVar[CheckpointerCapabilities | None] = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if cls.capabilities is not None:
            wanted = required_tests(cls, cls.capabilities)
            for name in dir(cls):
                if name.startswith("test_") and name not in wanted:
                    setattr(cls, name, None)  # pytest collects callables only

    @pytest.fixture
    def checkpointer(self) -> BaseCheckpointer:
        """A fresh and empty checkpointer; the suite closes it."""
        pytest.fail(f"{type(self).__name__}: define a fixture `checkpointer` that returns a fresh, empty checkpointer")

    @pytest.fixture
    def reopen(self, checkpointer: BaseCheckpointer) -> Reopen:
        """A function that opens the data of `checkpointer` again."""
        pytest.fail(
            f"{type(self).__name__}: persistent_checkpoint_ids is declared, so define a fixture `reopen`: a function "
            "that returns another checkpointer on the same data"
        )

    @pytest.fixture
    def factory(self, checkpointer: BaseCheckpointer) -> Callable[..., BaseCheckpointer]:
        """What users call to make the checkpointer; by default its class."""
        return type(checkpointer)

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        """Passwords and tokens that the checkpointer was given."""
        return ()

    @pytest_asyncio.fixture(autouse=True)
    async def _closed_at_the_end(self, checkpointer: BaseCheckpointer) -> AsyncIterator[None]:
        yield
        await checkpointer.close()

    @pytest.fixture(autouse=True)
    def _only_declared_capabilities(self, request: pytest.FixtureRequest, checkpointer: BaseCheckpointer) -> None:
        missing = _missing(request.function, checkpointer.capabilities)
        if missing and self.capabilities is None:
            pytest.skip(f"{type(checkpointer).__name__} does not declare the capability {', '.join(missing)}")
