"""What the emulator claims of an administrator's Oracle; where one is named, a real database says so too."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import oracledb
import pytest

from locus_memory.backends.oracle_errors import code_of
from tests.servers.oracle import EmulatedOracle, RealOracle, installed

PASSWORD = "Aa1-" * 5


class Session:
    """Statements of somebody."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, *statements: str) -> None:
        for statement in statements:
            with self._connection.cursor() as cursor:
                await cursor.execute(statement)

    async def code(self, statement: str) -> str:
        with pytest.raises(oracledb.Error) as caught:
            await self.run(statement)
        return code_of(caught.value)

    async def rows(self, statement: str, **binds: Any) -> list[Any]:
        with self._connection.cursor() as cursor:
            await cursor.execute(statement, binds)
            rows: list[Any] = await cursor.fetchall()
            return rows


@pytest.fixture
def login(oracle_database: EmulatedOracle | RealOracle) -> Iterator[tuple[str, str, str]]:
    """Address, name and password of an administrator."""
    if isinstance(oracle_database, RealOracle):
        if oracle_database.admin is None:
            pytest.skip("LOCUS_TEST_ORACLE_ADMIN names no administrator")
        yield (oracle_database.dsn, *oracle_database.admin)
        return
    with installed(oracle_database):
        yield (oracle_database.dsn, *oracle_database.create_admin())


async def connect(dsn: str, user: str, password: str = PASSWORD) -> Any:
    return await oracledb.connect_async(dsn=dsn, user=user, password=password)


@pytest.fixture
async def admin(login: tuple[str, str, str]) -> AsyncIterator[Session]:
    connection = await connect(*login)
    yield Session(connection)
    await connection.close()


@pytest.fixture
async def name(admin: Session) -> AsyncIterator[str]:
    """A user that cannot log in."""
    user = f"LOCUS_TEST_{secrets.token_hex(4)}".upper()
    await admin.run(f'CREATE USER "{user}" NO AUTHENTICATION ACCOUNT LOCK')
    yield user
    if await admin.rows("SELECT u.username FROM dba_users u WHERE u.username = :name", name=user):
        await admin.run(f'DROP USER "{user}" CASCADE')


async def status(admin: Session, name: str) -> tuple[str, str]:
    query = "SELECT u.account_status, u.authentication_type FROM dba_users u WHERE u.username = :name"
    [(shown, authentication)] = await admin.rows(query, name=name)
    return shown, authentication


async def test_users_have_oracles_numbers(admin: Session, name: str) -> None:
    assert await admin.code(f'CREATE USER "{name}" NO AUTHENTICATION') == "ORA-01920"
    assert await admin.code('ALTER USER "LOCUS_TEST_NOBODY" ACCOUNT LOCK') == "ORA-01918"
    assert await admin.code('DROP USER "LOCUS_TEST_NOBODY" CASCADE') == "ORA-01918"
    assert await admin.code('GRANT CREATE SESSION TO "LOCUS_TEST_NOBODY"') in ("ORA-01917", "ORA-01918")
    assert await admin.code(f'ALTER USER "{name}" DEFAULT TABLESPACE "LOCUS_NOWHERE"') == "ORA-00959"
    assert await admin.code(f'REVOKE CREATE SESSION FROM "{name}"') == "ORA-01952"


async def test_accounts_are_open_locked_or_without_a_login(
    admin: Session, name: str, login: tuple[str, str, str]
) -> None:
    assert await status(admin, name) == ("LOCKED", "NONE")
    await admin.run(
        f'GRANT CREATE SESSION TO "{name}"', f'ALTER USER "{name}" IDENTIFIED BY "{PASSWORD}" ACCOUNT UNLOCK'
    )
    assert await status(admin, name) == ("OPEN", "PASSWORD")
    await (await connect(login[0], name)).close()
    await admin.run(f'ALTER USER "{name}" ACCOUNT LOCK')
    with pytest.raises(oracledb.DatabaseError, match="ORA-28000"):
        await connect(login[0], name)
    await admin.run(f'ALTER USER "{name}" NO AUTHENTICATION')
    assert await status(admin, name) == ("LOCKED", "NONE")
    await admin.run(f'ALTER USER "{name}" ACCOUNT UNLOCK')
    assert await status(admin, name) == ("OPEN", "NONE")
    with pytest.raises(oracledb.DatabaseError, match=r"ORA-(01017|28000)"):
        await connect(login[0], name)


async def test_a_session_needs_its_privilege_and_keeps_its_user(
    admin: Session, name: str, login: tuple[str, str, str]
) -> None:
    await admin.run(f'ALTER USER "{name}" IDENTIFIED BY "{PASSWORD}" ACCOUNT UNLOCK')
    with pytest.raises(oracledb.DatabaseError, match="ORA-01045"):
        await connect(login[0], name)
    await admin.run(f'GRANT CREATE SESSION TO "{name}"')
    agent = await connect(login[0], name)
    assert await admin.code(f'DROP USER "{name}" CASCADE') == "ORA-01940"
    await agent.close()


async def test_tables_in_a_schema_are_its_owners_and_need_space(admin: Session, name: str) -> None:
    create = f'CREATE TABLE "{name}"."T" AS SELECT 1 AS a FROM dual'  # noqa: S608 - a test's own name
    assert await admin.code(create) == "ORA-01950"
    [[tablespace]] = await admin.rows(
        "SELECT u.default_tablespace FROM dba_users u WHERE u.username = :name", name=name
    )
    await admin.run(f'ALTER USER "{name}" QUOTA 1M ON "{tablespace}"', create)
    quota = "SELECT q.max_bytes FROM dba_ts_quotas q WHERE q.username = :name"
    assert await admin.rows(quota, name=name) == [(2**20,)]
    objects = "SELECT o.object_name, o.object_type FROM dba_objects o WHERE o.owner = :name"
    assert await admin.rows(objects, name=name) == [("T", "TABLE")]


async def test_privileges_are_in_the_dictionary(admin: Session, name: str) -> None:
    await admin.run(f"CREATE OR REPLACE VIEW \"{name}\".\"V\" AS SELECT 'it''s' AS a FROM dual")  # noqa: S608
    [[text]] = await admin.rows("SELECT v.text_vc FROM dba_views v WHERE v.owner = :name", name=name)
    assert "'it''s'" in text
    await admin.run(f'GRANT SELECT ON "{name}"."V" TO PUBLIC')
    query = """SELECT p.grantee, p.table_name, p.privilege, p.grantable FROM dba_tab_privs p WHERE p.owner = :name"""
    assert await admin.rows(query, name=name) == [("PUBLIC", "V", "SELECT", "NO")]
    await admin.run(f'REVOKE SELECT ON "{name}"."V" FROM PUBLIC')  # noqa: S608
    await admin.run(f'GRANT CREATE SESSION TO "{name}" WITH ADMIN OPTION')
    assert await admin.rows(query, name=name) == []
    system = "SELECT p.privilege, p.admin_option FROM dba_sys_privs p WHERE p.grantee = :name"
    assert await admin.rows(system, name=name) == [("CREATE SESSION", "YES")]


async def test_a_call_that_takes_too_long_ends(oracle_database: EmulatedOracle, login: tuple[str, str, str]) -> None:
    if not isinstance(oracle_database, EmulatedOracle):
        pytest.skip("needs the emulator: a statement that takes long")
    connection = await connect(*login)
    connection.call_timeout = 200
    with pytest.raises(oracledb.DatabaseError, match=r"DPY-4024: call timeout of 200 ms exceeded"):
        await connection.run("SELECT pg_sleep(30)", {})
    assert not connection.is_healthy()
