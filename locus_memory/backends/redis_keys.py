"""Keys and commands of the Redis backend: the one source for the library and for the operator's ACL rules.

On one server, Sentinels or not, the keys are:

    <prefix>t:{<thread>}:order:<namespace>     sorted set: checkpoint id, by sequence number
    <prefix>t:{<thread>}:data:<namespace>      hash: p<checkpoint id> -> payload,
                                               s<checkpoint id> -> microsecond of the write, parent, metadata
                                               n<checkpoint id> -> names of its parts (MessagePack)
                                               d<part's name> -> the part
                                               c<part's name> -> number of checkpoints that name it
                                               l<checkpoint id> -> number of pending writes that were replaced,
                                                                   places of them all: <task>|<index>
                                               w<length of checkpoint id>:<checkpoint id><place> -> pending write
    <prefix>t:{<thread>}:namespaces            set of the namespaces, those with pending writes alone included
    <prefix>i:threads                          sorted set: thread id, all with score 0, hence in byte order;
                                               not those with pending writes alone
    <prefix>i:expiry                           sorted set: thread id, by the millisecond at which it expires
    <prefix>i:refs:<thread>                    hash: reference -> index keys that hold it, one a line
    <prefix>i:m:<field>=<value>                sorted set: reference, by microsecond of the write

    <prefix>claim                              the operator's claim, out of the reach of agents

A reference is `<thread>|<namespace>|<checkpoint>`, each part encoded.

A script of a Cluster reaches one slot. There the threads are spread over `BUCKETS` buckets, and each is a key space of
its own, with its own indexes, below `<prefix>t:{<number>-<digest of the prefix>}:`. What is in braces is the hash tag:
a bucket is in one slot, so that one script changes a thread and its index entries together; the listings merge what
the buckets hold. The number of buckets and their names can never change: saved threads would not be found.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
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

TOPOLOGY_COMMANDS: Final = ("role", "wait", "cluster|slots", "rename")
"""Commands that a login needs besides: below Sentinels, for `wait_replicas`, and (the last two) in a Cluster."""

MODE_COMMANDS: Final = {"standalone": (), "sentinel": ("role",), "cluster": ("cluster|slots", "rename")}
"""Those of them that a login needs in each mode, `wait_replicas` left out."""

SENTINEL_COMMANDS: Final = (
    "ping",
    "auth",
    "hello",
    "client|setname",
    "sentinel|get-master-addr-by-name",
    "sentinel|master",
)
"""Commands that a login needs at the Sentinels themselves."""

BUCKETS: Final = 128
"""Parts that the threads of a prefix are spread over in a Cluster; enough for an even load on a dozen primaries."""


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
    def memories(self) -> str:
        """Index of the namespaces of long-term memory; present as soon as it holds something."""
        return f"{self.prefix}i:s:all"

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


class KeySpaces:
    """The layouts that the threads of a prefix are spread over: one, or in a Cluster one for each bucket."""

    def __init__(self, prefix: str, *, clustered: bool) -> None:
        self.all = tuple(_buckets(prefix)) if clustered else (KeyLayout(prefix),)

    def of(self, thread_id: str) -> KeyLayout:
        """Return the layout that a thread belongs to."""
        if len(self.all) == 1:
            return self.all[0]
        return self.all[zlib.crc32(thread_id.encode()) % len(self.all)]


def _buckets(prefix: str) -> Iterator[KeyLayout]:
    # With the digest, the stores that share a Cluster do not crowd into the same slots.
    digest = hashlib.sha256(prefix.encode()).hexdigest()[:6]
    for number in range(BUCKETS):
        yield KeyLayout(f"{prefix}t:{{{number}-{digest}}}:")


def encode(text: str) -> str:
    """Encode any text as letters, digits and `_.-~%`, injectively (RFC 3986 percent-encoding)."""
    return quote(text, safe="")


def decode(text: str) -> str:
    """Undo `encode`."""
    return unquote(text)
