"""How many tests of the contract each checkpointer passed, for the end of a run."""

from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from locus_memory.testing import CheckpointerContract, StorageBackendContract
from locus_memory.testing.base import CAPABILITIES


class ContractReport:
    """Counts the tests of the contract by checkpointer; what a module adds for its own backend is left out."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()

    def count(self, item: pytest.Item) -> None:
        """Count a test that passed, if it is one of the contract."""
        suite = getattr(item, "cls", None)
        inherited = hasattr(StorageBackendContract, getattr(item, "originalname", ""))
        if inherited and isinstance(suite, type) and issubclass(suite, CheckpointerContract):
            self.passed[_label(suite)] += 1

    def add(self, passed: Mapping[str, int]) -> None:
        """Add what another process counted."""
        self.passed.update(passed)

    def lines(self) -> Iterator[str]:
        """Return what to print."""
        for label, count in sorted(self.passed.items()):
            yield f"{count:5} {label}"


def _label(suite: type[CheckpointerContract]) -> str:
    lacking = [name for name in CAPABILITIES if suite.capabilities and not getattr(suite.capabilities, name)]
    return suite.__name__.removeprefix("Test") + (f", without {', '.join(lacking)}" if lacking else "")
