"""Connections of the Redis backend: one client per event loop, errors translated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from locus_memory.backends.redis_scripts import Script
from locus_memory.connection import RedisConnection
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CheckpointError,
    StateTooLargeError,
)
from locus_memory.loops import PerLoop

_CONNECT_TIMEOUT_SECONDS = 5


class Client:
    """Runs scripts on the server; makes one redis-py client per event loop."""

    def __init__(self, connection: RedisConnection) -> None:
        _require_standalone(connection)
        self.connection = connection
        # The sockets of a client whose loop is gone close when it is collected: nothing else needs a release.
        self._loops: PerLoop[Redis] = PerLoop(lambda: _redis(self.connection), Redis.aclose, lambda client: None)

    @property
    def version(self) -> int:
        """How often the document has changed."""
        return self._loops.version

    async def run(self, script: Script, *arguments: str | bytes | int) -> Any:
        """Run a script; `arguments` follow the key prefix."""
        execute: Callable[..., Awaitable[Any]] = (await self._loops.current()).execute_command
        with _translated(self.connection):
            try:
                return await execute("EVALSHA", script.digest, 0, self.connection.key_prefix, *arguments)
            except exceptions.NoScriptError:
                # The server has restarted, or never saw it; EVAL makes it known.
                return await execute("EVAL", script.text, 0, self.connection.key_prefix, *arguments)

    def use(self, connection: RedisConnection) -> None:
        """Go over to a document, if it is another one; each event loop does when it next runs a script."""
        if connection != self.connection:
            _require_standalone(connection)
            self.connection = connection
            self._loops.renew()

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self._loops.close()


def _require_standalone(connection: RedisConnection) -> None:
    if connection.mode != "standalone":
        raise BindingError(f"redis mode {connection.mode!r} is not available in this version: use 'standalone'")


def _redis(connection: RedisConnection) -> Redis:
    address = connection.addresses[0]
    tls: dict[str, Any] = {"connection_class": SSLConnection, "ssl_ca_data": connection.ca} if connection.tls else {}
    pool = BlockingConnectionPool(
        **{"connection_class": Connection, **tls},
        host=address.host,
        port=address.port,
        db=connection.database,
        username=connection.username,
        password=connection.password.get_secret_value() if connection.password else None,
        client_name="locus-memory",
        max_connections=connection.pool_max_size,
        socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        # Waiting and retrying are the caller's, within its deadline.
        socket_timeout=None,
        timeout=None,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return Redis.from_pool(pool)


@contextmanager
def _translated(connection: RedisConnection) -> Iterator[None]:
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise _translate(error, connection) from error


# Replies of a server that cannot serve now, and may be able to in a moment.
_PASSING_REPLIES = (
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "READONLY",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
)


def _translate(error: Exception, connection: RedisConnection) -> CheckpointError:
    where = f"Redis at {connection.addresses[0]}"
    text = str(error) or type(error).__name__
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return AuthenticationError(f"{where}: the login {connection.username or 'default'!r} is rejected: {text}")
    if isinstance(error, exceptions.NoPermissionError) or "NOPERM" in text or "NOAUTH" in text:
        return AuthenticationError(f"{where}: the login {connection.username or 'default'!r} lacks a privilege: {text}")
    if "string exceeds maximum allowed size" in text or "invalid bulk length" in text:
        return StateTooLargeError(f"{where}: {text}")
    passing = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError, OSError)
    if isinstance(error, passing) or any(word in text for word in _PASSING_REPLIES):
        return BackendUnavailableError(f"{where}: {text}")
    return CheckpointError(f"{where}: {text}")
