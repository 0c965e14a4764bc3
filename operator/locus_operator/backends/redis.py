"""Provisions Redis and Valkey: a key prefix with its claim, and two ACL users that reach nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from pydantic import SecretStr
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from locus_memory.backends.redis_keys import KeyLayout
from locus_memory.connection import HostAddress, RedisConnection
from locus_operator.api.backends import RedisBackend, RedisMode
from locus_operator.api.duration import Duration
from locus_operator.api.store import DeletionPolicy
from locus_operator.backends import redis_plan
from locus_operator.backends.redis_observe import Observed, observe
from locus_operator.backends.redis_plan import DropKeys, DropUser, SetUser, Target, WriteClaim
from locus_operator.binding import retention_of
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError
from locus_operator.names import RoleNames, key_prefix
from locus_operator.provisioner import Action, Plan, Provisioner, Report, Request
from locus_operator.sources import admin_credentials, certificates

CONNECTION_TYPE: Final = "redis"

_TIMEOUT_SECONDS: Final = 10
_BATCH: Final = 500
# Replies of a server that cannot serve now, and may be able to in a moment.
_PASSING: Final = ("LOADING", "BUSY", "MISCONF", "NOREPLICAS", "OOM", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")


class RedisProvisioner(Provisioner[RedisBackend, Observed]):
    """Provisions one store on a standalone server, Redis 6.2 or newer, or Valkey."""

    def __init__(self, request: Request[RedisBackend]) -> None:
        super().__init__(request)
        backend, owner = request.backend, request.owner
        if backend.mode is not RedisMode.STANDALONE:
            raise RefusedError(
                ConditionReason.NOT_SUPPORTED,
                f"spec.backend.redis.mode: {backend.mode} comes with a later release; write mode: standalone with the "
                "address of the primary",
            )
        host, _, port = backend.addresses[0].rpartition(":")
        self._address = HostAddress(host=host.strip("[]"), port=int(port))
        self._layout = KeyLayout(backend.key_prefix or key_prefix(owner.namespace, owner.name))
        self._names = RoleNames.of(owner.namespace, owner.name).logins
        self._admin = admin_credentials(request, default_user="default")
        self._ca = certificates(request) if backend.tls else None
        self._target = Target(self._layout, self._names, owner, request.password, backend.database)
        self._client = self._make_client()
        self._volatile_users = False

    async def __aenter__(self) -> Self:
        """Connect."""
        with self._explaining("connect"):
            try:
                await self._client.ping()
            except exceptions.NoPermissionError:
                pass  # It is logged in; what is missing is listed later.
            except BaseException:
                await self._client.aclose()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._client.aclose()

    async def observe(self) -> Observed:
        """Read users, claim and neighbours."""
        with self._explaining("read users and claims"):
            observed = await observe(self._client, self._layout, self._names, self._admin.username or "default")
        self._volatile_users = observed.acl_file is False
        return observed

    def plan(self, observed: Observed) -> Plan:
        """Decide what is missing or different."""
        return redis_plan.plan(observed, self._target, adopt=self.request.adopt, admin_secret=self._admin.secret)

    def plan_release(self, observed: Observed) -> Plan:
        """Decide what the deletion does."""
        delete = self.request.spec.deletion_policy is DeletionPolicy.DELETE
        return redis_plan.plan_release(observed, self._target, delete=delete, admin_secret=self._admin.secret)

    async def apply(self, action: Action) -> None:
        """Run one action."""
        with self._explaining(f"{action.verb} {action.kind} {action.name}"):
            match action:
                case SetUser():
                    await self._send("ACL SETUSER", action.name, *action.rules)
                    await self._save_users()
                case DropUser():
                    await self._send("ACL DELUSER", action.name)
                    await self._save_users()
                case WriteClaim():
                    await self._write_claim(action)
                case DropKeys():
                    await self._drop_keys(action)
                case _:
                    raise TypeError(f"no action of this backend: {action}")

    def connection(self) -> RedisConnection:
        """Return the binding document of the first user."""
        backend, ttl = self.request.backend, self._ttl()
        return RedisConnection(
            store=f"{self.request.owner.namespace}/{self.request.owner.name}",
            tables="provisioned",
            retention=retention_of(self.request.spec),
            addresses=(self._address,),
            database=backend.database,
            username=self._names[0],
            password=SecretStr(self.request.password),
            key_prefix=self._layout.prefix,
            ttl_seconds=ttl.seconds if ttl else None,
            refresh_ttl_on_read=backend.ttl.refresh_on_read,
            tls=backend.tls,
            ca=self._ca,
        )

    def claims(self) -> dict[str, Any]:
        """Return prefix and users."""
        return {
            "database": str(self.request.backend.database),
            "keyPrefix": self._layout.prefix,
            "logins": self._names,
        }

    def report(self) -> Report:
        """Say how long threads live, and whether a restart loses the users."""
        note = (
            "The server has no aclfile: a restart loses the ACL users, and agents are rejected until the next sweep "
            "creates them again; set aclfile in its configuration"
        )
        return Report(note=note if self._volatile_users else "", retention=self._retention())

    def _retention(self) -> dict[str, str]:
        ttl, max_age = self._ttl(), self.request.spec.retention.max_age
        refreshed = self.request.backend.ttl.refresh_on_read
        # A thread that is read again and again never expires: that breaks the promise of maxAge.
        if ttl is None or (refreshed and max_age is not None):
            return {}
        again = ", and after each read anew" if refreshed else ""
        return {"maxAge": f"threads expire {ttl.seconds} seconds after their last write{again}"}

    def _ttl(self) -> Duration | None:
        return self.request.backend.ttl.on_write or self.request.spec.retention.max_age

    def _make_client(self) -> Redis:
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_data": self._ca} if self.request.backend.tls else {}
        return Redis(
            host=self._address.host,
            port=self._address.port,
            db=self.request.backend.database,
            username=self._admin.username,
            password=self._admin.password,
            client_name="locus-operator",
            decode_responses=True,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            # The controller decides when to try again.
            retry=Retry(NoBackoff(), 0),
            **tls,
        )

    async def _send(self, *command: str) -> Any:
        return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def _save_users(self) -> None:
        try:
            await self._send("ACL SAVE")
        except exceptions.ResponseError as error:
            # Without an aclfile, or without the right to save it, users last until the server restarts.
            if "ACL file" not in str(error) and not isinstance(error, exceptions.NoPermissionError):
                raise

    async def _write_claim(self, action: WriteClaim) -> None:
        key = self._layout.claim
        async with self._client.pipeline(transaction=True) as pipeline:
            await pipeline.watch(key)
            if await pipeline.get(key) != action.expected:
                raise exceptions.WatchError
            pipeline.multi()  # type: ignore[no-untyped-call]
            if action.value is None:
                pipeline.unlink(key)
            else:
                pipeline.set(key, action.value)
            await pipeline.execute()

    async def _drop_keys(self, action: DropKeys) -> None:
        for pattern in action.patterns:
            batch: list[str] = []
            async for key in self._client.scan_iter(match=pattern, count=_BATCH):
                batch.append(key)
                if len(batch) == _BATCH:
                    await self._client.unlink(*batch)
                    batch.clear()
            if batch:
                await self._client.unlink(*batch)

    @contextmanager
    def _explaining(self, purpose: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.RedisError, OSError) as error:
            raise self._explain(error, purpose) from error

    def _explain(self, error: Exception, purpose: str) -> ProvisioningError:
        admin = f"the administrator {self._admin.username!r} of Secret {self._admin.secret!r}"
        where, text = f"Redis at {self._address}", str(error) or type(error).__name__
        match error:
            case exceptions.AuthenticationError() | exceptions.AuthorizationError():
                reason = ConditionReason.AUTHENTICATION_FAILED
                message = f"{where}: the server rejects {admin}: {text}. Correct user name and password in the Secret"
            case exceptions.NoPermissionError():
                reason = ConditionReason.MISSING_PRIVILEGES
                message = f"{where}: cannot {purpose}: {admin} lacks a privilege: {text}"
            case exceptions.WatchError():
                reason = ConditionReason.CONFLICT
                message = f"{where}: cannot {purpose}: somebody else has just changed the claim"
            case _ if "CERTIFICATE" in text or "SSL" in text:
                reason = ConditionReason.BACKEND_REFUSED
                message = f"{where}: no trusted TLS connection: {text}. Correct tls and ca in spec.backend.redis"
            case exceptions.ConnectionError() | exceptions.TimeoutError() | OSError():
                return UnavailableError(f"{where}: {text}")
            case _ if text.startswith(_PASSING):
                return UnavailableError(f"{where}: cannot {purpose}: {text}")
            case _:
                reason = ConditionReason.BACKEND_REFUSED
                message = f"{where}: cannot {purpose}: {text}"
        return RefusedError(reason, message)


PROVISIONER: Final = RedisProvisioner
