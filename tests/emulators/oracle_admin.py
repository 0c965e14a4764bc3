"""What administrators do on the emulator: users, privileges, quotas and sessions, as statements of PostgreSQL.

The statements are read by a grammar of their own, which takes what the operator writes and nothing else.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import oracledb
from psycopg import sql

from tests.emulators.oracle_dictionary import RESTRICTED
from tests.emulators.oracle_errors import oracle_error
from tests.emulators.oracle_sql import Translation

if TYPE_CHECKING:
    from tests.emulators.oracle import EmulatedConnection

_NAME: Final = r'"([A-Z][A-Z0-9_$#]*)"'
_TO: Final = rf"(?:{_NAME}|(PUBLIC))"
_QUOTA: Final = rf"QUOTA (UNLIMITED|[0-9]+[KMGT]?) ON {_NAME}"
_OPTION: Final = rf'NO AUTHENTICATION|IDENTIFIED BY "[^"]+"|ACCOUNT (?:UN)?LOCK|DEFAULT TABLESPACE {_NAME}|{_QUOTA}'
_GRAMMAR: Final = {
    "create_user": re.compile(rf"CREATE USER {_NAME}((?: (?:{_OPTION}))+)"),
    "alter_user": re.compile(rf"ALTER USER {_NAME}((?: (?:{_OPTION}))+)"),
    "drop_user": re.compile(rf"DROP USER {_NAME} CASCADE"),
    "grant_object": re.compile(rf"GRANT ([A-Z, ]+) ON {_NAME}\.{_NAME} TO {_TO}( WITH GRANT OPTION)?"),
    "revoke_object": re.compile(rf"REVOKE ([A-Z, ]+) ON {_NAME}\.{_NAME} FROM {_TO}"),
    "grant_role": re.compile(rf"GRANT {_NAME} TO {_NAME}"),
    "revoke_role": re.compile(rf"REVOKE {_NAME} FROM {_NAME}"),
    "grant_system": re.compile(rf"GRANT ([A-Z ]+) TO {_NAME}( WITH ADMIN OPTION)?"),
    "revoke_system": re.compile(rf"REVOKE ([A-Z ]+) FROM {_NAME}"),
    "end_session": re.compile(r"ALTER SYSTEM KILL SESSION '([0-9]+),([0-9]+),@1' IMMEDIATE"),
}
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@functools.cache
def is_administrative(statement: str) -> bool:
    """Tell whether a statement is one of this grammar."""
    return _parsed(statement) is not None


def _parsed(statement: str) -> tuple[str, tuple[Any, ...]] | None:
    matches = ((kind, pattern.fullmatch(statement)) for kind, pattern in _GRAMMAR.items())
    return next(((kind, match.groups()) for kind, match in matches if match), None)


async def run(connection: EmulatedConnection, statement: str) -> None:
    """Run an administrator's statement.

    Raises:
        oracledb.DatabaseError: With Oracle's number.
    """
    found = _parsed(statement)
    assert found is not None
    kind, parts = found
    async with _transaction(connection):
        await getattr(Administration(connection), kind)(*parts)


async def verify(connection: EmulatedConnection, statement: Translation) -> None:
    """Check that an administrator has the system privileges for what is not its own."""
    needed = {
        (verb, f"{verb} ANY TABLE") for verb, schema, _ in statement.touches if schema not in (None, connection.me)
    }
    if any(name.startswith(tuple(RESTRICTED)) for _, _, name in statement.touches):
        needed.add(("SELECT", "SELECT ANY DICTIONARY"))
    if statement.creates is not None and statement.creates.schema not in (None, connection.me):
        needed.add(("CREATE", statement.creates.privilege))
    if needed:
        held = await Administration(connection).privileges()
        for verb, privilege in sorted(needed):
            if privilege not in held:
                raise oracle_error(1031 if verb == "CREATE" else 942, privilege)


async def create(connection: EmulatedConnection, statement: Translation) -> None:
    """Run DDL; what is created in somebody's schema is theirs."""
    made = statement.creates
    assert made is not None
    async with _transaction(connection):
        if made.kind == "TABLE" and not made.drops:
            await Administration(connection).verify_quota(made.schema or connection.me)
        await connection.run(statement.text, {}, creates=True)
        if made.schema is not None and made.kind in ("TABLE", "SEQUENCE", "VIEW") and not made.drops:
            text = sql.SQL("ALTER {} {} OWNER TO {}").format(
                sql.SQL(made.kind), sql.Identifier(made.schema, made.name), sql.Identifier(made.schema.lower())
            )
            await connection.run(text.as_string(), {}, creates=True)


@asynccontextmanager
async def _transaction(connection: EmulatedConnection) -> AsyncIterator[None]:
    await connection.run("BEGIN", {})
    try:
        yield
    except oracledb.Error:
        if connection.is_healthy():
            await connection.run("ROLLBACK", {})
        raise
    await connection.run("COMMIT", {})


class Administration:
    """Statements of an administrator, one method for each rule of the grammar."""

    def __init__(self, connection: EmulatedConnection) -> None:
        self._connection = connection

    async def privileges(self) -> set[str]:
        """System privileges of the session."""
        rows = await self._rows('SELECT "PRIVILEGE" FROM "SYS"."SESSION_PRIVS"')
        return {row[0] for row in rows}

    async def verify_quota(self, username: str) -> None:
        """Refuse a table of somebody who has no space."""
        found = await self._rows(
            'SELECT 1 FROM "SYS"."TSQ$" WHERE username = %(u)s AND max_bytes <> 0 UNION ALL '
            'SELECT 1 FROM "SYS"."SYSAUTH$" WHERE grantee = %(u)s AND privilege = \'UNLIMITED TABLESPACE\'',
            u=username,
        )
        if not found:
            raise oracle_error(1950)

    async def create_user(self, name: str, options: str, *_: str) -> None:
        await self._need("CREATE USER")
        if await self._exists(name):
            raise oracle_error(1920, name)
        await self._do("CREATE ROLE {} NOLOGIN", name.lower())
        # Where a table is says nothing of who may read it: the schema is open, its tables are not.
        await self._do("CREATE SCHEMA {}", name)
        await self._do("GRANT USAGE ON SCHEMA {} TO PUBLIC", name)
        await self._rows(
            'INSERT INTO "SYS"."USER$" (username, tablespace) SELECT %(u)s, value FROM "SYS"."PROPS$" '
            "WHERE name = 'DEFAULT_PERMANENT_TABLESPACE' RETURNING 1",
            u=name,
        )
        await self._options(name, options)

    async def alter_user(self, name: str, options: str, *_: str) -> None:
        await self._need("ALTER USER")
        await self._verify_user(name)
        await self._options(name, options)

    async def drop_user(self, name: str) -> None:
        await self._need("DROP USER")
        await self._verify_user(name)
        if await self._rows('SELECT 1 FROM "SYS"."GV$SESSION" WHERE "USERNAME" = %(u)s', u=name):
            raise oracle_error(1940)
        await self._do("DROP SCHEMA {} CASCADE", name)
        await self._wait_for_grants()
        await self._do("DROP OWNED BY {}", name.lower())
        await self._do("DROP ROLE {}", name.lower())
        for table, column in (("USER$", "username"), ("SYSAUTH$", "grantee"), ("ROLEAUTH$", "grantee"),
                              ("TSQ$", "username")):  # fmt: skip
            await self._rows(f'DELETE FROM "SYS"."{table}" WHERE {column} = %(u)s RETURNING 1', u=name)  # noqa: S608

    async def grant_system(self, privilege: str, name: str, option: str | None) -> None:
        await self._verify_may_grant(privilege)
        await self._verify_user(name)
        await self._rows(
            'INSERT INTO "SYS"."SYSAUTH$" VALUES (%(u)s, %(p)s, %(o)s) ON CONFLICT (grantee, privilege) '
            "DO UPDATE SET admin_option = excluded.admin_option OR \"SYSAUTH$\".admin_option RETURNING 1",
            u=name, p=privilege, o=option is not None,
        )  # fmt: skip
        await self._follow(privilege, name, "GRANT {} TO {{}}")

    async def revoke_system(self, privilege: str, name: str) -> None:
        await self._verify_may_grant(privilege)
        await self._verify_user(name)
        deletion = 'DELETE FROM "SYS"."SYSAUTH$" WHERE grantee = %(u)s AND privilege = %(p)s RETURNING 1'
        if not await self._rows(deletion, u=name, p=privilege):
            raise oracle_error(1952)
        await self._follow(privilege, name, "REVOKE {} FROM {{}}")

    async def grant_role(self, role: str, name: str) -> None:
        await self._need("GRANT ANY ROLE")
        await self._verify_user(name)
        if not await self._rows('SELECT 1 FROM "SYS"."ROLE$" WHERE role = %(r)s', r=role):
            raise oracle_error(1919, role)
        insertion = 'INSERT INTO "SYS"."ROLEAUTH$" VALUES (%(u)s, %(r)s) ON CONFLICT DO NOTHING RETURNING 1'
        await self._rows(insertion, u=name, r=role)

    async def revoke_role(self, role: str, name: str) -> None:
        await self._need("GRANT ANY ROLE")
        deletion = 'DELETE FROM "SYS"."ROLEAUTH$" WHERE grantee = %(u)s AND granted_role = %(r)s RETURNING 1'
        if not await self._rows(deletion, u=name, r=role):
            raise oracle_error(1951)

    async def grant_object(
        self, granted: str, owner: str, table: str, name: str | None, _: str | None, option: str | None
    ) -> None:
        how = sql.SQL("WITH GRANT OPTION" if option else "")
        await self._on_object(sql.SQL("GRANT {} ON {} {} TO {} {}"), granted, owner, table, name, how)

    async def revoke_object(self, granted: str, owner: str, table: str, name: str | None, _: str | None) -> None:
        await self._on_object(sql.SQL("REVOKE {} ON {} {} FROM {} {}"), granted, owner, table, name, sql.SQL(""))

    async def end_session(self, sid: str, serial: str) -> None:
        await self._need("ALTER SYSTEM")
        # The session is gone a moment later.
        ended = await self._rows(
            'SELECT pg_terminate_backend("SID") FROM "SYS"."GV$SESSION" '
            'WHERE "SID" = %(sid)s::int AND "SERIAL#" = %(serial)s::int',
            sid=sid, serial=serial,
        )  # fmt: skip
        if not ended:
            raise oracle_error(30)

    # --- parts of them ---

    async def _options(self, name: str, options: str) -> None:
        for match in re.finditer(rf" ({_OPTION})", options):
            option, tablespace, quota, on = match.groups()
            if option == "NO AUTHENTICATION":
                await self._set(name, "authentication = 'NONE', expired = false")
                await self._do("ALTER ROLE {} PASSWORD NULL", name.lower())
            elif option.startswith("IDENTIFIED"):
                await self._identify(name, option.partition('"')[2][:-1])
            elif option.startswith("ACCOUNT"):
                await self._set(name, f"locked = {option == 'ACCOUNT LOCK'}")
            elif tablespace:
                await self._verify_tablespace(tablespace)
                await self._set(name, "tablespace = %(v)s", tablespace)
            else:
                await self._give_space(name, quota, on)
        usable = "authentication = 'PASSWORD' AND NOT locked"
        ((open_,),) = await self._rows(f'SELECT {usable} FROM "SYS"."USER$" WHERE username = %(u)s', u=name)  # noqa: S608
        await self._do("ALTER ROLE {} LOGIN" if open_ else "ALTER ROLE {} NOLOGIN", name.lower())

    async def _identify(self, name: str, password: str) -> None:
        # The rules of an Autonomous Database, and its profile's memory for passwords.
        classes = ("[a-z]", "[A-Z]", "[0-9]")
        wrong = not 12 <= len(password) <= 30 or name.lower() in password.lower()
        if wrong or not all(re.search(each, password) for each in classes):
            raise oracle_error(28003)
        used = await self._rows(
            'SELECT 1 FROM "SYS"."USER$", "SYS"."PROPS$" p WHERE username = %(u)s AND p.name = \'PASSWORD_REUSE_MAX\' '
            "AND p.value::int > 0 AND %(p)s = ANY (passwords)",
            u=name, p=password,
        )  # fmt: skip
        if used:
            raise oracle_error(28007)
        await self._set(
            name, "authentication = 'PASSWORD', expired = false, passwords = passwords || %(v)s::text", password
        )
        text = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name.lower()), sql.Literal(password))
        await self._connection.run(text.as_string(), {}, creates=True)

    async def _give_space(self, name: str, quota: str, tablespace: str) -> None:
        await self._verify_tablespace(tablespace)
        # Blocks of 8 KB.
        size = -1 if quota == "UNLIMITED" else int(quota.rstrip("KMGT")) * _UNITS[quota.lstrip("0123456789")]
        await self._rows(
            'INSERT INTO "SYS"."TSQ$" VALUES (%(t)s, %(u)s, %(m)s) ON CONFLICT (tablespace, username) '
            "DO UPDATE SET max_bytes = excluded.max_bytes RETURNING 1",
            t=tablespace, u=name, m=size if size < 0 else -(-size // 8192) * 8192,
        )  # fmt: skip

    async def _on_object(
        self, form: sql.SQL, granted: str, owner: str, table: str, name: str | None, how: sql.SQL
    ) -> None:
        if owner != self._connection.me:
            await self._need("GRANT ANY OBJECT PRIVILEGE")
        if name is not None:
            await self._verify_user(name)
        kinds = await self._rows(
            'SELECT "OBJECT_TYPE" FROM "SYS"."DBA_OBJECTS" WHERE "OWNER" = %(o)s AND "OBJECT_NAME" = %(t)s',
            o=owner, t=table,
        )  # fmt: skip
        if not kinds:
            raise oracle_error(942)
        # What Oracle calls SELECT on a sequence is USAGE here.
        sequence = kinds[0][0] == "SEQUENCE"
        who = sql.SQL("PUBLIC") if name is None else sql.Identifier(name.lower())
        what, on = sql.SQL("USAGE" if sequence else granted), sql.Identifier(owner, table)
        text = form.format(what, sql.SQL("SEQUENCE" if sequence else "TABLE"), on, who, how)
        await self._connection.run(text.as_string(), {}, creates=True)

    async def _follow(self, privilege: str, name: str, form: str) -> None:
        """Have PostgreSQL enforce what a system privilege means."""
        ((database,),) = await self._rows("SELECT current_database()")
        means = {
            "CREATE SESSION": f'CONNECT ON DATABASE "{database}"',
            "CREATE TABLE": f'CREATE ON SCHEMA "{name}"',
        }.get(privilege)
        if means:
            await self._wait_for_grants()
            await self._do(form.format(means), name.lower())

    async def _wait_for_grants(self) -> None:
        """Oracle lets two sessions grant at once, PostgreSQL none on one database: the later one waits."""
        await self._rows("SELECT pg_advisory_xact_lock(hashtextextended('grants', 0))")

    async def _verify_may_grant(self, privilege: str) -> None:
        held = await self.privileges()
        option = await self._rows(
            'SELECT 1 FROM "SYS"."USER_SYS_PRIVS" WHERE "PRIVILEGE" = %(p)s AND "ADMIN_OPTION" = \'YES\'', p=privilege
        )
        if "GRANT ANY PRIVILEGE" not in held and not option:
            raise oracle_error(1031)

    async def _verify_user(self, name: str) -> None:
        if not await self._exists(name):
            raise oracle_error(1918, name)

    async def _verify_tablespace(self, name: str) -> None:
        if not await self._rows('SELECT 1 FROM "SYS"."TS$" WHERE tablespace = %(t)s', t=name):
            raise oracle_error(959, name)

    async def _exists(self, name: str) -> bool:
        return bool(await self._rows('SELECT 1 FROM "SYS"."USER$" WHERE username = %(u)s', u=name))

    async def _need(self, privilege: str) -> None:
        if privilege not in await self.privileges():
            raise oracle_error(1031, privilege)

    async def _set(self, name: str, assignment: str, value: str | None = None) -> None:
        update = f'UPDATE "SYS"."USER$" SET {assignment} WHERE username = %(u)s RETURNING 1'  # noqa: S608
        await self._rows(update, u=name, **({} if value is None else {"v": value}))

    async def _do(self, form: str, name: str) -> None:
        await self._connection.run(sql.SQL(form).format(sql.Identifier(name)).as_string(), {}, creates=True)

    async def _rows(self, text: str, **binds: Any) -> list[tuple[Any, ...]]:
        return await (await self._connection.run(text, binds, creates=True)).fetchall()
