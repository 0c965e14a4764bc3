"""What only PostgreSQL has: roles and privileges, their drift, and what they keep the application from."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from locus_operator import engine
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from tests.integration.operator.stores import Store, connect_as_agent, drop_roles, postgresql_backend
from tests.servers.postgresql import SUPERUSER, Database, PostgreSQLServer, TLSPostgreSQLServer
from tests.servers.tls import CertificateAuthority


def run_as_superuser(database: Database, store: Store, text: str) -> list[tuple[object, ...]]:
    """Run statements about a store: {schema}, {owner}, {app}, {a}, {b}, {database} and {stranger} are its names."""
    statement = sql.SQL(text).format(  # texts of this module
        schema=sql.Identifier(store.names.base),
        owner=sql.Identifier(store.names.owner),
        app=sql.Identifier(store.names.app),
        a=sql.Identifier(store.names.logins[0]),
        b=sql.Identifier(store.names.logins[1]),
        database=sql.Identifier(database.name),
        stranger=sql.Identifier("admin_stranger"),
    )
    return database.execute(statement)


# --- drift ---


@dataclass(frozen=True)
class Drift:
    """What somebody does behind the operator's back, and what the plan says about it."""

    statement: str
    named: str
    superuser: bool = False  # only a superuser can undo it, whatever the release

    def __str__(self) -> str:
        return self.statement


DRIFTS = [
    Drift("DROP TABLE {schema}.locus_search", "create table locus_search: missing"),
    Drift("DROP INDEX {schema}.locus_search_document", "create index locus_search_document: missing"),
    Drift("DROP TABLE {schema}.locus_schema", "create table locus_schema: missing"),
    Drift("TRUNCATE {schema}.locus_schema", "create table locus_schema: has no row"),
    Drift("DROP TABLE {schema}.locus_threads CASCADE", "create table locus_threads: missing"),
    Drift("DROP SCHEMA {schema} CASCADE", "create schema"),
    Drift("REVOKE USAGE ON SCHEMA {schema} FROM {app}", "grant schema"),
    Drift("GRANT CREATE ON SCHEMA {schema} TO {app}", "grant schema"),
    Drift("GRANT USAGE ON SCHEMA {schema} TO PUBLIC", "revoke schema {schema}: PUBLIC"),
    Drift("REVOKE INSERT ON {schema}.locus_threads FROM {app}", "grant table locus_threads"),
    Drift("GRANT TRUNCATE ON {schema}.locus_threads TO {app}", "grant table locus_threads"),
    Drift("GRANT SELECT ON {schema}.locus_threads TO {app} WITH GRANT OPTION", "grant table locus_threads"),
    Drift("GRANT UPDATE (version) ON {schema}.locus_schema TO {app}", "grant table locus_schema"),
    Drift("GRANT SELECT ON {schema}.locus_threads TO PUBLIC", "revoke table locus_threads: PUBLIC"),
    Drift("GRANT SELECT ON {schema}.locus_threads TO {stranger}", "revoke table locus_threads: admin_stranger"),
    Drift("GRANT SELECT (payload) ON {schema}.locus_checkpoints TO {stranger}", "revoke table locus_checkpoints"),
    Drift("GRANT SELECT ON {schema}.locus_threads TO {b}", "revoke table locus_threads: {b}"),
    Drift("REVOKE SELECT ON {schema}.locus_threads FROM {owner}", "privileges of {owner} differ"),
    Drift("ALTER SCHEMA {schema} OWNER TO postgres", "alter schema {schema}: differs: owned by", superuser=True),
    Drift("ALTER TABLE {schema}.locus_search OWNER TO postgres", "alter table locus_search", superuser=True),
    Drift("ALTER ROLE {a} NOLOGIN", "set password of {a}: differs: NOLOGIN"),
    Drift("ALTER ROLE {a} PASSWORD 'another'", "set password of {a}: differs from the binding's"),
    Drift("ALTER ROLE {a} PASSWORD NULL", "set password of {a}: differs from the binding's"),
    Drift("ALTER ROLE {b} LOGIN", "alter role {b}: differs: NOLOGIN"),
    Drift("ALTER ROLE {a} NOINHERIT", "alter role {a}: differs: INHERIT"),
    Drift("ALTER ROLE {app} CREATEROLE", "alter role {app}: differs: NOCREATEROLE"),
    Drift("ALTER ROLE {a} VALID UNTIL '2001-01-01'", "alter role {a}: differs: VALID UNTIL 'infinity'"),
    Drift("ALTER ROLE {a} CONNECTION LIMIT 0", "alter role {a}: differs: CONNECTION LIMIT -1"),
    Drift("ALTER ROLE {a} SUPERUSER", "alter role {a}: differs: NOSUPERUSER", superuser=True),
    Drift("ALTER ROLE {owner} BYPASSRLS", "alter role {owner}: differs: NOBYPASSRLS", superuser=True),
    Drift("ALTER ROLE {app} REPLICATION", "alter role {app}: differs: NOREPLICATION", superuser=True),
    Drift("ALTER ROLE {a} IN DATABASE {database} RESET search_path", "set search_path of {a}"),
    Drift("ALTER ROLE {a} IN DATABASE {database} SET search_path = public", "set search_path of {a}"),
    Drift("COMMENT ON SCHEMA {schema} IS NULL", "claim schema {schema}"),
    Drift("COMMENT ON ROLE {owner} IS NULL", "claim role {owner}"),
    Drift("COMMENT ON ROLE {a} IS 'mine'", "claim role {a}"),
    Drift("GRANT {app} TO {stranger}", "revoke role {app}: admin_stranger is a member"),
    Drift("GRANT {owner} TO {a}", "revoke role {owner}: {a} is a member"),
    Drift("GRANT pg_read_all_data TO {a}", "revoke role pg_read_all_data: {a} is a member"),
    Drift("DROP ROLE {b}", "create role {b}: missing"),
    Drift("DROP OWNED BY {a}; DROP ROLE {a}", "create role {a}: missing"),
    Drift(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO PUBLIC",
        "new tables would be open to PUBLIC",
    ),
    Drift(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {stranger}",
        "new tables would be open to admin_stranger",
    ),
    Drift(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
        "new functions would be open to PUBLIC",
    ),
    Drift("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC", "grant database {database}"),
]


@pytest.mark.parametrize("database", ["postgresql_server"], indirect=True)
@pytest.mark.parametrize("drift", DRIFTS, ids=str)
async def test_drift_is_named_and_corrected(superuser_store: Store, database: Database, drift: Drift) -> None:
    store = superuser_store
    await store.reconcile()
    run_as_superuser(database, store, "CREATE ROLE {stranger}")
    run_as_superuser(database, store, drift.statement)
    corrected = await store.reconcile()
    assert _fill(drift.named, store, database) in str(corrected.plan)
    assert not (await store.reconcile()).plan
    with connect_as_agent(database, store) as connection:
        connection.execute("SELECT * FROM locus_threads, locus_checkpoints, locus_search, locus_schema")


@pytest.mark.parametrize("drift", DRIFTS, ids=str)
async def test_an_admin_who_is_no_superuser_corrects_it_or_says_what_is_missing(
    postgresql_store: Store, database: Database, drift: Drift
) -> None:
    store = postgresql_store
    await store.reconcile()
    run_as_superuser(database, store, "CREATE ROLE {stranger}")
    run_as_superuser(database, store, drift.statement)
    plans, advice = await _reconcile_with_advice(store, database)
    assert advice or not drift.superuser
    assert advice or _fill(drift.named, store, database) in plans
    assert not (await store.reconcile()).plan
    with connect_as_agent(database, store) as connection:
        connection.execute("SELECT * FROM locus_threads, locus_checkpoints, locus_search, locus_schema")


def _fill(text: str, store: Store, database: Database) -> str:
    names = store.names
    return text.format(
        schema=names.base,
        owner=names.owner,
        app=names.app,
        a=names.logins[0],
        b=names.logins[1],
        database=database.name,
    )


async def _reconcile_with_advice(store: Store, database: Database) -> tuple[str, list[str]]:
    """Reconcile, doing what errors tell a superuser to do; return the plan that was applied, and the errors."""
    advice: list[str] = []
    while len(advice) < 3:
        try:
            return str((await store.reconcile()).plan), advice
        except RefusedError as error:
            if error.reason is not ConditionReason.MISSING_PRIVILEGES:
                raise
            advice.append(str(error))
        _run_advice(database, advice[-1])
    raise AssertionError(advice)


def _run_advice(database: Database, message: str) -> None:
    statements = re.findall(r"\(([^()]+;)\)", message)
    assert statements
    for statement in statements:
        database.execute(sql.SQL(statement))


async def test_rows_that_lost_their_threads_are_not_dropped_unasked(superuser_store: Store, database: Database) -> None:
    store = superuser_store
    await store.reconcile()
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"private": True}, "thread")
    run_as_superuser(database, store, "DROP TABLE {schema}.locus_threads CASCADE")
    with pytest.raises(RefusedError, match=r"destroy data.*drop table locus_checkpoints") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    assert run_as_superuser(database, store, "SELECT count(*) FROM {schema}.locus_checkpoints") == [(1,)]
    store.allow_destructive = True
    await store.reconcile()
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"private": False}, "another")
        assert await checkpointer.list_checkpoints("thread") == []


async def test_a_newer_schema_is_left_alone(superuser_store: Store, database: Database) -> None:
    await superuser_store.reconcile()
    run_as_superuser(database, superuser_store, "UPDATE {schema}.locus_schema SET version = 99")
    with pytest.raises(RefusedError, match="newer operator"):
        await superuser_store.reconcile()


# --- whose it is ---


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE SCHEMA {schema}", "schema '{schema}' exists and belongs to no store"),
        ("CREATE ROLE {owner}", "role '{owner}' exists and belongs to no store"),
        ("CREATE ROLE {a} LOGIN", "role '{a}' exists and belongs to no store"),
    ],
)
async def test_what_nobody_claimed_is_a_conflict_until_it_is_adopted(
    superuser_store: Store, database: Database, statement: str, named: str
) -> None:
    store = superuser_store
    run_as_superuser(database, store, statement)
    with pytest.raises(RefusedError) as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    assert _fill(named, store, database) in str(caught.value)
    assert "memory.locus.dev/adopt" in str(caught.value)
    roles = sql.SQL("SELECT count(*) FROM pg_roles WHERE starts_with(rolname, {})")
    assert database.execute(roles.format(sql.Literal(store.names.base))) == [(int("ROLE" in statement),)]
    store.adopt = True
    await store.reconcile()
    store.adopt = False
    assert not (await store.reconcile()).plan
    with connect_as_agent(database, store) as connection:
        connection.execute("SELECT FROM locus_threads")


async def test_a_store_of_another_name_adopts_a_schema_with_its_data(postgresql_store: Store) -> None:
    await postgresql_store.reconcile()
    async with postgresql_store.checkpointer() as checkpointer:
        await checkpointer.save({"kept": True}, "thread")
    await postgresql_store.release()
    heir = postgresql_store.sibling()
    heir.adopt = True
    heir.backend = {"postgresql": {**heir.backend["postgresql"], "schema": postgresql_store.names.base}}
    await heir.reconcile()
    assert not (await heir.reconcile()).plan
    async with heir.checkpointer() as checkpointer:
        assert await checkpointer.load("thread") == {"kept": True}


# --- what stands in the way ---


async def test_missing_privileges_are_listed_all_at_once_with_what_grants_them(database: Database) -> None:
    admin, password = f"admin_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    database.server.create_role(admin, password, "LOGIN")
    database.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database.name)))
    store = postgresql_backend(database, admin, password)
    _, advice = await _reconcile_with_advice(store, database)
    assert len(advice) == 2  # without CONNECT nothing else can be seen
    assert "lacks CONNECT" in advice[0]
    for privilege in ("CREATEROLE", "CREATE on the database", "CONNECT WITH GRANT OPTION"):
        assert privilege in advice[1]
    with connect_as_agent(database, store) as connection:
        connection.execute("SELECT FROM locus_threads")


async def test_another_administrator_is_told_how_to_take_over(postgresql_store: Store, database: Database) -> None:
    await postgresql_store.reconcile()
    admin, password = f"admin_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    database.create_admin(admin, password)
    postgresql_store.sources = {
        **postgresql_store.sources,
        "admin": {"uri": f"postgresql://{admin}:{password}@ignored/ignored"},
    }
    run_as_superuser(database, postgresql_store, "DROP INDEX {schema}.locus_search_document")
    plan, advice = await _reconcile_with_advice(postgresql_store, database)
    assert "create index locus_search_document" in plan
    # Before PostgreSQL 16, CREATEROLE is enough.
    assert ["ADMIN OPTION" in each for each in advice] == [True] * (
        not isinstance(database.server, TLSPostgreSQLServer)
    )
    assert not (await postgresql_store.reconcile()).plan


async def test_a_missing_database_is_named(superuser_store: Store) -> None:
    backend = superuser_store.backend["postgresql"]
    superuser_store.backend = {"postgresql": {**backend, "database": "absent"}}
    with pytest.raises(RefusedError, match="'absent': the database does not exist"):
        await superuser_store.reconcile()


@pytest.mark.parametrize("trusted", ["another authority", "those of the system"])
async def test_a_server_of_an_unknown_authority_is_refused(
    tls_postgresql_server: TLSPostgreSQLServer, trusted: str
) -> None:
    store = postgresql_backend(Database(tls_postgresql_server, "postgres"), SUPERUSER, tls_postgresql_server.password)
    store.sources = {**store.sources, "server-ca": {"ca.crt": CertificateAuthority().certificate.decode()}}
    if trusted == "those of the system":
        del store.backend["postgresql"]["ca"]
    with pytest.raises(RefusedError, match=r"certificate.*Correct sslMode and ca"):
        await store.reconcile()


async def test_a_lock_that_somebody_holds_is_waited_for_a_while(
    superuser_store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TIMEOUT_SECONDS", 0.5)
    await superuser_store.reconcile()
    run_as_superuser(database, superuser_store, "DROP INDEX {schema}.locus_search_document")
    with psycopg.connect(database.dsn()) as holder:
        table = sql.Identifier(superuser_store.names.base, "locus_search")
        holder.execute(sql.SQL("LOCK TABLE {}").format(table))
        with pytest.raises(UnavailableError, match="lock"):
            await superuser_store.reconcile()
    monkeypatch.undo()
    await superuser_store.reconcile()


@pytest.fixture
def verbose_server() -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer(durable=False, settings={"log_statement": "all", "log_min_messages": "debug1"}) as server:
        yield server


async def test_no_password_reaches_the_servers_log(verbose_server: PostgreSQLServer) -> None:
    database = verbose_server.create_database("logged")
    store = postgresql_backend(database, SUPERUSER, verbose_server.password)
    passwords = [verbose_server.password]
    for _ in range(2):
        passwords.append((await store.reconcile()).binding.data["password"])
        store.binding = None
    await store.release("Delete")
    drop_roles(database)
    log = verbose_server.log.read_text()
    assert "SCRAM-SHA-256$" in log
    assert not [password for password in passwords if password in log]
