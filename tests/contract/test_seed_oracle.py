"""The examples for Oracle that users of locus know, as they are written; only the import prefix is another one.

Behind the alias `mydb_low` in the wallet's tnsnames.ora is the emulator.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from locus.agent import Agent
from psycopg import sql

from locus_memory.backends import OracleCheckpointSaver, oracle_checkpointer
from locus_memory.errors import AuthenticationError, InvalidArgumentError
from locus_memory.store_backends import OracleStore
from tests.contract.travel_agent import make_agent
from tests.servers.oracle import EmulatedOracle, RealOracle, installed
from tests.servers.postgresql import Database


@pytest.fixture(scope="module")
def locus_app(oracle_database: EmulatedOracle | RealOracle) -> Iterator[tuple[Database, str]]:
    """The login of the examples, with a schema of its own; and its password."""
    if isinstance(oracle_database, RealOracle):
        pytest.skip("needs the emulator: it creates a user")
    _, password = oracle_database.create_user("locus_app")
    yield oracle_database.database, password
    oracle_database.drop_user("locus_app")


@pytest.fixture(autouse=True)
def wallet(
    oracle_database: EmulatedOracle,
    locus_app: tuple[Database, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """A home directory with a wallet, and the environment of the examples."""
    database, password = locus_app
    directory = tmp_path / ".oci/wallets/mydb"
    directory.mkdir(parents=True)
    address = f"(ADDRESS=(PROTOCOL=tcp)(HOST={database.server.host})(PORT={database.server.port}))"
    service = f"(CONNECT_DATA=(SERVICE_NAME={database.name}))"
    (directory / "tnsnames.ora").write_text(f"mydb_low = (DESCRIPTION={address}{service})\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ORACLE_PW", password)
    monkeypatch.setenv("WALLET_PW", "of the wallet")
    with installed(oracle_database):
        yield
    database.execute(sql.SQL('DROP SCHEMA "LOCUS_APP" CASCADE; CREATE SCHEMA "LOCUS_APP" AUTHORIZATION locus_app'))


@pytest.fixture
def tables(locus_app: tuple[Database, str]) -> Callable[[], set[str]]:
    """The names of the tables that there are."""
    read = sql.SQL("SELECT tablename FROM pg_tables WHERE schemaname = 'LOCUS_APP'")
    return lambda: {name for (name,) in locus_app[0].execute(read)}


def travel_agent() -> Agent:
    """The agent of the example, with a model and tools that run without a network."""
    return make_agent(
        checkpointer=oracle_checkpointer(
            dsn="mydb_low",  # tnsnames alias from the wallet
            user="locus_app",  # least-privileged app schema
            password=os.environ["ORACLE_PW"],
            wallet_location="~/.oci/wallets/mydb",
            wallet_password=os.environ["WALLET_PW"],
            table_name="locus_checkpoints",
        ),
    )


def test_a_conversation_goes_on_with_oracle_checkpointer(tables: Callable[[], set[str]]) -> None:
    travel_agent().run_sync("I'm planning a trip to Tokyo.", thread_id="user-c42")
    answer = travel_agent().run_sync("What were we discussing?", thread_id="user-c42").text
    assert answer == "You said: I'm planning a trip to Tokyo."
    assert "LOCUS_CHECKPOINTS" in tables()


async def test_a_graphs_history_with_oracle_checkpoint_saver(tables: Callable[[], set[str]]) -> None:
    saver = OracleCheckpointSaver(
        dsn="mydb_low",
        user="locus_app",
        password=os.environ["ORACLE_PW"],
        wallet_location="~/.oci/wallets/mydb",
        table_name="locus",  # creates locus_checkpoints + locus_writes
    )
    await saver.put(thread_id="t1", checkpoint_id="v1", checkpoint_data={"step": 1})
    await saver.put_writes(
        thread_id="t1",
        checkpoint_id="v1",
        task_id="node-a",
        writes=[("channel-x", "pending-write")],
    )
    latest = await saver.get(thread_id="t1")  # most-recent checkpoint
    history = await saver.list_checkpoints(thread_id="t1")  # walk lineage
    writes = await saver.get_writes(thread_id="t1", checkpoint_id="v1")
    await saver.close()
    assert latest is not None
    assert (latest["checkpoint_id"], latest["checkpoint"]) == ("v1", {"step": 1})
    assert history == [latest]
    assert [(each["task_id"], each["channel"], each["value"]) for each in writes] == [
        ("node-a", "channel-x", "pending-write")
    ]
    assert {"LOCUS_CHECKPOINTS", "LOCUS_WRITES"} <= tables()


def test_both_see_one_store(tables: Callable[[], set[str]]) -> None:
    async def graph() -> list[dict[str, Any]]:
        async with OracleCheckpointSaver(
            dsn="mydb_low",
            user="locus_app",
            password=os.environ["ORACLE_PW"],
            wallet_location="~/.oci/wallets/mydb",
            table_name="locus",
        ) as saver:
            return await saver.list_checkpoints(thread_id="user-c42")

    travel_agent().run_sync("I'm planning a trip to Tokyo.", thread_id="user-c42")
    before = tables()
    history = asyncio.run(graph())
    assert len(history) == 1
    assert "Tokyo" in str(history[0]["checkpoint"])
    assert tables() == before


async def test_a_store_across_threads_with_oracle_store() -> None:
    store = OracleStore(
        dsn="mydb_low",
        user="locus_app",
        password=os.environ["ORACLE_PW"],
        wallet_location="~/.oci/wallets/mydb",
        table_name="locus_store",
        dimension=1024,  # set for vector search; omit for plain K/V
    )
    mornings, cats = [0.0] * 1023 + [1.0], [1.0] + [0.0] * 1023
    await store.put(("memory", "u42"), "fact-1", {"note": "user likes cats"})
    await store.put_with_embedding(
        ("memory", "u42"),
        "fact-2",
        {"note": "user dislikes mornings"},
        embedding=mornings,  # 1024-dim vector
    )
    await store.put_with_embedding(("memory", "u42"), "fact-3", {"note": "user has a cat"}, embedding=cats)
    hits = await store.search_by_embedding(("memory", "u42"), query=mornings, limit=5)
    await store.close()
    assert hits[0].item.value == {"note": "user dislikes mornings"}


async def test_what_the_saver_cannot_use_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"dsn": "mydb_low", "user": "locus_app", "wallet_location": "~/.oci/wallets/mydb"}
    with pytest.raises(InvalidArgumentError, match="table_name"):
        OracleCheckpointSaver(**arguments, table_name="not a name")
    async with OracleCheckpointSaver(**arguments, password="wr0ng") as saver:
        assert "OracleCheckpointSaver(OracleBackend(mydb_low" in repr(saver)
        assert "wr0ng" not in repr(saver)
        with pytest.raises(AuthenticationError, match="the login 'locus_app' is rejected"):
            await saver.get(thread_id="t1")
