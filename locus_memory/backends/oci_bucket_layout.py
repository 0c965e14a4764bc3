"""Names of objects in a bucket: which one holds what.

    <prefix>threads/<thread>                            the head of a thread: what it consists of
    <prefix>data/<digest>/<incarnation>/c/<position>-<random>   a checkpoint; newest first
    <prefix>data/<digest>/<incarnation>/p/<random>      a page: descriptions of older checkpoints
    <prefix>data/<digest>/<incarnation>/b/<part>        a part that checkpoints share
    <prefix>data/<digest>/<incarnation>/w/<digest>/<digest>     what a task has written on top of a checkpoint

Heads are listed in the order of the bytes of thread ids. Names of data have a digest of the thread id, and a random
incarnation: what is left of a deleted thread is never taken for the thread of the same id that follows it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime
from typing import Final

from locus_memory.errors import BindingError

MAX_PREFIX_BYTES: Final = 256

LONGEST: Final = 640
"""Characters of an escaped thread id that a name holds; a longer one is cut and followed by a digest."""

_CUT = "~~"
"""Follows the part of a long id. No escaped id holds it: hexadecimal digits follow each `~`."""

_LAST_POSITION = 10**12 - 1

_PART_DIGEST_BYTES = 10
_PART_TIME_BYTES = 4
_PART_RANDOM_BYTES = 4

PART_BYTES: Final = _PART_DIGEST_BYTES + _PART_TIME_BYTES + _PART_RANDOM_BYTES
"""Length of what identifies a stored part."""


def _code(byte: int) -> str:
    char = chr(byte)
    if char.isascii() and (char.isalnum() or char == "-"):
        return char
    # One lead for each gap between the characters that stand for themselves, so that the order is kept.
    lead = "!" if byte < 0x2D else "." if byte < 0x30 else "=" if byte < 0x41 else "_" if byte < 0x61 else "~"
    return f"{lead}{byte:02x}"


_CODES = tuple(_code(byte) for byte in range(256))
_ESCAPE = re.compile(r"[!.=_~]([0-9a-f]{2})")


def escape(text: str) -> str:
    """Write text with ASCII letters, digits, `-` and escapes, such that names sort as the UTF-8 bytes of texts do."""
    return "".join(_CODES[byte] for byte in text.encode())


def unescape(name: str) -> str | None:
    """Return the text that `escape` wrote like this; None for a name that it does not write."""
    data = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name).encode("latin-1", errors="replace")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if escape(text) == name else None


class Layout:
    """The names below one prefix.

    Args:
        prefix: What every name starts with; a slash is added where it does not end in one.

    Raises:
        BindingError: The prefix cannot be part of an object's name.
    """

    def __init__(self, prefix: str) -> None:
        self.given = prefix
        self.prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        segments = self.prefix.split("/")[:-1]
        # URLs are normalised on their way: "a/../b" would be another object than it says.
        if any(segment in ("", ".", "..") for segment in segments) or re.search(r"[\0-\x1f\x7f]", self.prefix):
            raise BindingError(
                "prefix: write names separated by single slashes, none of them . or .., as in prod/agents/"
            )
        if len(self.prefix.encode()) > MAX_PREFIX_BYTES:
            raise BindingError(f"prefix: write at most {MAX_PREFIX_BYTES} bytes")
        self.heads = f"{self.prefix}threads/"
        self.data = f"{self.prefix}data/"

    def head(self, thread_id: str) -> str:
        """Return the name of a thread's head."""
        name = escape(thread_id)
        if len(name) > LONGEST:
            name = f"{name[:LONGEST]}{_CUT}{hashlib.sha256(thread_id.encode()).hexdigest()}"
        return self.heads + name

    def heads_starting_with(self, text: str) -> str:
        """Return what the names of heads begin with, for thread ids that begin with a text."""
        return self.heads + escape(text)[:LONGEST]

    def thread_of(self, head: str) -> str | None:
        """Return the thread id of a head's name; None where only the head itself tells."""
        return unescape(head.removeprefix(self.heads))

    def shared_part(self, head: str) -> str | None:
        """Return what a long id's name may share with other long ones; None for a short id.

        Names with the same part must be sorted by the ids themselves; any others sort as they do.
        """
        part, cut, _ = head.partition(_CUT)
        return part if cut else None

    def data_of(self, thread_id: str) -> str:
        """Return what the names of all data of a thread start with."""
        return f"{self.data}{_digest(thread_id)}/"

    def data_of_head(self, head: str) -> str | None:
        """Return what the names of all data of a thread start with, by its head's name; None for no head's name."""
        _, cut, digest = head.partition(_CUT)
        if cut:
            return f"{self.data}{digest[:32]}/"
        thread_id = self.thread_of(head)
        return None if thread_id is None else self.data_of(thread_id)


def new_incarnation() -> str:
    """Make up the name of a thread's life, from its first save to its deletion."""
    return secrets.token_hex(8)


def new_payload(incarnation: str, sequence: int) -> str:
    """Make up the name of a checkpoint, below the thread's data: a later one sorts before an earlier one."""
    return f"{incarnation}/c/{_LAST_POSITION - sequence:012}-{secrets.token_hex(6)}"


def new_page(incarnation: str) -> str:
    """Make up the name of a page, below the thread's data."""
    return f"{incarnation}/p/{secrets.token_hex(8)}"


def incarnation_of(name: str) -> str:
    """Return the incarnation that an object belongs to; the name is relative to the thread's data."""
    return name.partition("/")[0]


def part_fingerprint(namespace: str, name: str) -> bytes:
    """Return what the ids of a part begin with, however often it is stored."""
    return hashlib.sha256(_pair(namespace, name)).digest()[:_PART_DIGEST_BYTES]


def new_part(namespace: str, name: str, time: datetime) -> bytes:
    """Make up the id of a part that is stored now: no other upload of the same part has it."""
    seconds = int(time.timestamp()).to_bytes(_PART_TIME_BYTES, "big")
    return part_fingerprint(namespace, name) + seconds + secrets.token_bytes(_PART_RANDOM_BYTES)


def fingerprint_of(part: bytes) -> bytes:
    """Return what `part_fingerprint` says of the part that an id is of."""
    return part[:_PART_DIGEST_BYTES]


def stored_at(part: bytes) -> datetime:
    """Return when a part was stored, to the second before."""
    seconds = int.from_bytes(part[_PART_DIGEST_BYTES:][:_PART_TIME_BYTES], "big")
    return datetime.fromtimestamp(seconds, UTC)


def part_object(incarnation: str, part: bytes) -> str:
    """Return the name of a part, below the thread's data."""
    return f"{incarnation}/b/{part.hex()}"


def writes_on(incarnation: str, namespace: str, checkpoint_id: str) -> str:
    """Return what the names of all pending writes on a checkpoint start with, below the thread's data."""
    return f"{incarnation}/w/{hashlib.sha256(_pair(namespace, checkpoint_id)).hexdigest()[:32]}/"


def writes_of(incarnation: str, namespace: str, checkpoint_id: str, task_id: str) -> str:
    """Return the name of what one task has written on a checkpoint, below the thread's data."""
    return writes_on(incarnation, namespace, checkpoint_id) + _digest(task_id)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _pair(first: str, second: str) -> bytes:
    return len(first.encode()).to_bytes(4, "big") + first.encode() + second.encode()
