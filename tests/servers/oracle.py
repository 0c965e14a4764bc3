"""A database that the Oracle backend is tested on: the emulator, or a real one that the environment names.

`LOCUS_TEST_ORACLE_DSN` names a real one: `user/password@host:port/service`, or a connect string or alias alone with
`LOCUS_TEST_ORACLE_USER`, `LOCUS_TEST_ORACLE_PASSWORD`, `LOCUS_TEST_ORACLE_WALLET_LOCATION` and
`LOCUS_TEST_ORACLE_WALLET_PASSWORD`. Its login needs CREATE SESSION, CREATE TABLE, CREATE SEQUENCE and quota.
`LOCUS_TEST_ORACLE_ADMIN`, `user/password`, is who provisions there in the operator's tests.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

import oracledb
from psycopg import sql

from locus_memory.backends.oracle_schema import DatabaseObject, ddl
from locus_memory.store_backends import oracle_schema as items
from locus_memory.store_backends.oracle import ITEMS_SUFFIX
from tests.emulators import oracle as emulator
from tests.emulators.oracle_dictionary import DBA, SCRIPT
from tests.emulators.oracle_switch import VARIABLE
from tests.servers.postgresql import Database, PostgreSQLServer

REAL_DSN = "LOCUS_TEST_ORACLE_DSN"


@dataclass(frozen=True)
class OracleStore:
    """A login, and a table name that nobody else uses.

    Attributes:
        dsn: Connect string, without login.
        user: The login.
        password: Its password.
        table_name: Of the table of checkpoints.
        further: Other arguments of `oracle_checkpointer`, such as a wallet.
    """

    dsn: str
    user: str
    password: str = field(repr=False)
    table_name: str
    further: dict[str, str] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `oracle_checkpointer`."""
        own = {name: getattr(self, name) for name in ("dsn", "user", "password", "table_name")}
        return own | self.further

    def url(self, **parameters: str) -> str:
        """The same as a connection URL."""
        query = urlencode({"table_name": self.table_name} | self.further | parameters, quote_via=quote)
        return f"oracle://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{self.dsn}?{query}"


class EmulatedOracle:
    """A database of PostgreSQL behind the emulator. A user has a schema of its own, as in Oracle.

    Args:
        server: Where the database is created.
        durable: What was committed survives a crash of the server.
    """

    emulated = True

    def __init__(self, server: PostgreSQLServer, *, durable: bool = False) -> None:
        self.database: Database = server.create_database(f"oracle_{secrets.token_hex(6)}")
        if not durable:
            name = sql.Identifier(self.database.name)
            self.database.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        name = sql.Identifier(self.database.name)
        self.database.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))
        self.database.execute(sql.SQL("CREATE EXTENSION vector"))
        self.database.execute(sql.SQL(SCRIPT))
        self._user, self._password = self.create_user()

    def create_user(self, name: str | None = None) -> tuple[str, str]:
        """Create a login that owns a schema of its name, by default a new one; return name and password."""
        name, password = name or f"user_{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        self.database.server.create_role(name, password, "LOGIN")
        schema = sql.Identifier(name.upper())
        self.database.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, sql.Identifier(name)))
        self.database.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(schema))
        self._enter(name, ("CREATE SESSION", "CREATE TABLE", "CREATE SEQUENCE"))
        return name, password

    def create_admin(self, privileges: Iterable[str] = DBA, *, passes_session_on: bool = False) -> tuple[str, str]:
        """Create a login with system privileges, by default those of a DBA; return name and password."""
        name, password = f"admin_{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        self.database.server.create_role(name, password, "LOGIN SUPERUSER")
        self.database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name.upper())))
        self._enter(name, privileges)
        if passes_session_on:
            update = 'UPDATE "SYS"."SYSAUTH$" SET admin_option = true WHERE grantee = {} AND privilege = {}'
            self.database.execute(sql.SQL(update).format(sql.Literal(name.upper()), sql.Literal("CREATE SESSION")))
        return name, password

    def drop_user(self, name: str) -> None:
        """Drop a login with all that it owns."""
        role, schema, user = sql.Identifier(name), sql.Identifier(name.upper()), sql.Literal(name.upper())
        statements = [
            sql.SQL("DROP SCHEMA {} CASCADE").format(schema),
            sql.SQL("DROP OWNED BY {}").format(role),
            sql.SQL("DROP ROLE {}").format(role),
            sql.SQL('DELETE FROM "SYS"."SYSAUTH$" WHERE grantee = {}').format(user),
            sql.SQL('DELETE FROM "SYS"."USER$" WHERE username = {}').format(user),
        ]
        self.database.execute(sql.SQL("; ").join(statements))

    def _enter(self, name: str, privileges: Iterable[str]) -> None:
        database, user = sql.Identifier(self.database.name), sql.Literal(name.upper())
        statements = [
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(name)),
            sql.SQL('INSERT INTO "SYS"."USER$" (username, authentication) VALUES ({}, \'PASSWORD\')').format(user),
            *(
                sql.SQL('INSERT INTO "SYS"."SYSAUTH$" VALUES ({}, {})').format(user, sql.Literal(each))
                for each in privileges
            ),
        ]
        self.database.execute(sql.SQL("; ").join(statements))

    def grant(self, owner: str, table_name: str, login: str) -> None:
        """Grant a login what `ddl` says that it needs on a store of another owner."""
        to = sql.Identifier(login)
        for item in ddl(table_name, owner):
            # What Oracle calls SELECT on a sequence is USAGE here.
            privileges = ("USAGE",) if item.kind == "sequence" else item.privileges
            if privileges:
                what, name = sql.SQL(item.kind.upper()), sql.Identifier(owner.upper(), item.name)
                granted = sql.SQL(", ".join(privileges))
                self.database.execute(sql.SQL("GRANT {} ON {} {} TO {}").format(granted, what, name, to))

    def lock(self, login: str) -> None:
        """Lock an account, and throw out its sessions."""
        self.database.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(login)))
        ask = sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}")
        self.database.execute(ask.format(sql.Literal(login)))

    def unlock(self, login: str) -> None:
        """Undo `lock`."""
        self.database.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(login)))

    def expire(self, login: str) -> None:
        """Let a password expire."""
        self._set("USER$", "expired = true", "username", login.upper())

    def make_oracles_own(self, user: str) -> None:
        """Make a user one that came with the database."""
        self._set("USER$", "maintained = true", "username", user.upper())

    def remember_passwords(self, count: int) -> None:
        """Have the profile refuse the last passwords of a user; 0 to forget them."""
        self._set("PROPS$", f"value = '{count}'", "name", "PASSWORD_REUSE_MAX")

    def _set(self, table: str, assignment: str, column: str, key: str) -> None:
        update = sql.SQL('UPDATE "SYS".{} SET {} WHERE {} = {}')
        names = sql.Identifier(table), sql.SQL(assignment), sql.Identifier(column), sql.Literal(key)
        self.database.execute(update.format(*names))

    @contextmanager
    def store(self) -> Iterator[OracleStore]:
        """Lend an empty store."""
        store = self.new_store()
        yield store
        self.drop(store)

    @property
    def dsn(self) -> str:
        """Easy Connect string."""
        return f"{self.database.server.host}:{self.database.server.port}/{self.database.name}"

    def new_store(self) -> OracleStore:
        """Return an empty store, which goes with the database."""
        return OracleStore(self.dsn, self._user, self._password, f"t_{secrets.token_hex(6)}")

    def drop(self, store: OracleStore) -> None:
        """Drop what a store has created."""
        objects = [
            sql.SQL("DROP {} IF EXISTS {} CASCADE").format(
                sql.SQL(item.kind.upper()), sql.Identifier(store.user.upper(), item.name)
            )
            for item in _objects(store.table_name)
            if item.kind != "index"
        ]
        self.database.execute(sql.SQL("; ").join(objects))

    def close(self) -> None:
        """Drop everything but the logins, which have nothing left to log in to."""
        self.database.drop()


class RealOracle:
    """The database that the environment names."""

    emulated = False

    def __init__(self) -> None:
        variables = {name: os.environ.get(f"LOCUS_TEST_ORACLE_{name.upper()}", "") for name in _FIELDS}
        login, _, address = os.environ[REAL_DSN].rpartition("@")
        user, _, password = login.partition("/")
        self._store = OracleStore(address, user or variables["user"], password or variables["password"], "")
        further = {name: variables[name] for name in _FIELDS[2:] if variables[name]}
        self._store = replace(self._store, further=further)

    @contextmanager
    def store(self) -> Iterator[OracleStore]:
        """Lend an empty store."""
        store = replace(self._store, table_name=f"t_{secrets.token_hex(6)}")
        yield store
        with self._connect() as connection, connection.cursor() as cursor:
            for item in _objects(store.table_name):
                if item.kind != "index":
                    purge = " CASCADE CONSTRAINTS PURGE" if item.kind == "table" else ""
                    _drop(cursor, f'DROP {item.kind.upper()} "{item.name}"{purge}')

    @property
    def dsn(self) -> str:
        """Connect string, without login."""
        return self._store.dsn

    @property
    def admin(self) -> tuple[str, str] | None:
        """Name and password of an administrator, if the environment names one."""
        user, _, password = os.environ.get("LOCUS_TEST_ORACLE_ADMIN", "").partition("/")
        return (user, password) if user else None

    def drop_users(self) -> None:
        """Drop all users of the stores that tests have left."""
        assert self.admin is not None
        user, password = self.admin
        with oracledb.connect(dsn=self.dsn, user=user, password=password) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT u.username FROM dba_users u WHERE REGEXP_LIKE(u.username, '^LOCUS_AGENTS_S[0-9A-F]{8}')"
            )
            for (name,) in cursor.fetchall():
                cursor.execute(f'DROP USER "{name}" CASCADE')

    @property
    def version(self) -> str:
        """What the server says."""
        with self._connect() as connection:
            return str(connection.version)

    def _connect(self) -> oracledb.Connection:
        arguments = {name: value for name, value in self._store.arguments().items() if name != "table_name"}
        if wallet := arguments.get("wallet_location"):
            arguments["config_dir"] = wallet
        return oracledb.connect(**arguments)

    def close(self) -> None:
        """Each store has cleaned up."""


_FIELDS = ("user", "password", "wallet_location", "wallet_password")


def _objects(table_name: str) -> list[DatabaseObject]:
    """Everything that tests create, in the order to drop it: checkpoints, and the items of a cross-thread store."""
    found = [*ddl(table_name), *items.ddl(f"{table_name}{ITEMS_SUFFIX}", dimension=1)]
    return found[::-1]


def _drop(cursor: oracledb.Cursor, statement: str) -> None:
    try:
        cursor.execute(statement)
    except oracledb.DatabaseError as error:
        if error.args[0].full_code not in ("ORA-00942", "ORA-02289"):
            raise


@contextmanager
def installed(oracle: EmulatedOracle | RealOracle) -> Iterator[None]:
    """Have this process, and those that it starts, use the emulator where there is no real database."""
    if not oracle.emulated:
        yield
        return
    emulator.install()
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        emulator.uninstall()
