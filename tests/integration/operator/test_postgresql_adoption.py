"""A schema that a plain user of the library made becomes a store, with the data that is in it."""

import secrets
from dataclasses import dataclass

import pytest
from psycopg import sql

from locus_memory.backends.postgresql import postgresql_checkpointer
from locus_memory.errors import AuthenticationError
from locus_memory.opening import open_store
from locus_memory.store_backends import PostgreSQLStore
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from tests.integration.operator.stores import Store
from tests.servers.postgresql import Database

SCHEMA = "our_agents"
MEMORY = {"longTermMemory": {"embeddingDimension": 2}}


@dataclass(frozen=True)
class PlainUser:
    """Somebody who gave the library a login and a schema."""

    login: str
    dsn: str

    def with_schema(self, store: Store) -> Store:
        """The store, on this schema."""
        store.backend = {"postgresql": {**store.backend["postgresql"], "schema": SCHEMA}}
        store.spec = MEMORY
        return store


@pytest.fixture
async def plain_user(database: Database) -> PlainUser:
    login, password = f"admin_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    database.server.create_role(login, password)
    schema = (sql.Identifier(SCHEMA), sql.Identifier(login))
    database.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(*schema))
    dsn = database.dsn(login, password)
    async with (
        postgresql_checkpointer(dsn, schema=SCHEMA, state_type=dict) as checkpointer,
        PostgreSQLStore(dsn, schema=SCHEMA, dimension=2) as memory,
    ):
        await checkpointer.save({"topic": "roses"}, "thread", "first")
        await checkpointer.save({"topic": "tulips"}, "thread", "second")
        await memory.put_with_embedding(("u",), "fact", "likes roses", [1.0, 0.0])
    return PlainUser(login, dsn)


async def assert_the_data_is_there(store: Store) -> None:
    async with store.checkpointer() as checkpointer, open_store(store) as memory:
        assert await checkpointer.load("thread") == {"topic": "tulips"}
        assert await checkpointer.load("thread", "first") == {"topic": "roses"}
        await checkpointer.save({"topic": "lilies"}, "new thread")
        assert await checkpointer.search("lilies")
        assert [each.item.key for each in await memory.search_by_embedding(("u",), [1.0, 0.0])] == ["fact"]


async def test_it_is_a_conflict_until_it_is_adopted_with_its_data(
    superuser_store: Store, database: Database, plain_user: PlainUser
) -> None:
    store = plain_user.with_schema(superuser_store)
    with pytest.raises(RefusedError, match="schema 'our_agents' exists and belongs to no store") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    store.adopt = True
    plan = str((await store.reconcile()).plan)
    assert f"alter schema {SCHEMA}: differs: owned by {plain_user.login}" in plan
    assert f"alter table locus_items: differs: owned by {plain_user.login}" in plan
    assert "destructive" not in plan
    store.adopt = False
    assert not (await store.reconcile()).plan
    await assert_the_data_is_there(store)
    async with postgresql_checkpointer(plain_user.dsn, schema=SCHEMA, tables="provisioned") as before:
        with pytest.raises(AuthenticationError):
            await before.load("thread")


async def test_an_administrator_who_is_no_superuser_is_told_what_is_missing(
    postgresql_store: Store, database: Database, plain_user: PlainUser
) -> None:
    store = plain_user.with_schema(postgresql_store)
    store.adopt = True
    with pytest.raises(RefusedError, match=f"the rights of '{plain_user.login}', who owns schema") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    for statement in str(caught.value).split("(ALTER")[1:]:
        database.execute(sql.SQL("ALTER" + statement.split(";)")[0]))
    await store.reconcile()
    store.adopt = False
    assert not (await store.reconcile()).plan
    await assert_the_data_is_there(store)
