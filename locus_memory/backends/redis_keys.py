"""Keys and commands of the Redis backend: the one source for the library and for the operator's ACL rules.

All keys of a thread carry the thread's encoded id as their hash tag, so that they live in one Cluster slot and
expire together.

    <prefix>t:{<thread>}:order:<namespace>     sorted set: checkpoint id, by sequence number
    <prefix>t:{<thread>}:data:<namespace>      hash: p<checkpoint id> -> payload,
                                               s<checkpoint id> -> microsecond of the write, parent, metadata
    <prefix>t:{<thread>}:namespaces            set of the namespaces
    <prefix>i:threads                          sorted set: thread id, all with score 0, hence in byte order
    <prefix>i:expiry                           sorted set: thread id, by the millisecond at which it expires
    <prefix>i:refs:<thread>                    hash: reference -> index keys that hold it, one a line
    <prefix>i:m:<field>=<value>                sorted set: reference, by microsecond of the write

A reference is `<thread>|<namespace>|<checkpoint>`, each part encoded.
    <prefix>claim                              the operator's claim, out of the reach of agents
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from pydantic import JsonValue

from locus_memory.metadata import canonical

APPLICATION_COMMANDS: Final = (
    "eval",
    "evalsha",
    "ping",
    "time",
    "exists",
    "copy",
    "unlink",
    "pexpire",
    "persist",
    "hget",
    "hset",
    "hdel",
    "hgetall",
    "hmget",
    "sadd",
    "srem",
    "smembers",
    "zadd",
    "zrem",
    "zcard",
    "zscore",
    "zrange",
    "zrangebyscore",
    "zrangebylex",
    "zrevrange",
)
"""Commands that an agent's login needs, scripts included; none of them ignores key patterns."""

CONNECTION_COMMANDS: Final = ("hello", "auth", "reset", "quit", "client|setinfo", "client|setname")
"""Commands that a client sends to set up a connection; they touch no key."""


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """Key names below a prefix."""

    prefix: str

    @property
    def claim(self) -> str:
        """Key that says which store owns the prefix."""
        return f"{self.prefix}claim"

    @property
    def threads(self) -> str:
        """Index of all threads; present as soon as something was saved."""
        return f"{self.prefix}i:threads"

    @property
    def expiry(self) -> str:
        """Index of the threads that expire."""
        return f"{self.prefix}i:expiry"

    @property
    def data_prefixes(self) -> tuple[str, str]:
        """Everything that agents read and write starts with one of these."""
        return f"{self.prefix}t:", f"{self.prefix}i:"

    def metadata(self, field: str, value: JsonValue) -> str:
        """Index of the checkpoints whose metadata field has (or contains) the value."""
        entry = f"{encode(field)}={encode(canonical(value))}"
        if len(entry) > 200:
            entry = "#" + hashlib.sha256(entry.encode()).hexdigest()
        return f"{self.prefix}i:m:{entry}"


def encode(text: str) -> str:
    """Encode any text as letters, digits and `_.-~%`, injectively (RFC 3986 percent-encoding)."""
    return quote(text, safe="")


def decode(text: str) -> str:
    """Undo `encode`."""
    return unquote(text)
