"""Provisions Oracle Database: an owner schema without login, and two users who may read and write its rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, ClassVar, Final

import oracledb
from pydantic import SecretStr

from locus_memory.backends.oracle_errors import code_of, is_missing_privilege, is_rejected_login, text_of
from locus_memory.backends.oracle_schema import Names
from locus_memory.connection import LongTermMemory, OracleConnection
from locus_operator.api.backends import OracleBackend
from locus_operator.api.store import DeletionPolicy
from locus_operator.backends import oracle_actions as actions
from locus_operator.backends import oracle_plan, oracle_retention
from locus_operator.backends.oracle_actions import DropUser, EnableLogin, Statements, Target
from locus_operator.backends.oracle_connect import WORK_SECONDS, Administrator, Database, Wallet
from locus_operator.backends.oracle_names import Layout
from locus_operator.backends.oracle_observe import LoginState, Observed, observe
from locus_operator.binding import PasswordPolicy, retention_of
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.names import RoleNames
from locus_operator.provisioner import RETENTION_SECONDS, Action, Plan, Provisioner, Report, Request
from locus_operator.sources import admin_credentials

CONNECTION_TYPE: Final = "oracle"

_WALLET: Final = "walletSecretRef"
_WALLET_DIRECTORY: Final = "."
"""In a binding: the directory of the binding itself, where its further entries are the wallet's files."""

_REUSED: Final = "ORA-28007"
_CONNECTED: Final = "ORA-01940"
_NO_USER: Final = "ORA-01918"
_NO_SESSION: Final = ("ORA-00030", "ORA-00031")
_SESSIONS_END_SECONDS: Final = 8.0
_LOOK_AGAIN_SECONDS: Final = 0.1


class OracleProvisioner(Provisioner[OracleBackend, Observed]):
    """Provisions one store in an Oracle Database, 19c or newer, Autonomous Database included."""

    passwords: ClassVar[PasswordPolicy] = PasswordPolicy(length=30, of_each_kind=2)

    def __init__(self, request: Request[OracleBackend]) -> None:
        super().__init__(request)
        backend, spec = request.backend, request.spec
        names = RoleNames.of(request.owner.namespace, request.owner.name)
        memory = spec.long_term_memory if spec.long_term_memory and spec.long_term_memory.enabled else None
        self._layout = Layout(
            base=names,
            owner=(backend.owner or names.base).upper(),
            table_name=backend.table_name,
            memory=memory is not None,
            dimension=memory.embedding_dimension if memory else None,
        )
        wallet = backend.wallet_secret_ref
        self._wallet = Wallet.of(request.secrets[_WALLET], wallet.name) if wallet else None
        self._database = Database(backend.dsn, self._wallet, admin_credentials(request))
        self._password = request.password
        self._admin: Administrator | None = None

    async def open(self, session: AsyncExitStack) -> None:
        """Borrow an administrator's connection."""
        lent = self.request.connections.lend(self._database.endpoint, self._database.key, self._database.opener())
        self._admin = Administrator(await session.enter_async_context(lent), self._database)

    async def observe(self) -> Observed:
        """Read the data dictionary, and try the login with the binding's password."""
        observed = await observe(self._open, self._layout)
        user = observed.users.get(self._layout.logins[0])
        tries = user is not None and user.authentication == "PASSWORD" and not user.locked
        if user is None or not tries or not oracle_plan.is_own(observed, self._target(observed), user):
            # To try the login of somebody else could lock it.
            return observed
        return replace(observed, login=await self._try_login())

    def plan(self, observed: Observed) -> Plan:
        """Decide what is missing or different."""
        retention = self.request.spec.retention
        return oracle_plan.plan(
            observed,
            self._target(observed),
            adopt=self.request.adopt,
            admin=self._admin_name,
            secret=self._database.admin.secret,
            retention=retention.max_age is not None or retention.max_checkpoints_per_thread is not None,
        )

    def plan_release(self, observed: Observed) -> Plan:
        """Decide what the deletion does."""
        delete = self.request.spec.deletion_policy is DeletionPolicy.DELETE
        return oracle_plan.plan_release(
            observed,
            self._target(observed),
            delete=delete,
            admin=self._admin_name,
            secret=self._database.admin.secret,
        )

    async def apply(self, action: Action) -> None:
        """Run one action."""
        purpose = f"{action.verb} {action.kind} {action.name}"
        match action:
            case Statements():
                for statement in action.statements:
                    await self._open.run(purpose, statement, seconds=WORK_SECONDS)
            case EnableLogin():
                await self._enable_login(action, purpose)
            case DropUser():
                await self._drop_user(action.name, purpose)
            case _:
                raise TypeError(f"no action of this backend: {action}")

    def connection(self) -> OracleConnection:
        """Return the binding document of the first login."""
        layout, wallet = self._layout, self._wallet
        return OracleConnection(
            store=self.request.owner.store,
            tables="provisioned",
            retention=retention_of(self.request.spec),
            long_term_memory=LongTermMemory(embedding_dimension=layout.dimension) if layout.memory else None,
            dsn=self.request.backend.dsn,
            username=layout.base.logins[0],
            password=SecretStr(self._password),
            owner=layout.owner,
            table_name=layout.table_name,
            wallet_location=_WALLET_DIRECTORY if wallet else None,
            wallet_password=SecretStr(wallet.password) if wallet and wallet.password else None,
        )

    def claims(self) -> dict[str, Any]:
        """Return owner and logins."""
        return {"owner": self._layout.owner, "logins": self._layout.base.logins}

    def files(self) -> Mapping[str, str]:
        """Return the wallet's files."""
        return self._wallet.files if self._wallet else {}

    def report(self) -> Report:
        """Say how retention is enforced."""
        rules, how = self.request.spec.retention, {}
        if rules.max_age is not None:
            how["maxAge"] = "the operator's sweep deletes older checkpoints"
        if rules.max_checkpoints_per_thread is not None:
            how["maxCheckpointsPerThread"] = (
                "the operator's sweep deletes all but the newest of each thread and namespace"
            )
        return Report(retention=how)

    async def enforce_retention(self) -> int:
        """Delete old and surplus checkpoints, with all that belongs to them."""
        names = Names(self._layout.table_name, self._layout.owner)
        return await oracle_retention.enforce(self._open, names, self.request.spec.retention, seconds=RETENTION_SECONDS)

    @property
    def _open(self) -> Administrator:
        if self._admin is None:
            raise RuntimeError("use the provisioner as a context manager")
        return self._admin

    @property
    def _admin_name(self) -> str:
        return self._database.admin.username or ""

    def _target(self, observed: Observed) -> Target:
        owner, wanted = observed.users.get(self._layout.owner), self.request.backend.tablespace
        found = owner.tablespace if owner else observed.default_tablespace
        tablespace = wanted.upper() if wanted else found
        return Target(self._layout, self.request.owner, tablespace, self.request.backend.quota)

    # --- logins ---

    async def _enable_login(self, action: EnableLogin, purpose: str) -> None:
        if action.keeps_password:
            # It may be right still, and profiles forbid to set the same one again.
            await self._open.run(purpose, actions.unlock(action.name))
            if await self._try_login() == "accepted":
                return
        with self._open.explaining(purpose):
            await self._set_password(action.name)
        await self._check_login()

    async def _set_password(self, login: str) -> None:
        try:
            await self._open.execute(actions.set_password(login, self._password))
        except oracledb.DatabaseError as error:
            if code_of(error) != _REUSED:
                raise
            # The profile remembers passwords: the binding gets a new one.
            self._password = self.passwords.generate()
            await self._open.execute(actions.set_password(login, self._password))

    async def _try_login(self) -> LoginState:
        try:
            await self._log_in()
        except (oracledb.Error, OSError, TimeoutError) as error:
            return "wrong password" if is_rejected_login(error) else "untried"
        return "accepted"

    async def _check_login(self) -> None:
        """Find out now, rather than in an agent, that something keeps the login out."""
        try:
            await self._log_in()
        except (oracledb.Error, OSError, TimeoutError) as error:
            if is_rejected_login(error):
                raise RefusedError(
                    ConditionReason.BACKEND_REFUSED,
                    f"{self._database.address}: the database keeps the application's login "
                    f"{self._layout.base.logins[0]!r} out: {text_of(error)}. Look for a logon trigger or a profile",
                ) from error
            raise self._database.explain(error, "log in as the application does") from error

    async def _log_in(self) -> None:
        async with self.request.connections.beside(self._database.endpoint):
            session = await self._database.connect(self._layout.base.logins[0], self._password)
            await session.log_off()

    # --- deletion ---

    async def _drop_user(self, user: str, purpose: str) -> None:
        """Drop a user whose account is locked; its sessions are ended, which takes the database a moment."""
        end = time.monotonic() + _SESSIONS_END_SECONDS
        with self._open.explaining(purpose):
            while True:
                sessions = await self._end_sessions(user)
                try:
                    await self._open.execute(actions.drop(user), seconds=WORK_SECONDS)
                except oracledb.DatabaseError as error:
                    if code_of(error) == _NO_USER:
                        return
                    if code_of(error) != _CONNECTED:
                        raise
                else:
                    return
                if time.monotonic() > end:
                    raise UnavailableError(
                        f"{self._database.address}: cannot {purpose}: {sessions} sessions of it do not end"
                    )
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _end_sessions(self, user: str) -> int:
        found = await self._open.query(actions.SESSIONS, user_name=user)
        for sid, serial, instance in found:
            try:
                await self._open.execute(actions.end_session(sid, serial, instance))
            except oracledb.DatabaseError as error:
                if is_missing_privilege(error):
                    raise RefusedError(
                        ConditionReason.MISSING_PRIVILEGES,
                        f"{self._database.address}: {len(found)} sessions of user {user} are open, and the "
                        f"administrator {self._admin_name!r} lacks ALTER SYSTEM to end them (GRANT ALTER SYSTEM TO "
                        f"{self._admin_name}): grant it, or stop the agents",
                    ) from error
                if code_of(error) not in _NO_SESSION:
                    raise
        return len(found)


PROVISIONER: Final = OracleProvisioner
