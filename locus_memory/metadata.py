"""When a metadata field matches a queried value: the same on every backend."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import JsonValue


def canonical(value: JsonValue) -> str:
    """Write equal JSON values as equal texts: sorted keys, and `1.0` as `1`. `true` does not equal `1`."""
    return json.dumps(_normalised(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def matches(metadata: Mapping[str, JsonValue], key: str, value: JsonValue) -> bool:
    """Tell whether the field equals the value, or is a list that contains it."""
    if key not in metadata:
        return False
    wanted, field = canonical(value), metadata[key]
    return canonical(field) == wanted or (isinstance(field, list) and any(canonical(item) == wanted for item in field))


def _normalised(value: JsonValue) -> JsonValue:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_normalised(item) for item in value]
    if isinstance(value, dict):
        return {key: _normalised(item) for key, item in value.items()}
    return value
