"""The seed's examples of stores, with nothing changed but the import prefix and where the database is."""

import os
from pathlib import Path

import pytest

from tests.servers.oracle import OracleStore as Database


@pytest.fixture
def wallet(oracle_store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home directory with a wallet whose alias leads to the database."""
    host, _, rest = oracle_store.dsn.partition(":")
    port, _, service = rest.partition("/")
    directory = tmp_path / ".oci" / "wallets" / "mydb"
    directory.mkdir(parents=True)
    (directory / "tnsnames.ora").write_text(
        f"mydb_low = (DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST={host})(PORT={port}))"
        f"(CONNECT_DATA=(SERVICE_NAME={service})))\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ORACLE_PW", oracle_store.password)


async def test_production_oracle_store_on_oracle_26ai(oracle_store: Database, wallet: None) -> None:
    if oracle_store.further:
        pytest.skip("the database that the environment names has a wallet of its own")
    from locus_memory.store_backends import OracleStore

    embedding = [0.0] * 1023 + [1.0]
    store = OracleStore(
        dsn="mydb_low",
        user=oracle_store.user,
        password=os.environ["ORACLE_PW"],
        wallet_location="~/.oci/wallets/mydb",
        table_name=f"{oracle_store.table_name}_items",
        dimension=1024,           # set for vector search; omit for plain K/V
    )  # fmt: skip
    await store.put(("memory", "u42"), "fact-1", {"note": "user likes cats"})
    await store.put_with_embedding(
        ("memory", "u42"), "fact-2", {"note": "user dislikes mornings"},
        embedding=embedding,          # 1024-dim vector
    )  # fmt: skip
    hits = await store.search_by_embedding(("memory", "u42"), query=embedding, limit=5)

    assert [(hit.item.key, hit.item.value) for hit in hits] == [("fact-2", {"note": "user dislikes mornings"})]
    assert hits[0].score == pytest.approx(1.0)
    assert await store.get(("memory", "u42"), "fact-1") == {"note": "user likes cats"}
    await store.close()
