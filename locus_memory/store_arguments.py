"""Checks of the arguments that every store takes, and how a namespace is written as one text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, from_json, to_json

from locus_memory.arguments import check_id, checked_metadata, utf8_size
from locus_memory.errors import InvalidArgumentError, StateTooLargeError
from locus_memory.store import Namespace, TimeToLive
from locus_memory.vectors import Vector, unit_vector

MAX_NAMESPACE_BYTES: Final = 1024
"""Upper bound of a namespace, in bytes of UTF-8, as `namespace_text` writes it."""

MAX_VALUE_BYTES: Final = 16 * 1024 * 1024
"""Upper bound of a value and its metadata, in bytes of JSON: a search may read a page of them at once."""

MAX_DIMENSION: Final = 16_000
"""Most numbers in an embedding; what pgvector can compare."""

MAX_TTL_SECONDS: Final = 100 * 365 * 24 * 3600
"""Longest time to live: 100 years."""

_ESCAPES: Final = (("%", "%25"), ("/", "%2F"), ("\0", "%00"))


def namespace_text(namespace: Namespace) -> str:
    """Write a namespace as one text: its parts joined by `/`, with `%`, `/` and U+0000 percent-encoded.

    No two namespaces have the same text, and those below one start with its text and a `/`.
    """
    parts = []
    for part in namespace:
        for character, escape in _ESCAPES:
            part = part.replace(character, escape)
        parts.append(part)
    return "/".join(parts)


def namespace_of(text: str) -> Namespace:
    """Undo `namespace_text`."""
    parts = []
    for part in text.split("/"):
        for character, escape in reversed(_ESCAPES):
            part = part.replace(escape, character)
        parts.append(part)
    return tuple(parts)


def check_namespace(namespace: object, *, name: str = "namespace", empty: bool = False) -> None:
    """Refuse what is no tuple of non-empty texts, or is over `MAX_NAMESPACE_BYTES`.

    An empty part is nearly always a user id that was not there, and all users without one would share their items.

    Raises:
        InvalidArgumentError: It names the argument.
    """
    if not isinstance(namespace, tuple):
        raise InvalidArgumentError(f'{name}: write a tuple of texts, such as ("memory", "u42"), not {namespace!r}')
    if not namespace and not empty:
        raise InvalidArgumentError(f"{name}: write at least one part")
    for part in namespace:
        if not isinstance(part, str) or not part:
            raise InvalidArgumentError(f"{name}: write a non-empty text for every part, not {part!r}")
        utf8_size(name, part)
    size = len(namespace_text(namespace).encode())
    if size > MAX_NAMESPACE_BYTES:
        raise InvalidArgumentError(f"{name}: {size:,} bytes in UTF-8; write at most {MAX_NAMESPACE_BYTES:,}")


def check_place(namespace: object, key: object) -> None:
    """Refuse what is no namespace and key of an item."""
    check_namespace(namespace)
    check_id("key", key)


def content_text(value: JsonValue, metadata: Mapping[str, JsonValue]) -> bytes:
    """Write what is stored of an item as JSON, after refusing what would not come back equal, or is too large.

    Raises:
        InvalidArgumentError: The value is no JSON value, or nested too deeply for a parser.
        StateTooLargeError: Over `MAX_VALUE_BYTES`.
    """
    try:
        text = to_json({"value": value, "metadata": metadata} if metadata else {"value": value})
        equal = bool(from_json(text, allow_inf_nan=False)["value"] == value)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"value: write what JSON can represent: {error}") from error
    if not equal:
        raise InvalidArgumentError(
            "value: it would not come back equal from JSON: write lists for tuples, text for the keys of objects, "
            f"and plain values for what is none, in this {type(value).__name__}"
        )
    if len(text) > MAX_VALUE_BYTES:
        raise StateTooLargeError(f"value: {len(text):,} bytes as JSON; write at most {MAX_VALUE_BYTES:,}")
    return text


def check_dimension(dimension: object) -> None:
    """Refuse what is no dimension of embeddings.

    Raises:
        InvalidArgumentError: As said.
    """
    valid = isinstance(dimension, int) and not isinstance(dimension, bool) and 1 <= dimension <= MAX_DIMENSION
    if dimension is not None and not valid:
        raise InvalidArgumentError(f"dimension: write a whole number from 1 to {MAX_DIMENSION:,}, not {dimension!r}")


def checked_embedding(name: str, embedding: object, dimension: int) -> Vector:
    """Return an embedding as it is stored and compared.

    Raises:
        InvalidArgumentError: It has another dimension, or is no direction.
    """
    try:
        numbers: list[float] = list(embedding)  # type: ignore[call-overload]  # whatever it is, it must be iterable
        if len(numbers) != dimension:
            raise InvalidArgumentError(f"{name}: {len(numbers)} numbers; this store was made for {dimension}")
        return unit_vector(numbers)
    except InvalidArgumentError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(
            f"{name}: write {dimension} finite numbers, not all of them zero: {error}"
        ) from error


def check_threshold(threshold: object) -> None:
    """Refuse what is no number from -1 to 1.

    Raises:
        InvalidArgumentError: As said.
    """
    if threshold is not None and not (_is_number(threshold) and -1 <= threshold <= 1):  # type: ignore[operator]  # a number by then
        raise InvalidArgumentError(f"threshold: write a number from -1 to 1, not {threshold!r}")


def check_ttl(ttl_seconds: TimeToLive) -> None:
    """Refuse what is no number of seconds above 0, up to `MAX_TTL_SECONDS`.

    Raises:
        InvalidArgumentError: As said.
    """
    if ttl_seconds is None:
        return
    if not _is_number(ttl_seconds) or not 0.001 <= ttl_seconds <= MAX_TTL_SECONDS:  # type: ignore[operator]  # a number by then
        raise InvalidArgumentError(
            f"ttl_seconds: write a number from 0.001 to {MAX_TTL_SECONDS:,}, or None for never, not {ttl_seconds!r}"
        )


def checked_filter(metadata_filter: Mapping[str, JsonValue] | None) -> dict[str, JsonValue]:
    """Return a filter as JSON will read it; see `locus_memory.arguments.checked_metadata`."""
    return checked_metadata(metadata_filter)


def batch_item(item: Sequence[Any]) -> tuple[Namespace, str, JsonValue, Mapping[str, JsonValue] | None]:
    """Return the parts of an item of a batch; its metadata may be left out.

    Raises:
        InvalidArgumentError: It has other parts.
    """
    if len(item) not in (3, 4):
        raise InvalidArgumentError(f"items: write (namespace, key, value, metadata) for each, not {item!r}")
    namespace, key, value, *metadata = item
    return namespace, key, value, metadata[0] if metadata else None


def checked_places(keys: Iterable[tuple[Namespace, str]]) -> list[tuple[Namespace, str]]:
    """Return the places of a batch, each once.

    Raises:
        InvalidArgumentError: One is no pair of namespace and key.
    """
    places = []
    for place in keys:
        if len(place) != 2:
            raise InvalidArgumentError(f"keys: write (namespace, key) for each, not {place!r}")
        namespace, key = place
        check_place(namespace, key)
        places.append((namespace, key))
    return list(dict.fromkeys(places))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
