"""Text and JSON that PostgreSQL cannot hold as it is.

Its text and jsonb refuse U+0000. U+0001 serves as the escape character: injective, and the order of ids stays that of
their bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue


def store_text(text: str) -> str:
    """Escape a text."""
    if "\x00" in text or "\x01" in text:
        return text.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    return text


def load_text(text: str) -> str:
    """Undo `store_text`."""
    return text.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01") if "\x01" in text else text


def store_json(value: JsonValue | Mapping[str, JsonValue]) -> str:
    """Write JSON text whose strings and keys are escaped."""
    if value == {}:
        return "{}"
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    if "\\u0000" in text or "\\u0001" in text:
        return json.dumps(_map_strings(value, store_text), ensure_ascii=True, allow_nan=False)
    return text


def load_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Undo the escapes of `store_json` in what the driver has parsed."""
    loaded: dict[str, JsonValue] = _map_strings(value, load_text)
    return loaded


def escape_like(text: str) -> str:
    """Have every character stand for itself in a LIKE pattern."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _map_strings(value: Any, convert: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return convert(value)
    if isinstance(value, list):
        return [_map_strings(item, convert) for item in value]
    if isinstance(value, dict):
        return {convert(key): _map_strings(item, convert) for key, item in value.items()}
    return value
