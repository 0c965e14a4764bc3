"""Provisions Redis and Valkey: a key prefix with its claim, and two ACL users that reach nothing else.

One server, a primary below Sentinels, or a Cluster. Users are on each server by itself; a replica that does not answer
gets them when it is back, and until then a warning says so.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from pydantic import SecretStr
from redis import exceptions

from locus_memory.backends.redis_keys import KeyLayout, KeySpaces
from locus_memory.backends.redis_retention import RetentionPolicy
from locus_memory.connection import HostAddress, LongTermMemory, RedisConnection
from locus_operator.api.backends import RedisBackend, RedisMode
from locus_operator.api.duration import Duration
from locus_operator.api.store import DeletionPolicy
from locus_operator.backends import redis_plan
from locus_operator.backends.redis_errors import explained
from locus_operator.backends.redis_observe import Observed, observe
from locus_operator.backends.redis_plan import DropKeys, DropUser, SetUser, Target, WriteClaim
from locus_operator.backends.redis_retention import RetentionSweep
from locus_operator.backends.redis_servers import Access, Kind, Node, Servers
from locus_operator.binding import retention_of
from locus_operator.names import RoleNames, key_prefix
from locus_operator.provisioner import RETENTION_SECONDS, Action, Plan, Provisioner, Report, Request
from locus_operator.sources import admin_credentials, certificates

CONNECTION_TYPE: Final = "redis"

_BATCH: Final = 500
_SENTINEL_SECRET: Final = "sentinelSecretRef"  # noqa: S105 - the name of a field


class RedisProvisioner(Provisioner[RedisBackend, Observed]):
    """Provisions one store on Redis 6.2 or newer, or Valkey."""

    def __init__(self, request: Request[RedisBackend]) -> None:
        super().__init__(request)
        backend, owner = request.backend, request.owner
        self._layout = KeyLayout(backend.key_prefix or key_prefix(owner.namespace, owner.name))
        self._spaces = KeySpaces(self._layout.prefix, clustered=backend.mode is RedisMode.CLUSTER).all
        self._names = RoleNames.of(owner.namespace, owner.name).logins
        self._target = Target(self._layout, self._names, owner, request.password, backend.database)
        memory = request.spec.long_term_memory
        self._memory = memory if memory is not None and memory.enabled else None
        self._access = _access(request)
        self._servers = Servers(self._access, request.connections)
        self._volatile: tuple[Node, ...] = ()

    async def open(self, session: AsyncExitStack) -> None:
        """Connect to all servers."""
        await self._servers.open(session)

    async def observe(self) -> Observed:
        """Read users, claim and neighbours."""
        observed = await observe(self._servers, self._layout, self._spaces, self._names)
        self._volatile = tuple(state.node for state in observed.nodes if state.durable is False)
        return observed

    def plan(self, observed: Observed) -> Plan:
        """Decide what is missing or different."""
        return redis_plan.plan(observed, self._target, adopt=self.request.adopt)

    def plan_release(self, observed: Observed) -> Plan:
        """Decide what the deletion does."""
        delete = self.request.spec.deletion_policy is DeletionPolicy.DELETE
        return redis_plan.plan_release(observed, self._target, delete=delete)

    async def apply(self, action: Action) -> None:
        """Run one action."""
        purpose = f"{action.verb} {action.kind} {action.name}"
        match action:
            case SetUser():
                await self._change_users(action.node, purpose, "ACL SETUSER", action.user, *action.rules)
            case DropUser():
                await self._change_users(action.node, purpose, "ACL DELUSER", action.user)
            case WriteClaim():
                await self._servers.confirm()
                await self._write_claim(action, purpose)
                await self._servers.confirm()
            case DropKeys():
                await self._servers.confirm()
                for node in self._servers.primaries:
                    await self._drop_keys(node, action, purpose)
                await self._servers.confirm()
            case _:
                raise TypeError(f"no action of this backend: {action}")

    async def enforce_retention(self) -> int:
        """Delete checkpoints that are too old or too many, and let threads expire that would not."""
        policy = self._policy()
        if not policy:
            return 0
        return await RetentionSweep(self._servers, self._layout, self._spaces, policy, RETENTION_SECONDS).run()

    def connection(self) -> RedisConnection:
        """Return the binding document of the first user."""
        access, ttl = self._access, self._ttl()
        return RedisConnection(
            store=self.request.owner.store,
            tables="provisioned",
            retention=retention_of(self.request.spec),
            mode=access.mode.value,
            addresses=access.addresses,
            master_name=access.master_name,
            database=access.database,
            username=self._names[0],
            password=SecretStr(self.request.password),
            key_prefix=self._layout.prefix,
            ttl_seconds=ttl.seconds if ttl else None,
            refresh_ttl_on_read=self.request.backend.ttl.refresh_on_read,
            tls=access.tls,
            ca=access.ca,
            long_term_memory=LongTermMemory(embedding_dimension=self._memory.embedding_dimension)
            if self._memory
            else None,
        )

    def claims(self) -> dict[str, Any]:
        """Return prefix and users."""
        return {
            "database": str(self.request.backend.database),
            "keyPrefix": self._layout.prefix,
            "logins": self._names,
            "long_term_memory": self._memory_keys() if self._memory else None,
        }

    def _memory_keys(self) -> str:
        bucket = "t:{*}:" if len(self._spaces) > 1 else ""
        return f"{self._layout.prefix}{bucket}i:s:*"

    def report(self) -> Report:
        """Say how long threads live, and where agents may be rejected one day."""
        notes = []
        if self._volatile:
            where = "" if self._volatile[0].kind is Kind.ONLY else f" ({', '.join(map(str, self._volatile))})"
            notes.append(
                f"The server has no aclfile{where}: a restart loses the ACL users, and agents are rejected until the "
                "next sweep creates them again; set aclfile in its configuration"
            )
        if self._outlives():
            notes.append(
                "spec.backend.redis.ttl.refreshOnRead: a thread that is read again and again never goes, which "
                "retention.maxAge does not allow; remove one of them"
            )
        warnings = tuple(
            f"The {node} has no ACL users yet, because it does not answer: {why}. The first sweep after its return "
            "creates them; should it take over before that, it rejects agents"
            for node, why in self._servers.away.items()
        )
        return Report(note=". ".join(notes), warnings=warnings, retention=self._retention())

    def _retention(self) -> dict[str, str]:
        ttl, retention = self._ttl(), self.request.spec.retention
        rules = {}
        if ttl is not None and not self._outlives():
            again = ", and after each read anew" if self.request.backend.ttl.refresh_on_read else ""
            rules["maxAge"] = f"threads expire {ttl.seconds} seconds after their last write{again}"
        if retention.max_age is not None and not self._outlives():
            rules["maxAge"] += ", and each sweep deletes older checkpoints of threads that go on"
        if (count := retention.max_checkpoints_per_thread) is not None:
            rules["maxCheckpointsPerThread"] = f"each sweep leaves the latest {count} checkpoints of each thread"
        return rules

    def _policy(self) -> RetentionPolicy:
        ttl, retention = self._ttl(), self.request.spec.retention
        max_age = None if self._outlives() else retention.max_age
        return RetentionPolicy(
            max_age_milliseconds=max_age.seconds * 1000 if max_age else 0,
            max_checkpoints=retention.max_checkpoints_per_thread or 0,
            ttl_milliseconds=ttl.seconds * 1000 if ttl else 0,
            reads_count=self.request.backend.ttl.refresh_on_read,
        )

    def _ttl(self) -> Duration | None:
        return self.request.backend.ttl.on_write or self.request.spec.retention.max_age

    def _outlives(self) -> bool:
        # A thread that is read again and again never expires: that breaks the promise of maxAge.
        return self.request.backend.ttl.refresh_on_read and self.request.spec.retention.max_age is not None

    async def _change_users(self, node: Node, purpose: str, *command: str) -> None:
        client, place = self._servers.client(node), self._servers.place(node)
        with explained(place, purpose):
            await client.execute_command(*command)  # type: ignore[no-untyped-call]
            try:
                await client.execute_command("ACL SAVE")  # type: ignore[no-untyped-call]
            except exceptions.ResponseError as error:
                # Without an aclfile users last until the server restarts.
                if "ACL file" not in str(error) and not isinstance(error, exceptions.NoPermissionError):
                    raise
                await self._rewrite_configuration(node)

    async def _rewrite_configuration(self, node: Node) -> None:
        """Write users into the configuration file, where others do so, too: what was dropped would come back."""
        client = self._servers.client(node)
        if node.kind is Kind.SENTINEL:
            await client.execute_command("SENTINEL", "FLUSHCONFIG")  # type: ignore[no-untyped-call]
        elif self._access.mode is RedisMode.SENTINEL:
            # Sentinels make a server write its configuration at each failover, with the users of that moment.
            with suppress(exceptions.ResponseError):
                await client.execute_command("CONFIG REWRITE")  # type: ignore[no-untyped-call]

    async def _write_claim(self, action: WriteClaim, purpose: str) -> None:
        key = self._layout.claim
        node = self._servers.owner(key)
        with explained(self._servers.place(node), purpose):
            async with self._servers.client(node).pipeline(transaction=True) as pipeline:
                await pipeline.watch(key)
                if await pipeline.get(key) != action.expected:
                    raise exceptions.WatchError
                pipeline.multi()  # type: ignore[no-untyped-call]
                if action.value is None:
                    pipeline.unlink(key)
                else:
                    pipeline.set(key, action.value)
                await pipeline.execute()

    async def _drop_keys(self, node: Node, action: DropKeys, purpose: str) -> None:
        client = self._servers.client(node)
        with explained(self._servers.place(node), purpose):
            for pattern in action.patterns:
                cursor, begun = 0, False
                while cursor or not begun:
                    cursor, keys = await client.scan(cursor, match=pattern, count=_BATCH)
                    begun = True
                    # One by one: in a Cluster they are in several slots.
                    async with client.pipeline(transaction=False) as pipeline:
                        for key in keys:
                            pipeline.unlink(key)
                        await pipeline.execute()


def _access(request: Request[RedisBackend]) -> Access:
    backend, sentinel = request.backend, None
    if backend.sentinel_secret_ref is not None:
        sentinel = admin_credentials(request, default_user="default", field_name=_SENTINEL_SECRET)
    return Access(
        mode=backend.mode,
        addresses=tuple(map(_address, backend.addresses)),
        master_name=backend.master_name,
        database=backend.database,
        admin=admin_credentials(request, default_user="default"),
        sentinel_admin=sentinel,
        tls=backend.tls,
        ca=certificates(request) if backend.tls else None,
    )


def _address(text: str) -> HostAddress:
    host, _, port = text.rpartition(":")
    return HostAddress(host=host.strip("[]"), port=int(port))


PROVISIONER: Final = RedisProvisioner
