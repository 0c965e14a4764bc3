"""The servers of a Redis backend: found, and connected to as administrator.

ACL users are on each server by itself, so each is connected to: one server, or the primary, its replicas and the
Sentinels, or all nodes of a Cluster. Everybody connects in the same order, Sentinels first, so that stores that wait
for each other's places in the pools (`connections`) never do so in a circle.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.crc import key_slot
from redis.maint_notifications import MaintNotificationsConfig

from locus_memory.backends.redis_discovery import Owners, View, believed_primary, owners_of, sentinels_view
from locus_memory.backends.redis_lua import Script
from locus_memory.backends.redis_members import Member, members_below_sentinels, members_of_cluster
from locus_memory.backends.redis_node import named_keys
from locus_memory.connection import HostAddress
from locus_operator.api.backends import RedisMode
from locus_operator.backends.redis_errors import Place, explained
from locus_operator.connections import Connections, Opener
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.sources import AdminCredentials

TIMEOUT_SECONDS: Final = 10
_CONNECT_TIMEOUT_SECONDS: Final = 5
_VIEWS: Final = 3
"""Nodes of a Cluster that are asked who is in charge: one alone may have been cut off."""
_ONE_SLOT: Final = (0, 16383)


_ClusterView = tuple[Owners, tuple[Member, ...]]


class Kind(StrEnum):
    """What a server is to the others."""

    ONLY = "server"
    PRIMARY = "primary"
    REPLICA = "replica"
    SPARE = "node without slots"
    SENTINEL = "Sentinel"


@dataclass(frozen=True, slots=True)
class Node:
    """A server."""

    address: HostAddress
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind} {self.address}"


@dataclass(frozen=True, slots=True)
class Access:
    """How servers and Sentinels are reached.

    Attributes:
        admin: Login at the servers.
        sentinel_admin: Login at the Sentinels, where it is another one.
    """

    mode: RedisMode
    addresses: tuple[HostAddress, ...]
    master_name: str | None
    database: int
    admin: AdminCredentials
    sentinel_admin: AdminCredentials | None
    tls: bool
    ca: str | None = field(repr=False)

    def logins(self, kind: Kind) -> tuple[AdminCredentials | None, ...]:
        """Return what to log in with, in the order of tries; None stands for no login."""
        if kind is not Kind.SENTINEL:
            return (self.admin,)
        # Sentinels often have no logins at all; the servers' password is not for them then.
        return (self.sentinel_admin,) if self.sentinel_admin else (None, self.admin)


class Servers:
    """Connections to all servers, as administrator.

    Attributes:
        away: Servers that do not answer and that one can do without, each with what is known of it.
        without_login: Sentinels that ask for no login.
    """

    def __init__(self, access: Access, connections: Connections) -> None:
        self.access = access
        self.away: dict[Node, str] = {}
        self.without_login: set[Node] = set()
        self._connections = connections
        self._clients: dict[Node, Redis] = {}
        self._owners = Owners(())

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All that answer, Sentinels without logins left out: whatever has users."""
        return tuple(node for node in self._clients if node not in self.without_login)

    @property
    def primaries(self) -> tuple[Node, ...]:
        """Those that take writes."""
        return tuple(node for node in self._clients if node.kind in (Kind.ONLY, Kind.PRIMARY))

    async def open(self, stack: AsyncExitStack) -> None:
        """Find all servers and connect; the stack disconnects.

        Raises:
            UnavailableError: A primary does not answer, or nobody knows where it is.
            RefusedError: A login is rejected, or the servers are not what `mode` says.
        """
        match self.access.mode:
            case RedisMode.STANDALONE:
                (address,) = self.access.addresses
                self._owners = Owners(((*_ONE_SLOT, address),))
                await self._connect(Node(address, Kind.ONLY), stack)
            case RedisMode.SENTINEL:
                await self._connect_sentinels(stack)
                primary = believed_primary(await self._views())
                replies = await asyncio.gather(*(self._ask_sentinel(each, "REPLICAS") for each in self._sentinels()))
                self._owners = Owners(((*_ONE_SLOT, primary),))
                await self._connect_members(members_below_sentinels(primary, replies), stack)
            case RedisMode.CLUSTER:
                self._owners, members = await self._discover_cluster()
                await self._connect_members(members, stack)

    def owner(self, key: str) -> Node:
        """Return the primary that a key belongs to.

        Raises:
            UnavailableError: None is in charge of its slot.
        """
        address = self._owners.owner(key_slot(key.encode()))
        for node in self.primaries:
            if node.address == address:
                return node
        raise UnavailableError(f"Redis Cluster: no server is in charge of the slot of {key!r}")

    def client(self, node: Node) -> Redis:
        """Return the connection to a server.

        Raises:
            UnavailableError: It is away.
        """
        if node not in self._clients:
            raise UnavailableError(f"{self.place(node)} does not answer: {self.away.get(node, 'it is not there')}")
        return self._clients[node]

    def place(self, node: Node) -> Place:
        """Return what messages call a server."""
        return self._place(node, self.access.logins(node.kind)[-1])

    async def ask(self, node: Node, *command: str) -> Any:
        """Run one command on a server."""
        with explained(self.place(node), f"run {command[0]}"):
            return await self.client(node).execute_command(*command)  # type: ignore[no-untyped-call]

    async def run(self, script: Script, prefix: str, *arguments: str | int) -> Any:
        """Run a script on the key space with this prefix."""
        node = self.owner(prefix)
        rest = (*named_keys(prefix, clustered=self.access.mode is RedisMode.CLUSTER), prefix, *arguments)
        with explained(self.place(node), "run a script"):
            client = self.client(node)
            try:
                return await client.execute_command("EVALSHA", script.digest, *rest)  # type: ignore[no-untyped-call]
            except exceptions.NoScriptError:
                return await client.execute_command("EVAL", script.text, *rest)  # type: ignore[no-untyped-call]

    async def confirm(self) -> None:
        """Ask again who is in charge: a server that was replaced loses what it is told.

        Raises:
            UnavailableError: Another one by now.
        """
        owners = self._owners
        if self.access.mode is RedisMode.SENTINEL:
            owners = Owners(((*_ONE_SLOT, believed_primary(await self._views())),))
        elif self.access.mode is RedisMode.CLUSTER:
            asked = self.primaries[:_VIEWS]
            views = await asyncio.gather(*(self._cluster_view(node, self.client(node)) for node in asked))
            owners, _ = _believed(views)
        if owners != self._owners:
            raise UnavailableError("Redis: another server has just taken over from a primary; it is tried again there")

    def _sentinels(self) -> list[Node]:
        return [node for node in self._clients if node.kind is Kind.SENTINEL]

    async def _connect_sentinels(self, stack: AsyncExitStack) -> None:
        for address in _sorted(self.access.addresses):
            node = Node(address, Kind.SENTINEL)
            try:
                await self._connect(node, stack)
            except UnavailableError as error:
                self.away[node] = str(error)
        if not self._sentinels():
            raise UnavailableError("; ".join(self.away.values()))

    async def _connect_members(self, members: Sequence[Member], stack: AsyncExitStack) -> None:
        by_address = {member.address: member for member in members}
        for member in map(by_address.__getitem__, _sorted(by_address)):
            if member.address in self._owners.addresses:
                kind = Kind.PRIMARY
            else:
                kind = Kind.SPARE if member.primary else Kind.REPLICA
            node = Node(member.address, kind)
            try:
                if member.failed:
                    raise UnavailableError(f"{self.place(node)}: the others say that it does not answer")
                await self._connect(node, stack)
            except UnavailableError as error:
                if kind is Kind.PRIMARY:
                    raise
                self.away[node] = str(error)

    async def _connect(self, node: Node, stack: AsyncExitStack) -> None:
        *first, last = self.access.logins(node.kind)
        for login in first:
            try:
                self._clients[node] = await self._lend(node, login, stack)
            except RefusedError as error:
                if error.reason is not ConditionReason.AUTHENTICATION_FAILED:
                    raise
            else:
                self.without_login.add(node)
                return
        self._clients[node] = await self._lend(node, last, stack)

    async def _lend(self, node: Node, login: AdminCredentials | None, stack: AsyncExitStack) -> Redis:
        access, place = self.access, self._place(node, login)
        database = 0 if node.kind is Kind.SENTINEL else access.database

        async def open_client() -> Redis:
            client = _make_client(access, node.address, login, database)
            try:
                with explained(place, "connect"):
                    await _ping(client)
            except BaseException:
                await client.aclose()
                raise
            return client

        key = ("redis", database, login and (login.username, login.password), access.tls, access.ca)
        opener = Opener(open_client, _ping, Redis.aclose)
        endpoint = (node.address.host, node.address.port)
        return await stack.enter_async_context(self._connections.lend(endpoint, key, opener))

    async def _views(self) -> list[View]:
        views = await asyncio.gather(*map(self._view, self._sentinels()))
        return list(views)

    async def _view(self, sentinel: Node) -> View:
        address = await self._ask_sentinel(sentinel, "GET-MASTER-ADDR-BY-NAME")
        if address is None:
            raise RefusedError(
                ConditionReason.BACKEND_REFUSED,
                f"{self.place(sentinel)} knows no primary named {self.access.master_name!r}: correct "
                "spec.backend.redis.masterName",
            )
        return sentinels_view(address, await self._ask_sentinel(sentinel, "MASTER"))

    async def _ask_sentinel(self, sentinel: Node, question: str) -> Any:
        with explained(self.place(sentinel), f"ask with SENTINEL {question}"):
            return await _raw(self.client(sentinel), "SENTINEL", question, self.access.master_name or "")

    async def _discover_cluster(self) -> _ClusterView:
        """Ask some of the nodes that the spec names."""
        views: list[_ClusterView] = []
        errors: list[str] = []
        for address in _sorted(self.access.addresses):
            node = Node(address, Kind.SPARE)
            try:
                # Not held while others are connected to, which would be out of the order.
                async with AsyncExitStack() as stack:
                    client = await self._lend(node, self.access.admin, stack)
                    views.append(await self._cluster_view(node, client))
            except UnavailableError as error:
                errors.append(str(error))
            if len(views) == _VIEWS:
                break
        if not views:
            raise UnavailableError("; ".join(errors))
        return _believed(views)

    async def _cluster_view(self, node: Node, client: Redis) -> _ClusterView:
        with explained(self.place(node), "ask for the nodes of the Cluster"):
            slots = await _raw(client, "CLUSTER", "SLOTS")
            nodes = await _raw(client, "CLUSTER", "NODES")
        owners = owners_of(slots, node.address)
        if not owners.ranges:
            raise UnavailableError(f"{self.place(node)}: it knows of no slots")
        return owners, members_of_cluster(nodes, slots, node.address)

    def _place(self, node: Node, login: AdminCredentials | None) -> Place:
        admin = (
            f"the administrator {login.username!r} of Secret {login.secret!r}" if login else "a client without login"
        )
        name = "Redis Sentinel" if node.kind is Kind.SENTINEL else "Redis"
        return Place(name, node.address, admin, self.access.mode)


def _sorted(addresses: Iterable[HostAddress]) -> list[HostAddress]:
    return sorted(addresses, key=lambda each: (each.host, each.port))


def _believed(views: Sequence[_ClusterView]) -> _ClusterView:
    """Return the view that most nodes have."""
    owners = Counter(owners for owners, _ in views).most_common(1)[0][0]
    return next(view for view in views if view[0] == owners)


async def _raw(client: Redis, *command: str) -> Any:
    """Run a command whose reply the library reads, undecoded."""
    return await client.execute_command(*command, **{NEVER_DECODE: True})  # type: ignore[no-untyped-call]


async def _ping(client: Redis) -> None:
    # Who may not is logged in; what is missing is listed later.
    with suppress(exceptions.NoPermissionError):
        await client.ping()


def _make_client(access: Access, address: HostAddress, login: AdminCredentials | None, database: int) -> Redis:
    tls: dict[str, Any] = {"connection_class": SSLConnection, "ssl_ca_data": access.ca} if access.tls else {}
    pool = BlockingConnectionPool(
        **{"connection_class": Connection, **tls},
        host=address.host,
        port=address.port,
        db=database,
        username=login.username if login else None,
        password=login.password if login else None,
        client_name="locus-operator",
        decode_responses=True,
        max_connections=1,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        # The controller decides when to try again.
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return Redis.from_pool(pool)
