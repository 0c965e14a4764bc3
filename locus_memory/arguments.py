"""Checks of the arguments that every checkpointer takes; for a checkpointer of your own as well."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import JsonValue

from locus_memory.errors import InvalidArgumentError

MAX_ID_BYTES = 1024
"""Upper bound of a thread id or checkpoint id, in bytes of UTF-8."""

MAX_METADATA_BYTES = 64 * 1024
"""Upper bound of a checkpoint's metadata, in bytes of JSON."""

MAX_METADATA_NESTING = 64
"""Upper bound of the levels of lists and objects in metadata: every parser takes them, whatever is around them."""


def check_ids(thread_id: str, checkpoint_id: str | None) -> None:
    """Check a thread id, and a checkpoint id where there is one; see `check_id`."""
    check_id("thread_id", thread_id)
    if checkpoint_id is not None:
        check_id("checkpoint_id", checkpoint_id)


def check_id(name: str, value: object) -> None:
    """Refuse what is no non-empty text of at most `MAX_ID_BYTES`.

    Raises:
        InvalidArgumentError: It names the argument.
    """
    if not isinstance(value, str) or not value:
        raise InvalidArgumentError(f"{name}: write a non-empty text, not {value!r}")
    size = utf8_size(name, value)
    if size > MAX_ID_BYTES:
        raise InvalidArgumentError(f"{name}: {size:,} bytes in UTF-8; write at most {MAX_ID_BYTES:,}")


def utf8_size(name: str, text: str) -> int:
    """Return the bytes of a text in UTF-8.

    Raises:
        InvalidArgumentError: It holds a lone surrogate.
    """
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{name}: {text!r} holds a lone surrogate, which no encoding can store") from error


def check_limit(limit: object) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
        InvalidArgumentError: As said.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidArgumentError(f"limit: write a whole number of at least 1, not {limit!r}")


def checked_metadata(metadata: Mapping[str, JsonValue] | None) -> dict[str, JsonValue]:
    """Return metadata as JSON will give it back: a copy, with lists for tuples.

    Raises:
        InvalidArgumentError: It is no JSON object, or over `MAX_METADATA_BYTES` or `MAX_METADATA_NESTING`.
    """
    if not metadata:
        return {}
    if not all(isinstance(key, str) for key in metadata):
        raise InvalidArgumentError("metadata: write text for every key")
    try:
        text = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False).encode()
        nesting = _nesting(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"metadata: write values that JSON can represent: {error}") from error
    if nesting > MAX_METADATA_NESTING:
        raise InvalidArgumentError(f"metadata: {nesting} levels of nesting; write at most {MAX_METADATA_NESTING}")
    if len(text) > MAX_METADATA_BYTES:
        raise InvalidArgumentError(
            f"metadata: {len(text):,} bytes as JSON; write at most {MAX_METADATA_BYTES:,} and put the rest in the state"
        )
    normalised: dict[str, JsonValue] = json.loads(text)
    return normalised


def _nesting(value: object) -> int:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return 1 + max(map(_nesting, inner)) if inner else 0
