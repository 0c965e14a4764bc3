"""Connections of the administrator on PostgreSQL: shared by stores, clean, few; and retention, run over them."""

import asyncio
import os
import signal
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import pq, sql

from locus_operator import engine
from locus_operator.api.backends import PostgreSQLBackend
from locus_operator.backends.postgresql_connect import Server, leave
from locus_operator.connections import Connections
from locus_operator.engine import Reconciled
from locus_operator.errors import RefusedError
from tests.integration.operator.stores import Store, connect_as_agent
from tests.servers.postgresql import SUPERUSER, Database

pytestmark = pytest.mark.parametrize("database", ["postgresql_server"], indirect=True)


async def reconcile(store: Store, connections: Connections, **changes: Any) -> Reconciled:
    done = await engine.reconcile(replace(store.request(), connections=connections, **changes))
    store.binding = done.binding.data
    return done


def sessions(database: Database) -> list[tuple[Any, ...]]:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'locus-operator'"
    return database.execute(sql.SQL(query))


async def test_stores_share_a_connection_and_leave_nothing_on_it(postgresql_store: Store, database: Database) -> None:
    connections = Connections()
    await reconcile(postgresql_store, connections)
    first = sessions(database)
    assert len(first) == 1
    locks = sql.SQL("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert database.execute(locks) == [(0,)]
    await reconcile(postgresql_store.sibling(), connections)
    assert sessions(database) == first
    await connections.close()


async def test_what_a_borrower_has_set_is_gone_for_the_next(postgresql_store: Store, database: Database) -> None:
    from locus_operator.backends import postgresql

    connections, seen = Connections(), []

    class Careless(postgresql.PostgreSQLProvisioner):
        async def observe(self) -> Any:
            session = self._open
            rows = await session.execute(
                "SELECT current_user = session_user, current_setting('search_path'), "
                "to_regclass('pg_temp.left_over') IS NULL, now() = statement_timestamp()"
            )
            seen.append(await rows.fetchone())
            observed = await super().observe()
            await session.execute("CREATE TEMPORARY TABLE left_over ()")
            await session.execute("SET search_path = nowhere")
            await session.execute("SELECT pg_advisory_lock(1)")
            await session.execute("BEGIN")
            return observed

    provisioner: Any = Careless
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgresql, "PROVISIONER", provisioner)
        for _ in range(2):
            await engine.plan(replace(postgresql_store.request(), connections=connections))
    assert len(sessions(database)) == 1
    assert seen[0] == seen[1]
    await connections.close()


async def test_many_stores_at_once_stay_below_the_limit_and_all_get_a_login(
    postgresql_store: Store, database: Database
) -> None:
    # Privileges on the database change with each store then, which PostgreSQL refuses to two at once.
    database.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database.name)))
    admin = sql.Identifier(postgresql_store.sources["admin"]["username"])
    grant = "GRANT CONNECT ON DATABASE {} TO {} WITH GRANT OPTION"
    database.execute(sql.SQL(grant).format(sql.Identifier(database.name), admin))
    stores = [postgresql_store.sibling() for _ in range(20)]
    connections, open_now, most = Connections(limit=4), 0, 0
    connect, close = psycopg.AsyncConnection.connect, psycopg.AsyncConnection.close

    async def counted_connect(**options: Any) -> Any:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        return await connect(**options)

    async def counted_close(self: Any) -> None:
        nonlocal open_now
        open_now -= 1
        await close(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "connect", counted_connect)
        patch.setattr(psycopg.AsyncConnection, "close", counted_close)
        await asyncio.gather(*(reconcile(store, connections) for store in stores))
    assert 1 < most <= 4
    for store in stores:
        with connect_as_agent(database, store) as agent:
            agent.execute("SELECT FROM locus_threads")
    policy = {"deletionPolicy": "Delete"}
    for store in stores:
        store.spec = policy
    gone = [replace(store.request(), connections=connections, allow_destructive=True) for store in stores]
    await asyncio.gather(*map(engine.release, gone))
    bases = [sql.Literal(f"{store.names.base}%") for store in stores]
    left = sql.SQL("SELECT rolname FROM pg_roles WHERE rolname LIKE ANY (ARRAY[{}])")
    assert database.execute(left.format(sql.SQL(", ").join(bases))) == []
    await connections.close()


async def test_a_wrong_password_borrows_nobodys_connection(postgresql_store: Store, database: Database) -> None:
    connections = Connections()
    await reconcile(postgresql_store, connections)
    wrong = postgresql_store.sibling()
    wrong.sources = {"admin": {**wrong.sources["admin"], "password": "wrong"}}
    with pytest.raises(RefusedError, match="rejects the administrator"):
        await reconcile(wrong, connections)
    await connections.close()


async def test_a_new_store_costs_a_round_trip_for_each_action_and_few_more(
    postgresql_store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[str] = []
    execute, end = psycopg.AsyncCursor.execute, psycopg.AsyncPipeline.__aexit__

    async def counted_execute(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        if self.connection.pgconn.pipeline_status == pq.PipelineStatus.OFF:
            trips.append(str(query))
        return await execute(self, query, *arguments, **options)

    async def counted_end(self: Any, *arguments: Any) -> None:
        trips.append("pipeline")
        await end(self, *arguments)

    connections = Connections()
    await reconcile(postgresql_store.sibling(), connections)
    monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted_execute)
    monkeypatch.setattr(psycopg.AsyncPipeline, "__aexit__", counted_end)
    done = await reconcile(postgresql_store, connections)
    # The connection as new before and after; the lock; the catalogs.
    assert len(trips) == len(done.plan.actions) + 4, trips
    trips.clear()
    await reconcile(postgresql_store, connections)
    assert len(trips) == 5, "the same, and the version of the tables"
    await connections.close()


async def test_a_session_that_was_left_is_gone_by_the_servers_count(database: Database) -> None:
    address = {"host": database.server.host, "port": database.server.port, "database": database.name}
    backend = {"sslMode": "disable", "adminSecretRef": {"name": "admin"}, **address}
    server = Server(PostgreSQLBackend.model_validate(backend), None)
    slow = await server.connect(SUPERUSER, database.server.password)
    pid = slow.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    leaving = asyncio.create_task(leave(slow))
    done, _ = await asyncio.wait([leaving], timeout=0.2)
    os.kill(pid, signal.SIGCONT)
    assert not done
    await leaving
    assert sessions(database) == []
    broken = await server.connect(SUPERUSER, database.server.password)
    await broken.close()
    await leave(broken)


# --- retention ---


async def test_the_sweep_enforces_retention_as_the_owner(postgresql_store: Store, database: Database) -> None:
    store, connections = postgresql_store, Connections()
    store.spec = {"retention": {"maxAge": "1d", "maxCheckpointsPerThread": 2}}
    done = await reconcile(store, connections)
    assert done.expired is None
    condition = next(each for each in done.conditions if each.type == "RetentionEnforced")
    assert condition.status == "True"
    assert "older, by the clock of the database" in condition.message
    async with store.checkpointer() as checkpointer:
        for number in range(4):
            await checkpointer.save({"n": number}, "thread", f"c{number}")
        await checkpointer.save({}, "old")
        table = sql.Identifier(store.names.base, "locus_checkpoints")
        age = "UPDATE {} SET created_at = now() - interval '25 hours' WHERE checkpoint_id NOT LIKE 'c%'"
        database.execute(sql.SQL(age).format(table))
        assert (await reconcile(store, connections, enforce_retention=True)).expired == 3
        assert await checkpointer.list_checkpoints("thread") == ["c3", "c2"]
        assert await checkpointer.load("old") is None
        await checkpointer.save({"again": True}, "old")
        assert (await reconcile(store, connections, enforce_retention=True)).expired == 0
        assert await checkpointer.load("old") == {"again": True}
    await connections.close()


async def test_without_a_policy_nothing_is_deleted(postgresql_store: Store, database: Database) -> None:
    store, connections = postgresql_store, Connections()
    await reconcile(store, connections)
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({}, "thread")
        table = sql.Identifier(store.names.base, "locus_checkpoints")
        database.execute(sql.SQL("UPDATE {} SET created_at = now() - interval '9 years'").format(table))
        assert (await reconcile(store, connections, enforce_retention=True)).expired == 0
        assert await checkpointer.load("thread") == {}
    await connections.close()
