"""Finds the conversation in a state: the messages of locus-sdk's `AgentState`, or of a state that has them likewise."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Turn:
    """A message as a person reads it.

    Attributes:
        heading: Who says it; for a tool, which one.
        text: What is said; lines as they were.
        calls: Tools that it calls, with their arguments.
    """

    heading: str
    text: str
    calls: tuple[str, ...] = ()


def conversation(state: JsonValue) -> list[Turn] | None:
    """Return the messages of a state; None where it is no conversation."""
    messages = state.get("messages") if isinstance(state, dict) else None
    if not isinstance(messages, list) or not messages:
        return None
    turns = []
    for message in messages:
        # LangChain says `type` where locus-sdk and OpenAI say `role`.
        role = (message.get("role") or message.get("type")) if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(role, str):
            return None
        turns.append(Turn(_heading(role, message), _text(message.get("content")), _calls(message.get("tool_calls"))))
    return turns


def _heading(role: str, message: dict[str, JsonValue]) -> str:
    name = message.get("name")
    return f"{role} {name}" if isinstance(name, str) and name else role


def _text(content: JsonValue) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(map(_block, content))
    return json.dumps(content, ensure_ascii=False)


def _block(block: JsonValue) -> str:
    text = block.get("text") if isinstance(block, dict) else block
    return text if isinstance(text, str) else json.dumps(block, ensure_ascii=False)


def _calls(calls: JsonValue) -> tuple[str, ...]:
    return tuple(_call(call) for call in calls if isinstance(call, dict)) if isinstance(calls, list) else ()


def _call(call: dict[str, JsonValue]) -> str:
    function = call.get("function")
    described = function if isinstance(function, dict) else call
    arguments = described.get("arguments", described.get("args"))
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"{described.get('name')}({shown})"
