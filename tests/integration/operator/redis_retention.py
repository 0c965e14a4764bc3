"""Redis in every mode, and what a test of retention wants to know of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import redis as library
from locus_memory.backends.redis_retention import SLACK_MILLISECONDS
from locus_memory.connection import RedisConnection
from locus_memory.storage import NewCheckpoint
from locus_memory.store_backends import redis as memory_library
from locus_memory.store_face import PortStore
from locus_memory.testing.history import new
from locus_operator import engine
from tests.integration.operator.redis_groups import layout
from tests.integration.operator.stores import Store
from tests.servers.redis import RedisServer
from tests.servers.redis_group import RedisGroup

HOUR = 3600


@dataclass
class Kept:
    """A provisioned store whose keys can be looked at.

    Attributes:
        store: With the policy in its spec.
        servers: Where it is.
    """

    store: Store
    servers: RedisServer | RedisGroup

    async def provision(self, *, ttl: dict[str, Any] | None = None, **retention: Any) -> Kept:
        """Give the store this policy."""
        self.store.spec = {"retention": retention}
        self.store.backend = {"redis": {**self.store.backend["redis"], "ttl": ttl or {}}}
        await self.store.reconcile()
        return self

    async def sweep(self) -> int:
        """One sweep of the operator; returns what was deleted."""
        done = await engine.reconcile(replace(self.store.request(), enforce_retention=True))
        assert not done.plan
        assert done.expired is not None
        return done.expired

    def agent(self, ttl_seconds: int | None = None) -> StorageBackendAdapter:
        """An agent that has another time to live in its binding, none by default."""
        document = self.document(ttl_seconds)
        return library.from_connection(lambda: document)

    def memory(self) -> PortStore:
        """The long-term memory of the same store."""
        document = self.document(None)
        return memory_library.from_connection(lambda: document)

    def document(self, ttl_seconds: int | None) -> RedisConnection:
        document = self.store.connection()
        assert isinstance(document, RedisConnection)
        return document.model_copy(update={"ttl_seconds": ttl_seconds})

    def expiries(self, part: str = "") -> dict[str, int]:
        """Millisecond at which each key expires (-1: never), of those that have this in their name."""
        found: dict[str, int] = {}
        for server in self._primaries():
            with server.client() as client:
                for key in client.scan_iter(f"{layout(self.store).prefix}*", count=1000):
                    if part in key:
                        found[key] = int(client.pexpiretime(key))
        return found

    def expires(self, thread: str, since: float, seconds: float) -> bool:
        """Whether all keys of a thread expire at once, so long after a moment between `since` and now."""
        found = list(self.expiries(f"t:{{{thread}}}:").values())
        assert found, f"{thread} is gone"
        assert max(found) - min(found) <= 2 * SLACK_MILLISECONDS, found
        return since + seconds - 1 <= found[0] / 1000 <= time.time() + seconds + 1

    def change(self, part: str, *command: str) -> None:
        """Run a command on each key that has this in its name."""
        for server in self._primaries():
            with server.client() as client:
                for key in client.scan_iter(f"{layout(self.store).prefix}*", count=1000):
                    if part in key:
                        client.execute_command(command[0], key, *command[1:])  # type: ignore[no-untyped-call]

    def _primaries(self) -> list[RedisServer]:
        return [self.servers] if isinstance(self.servers, RedisServer) else list(self.servers.primaries)


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def dated(checkpoint_id: str, seconds: float, *names: str, thread: str = "t", **parts: bytes) -> NewCheckpoint:
    """A checkpoint of so many seconds ago."""
    whole = new(checkpoint_id, thread_id=thread)
    return replace(whole, parts=parts, part_names=(*names, *parts), created_at=ago(seconds))
