"""What of a state is searchable, and how text is cut into words: the same on every backend."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import JsonValue

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Cut text into words: runs of letters, digits and underscores, case folded, in order."""
    return [match.group().casefold() for match in _WORD.finditer(text)]


def searchable_text(state: JsonValue) -> str:
    """Return the text of a state that a person would search for.

    That is the content of its messages (the layout of locus-sdk's `AgentState`); every string in it when the
    state has no list of messages.
    """
    messages = state.get("messages") if isinstance(state, dict) else None
    if isinstance(messages, list):
        contents = [message.get("content") if isinstance(message, dict) else message for message in messages]
        return "\n".join(_strings(contents))
    return "\n".join(_strings(state))


def _strings(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
