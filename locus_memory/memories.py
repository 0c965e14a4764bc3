"""What is remembered, where it comes from, and what it was before."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from locus_memory.connection import describe
from locus_memory.errors import CorruptCheckpointError
from locus_memory.store import StoreItem

MAX_CONTENT: Final = 500
"""Characters of a memory: one statement, not a document."""

MAX_SOURCES: Final = 10
"""Sources that a memory keeps, the latest ones."""

MAX_HISTORY: Final = 20
"""Earlier contents that a memory keeps, the latest ones."""

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class MemoryType(StrEnum):
    """What a memory is about."""

    USER = "user"
    FEEDBACK = "feedback"
    PROJECT = "project"
    REFERENCE = "reference"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Source(_Record):
    """Where a memory comes from.

    Attributes:
        thread_id: The conversation, where it was told.
        run_id: The agent's run.
        checkpoint_id: The checkpoint, where it was told.
        messages: Digests of the messages that it was drawn from.
        model: Name of the language model that drew it.
        at: When, by the clock of the process.
    """

    thread_id: str | None = None
    run_id: str | None = None
    checkpoint_id: str | None = None
    messages: tuple[str, ...] = ()
    model: str | None = None
    at: datetime


class Earlier(_Record):
    """What a memory said before; its sources are among those of the memory.

    Attributes:
        content: The text.
        until: When it was replaced.
    """

    content: str
    until: datetime


class Memory(_Record):
    """One thing that is remembered.

    Attributes:
        type: What it is about.
        key: Its name in the store; it stays when the content changes.
        content: One statement, at most `MAX_CONTENT` characters.
        metadata: JSON object of whoever saved it; LLMMemoryManager writes none.
        sources: Where it comes from, the latest last.
        history: What it said before, the latest last.
    """

    type: MemoryType
    key: str = Field(min_length=1, max_length=256)
    content: str = Field(min_length=1, max_length=MAX_CONTENT)
    metadata: dict[str, Any] = {}
    sources: tuple[Source, ...] = ()
    history: tuple[Earlier, ...] = ()

    def replaced(self, content: str, source: Source) -> Memory:
        """Return it with another content; the one it had is kept."""
        earlier = Earlier(content=self.content, until=source.at)
        return self.model_copy(
            update={
                "content": content,
                "sources": (*self.sources, source)[-MAX_SOURCES:],
                "history": (*self.history, earlier)[-MAX_HISTORY:],
            }
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """What a conversation changed.

    Attributes:
        added: Memories that were not there before.
        updated: Memories that say something else now; what they said is in their `history`.
        retired: Memories that are no longer recalled.
        skipped: New messages that were too many for one prompt, the oldest ones; nothing was drawn from them.
    """

    added: tuple[Memory, ...] = ()
    updated: tuple[Memory, ...] = ()
    retired: tuple[Memory, ...] = ()
    skipped: int = 0


def memory_of(item: StoreItem) -> Memory:
    """Read a stored memory.

    Raises:
        CorruptCheckpointError: The item is none.
    """
    try:
        return Memory.model_validate(item.value)
    except ValidationError as error:
        raise CorruptCheckpointError(
            f"namespace {item.namespace!r}, key {item.key!r}: the item is no memory: {describe(error)}"
        ) from None


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters: it can pretend no structure."""
    return " ".join(_CONTROLS.sub(" ", text).split())


def normalised(content: str) -> str:
    """Return what is alike for contents that say the same in the same words."""
    return one_line(content).casefold().rstrip(".! ")


def new_key(kind: MemoryType, content: str, taken: Iterable[str]) -> str:
    """Name a memory by what it says, so that two processes that draw the same one write the same item.

    Args:
        kind: Its type.
        content: What it says.
        taken: Keys in use, by memories whose content is another one by now.
    """
    number = 0
    while True:
        named = f"{kind.value}\0{normalised(content)}\0{number}"
        key = hashlib.sha256(named.encode()).hexdigest()[:24]
        if key not in taken:
            return key
        number += 1
