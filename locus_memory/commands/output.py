"""What commands print: text for people, or one JSON document; progress for who watches."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from locus_memory.commands.documents import Document

_WIDE: Final = 100_000
"""Columns where nobody looks at a terminal: lines that are cut or folded would be of no use to other programs."""

_HIDDEN_CATEGORIES: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Output:
    """Prints the result of one command.

    Args:
        as_json: One JSON document on standard output, and nothing else there.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        width = None if sys.stdout.isatty() else _WIDE
        self._console = Console(width=width, markup=False, highlight=False, emoji=False, soft_wrap=True)
        self._errors = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def document(self, document: Document) -> None:
        """Print the command's JSON document."""
        sys.stdout.write(json.dumps(document.model_dump(mode="json"), ensure_ascii=True) + "\n")
        sys.stdout.flush()

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print text for people; what would control a terminal is spelled out."""
        self._console.print(Text(printable(text), style=style or ""))

    def note(self, text: str) -> None:
        """Tell people something beside the result, on standard error."""
        self._errors.print(Text(printable(text)))

    def error(self, text: str) -> None:
        """Tell people what went wrong, on standard error."""
        self._errors.print(Text(f"locus-memory: {printable(text)}"))

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table."""
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(str(cell), lines=False)) for cell in row))
        self._console.print(table, soft_wrap=False)

    def facts(self, facts: Mapping[str, object]) -> None:
        """Print names and values, one a line."""
        longest = max(map(len, facts), default=0)
        for name, value in facts.items():
            self.line(f"  {name:<{longest}}  {_fact(value)}")

    @contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Meter]:
        """Show a progress bar on standard error, if that is a terminal."""
        if not self._errors.is_terminal:
            yield _SilentMeter()
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._errors, transient=True) as progress:
            task = progress.add_task(description, total=total)
            yield _VisibleMeter(progress, task)


class Meter(Protocol):
    """Counts what is done."""

    def advance(self, count: int = 1) -> None:
        """Count this many more."""


class _SilentMeter:
    def advance(self, count: int = 1) -> None:
        pass


class _VisibleMeter:
    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)


def printable(text: str, *, lines: bool = True) -> str:
    """Spell out what would move the cursor, colour the terminal or turn the reading direction.

    Conversations hold whatever somebody wrote, and may be read on a terminal with more rights than that person.

    Args:
        text: Anything.
        lines: Leave line ends and tabs as they are.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character
        if character in kept or unicodedata.category(character) not in _HIDDEN_CATEGORIES
        else character.encode("unicode_escape").decode()
        for character in text
    )


def shown_time(time: datetime) -> str:
    """Write a time for people: UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def shown_bytes(size: int) -> str:
    """Write a number of bytes for people."""
    if size < 1024:
        return f"{size} B"
    number = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:,.1f} TiB"


def counted(count: int, noun: str) -> str:
    """Write a number and its noun, such as `1 thread` and `1,200 threads`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
