"""Which real servers a test run used, for the line that ends its output."""

from collections import Counter
from collections.abc import Iterable


class ServerReport:
    """Counts the tests that used each real server, by the name of its fixture."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._tests: Counter[str] = Counter()

    def started(self, fixture: str, product: str, version: str) -> None:
        """Register a server that was started.

        Args:
            fixture: the name of the fixture through which tests use it.
            product: the server's name, such as ``PostgreSQL``.
            version: what the server itself reported.
        """
        self._labels[fixture] = f"{product} {version}"

    def used(self, fixtures: Iterable[str]) -> None:
        """Count one test that used these fixtures; names of no server are ignored."""
        self._tests.update(set(fixtures) & self._labels.keys())

    def counts(self) -> list[tuple[str, str, int]]:
        """Fixture, label and number of tests of each server, for another process's report."""
        return [(fixture, label, self._tests[fixture]) for fixture, label in self._labels.items()]

    def add(self, counts: Iterable[tuple[str, str, int]]) -> None:
        """Add what another process counted."""
        for fixture, label, tests in counts:
            self._labels[fixture] = label
            self._tests[fixture] += tests

    def summary(self) -> str | None:
        """The line to print, None where no server ran."""
        if not self._labels:
            return None
        tests: Counter[str] = Counter()
        for fixture, label in self._labels.items():
            # Tests that need a server of their own count with those on the shared one.
            tests[label] += self._tests[fixture]
        return "real servers: " + ", ".join(
            f"{label} ({count} test{'' if count == 1 else 's'})" for label, count in tests.items()
        )
