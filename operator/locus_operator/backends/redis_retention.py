"""Enforces retention on Redis: the library knows what goes, this walks through all threads of a store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from locus_memory.backends.redis_keys import KeyLayout
from locus_memory.backends.redis_retention import (
    RETAIN,
    RETAIN_UNLISTED,
    THREADS,
    RetentionPolicy,
    thread_at,
    threads_pattern,
)
from locus_operator.backends.redis_observe import escape_pattern
from locus_operator.backends.redis_servers import Node, Servers

_SCAN_COUNT: Final = 1000
_SCAN_SECONDS: Final = 5.0
"""Longest that the keys of all stores are looked through for threads that no index lists."""


class RetentionSweep:
    """One run of retention over a store.

    Args:
        servers: Connected.
        layout: Of the store.
        spaces: All its key spaces.
        policy: What is allowed.
        seconds: How long it may go on; the rest is left to the next run.
    """

    def __init__(
        self,
        servers: Servers,
        layout: KeyLayout,
        spaces: tuple[KeyLayout, ...],
        policy: RetentionPolicy,
        seconds: float,
    ) -> None:
        self._servers = servers
        self._layout = layout
        self._spaces: Mapping[str, KeyLayout] = {space.prefix: space for space in spaces}
        self._policy = policy.arguments
        self._deadline = time.monotonic() + seconds
        self._removed = 0

    async def run(self) -> int:
        """Delete what is too old or too much, and make threads expire when they shall; return what was deleted."""
        for prefix in self._spaces:
            start: str | None = "-"
            while start is not None and self._is_time():
                removed, start = await self._servers.run(RETAIN, prefix, *self._policy, start, THREADS)
                self._removed += removed
        self._deadline = min(self._deadline, time.monotonic() + _SCAN_SECONDS)
        for node in self._servers.primaries:
            await self._scan(node)
        return self._removed

    async def _scan(self, node: Node) -> None:
        """Look for threads that no index lists, in slices that hold the server for a moment each."""
        prefix = escape_pattern(self._layout.prefix)
        pattern = threads_pattern(prefix, clustered=len(self._spaces) > 1)
        cursor, begun = "0", False
        while self._is_time() and not (begun and cursor == "0"):
            reply = await self._servers.ask(node, "SCAN", cursor, "MATCH", pattern, "COUNT", str(_SCAN_COUNT))
            cursor, begun = str(reply[0]), True
            tags: dict[str, list[str]] = {}
            for space, tag in filter(None, map(thread_at, reply[1])):
                if space in self._spaces:
                    tags.setdefault(space, []).append(tag)
            for space, found in tags.items():
                self._removed += await self._servers.run(RETAIN_UNLISTED, space, *self._policy, *found)

    def _is_time(self) -> bool:
        return time.monotonic() < self._deadline
