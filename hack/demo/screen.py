"""What the demo prints: one line a step with its duration, commands as a person would type them, conversations."""

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.text import Text

INDENT = "  "


class Screen:
    """Writes to the terminal; plain text where there is none."""

    def __init__(self) -> None:
        # Wide enough where nobody watches: a log that wraps is read by nobody.
        self._console = Console(highlight=False, width=None if Console().is_terminal else 140)
        self.failed_step: str | None = None

    def title(self, text: str) -> None:
        """Write the first line."""
        self._console.print(f"[bold]{escape(text)}[/bold]\n")

    def heading(self, text: str) -> None:
        """Begin a part of the story."""
        self._console.print(f"\n[bold cyan]{escape(text)}[/bold cyan]")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that something is under way, and in the end how long it took."""
        begin = time.monotonic()
        with self._console.status(escape(text)):
            try:
                yield
            except BaseException:
                self.failed_step = self.failed_step or text
                self._console.print(f"[red]✗[/red] {escape(text)}")
                raise
        self._line(f"[green]✓[/green] {escape(text)}", time.monotonic() - begin)

    @contextmanager
    def command(self, arguments: Sequence[str]) -> Iterator[None]:
        """Show a command as it would be typed; the output follows when the block ends."""
        line = shlex.join(arguments)
        begin = time.monotonic()
        with self._console.status(escape(line)):
            try:
                yield
            except BaseException:
                self.failed_step = self.failed_step or line
                raise
            finally:
                self._line(f"[bold]$[/bold] {escape(line)}", time.monotonic() - begin)

    def output(self, text: str) -> None:
        """Show what a command printed; what does not fit a line is cut."""
        for line in text.rstrip().splitlines():
            self._console.print(Text(INDENT + line.rstrip(), style="dim"), no_wrap=True, overflow="ellipsis")

    def conversation(self, log: str) -> None:
        """Show what a pod's log says of user and agent."""
        styles = {"user": "bold yellow", "agent": "bold green"}
        for line in log.splitlines():
            speaker, _, words = line.partition(":")
            text = Text(f"{INDENT}{speaker:>5}:", style=styles.get(speaker, "dim"), end="")
            self._console.print(text, Text(words.strip()), soft_wrap=True)

    def numbered(self, entries: Sequence[str]) -> None:
        """Show a list in its order."""
        for number, entry in enumerate(entries, 1):
            # An Event has no room for a long list, and says so in its last entry.
            mark = "    " if entry.startswith("and ") else f"{number:>2}. "
            self._console.print(Text(f"{INDENT}{mark}{entry}"), no_wrap=True, overflow="ellipsis")

    def error(self, text: str) -> None:
        """Say what went wrong."""
        self._console.print(Text(text, style="red"), soft_wrap=True)

    def note(self, text: str) -> None:
        """Write a sentence."""
        self._console.print(Text(text))

    def _line(self, markup: str, seconds: float) -> None:
        # Instant steps need no duration: the slow ones stand out.
        duration = f"  [dim]{seconds:.1f} s[/dim]" if seconds >= 0.5 else ""
        self._console.print(f"{markup}{duration}", soft_wrap=True)
