"""Pages whose console blocks are typed into a shell, and compared with what it prints."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r'^```console(?: title="(?P<title>[^"]*)")?\n(?P<body>.*?)^```$', re.MULTILINE | re.DOTALL)
_HERE_DOCUMENT = re.compile(r"<<'(?P<end>\w+)'$")
_VARIABLE = (
    (re.compile(r"(?<=\s)\d+(\.\d+)? s\b"), "<seconds>"),
    (re.compile(r"(?<=\s)(\d+m)?\d+s(?=\s)"), "<age>"),
    (re.compile(r"\bv\d+\.\d+\.\d+\b"), "<version>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"\b\d+ B\b"), "<size>"),
)
"""What differs from run to run, and what it is compared as."""
_INSTANT = re.compile(r"^(✓ .*\S)  <seconds>$")
"""A step that took no time has none written behind it."""


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        terminal: Title of its block; empty for the one that the page works in.
        text: What is typed, with the here-document that follows; ``^C`` for the key.
        output: What the page shows; ``…`` stands for the rest of a line, or alone for any number of lines.
    """

    terminal: str
    text: str
    output: str


def commands(page: str) -> Iterator[Command]:
    """Find the commands of a page's console blocks, in their order."""
    for block in _BLOCK.finditer(page):
        lines = block["body"].splitlines()
        while lines:
            text = lines.pop(0)
            if text != "^C" and not text.startswith("$ "):
                raise ValueError(f"a console block begins with output: {text}")
            text = text.removeprefix("$ ")
            if (document := _HERE_DOCUMENT.search(text)) is not None:
                end = lines.index(document["end"]) + 1
                text = "\n".join([text, *lines[:end]])
                del lines[:end]
            output: list[str] = []
            while lines and not lines[0].startswith("$ "):
                output.append(lines.pop(0))
            yield Command(block["title"] or "", text, "\n".join(output))


def agrees(shown: str, printed: str) -> bool:
    """Tell whether a command printed what its page shows, but for times, random names and the width of columns."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in _comparable(shown)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _comparable(printed))) is not None


def _comparable(text: str) -> list[str]:
    return [_comparable_line(line) for line in text.strip().splitlines()]


def _comparable_line(line: str) -> str:
    line = f"{line.rstrip()} "
    for pattern, name in _VARIABLE:
        line = pattern.sub(name, line)
    return re.sub(r" +", " ", _INSTANT.sub(r"\1", line.rstrip()))


class Shell:
    """A terminal that people type into: what one command sets, the next one has.

    Args:
        directory: Where it starts.
        environment: All of its variables.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        """Type a command; returns what it printed, on both streams."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # Without an input of their own commands would read those that are still to come.
        self._process.stdin.write(f"{{ {command}\n}} </dev/null; printf '\\n\\0\\n'\n")
        self._process.stdin.flush()
        printed: list[str] = []
        for line in iter(self._process.stdout.readline, ""):
            if line == "\0\n":
                return "".join(printed).removesuffix("\n")
            printed.append(line)
        raise RuntimeError(f"the shell has ended:\n{''.join(printed)}")

    def close(self) -> None:
        """End it."""
        self._process.communicate()
