"""What the topics of the contract suite of stores share: fixtures, and what is put where."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, ClassVar, Final, TypeVar

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from locus_memory.store import BaseStore
from locus_memory.testing.identifiers import AWKWARD_IDS

NAMESPACE: Final = ("memory", "u42")
OTHER: Final = ("memory", "u43")
DIMENSION: Final = 3
"""Of the embeddings that the suite writes."""

ReopenStore = Callable[[], BaseStore]
"""Opens the same items again, as another process would."""

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    database=None,
    # One store serves all examples; the suite's subclasses share these tests.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow],
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    [name for name in AWKWARD_IDS if len(name) < 20]
)
NAMESPACES = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
# Beyond 2**53 a float and the decimal number that it is written as may differ.
METADATA_SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6) | TEXT
METADATA = st.dictionaries(TEXT, METADATA_SCALARS | st.lists(METADATA_SCALARS, max_size=3), max_size=4)


_NEEDED = "_needed_capabilities"

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])


def needs(capability: str) -> Callable[[F], F]:
    """Mark a test as one of what a store may lack: `semantic_search`, `ttl` or `transactions`."""

    def mark(test: F) -> F:
        setattr(test, _NEEDED, (capability,))
        return test

    return mark


def all_need(capability: str) -> Callable[[type[C]], type[C]]:
    """Mark all tests of a class."""

    def mark(tests: type[C]) -> type[C]:
        for name, test in vars(tests).items():
            if name.startswith("test_"):
                needs(capability)(test)
        return tests

    return mark


class StoreFixtures:
    """Fixtures that a subclass of the suite overrides; see `StoreContract`."""

    pytestmark = pytest.mark.asyncio

    persistent: ClassVar[bool] = True
    lacking: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for name in dir(cls):
            test = getattr(cls, name)
            if name.startswith("test_") and callable(test) and not cls._runs(test):
                setattr(cls, name, None)  # pytest collects callables only

    @classmethod
    def _runs(cls, test: Callable[..., Any]) -> bool:
        needed = set(getattr(test, _NEEDED, ()))
        reopens = "reopen" in inspect.signature(test).parameters
        return not needed & set(cls.lacking) and (cls.persistent or not reopens)

    @pytest.fixture
    def factory(self) -> Callable[..., BaseStore]:
        """Opens the store of this test; takes the options of its class."""
        pytest.fail(
            f"{type(self).__name__}: define a fixture `factory` that returns a function which opens a store, empty at "
            "first, and takes its options, such as dimension=3"
        )

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        """Passwords and tokens that the store was given."""
        return ()

    @pytest_asyncio.fixture
    async def store(self, factory: Callable[..., BaseStore]) -> AsyncIterator[BaseStore]:
        """An empty store, with embeddings of `DIMENSION` numbers where it has any; closed by the suite."""
        async with factory(**self._options()) as store:
            yield store

    @pytest.fixture
    def reopen(self, factory: Callable[..., BaseStore]) -> ReopenStore:
        """Opens the items of `store` again."""
        return lambda: factory(**self._options())

    def _options(self) -> dict[str, Any]:
        return {} if "semantic_search" in self.lacking else {"dimension": DIMENSION}
