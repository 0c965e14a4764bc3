"""Who is in charge: the primary that Sentinels know, or the primaries of a Cluster and their slots."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import SecretStr
from redis import exceptions
from redis.asyncio import Connection, Redis
from redis.crc import key_slot

from locus_memory.backends.redis_node import Node, first_error_raised, open_redis, translated
from locus_memory.connection import HostAddress, RedisConnection
from locus_memory.errors import AuthenticationError, BackendUnavailableError, CheckpointError

T = TypeVar("T")

Login = tuple[str | None, SecretStr | None]

_GRACE_SECONDS = 0.1
"""How long slower answers are waited for: the fastest may come from a server that was cut off."""

_ASKED_AT_ONCE = 5

_TRUSTED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Owners:
    """Who serves which slots.

    Attributes:
        ranges: First slot, last slot and primary, in the order of the slots.
    """

    ranges: tuple[tuple[int, int, HostAddress], ...]

    def owner(self, slot: int) -> HostAddress | None:
        """Return the primary of a slot."""
        position = bisect_right(self.ranges, slot, key=lambda each: each[0]) - 1
        if position < 0 or slot > self.ranges[position][1]:
            return None
        return self.ranges[position][2]

    @property
    def addresses(self) -> frozenset[HostAddress]:
        """All primaries."""
        return frozenset(address for _, _, address in self.ranges)


class Discovery(ABC):
    """Finds out who is in charge. An object belongs to one event loop."""

    @abstractmethod
    async def find(self, known: Iterable[HostAddress], best: HostAddress | None) -> Owners:
        """Ask the servers.

        Args:
            known: The primaries so far.
            best: Who should know best, if anybody does.

        Raises:
            BackendUnavailableError: Nobody answers.
        """

    @abstractmethod
    def slot(self, prefix: str) -> int:
        """Return the slot of a key space."""

    @abstractmethod
    def open(self, address: HostAddress) -> Node:
        """Make the connection pool of a primary."""

    def is_outdated(self, seconds: float) -> bool:
        """Tell whether what was found so long ago may have changed without the old primary knowing."""
        return False

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections to those that are asked."""


class SentinelDiscovery(Discovery):
    """Asks the Sentinels for their primary, and each new connection whether it leads to it."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        own: Login = connection.username, connection.password
        named: Login = connection.sentinel_username, connection.sentinel_password
        self._logins = [own, (None, None)] if named == (None, None) else [named]
        self._accepted: dict[HostAddress, int] = {}
        self._clients: dict[tuple[HostAddress, int], Redis] = {}

    async def find(self, known: Iterable[HostAddress] = (), best: HostAddress | None = None) -> Owners:
        """Ask all Sentinels, and believe most of those that know of the latest failover."""
        replies = await _answers([self._ask(address) for address in self._connection.addresses])
        return Owners(((0, 0, believed_primary(replies)),))

    def slot(self, prefix: str) -> int:
        """Return 0: there is one primary."""
        return 0

    def open(self, address: HostAddress) -> Node:
        """Make the pool; what its connections lead to is checked when they are made.

        A primary that was killed, replaced and started again takes writes until the Sentinels tell it to stop, and
        loses them then. So a connection asks not only the server what it is, but the Sentinels as well.
        """

        async def set_up(connection: Connection) -> None:
            try:
                await connection.on_connect()
                await connection.send_command("ROLE")
                role = await connection.read_response()
                owners = await self.find()
                if role[0] != b"master" or owners.owner(0) != address:
                    raise exceptions.ConnectionError("it is not the primary any more")
            except BaseException:
                # Otherwise the pool would take it for a connection that is ready.
                await connection.disconnect(nowait=True)
                raise

        return Node(self._connection, address, set_up)

    def is_outdated(self, seconds: float) -> bool:
        """Tell whether to ask again: a primary that was replaced while it lives is told so some ten seconds later."""
        return seconds > _TRUSTED_SECONDS

    async def aclose(self) -> None:
        """Close the connections to the Sentinels."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.aclose()

    async def _ask(self, sentinel: HostAddress) -> tuple[int, HostAddress]:
        number = self._accepted.get(sentinel, 0)
        try:
            return await self._ask_as(sentinel, number)
        except AuthenticationError:
            # Sentinels often have no logins at all, and reject the servers'.
            if len(self._logins) == 1:
                raise
        other = 1 - number
        reply = await self._ask_as(sentinel, other)
        self._accepted[sentinel] = other
        return reply

    async def _ask_as(self, sentinel: HostAddress, number: int) -> tuple[int, HostAddress]:
        login, name = self._logins[number], self._connection.master_name
        client = self._clients.get((sentinel, number))
        if client is None:
            client = self._clients[sentinel, number] = open_redis(
                self._connection, sentinel, login=login, connections=2
            )
        where = f"Redis Sentinel at {sentinel}"
        with translated(where, login[0]):
            async with client.pipeline(transaction=False) as pipeline:
                # The second one tells the epoch; its address lags while a failover is being finished.
                pipeline.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
                pipeline.execute_command("SENTINEL", "MASTER", name)
                address, details = await pipeline.execute(raise_on_error=False)
            if address is None:
                raise CheckpointError(f"{where}: it knows no primary named {name!r}: correct master_name")
            first_error_raised([address, details])
        return sentinels_view(address, details)


class ClusterDiscovery(Discovery):
    """Asks nodes of a Cluster for the slots and their primaries."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._slots: dict[str, int] = {}

    async def find(self, known: Iterable[HostAddress], best: HostAddress | None) -> Owners:
        """Ask the best one alone, or else several, and believe what most of them say."""
        if best is not None:
            try:
                return await self._ask(best)
            except BackendUnavailableError:
                pass
        candidates = list({*self._connection.addresses, *known} - {best})
        chosen = random.sample(candidates, min(_ASKED_AT_ONCE, len(candidates)))
        if not chosen:
            raise BackendUnavailableError(f"Redis Cluster: {best} does not answer, and no other node is known")
        views = await _answers([self._ask(address) for address in chosen])
        return Counter(views).most_common(1)[0][0]

    def slot(self, prefix: str) -> int:
        """Return the slot of all keys that start with the prefix of a key space."""
        slot = self._slots.get(prefix)
        if slot is None:
            slot = self._slots[prefix] = key_slot(prefix.encode())
        return slot

    def open(self, address: HostAddress) -> Node:
        """Make the pool; a node redirects what it is not in charge of."""
        return Node(self._connection, address)

    async def aclose(self) -> None:
        """Do nothing: each question has a connection of its own."""

    async def _ask(self, address: HostAddress) -> Owners:
        where, login = f"Redis Cluster node at {address}", (self._connection.username, self._connection.password)
        with translated(where, login[0]):
            async with open_redis(self._connection, address, login=login) as client:
                reply = await client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
        owners = owners_of(reply, address)
        if not owners.ranges:
            raise BackendUnavailableError(f"{where}: it knows of no slots")
        return owners


View = tuple[int, HostAddress]
"""What a Sentinel tells: number of the latest failover that it knows of, and the primary."""


def sentinels_view(address: Sequence[bytes], details: Any) -> View:
    """Read what a Sentinel replies to SENTINEL GET-MASTER-ADDR-BY-NAME and SENTINEL MASTER."""
    fields = details if isinstance(details, dict) else dict(zip(details[::2], details[1::2], strict=True))
    return int(fields[b"config-epoch"]), HostAddress(host=address[0].decode(), port=int(address[1]))


def believed_primary(views: Sequence[View]) -> HostAddress:
    """Return the primary that most of those Sentinels name that know of the latest failover."""
    # One that was cut off tells of an earlier failover; one that is still busy with the failover before the latest
    # has heard of the latest, and yet names the primary of its own.
    latest = max(epoch for epoch, _ in views)
    return Counter(address for epoch, address in views if epoch == latest).most_common(1)[0][0]


def owners_of(reply: Sequence[Any], asked: HostAddress) -> Owners:
    """Read what a node of a Cluster replies to CLUSTER SLOTS."""
    ranges = ((first, last, node_address(primary, asked)) for first, last, primary, *_ in reply)
    return Owners(tuple(sorted(ranges, key=lambda each: each[0])))


def node_address(node: Sequence[Any], asked: HostAddress) -> HostAddress:
    """Read host and port of a node in the reply to CLUSTER SLOTS."""
    # A node that does not know its own name says nothing, or "?"; it is then where it was found.
    host = (node[0] or b"").decode()
    return HostAddress(host=asked.host if host in ("", "?") else host, port=node[1] or asked.port)


async def _answers(questions: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Ask at once; return the answers of those who are not much slower than the first.

    Raises:
        CheckpointError: There is none; one that waiting does not mend is preferred to an outage.
    """
    answers: list[T] = []
    errors: list[CheckpointError] = []
    pending = {asyncio.ensure_future(question) for question in questions}
    try:
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=_GRACE_SECONDS if answers else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for question in done:
                try:
                    answers.append(question.result())
                except CheckpointError as error:
                    errors.append(error)
    finally:
        for question in pending:
            question.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    if not answers:
        raise min(errors, key=lambda error: error.retryable)
    return answers
