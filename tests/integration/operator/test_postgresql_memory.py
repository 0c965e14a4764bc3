"""Long-term memory on PostgreSQL: provisioned when it is asked for, watched, and used through the binding."""

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql

from locus_memory.errors import BindingError
from locus_memory.opening import open_store
from locus_memory.store_face import PortStore
from locus_operator.constants import ConditionReason
from locus_operator.engine import Reconciled
from locus_operator.errors import RefusedError
from tests.integration.operator.stores import Store, connect_as_agent
from tests.servers.postgresql import Database

NAMESPACE = ("memory", "u42")
MEMORY = {"longTermMemory": {"embeddingDimension": 3}}


def memory_of(store: Store) -> PortStore:
    """What `locus_memory.store()` opens in an agent's pod."""
    return open_store(store)


def provisioned_message(done: Reconciled) -> str:
    return next(each.message for each in done.conditions if each.type == "Provisioned")


def run(database: Database, store: Store, text: str) -> None:
    parts = {"schema": store.names.base, "app": store.names.app}
    names = {key: sql.Identifier(name) for key, name in parts.items()}
    database.execute(sql.SQL(text).format(**names))  # texts of this module


async def assert_it_remembers(store: Store) -> None:
    async with memory_of(store) as memory:
        await memory.put_with_embedding(NAMESPACE, "fact", {"likes": "cats"}, [1.0, 0.0, 0.0], ttl_seconds=60)
        assert await memory.get(NAMESPACE, "fact") == {"likes": "cats"}
        assert [each.item.key for each in await memory.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0])] == ["fact"]
        assert [each.key for each in await memory.search(NAMESPACE, "cats")] == ["fact"]
        assert await memory.list_namespaces() == [NAMESPACE]
        assert await memory.delete(NAMESPACE, "fact")


async def test_an_agent_remembers_with_the_issued_login(postgresql_store: Store) -> None:
    postgresql_store.spec = MEMORY
    done = await postgresql_store.reconcile()
    assert done.claims.long_term_memory == "locus_items"
    assert not (await postgresql_store.reconcile()).plan
    await assert_it_remembers(postgresql_store)


async def test_it_comes_to_a_living_store_and_stays_when_it_is_no_longer_asked_for(postgresql_store: Store) -> None:
    store = postgresql_store
    before = await store.reconcile()
    assert before.claims.long_term_memory is None
    with pytest.raises(BindingError, match=r"spec\.longTermMemory"):
        memory_of(store)
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"kept": True}, "thread")
    store.spec = MEMORY
    added = await store.reconcile()
    assert {action.name for action in added.plan.actions if action.verb == "create"} == {
        "locus_items",
        "locus_items_write_order",
        "locus_items_expires_at",
        "locus_items_schema",
    }
    assert added.binding.data["password"] == before.binding.data["password"]
    async with memory_of(store) as memory, store.checkpointer() as checkpointer:
        await memory.put(NAMESPACE, "fact", "kept")
        assert await checkpointer.load("thread") == {"kept": True}
    store.spec = {"longTermMemory": {"enabled": False}}
    assert not (await store.reconcile()).plan
    with pytest.raises(BindingError, match=r"spec\.longTermMemory"):
        memory_of(store)
    store.spec = MEMORY
    assert not (await store.reconcile()).plan
    async with memory_of(store) as memory:
        assert await memory.get(NAMESPACE, "fact") == "kept"


DRIFTS = [
    ("DROP TABLE {schema}.locus_items", "create table locus_items: missing"),
    ("DROP INDEX {schema}.locus_items_expires_at", "create index locus_items_expires_at"),
    ("TRUNCATE {schema}.locus_items_schema", "create table locus_items_schema: has no row"),
    ("GRANT TRUNCATE ON {schema}.locus_items TO {app}", "grant table locus_items"),
    ("GRANT SELECT ON {schema}.locus_items TO PUBLIC", "revoke table locus_items: PUBLIC"),
    ("ALTER TABLE {schema}.locus_items DROP CONSTRAINT locus_items_pkey", "missing: PRIMARY KEY (namespace, key)"),
    ("ALTER TABLE {schema}.locus_items ALTER write_order DROP IDENTITY", "does not number its rows BY DEFAULT"),
]


@pytest.mark.parametrize("database", ["postgresql_server"], indirect=True)
@pytest.mark.parametrize(("statement", "named"), DRIFTS)
async def test_its_drift_is_named_and_corrected(
    postgresql_store: Store, database: Database, statement: str, named: str
) -> None:
    postgresql_store.spec = MEMORY
    await postgresql_store.reconcile()
    run(database, postgresql_store, statement)
    assert named in str((await postgresql_store.reconcile()).plan)
    assert not (await postgresql_store.reconcile()).plan
    await assert_it_remembers(postgresql_store)


async def test_the_issued_login_reads_no_other_stores_memory(postgresql_store: Store, database: Database) -> None:
    other = postgresql_store.sibling()
    postgresql_store.spec = other.spec = MEMORY
    await postgresql_store.reconcile()
    await other.reconcile()
    async with memory_of(other) as memory:
        await memory.put(NAMESPACE, "fact", "secret")
    items = sql.Identifier(other.names.base, "locus_items")
    with connect_as_agent(database, postgresql_store) as connection:
        for text in ("SELECT * FROM {}", "DELETE FROM {}", "DROP TABLE {}"):
            with pytest.raises(pg.InsufficientPrivilege):
                connection.execute(sql.SQL(text).format(items))


# --- pgvector ---


@pytest.mark.parametrize("database", ["postgresql_server"], indirect=True)
async def test_without_pgvector_it_works_and_the_condition_says_what_would_be_faster(
    postgresql_store: Store, database: Database
) -> None:
    postgresql_store.spec = {"longTermMemory": {}}
    assert "CREATE EXTENSION" not in provisioned_message(await postgresql_store.reconcile())
    postgresql_store.spec = MEMORY
    assert "let a superuser run CREATE EXTENSION vector" in provisioned_message(await postgresql_store.reconcile())
    database.execute(sql.SQL("CREATE EXTENSION vector"))
    done = await postgresql_store.reconcile()
    assert not done.plan
    assert "CREATE EXTENSION" not in provisioned_message(done)
    await assert_it_remembers(postgresql_store)


@pytest.mark.parametrize("database", ["postgresql_server"], indirect=True)
async def test_pgvector_in_a_closed_schema_is_opened_to_the_application_or_the_statement_is_said(
    postgresql_store: Store, superuser_store: Store, database: Database
) -> None:
    database.execute(sql.SQL('CREATE SCHEMA "Closed extensions"; CREATE EXTENSION vector SCHEMA "Closed extensions"'))
    postgresql_store.spec = superuser_store.spec = MEMORY
    with pytest.raises(RefusedError, match='GRANT USAGE ON SCHEMA "Closed extensions"') as caught:
        await postgresql_store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    done = await superuser_store.reconcile()
    assert "grant schema Closed extensions" in str(done.plan)
    await assert_it_remembers(superuser_store)
    statement = str(caught.value).split("(GRANT")[1].split(";)")[0]
    database.execute(sql.SQL("GRANT" + statement))
    await postgresql_store.reconcile()
    assert not (await postgresql_store.reconcile()).plan
    await assert_it_remembers(postgresql_store)
    await postgresql_store.release("Delete")
    await superuser_store.release("Delete")
    granted = sql.SQL("SELECT nspacl::text FROM pg_namespace WHERE nspname = 'Closed extensions'")
    [[left]] = database.execute(granted)
    assert "locus_" not in left


async def test_a_deletion_takes_it_along_or_keeps_it_as_the_policy_says(
    postgresql_store: Store, database: Database
) -> None:
    store = postgresql_store
    store.spec = MEMORY
    await store.reconcile()
    async with memory_of(store) as memory:
        await memory.put(NAMESPACE, "fact", "kept")
    await store.release("Retain")
    successor = store.successor()
    successor.adopt, successor.spec = True, MEMORY
    await successor.reconcile()
    async with memory_of(successor) as memory:
        assert await memory.get(NAMESPACE, "fact") == "kept"
    await successor.release("Delete")
    with psycopg.connect(database.dsn()) as connection:
        left = connection.execute("SELECT FROM pg_class WHERE relname LIKE 'locus_items%'").fetchall()
    assert left == []
