"""Connections of the Redis backend: one client per event loop, for one server, Sentinels or a Cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from locus_memory.backends.redis_discovery import ClusterDiscovery, SentinelDiscovery
from locus_memory.backends.redis_keys import KeySpaces
from locus_memory.backends.redis_lua import Script
from locus_memory.backends.redis_node import Argument, Call, Node
from locus_memory.backends.redis_topology import Topology
from locus_memory.connection import RedisConnection
from locus_memory.errors import BindingError
from locus_memory.loops import PerLoop


class Servers(Protocol):
    """What runs scripts: one server, or several that act as one."""

    async def run(self, script: Script, prefix: str, arguments: Sequence[Argument]) -> Any:
        """Run a script on a key space."""

    async def run_all(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run a script that only reads on several key spaces."""

    async def ask(self, *command: Argument) -> Any:
        """Run a command that touches no key on one server."""

    async def aclose(self) -> None:
        """Close all connections."""


class Client:
    """Runs scripts on the servers of a connection document."""

    def __init__(self, connection: RedisConnection) -> None:
        self._take(connection)
        # The sockets of a client whose loop is gone close when it is collected: nothing else needs a release.
        self._loops: PerLoop[Servers] = PerLoop(
            lambda: _servers(self.connection), lambda servers: servers.aclose(), lambda servers: None
        )

    @property
    def version(self) -> int:
        """How often the document has changed."""
        return self._loops.version

    async def run(self, script: Script, prefix: str, *arguments: Argument) -> Any:
        """Run a script on the key space with this prefix."""
        return await (await self._loops.current()).run(script, prefix, arguments)

    async def run_all(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run a script that only reads on several key spaces, in one round trip to each server."""
        return await (await self._loops.current()).run_all(script, calls)

    async def ask(self, *command: Argument) -> Any:
        """Run a command that touches no key on a server in charge."""
        return await (await self._loops.current()).ask(*command)

    def use(self, connection: RedisConnection) -> None:
        """Go over to a document, if it is another one; each event loop does when it next runs a script."""
        if connection != self.connection:
            self._take(connection)
            self._loops.renew()

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self._loops.close()

    def _take(self, connection: RedisConnection) -> None:
        _check(connection)
        self.connection = connection
        self.spaces = KeySpaces(connection.key_prefix, clustered=connection.mode == "cluster")


def _servers(connection: RedisConnection) -> Servers:
    if connection.mode == "sentinel":
        return Topology(SentinelDiscovery(connection))
    if connection.mode == "cluster":
        return Topology(ClusterDiscovery(connection))
    return Node(connection, connection.addresses[0])


def _check(connection: RedisConnection) -> None:
    if connection.mode == "sentinel" and not connection.master_name:
        raise BindingError("redis: master_name: write the name that the Sentinels know the primary by")
    if connection.mode == "cluster" and connection.database:
        raise BindingError("redis: database: a Cluster has only number 0")
    _, brace, rest = connection.key_prefix.partition("{")
    if connection.mode == "cluster" and brace and rest.startswith("}"):
        raise BindingError("redis: key_prefix: without `{}`, which would keep a thread's keys from being in one slot")
