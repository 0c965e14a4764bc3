"""Tables that the operator provisioned, the rights that an agent's login needs, and what is cleared up."""

import secrets

import pytest
from psycopg import sql

from locus_memory.backends.redis_keys import APPLICATION_COMMANDS, CONNECTION_COMMANDS, KeyLayout
from locus_memory.errors import AuthenticationError, SchemaError
from locus_memory.store_backends import OracleStore, PostgreSQLStore, RedisStore
from locus_memory.store_backends.postgresql_schema import ddl, privileges
from tests.servers.oracle import OracleStore as Database
from tests.servers.postgresql import Database as PostgreSQLDatabase
from tests.servers.redis import RedisServer

NAMESPACE = ("memory", "u42")


async def test_provisioned_tables_are_used_with_the_rights_of_an_agent(postgresql_database: PostgreSQLDatabase) -> None:
    database, login = postgresql_database, f"agent_{secrets.token_hex(4)}"
    role = sql.Identifier(login)
    database.server.create_role(login, "secret")
    database.execute(sql.SQL("CREATE SCHEMA items"))
    for item in ddl("items"):
        database.execute(item.statement)
        if item.kind == "table":
            granted = sql.SQL(", ".join(privileges(item.name)))
            name = sql.Identifier("items", item.name)
            database.execute(sql.SQL("GRANT {} ON {} TO {}").format(granted, name, role))
    database.execute(sql.SQL("GRANT USAGE ON SCHEMA items TO {}").format(role))
    async with PostgreSQLStore(
        dsn=database.dsn(login, "secret"), schema="items", tables="provisioned", dimension=2
    ) as store:
        await store.put_with_embedding(NAMESPACE, "k", "word", [1.0, 0.0], {"tag": 1}, ttl_seconds=60)
        await store.put_batch([(NAMESPACE, "l", "word", None), (NAMESPACE, "m", "word", None)])
        assert len(await store.search(NAMESPACE, "word")) == 3
        assert len(await store.search_by_embedding(NAMESPACE, [1.0, 0.0])) == 1
        assert await store.clear_namespace(NAMESPACE) == 3


async def test_missing_provisioned_tables_are_an_error_and_are_not_made(
    postgresql_database: PostgreSQLDatabase,
) -> None:
    async with PostgreSQLStore(dsn=postgresql_database.dsn(), schema="items", tables="provisioned") as store:
        with pytest.raises(SchemaError, match="items"):
            await store.get(NAMESPACE, "k")
    assert postgresql_database.execute(sql.SQL("SELECT FROM pg_namespace WHERE nspname = 'items'")) == []


async def test_missing_provisioned_tables_of_oracle_are_an_error_and_are_not_made(oracle_store: Database) -> None:
    for _ in range(2):
        async with OracleStore(**oracle_store.arguments(), tables="provisioned", dimension=2) as store:
            with pytest.raises(SchemaError, match="missing"):
                await store.put(NAMESPACE, "k", 1)


async def test_tables_of_a_newer_version_are_an_error(postgresql_database: PostgreSQLDatabase) -> None:
    async with PostgreSQLStore(dsn=postgresql_database.dsn()) as store:
        await store.put(NAMESPACE, "k", 1)
        postgresql_database.execute(sql.SQL("UPDATE locus_items_schema SET version = version + 1"))
    async with PostgreSQLStore(dsn=postgresql_database.dsn()) as store:
        with pytest.raises(SchemaError, match="install a newer one"):
            await store.get(NAMESPACE, "k")


async def test_embeddings_can_come_to_oracle_later(oracle_store: Database) -> None:
    async with OracleStore(**oracle_store.arguments()) as plain:
        await plain.put(NAMESPACE, "k", 1)
    async with OracleStore(**oracle_store.arguments(), dimension=2) as store:
        assert await store.search_by_embedding(NAMESPACE, [1.0, 0.0]) == []
        await store.put_with_embedding(NAMESPACE, "k", 2, [1.0, 0.0])
        [found] = await store.search_by_embedding(NAMESPACE, [1.0, 0.0])
        assert (found.item.value, found.item.version) == (2, 2)


async def test_pgvector_is_used_where_it_is(postgresql_database: PostgreSQLDatabase) -> None:
    async def statement() -> str:
        async with PostgreSQLStore(dsn=postgresql_database.dsn(), dimension=2) as store:
            await store.put_with_embedding(NAMESPACE, "k", 1, [1.0, 0.0])
            await store.search_by_embedding(NAMESPACE, [1.0, 0.0])
            return str(store.backend._pgvector)  # type: ignore[attr-defined]  # both give the same answers

    assert "pgvector" not in await statement()
    postgresql_database.execute(sql.SQL('CREATE SCHEMA "Else where"; CREATE EXTENSION vector SCHEMA "Else where"'))
    assert "pgvector in Else where" in await statement()


async def test_embeddings_of_another_model_are_left_alone(postgresql_database: PostgreSQLDatabase) -> None:
    for extension in ("SELECT 1", "CREATE EXTENSION vector"):
        postgresql_database.execute(sql.SQL(extension))
        async with (
            PostgreSQLStore(dsn=postgresql_database.dsn(), dimension=2) as two,
            PostgreSQLStore(dsn=postgresql_database.dsn(), dimension=3) as three,
        ):
            await two.put_with_embedding(NAMESPACE, "two", 1, [1.0, 0.0])
            await three.put_with_embedding(NAMESPACE, "three", 1, [1.0, 0.0, 0.0])
            assert [each.item.key for each in await two.search_by_embedding(NAMESPACE, [1.0, 0.0])] == ["two"]
            assert [each.item.key for each in await three.search_by_embedding(NAMESPACE, [1.0, 0.0, 0.0])] == ["three"]


async def test_what_has_expired_is_removed_by_later_puts_that_expire(postgresql_database: PostgreSQLDatabase) -> None:
    async with PostgreSQLStore(dsn=postgresql_database.dsn()) as store:
        await store.put_batch([(NAMESPACE, f"k{n}", 1, None) for n in range(15)], ttl_seconds=0.001)
        while await store.exists(NAMESPACE, "k14"):
            pass
        await store.put(NAMESPACE, "lasting", 1)
        for number in range(2):
            await store.put(("other",), f"k{number}", 1, ttl_seconds=60)
    [[count]] = postgresql_database.execute(sql.SQL("SELECT count(*) FROM locus_items"))
    assert count == 3


async def test_what_has_expired_is_removed_on_oracle(oracle_store: Database) -> None:
    async with OracleStore(**oracle_store.arguments()) as store:
        await store.put_batch([(NAMESPACE, f"k{n}", 1, None) for n in range(15)], ttl_seconds=0.001)
        while await store.exists(NAMESPACE, "k14"):
            pass
        for number in range(10):
            await store.put(("other",), f"k{number}", 1, ttl_seconds=60)
        async with store.backend._clients.client() as client:  # type: ignore[attr-defined]  # what no call shows
            assert await client.execute("clear_rest", {"namespace": b"memory/u42"}, commit=True) == 0


async def test_the_documented_rights_on_redis_are_enough_and_needed(redis_server: RedisServer) -> None:
    prefix = f"test-{secrets.token_hex(6)}:"
    allowed = [f"+{command}" for command in (*APPLICATION_COMMANDS, *CONNECTION_COMMANDS)]
    keys = [f"~{each}*" for each in KeyLayout(prefix).data_prefixes]
    with redis_server.client() as client:
        rules = ("on", ">secret", "resetkeys", *keys, "-@all", *allowed)
        client.execute_command("ACL", "SETUSER", prefix, *rules)  # type: ignore[no-untyped-call]
    address = f"{redis_server.host}:{redis_server.port}"
    login = f"{prefix.replace(':', '%3A')}:secret"
    async with RedisStore(f"redis://{login}@{address}", key_prefix=prefix, dimension=2) as store:
        await store.put_with_embedding(NAMESPACE, "k", "word", [1.0, 0.0], {"tag": 1}, ttl_seconds=60)
        await store.put_batch([(NAMESPACE, "l", "word", None), (NAMESPACE, "m", "word", None)])
        assert len(await store.search(NAMESPACE, "word")) == 3
        assert len(await store.search_by_embedding(NAMESPACE, [1.0, 0.0])) == 1
        assert await store.list(NAMESPACE) == ["k", "l", "m"]
        assert await store.list_namespaces() == [NAMESPACE]
        assert await store.delete(NAMESPACE, "k")
        assert await store.clear_namespace(NAMESPACE) == 2
    async with RedisStore(f"redis://{login}@{address}", key_prefix="another:") as store:
        with pytest.raises(AuthenticationError, match="lacks a privilege"):
            await store.get(NAMESPACE, "k")
    redis_server.reset()
