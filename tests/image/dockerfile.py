"""Reads Dockerfiles as far as ours go: no heredocs, no parser directives, JSON or shell form."""

import json
import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Instruction:
    """One instruction: its flags, such as ``--from=build``, and what follows them."""

    keyword: str
    flags: tuple[str, ...]
    value: str

    @property
    def words(self) -> list[str]:
        """The value as words of a shell, or as the JSON array that it is."""
        return list(json.loads(self.value)) if self.value.startswith("[") else shlex.split(self.value)


@dataclass
class Stage:
    """One stage: what it starts from, and its instructions."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, keyword: str) -> list[Instruction]:
        """Its instructions of one kind, in their order."""
        return [each for each in self.instructions if each.keyword == keyword]

    def last(self, keyword: str) -> Instruction:
        """The instruction that counts of a kind that counts once."""
        return self.all(keyword)[-1]

    def pairs(self, keyword: str) -> dict[str, str]:
        """Names and values of all its ``ENV``, ``LABEL`` or ``ARG``; an ``ARG`` without a default has an empty one."""
        words = (word for each in self.all(keyword) for word in each.words)
        return {name: value for name, _, value in (word.partition("=") for word in words)}


@dataclass(frozen=True)
class Dockerfile:
    """A whole Dockerfile: arguments before the first stage, and the stages."""

    arguments: Stage
    stages: tuple[Stage, ...]

    @classmethod
    def read(cls, path: Path) -> "Dockerfile":
        """Parse a file."""
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        text = re.sub(r"\\\n", " ", "\n".join(lines))
        head = Stage("", "")
        stages: list[Stage] = []
        for line in filter(str.strip, text.splitlines()):
            keyword, _, rest = line.strip().partition(" ")
            flags, value = _flags(rest.strip())
            instruction = Instruction(keyword.upper(), flags, value)
            if instruction.keyword == "FROM":
                base, _, name = value.partition(" AS ")
                stages.append(Stage(base.strip(), name.strip()))
            else:
                (stages[-1] if stages else head).instructions.append(instruction)
        return cls(head, tuple(stages))

    @property
    def final(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]

    def copied(self) -> list[str]:
        """Paths of the build context that are copied."""
        copies = (each for stage in self.stages for each in stage.all("COPY"))
        return [word for each in copies if not _from_stage(each) for word in each.words[:-1]]


def ignored(path: str, dockerignore: Path) -> bool:
    """Whether a path of the context stays behind: the last pattern that matches it, or a directory of it, decides."""
    lines = [line.strip() for line in dockerignore.read_text().splitlines()]
    found = False
    parts = PurePosixPath(path).parts
    prefixes = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    for pattern in (line for line in lines if line and not line.startswith("#")):
        if any(_matches(prefix, pattern.lstrip("!")) for prefix in prefixes):
            found = not pattern.startswith("!")
    return found


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatchcase(PurePosixPath(path).name, pattern.removeprefix("**/"))
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def _flags(rest: str) -> tuple[tuple[str, ...], str]:
    found: list[str] = []
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        found.append(flag)
        rest = rest.strip()
    return tuple(found), rest


def _from_stage(instruction: Instruction) -> bool:
    return any(flag.startswith("--from=") for flag in instruction.flags)
