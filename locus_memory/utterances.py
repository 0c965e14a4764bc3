"""What people and agents said in a conversation, whatever library's messages it is written in."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_ROLES: Final = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant"}

_AUTOMATED: Final = "locus_automated_note"
"""Metadata of a message that locus-sdk's loop wrote in the user's name."""

CONTEXT: Final = 4
"""Messages shown before the first new one, so that a model understands it."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something that was said.

    Attributes:
        role: `user` or `assistant`.
        text: What was said.
        digest: Stands for role, text, and how often that was said before in this conversation.
    """

    role: str
    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a conversation that is shown to a model.

    Attributes:
        shown: Utterances, the oldest first; a model knows them by their place here, from 1.
        new: Whether each of them is new.
        skipped: New ones that did not fit.
    """

    shown: tuple[Utterance, ...]
    new: tuple[bool, ...]
    skipped: int

    def as_json(self, longest: int) -> list[dict[str, Any]]:
        """Write it for a model, each text cut to so many characters."""
        return [
            {"number": number, "role": each.role, "new": new, "text": each.text[:longest]}
            for number, (each, new) in enumerate(zip(self.shown, self.new, strict=True), 1)
        ]


def utterances(messages: Iterable[object]) -> list[Utterance]:
    """Return what user and assistant said; messages of systems, tools and loops are left out.

    Args:
        messages: Mappings or objects with `role` (or `type`, as LangChain has it) and `content`.
    """
    said: list[Utterance] = []
    before: Counter[tuple[str, str]] = Counter()
    for message in messages:
        role = _ROLES.get(str(_value(_field(message, "role") or _field(message, "type") or "")))
        text = _text(_field(message, "content")).encode("utf-8", "replace").decode()
        metadata = _field(message, "metadata")
        if role is None or not text.strip() or (isinstance(metadata, Mapping) and metadata.get(_AUTOMATED)):
            continue
        named = json.dumps([role, text, before[role, text]]).encode()
        before[role, text] += 1
        said.append(Utterance(role, text, hashlib.sha256(named).hexdigest()[:16]))
    return said


def window(said: Sequence[Utterance], seen: Container[str], budget: int, longest: int) -> Window:
    """Choose what is shown: from the newest utterance back, as far as the budget goes.

    Args:
        said: The conversation.
        seen: Digests of what is not new.
        budget: Characters of JSON, roughly.
        longest: Characters of one text.
    """
    first_new = next((number for number, each in enumerate(said) if each.digest not in seen), len(said))
    begin = max(0, first_new - CONTEXT)
    start = len(said)
    while start > begin:
        # Each costs its text as JSON, and what stands around it.
        budget -= len(json.dumps(said[start - 1].text[:longest], ensure_ascii=False)) + 60
        if budget < 0 and start < len(said):
            break
        start -= 1
    shown = tuple(said[start:])
    skipped = sum(each.digest not in seen for each in said[begin:start])
    return Window(shown, tuple(each.digest not in seen for each in shown), skipped)


def _field(message: object, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _value(role: Any) -> Any:
    return getattr(role, "value", role)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = (part if isinstance(part, str) else _field(part, "text") for part in content)
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""
