"""Provisions PostgreSQL: one schema per store, an owner role, an application role, two logins."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, sql
from pydantic import SecretStr

from locus_memory.backends.postgresql_retention import enforce_retention
from locus_memory.connection import LongTermMemory, PostgreSQLConnection
from locus_operator.api.backends import PostgreSQLBackend, SSLMode
from locus_operator.api.store import DeletionPolicy
from locus_operator.backends import postgresql_plan
from locus_operator.backends.postgresql_actions import Statements, Target
from locus_operator.backends.postgresql_connect import Server, is_wrong_password, leave
from locus_operator.backends.postgresql_contents import look_into_tables
from locus_operator.backends.postgresql_observe import Extension, LoginState, Observed, observe
from locus_operator.backends.postgresql_tables import LONG_TERM_MEMORY, Tables
from locus_operator.binding import retention_of
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.names import RoleNames
from locus_operator.provisioner import RETENTION_SECONDS, Action, Plan, Provisioner, Report, Request
from locus_operator.sources import admin_credentials, certificates

CONNECTION_TYPE: Final = "postgresql"

_READ_CA: Final = (SSLMode.REQUIRE, SSLMode.VERIFY_CA, SSLMode.VERIFY_FULL)


class PostgreSQLProvisioner(Provisioner[PostgreSQLBackend, Observed]):
    """Provisions one store in a PostgreSQL database, 15 or newer; needs no superuser, CREATEROLE is enough."""

    def __init__(self, request: Request[PostgreSQLBackend]) -> None:
        super().__init__(request)
        backend = request.backend
        self._names = RoleNames.of(request.owner.namespace, request.owner.name)
        self._schema = backend.schema_name or self._names.base
        self._admin = admin_credentials(request)
        self._server = Server(backend, certificates(request) if backend.ssl_mode in _READ_CA else None)
        memory = request.spec.long_term_memory
        self._memory = memory if memory is not None and memory.enabled else None
        self._tables = Tables.of(self._schema, long_term_memory=self._memory is not None)
        self._vectors: Extension | None = None
        self._connection: AsyncConnection[Any] | None = None

    async def open(self, session: AsyncExitStack) -> None:
        """Borrow a connection, and wait for another operator that works at the same store."""
        lent = self._server.lend(self.request.connections, self._admin)
        self._connection = await session.enter_async_context(lent)
        with self._server.explaining("lock out other operators from this store"):
            # Giving the connection back ends the lock as well.
            lock = "SELECT pg_advisory_lock(hashtextextended('locus-operator ' || %s, 0))"
            await self._connection.execute(lock, (self._names.base,))

    async def observe(self) -> Observed:
        """Read the catalogs, and try the login with the binding's password."""
        with self._server.explaining("read the catalogs"):
            observed = await observe(self._open, self._names, self._schema, self._tables)
            observed = await look_into_tables(self._open, observed, self._names, self._schema, self._tables)
        self._vectors = observed.vectors
        role = observed.roles.get(self._names.logins[0])
        return replace(observed, login=await self._try_login()) if role is not None and role.login else observed

    def plan(self, observed: Observed) -> Plan:
        """Decide what is missing or different."""
        return postgresql_plan.plan(
            observed, self._target(observed), adopt=self.request.adopt, admin_secret=self._admin.secret
        )

    def plan_release(self, observed: Observed) -> Plan:
        """Decide what the deletion does."""
        delete = self.request.spec.deletion_policy is DeletionPolicy.DELETE
        return postgresql_plan.plan_release(observed, self._target(observed), delete=delete)

    async def apply(self, action: Action) -> None:
        """Run one action in one transaction and one round trip."""
        if not isinstance(action, Statements):
            raise TypeError(f"no action of this backend: {action}")
        with self._server.explaining(f"{action.verb} {action.kind} {action.name}", action.advice):
            async with self._open.pipeline():
                await self._open.execute("BEGIN")
                for statement in action.statements:
                    await self._open.execute(statement)
                if action.login is not None:
                    await self._set_password(action.login)
                await self._open.execute("COMMIT")
        if action.login is not None:
            await self._check_login(action.login)

    async def enforce_retention(self) -> int:
        """Delete as the owner role what is too old or too much."""
        policy = retention_of(self.request.spec)
        if policy is None:
            return 0
        with self._server.explaining("delete what retention no longer allows"):
            return await enforce_retention(
                self._open, self._schema, policy, role=self._names.owner, seconds=RETENTION_SECONDS
            )

    def connection(self) -> PostgreSQLConnection:
        """Return the binding document of the first login."""
        backend = self.request.backend
        return PostgreSQLConnection(
            store=self.request.owner.store,
            tables="provisioned",
            retention=retention_of(self.request.spec),
            host=backend.host.strip("[]"),
            port=backend.port,
            database=backend.database,
            username=self._names.logins[0],
            password=SecretStr(self.request.password),
            schema_name=self._schema,
            ssl_mode=backend.ssl_mode.value,
            ca=self._server.ca,
            pool_max_size=backend.pool_max_size,
            parameters={"sslrootcert": "system"} if self._server.uses_system_certificates else {},
            long_term_memory=LongTermMemory(embedding_dimension=self._memory.embedding_dimension)
            if self._memory is not None
            else None,
        )

    def claims(self) -> dict[str, Any]:
        """Return schema, roles and logins."""
        return {
            "database": self.request.backend.database,
            "schema": self._schema,
            "owner": self._names.owner,
            "roles": (self._names.owner, self._names.app),
            "logins": self._names.logins,
            "long_term_memory": LONG_TERM_MEMORY if self._memory is not None else None,
        }

    def report(self) -> Report:
        """Say how retention is enforced, and what pgvector would be good for."""
        sweep = "the operator's sweep deletes"
        retention = {
            "maxAge": f"{sweep} checkpoints that are older, by the clock of the database",
            "maxCheckpointsPerThread": f"{sweep} all but the newest of each thread",
        }
        slow = self._memory is not None and self._memory.embedding_dimension is not None and self._vectors is None
        note = (
            f"Database {self.request.backend.database!r} has no extension vector, so embeddings are compared in plain "
            "SQL, which is slower: let a superuser run CREATE EXTENSION vector; there, and agents use it"
        )
        return Report(note=note if slow else "", retention=retention)

    @property
    def _open(self) -> AsyncConnection[Any]:
        if self._connection is None:
            raise RuntimeError("use the provisioner as a context manager")
        return self._connection

    def _target(self, observed: Observed) -> Target:
        database, owner = self.request.backend.database, self.request.owner
        return Target.of(observed, self._names, self._schema, database, owner, self._tables)

    async def _set_password(self, login: str) -> None:
        verifier = self._open.pgconn.encrypt_password(self.request.password.encode(), login.encode(), b"scram-sha-256")
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(login), verifier.decode())
        await self._open.execute(statement)

    async def _try_login(self) -> LoginState:
        try:
            await self._log_in(self._names.logins[0])
        except psycopg.OperationalError as error:
            return "wrong password" if is_wrong_password(error) else "untried"
        return "accepted"

    async def _check_login(self, login: str) -> None:
        """Find out now, rather than in an agent, that pg_hba.conf keeps the login out."""
        try:
            await self._log_in(login)
        except psycopg.OperationalError as error:
            found = self._server.connect_error(error, login, "of the binding")
            if isinstance(found, RefusedError):
                raise RefusedError(
                    ConditionReason.BACKEND_REFUSED,
                    f"{self._server.address}: the server keeps the application's login {login!r} out: {error}. Add a "
                    "rule for it to pg_hba.conf",
                ) from error
            raise found from error

    async def _log_in(self, login: str) -> None:
        async with self.request.connections.beside(self._server.endpoint):
            await leave(await self._server.connect(login, self.request.password))


PROVISIONER: Final = PostgreSQLProvisioner
