"""One Redis server: a pool of connections, scripts run on it, its errors translated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from locus_memory.backends.redis_lua import Script
from locus_memory.connection import HostAddress, RedisConnection
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    CheckpointError,
    StateTooLargeError,
)

_CONNECT_TIMEOUT_SECONDS = 5

Argument = str | bytes | int
Call = tuple[str, Sequence[Argument]]
"""The prefix of a key space, and what a script gets beside it."""

ConnectCallback = Callable[[Connection], Awaitable[None]]


class Node:
    """Runs scripts on one server.

    Args:
        connection: How to reach it, but for its address.
        address: Where it is.
        on_connect: Sets a new connection up, instead of redis-py.
    """

    def __init__(
        self, connection: RedisConnection, address: HostAddress, on_connect: ConnectCallback | None = None
    ) -> None:
        self.address = address
        self._redis = open_redis(
            connection,
            address,
            login=(connection.username, connection.password),
            database=connection.database,
            connections=connection.pool_max_size,
            on_connect=on_connect,
        )
        self._clustered = connection.mode == "cluster"
        self._replicas = connection.wait_replicas
        self._where = f"Redis at {address}"
        self._login = connection.username

    async def run(self, script: Script, prefix: str, arguments: Sequence[Argument]) -> Any:
        """Run a script on a key space."""
        execute = self._execute_and_wait if self._replicas and script.writes else self._redis.execute_command
        keys = self._keys(prefix)
        with translated(self._where, self._login):
            try:
                return await execute("EVALSHA", script.digest, *keys, prefix, *arguments)
            except exceptions.NoScriptError:
                # The server has restarted, or never saw it; EVAL makes it known.
                return await execute("EVAL", script.text, *keys, prefix, *arguments)

    async def run_all(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run a script that only reads on several key spaces, in one round trip."""
        with translated(self._where, self._login):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for number, (prefix, arguments) in enumerate(calls):
                    # Whether the server knows it cannot be asked first without another round trip.
                    command = ("EVALSHA", script.digest) if number else ("EVAL", script.text)
                    pipeline.execute_command(*command, *self._keys(prefix), prefix, *arguments)
                return first_error_raised(await pipeline.execute(raise_on_error=False))

    async def ask(self, *command: Argument) -> Any:
        """Run a command that touches no key."""
        with translated(self._where, self._login):
            return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        """Close all connections, those in use included."""
        await self._redis.aclose()

    def _keys(self, prefix: str) -> tuple[Argument, ...]:
        return named_keys(prefix, clustered=self._clustered)

    async def _execute_and_wait(self, *command: Argument) -> Any:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*command)
            # Without a timeout: the caller's deadline is one, and knows what to say.
            pipeline.execute_command("WAIT", self._replicas, 0)
            return first_error_raised(await pipeline.execute(raise_on_error=False))[0]


def named_keys(prefix: str, *, clustered: bool) -> tuple[Argument, ...]:
    """Return what EVAL and EVALSHA are told of the keys that a script will touch in a key space.

    Scripts touch keys that cannot be named beforehand. In a Cluster, the two named here say which slot that is; as
    neither ever exists, a slot that is half moved to another server refuses the script on both of them (TRYAGAIN,
    ASK), where it would take the keys that are on the other one for absent.
    """
    return (2, prefix, f"{prefix}-") if clustered else (0,)


def first_error_raised(replies: list[Any]) -> list[Any]:
    """Return the replies of a pipeline, unless one is an error."""
    # Not redis-py's own: it puts the command into the message, and the state with it.
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def open_redis(
    connection: RedisConnection,
    address: HostAddress,
    *,
    login: tuple[str | None, SecretStr | None],
    database: int = 0,
    connections: int = 1,
    on_connect: ConnectCallback | None = None,
) -> Redis:
    """Make a client of one server that neither retries nor times out: both are the caller's, within its deadline."""
    tls: dict[str, Any] = {"connection_class": SSLConnection, "ssl_ca_data": connection.ca} if connection.tls else {}
    username, password = login
    pool = BlockingConnectionPool(
        **{"connection_class": Connection, **tls},
        host=address.host,
        port=address.port,
        db=database,
        username=username,
        password=password.get_secret_value() if password else None,
        client_name="locus-memory",
        max_connections=connections,
        redis_connect_func=on_connect,
        socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        socket_timeout=None,
        timeout=None,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return Redis.from_pool(pool)


@contextmanager
def translated(where: str, login: str | None) -> Iterator[None]:
    """Turn redis-py's errors into those of `locus_memory.errors`."""
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise _translate(error, where, login or "default") from error


# Replies of a server that cannot serve now, and may be able to in a moment.
_PASSING_REPLIES = (
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "READONLY",
    "UNBLOCKED",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
)
_LACKING = ("NOPERM", "NOAUTH", "ACL failure in script")
_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.MasterDownError,
    OSError,
)


def _translate(error: Exception, where: str, login: str) -> CheckpointError:
    text = str(error) or type(error).__name__
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return AuthenticationError(f"{where}: the login {login!r} is rejected: {text}")
    if isinstance(error, exceptions.NoPermissionError) or any(word in text for word in _LACKING):
        return AuthenticationError(f"{where}: the login {login!r} lacks a privilege: {text}")
    if "string exceeds maximum allowed size" in text or "invalid bulk length" in text:
        return StateTooLargeError(f"{where}: {text}")
    if isinstance(error, exceptions.MovedError) or "non local key" in text:
        return CheckpointError(f"{where}: the server belongs to a Cluster: write redis+cluster:// or mode: cluster")
    if isinstance(error, exceptions.AskError):
        return BackendUnavailableError(f"{where}: slot {error.slot_id} is being moved to {error.host}:{error.port}")
    if isinstance(error, _PASSING) or any(word in text for word in _PASSING_REPLIES):
        return BackendUnavailableError(f"{where}: {text}")
    return CheckpointError(f"{where}: {text}")
