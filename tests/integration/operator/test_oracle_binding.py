"""What Oracle's bindings hold beside a login: a wallet's files, and long-term memory with its vectors."""

import stat
import tempfile
from pathlib import Path

import pytest

from locus_memory.backends.oracle_client import connect_parameters
from locus_memory.binding import DirectoryBinding
from locus_memory.connection import OracleConnection
from locus_memory.errors import BindingError
from locus_memory.opening import open_checkpointer, open_store
from locus_operator.backends import oracle_connect
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from tests.integration.operator.oracle_stores import OracleSession, users_of
from tests.integration.operator.stores import Store
from tests.servers.oracle import EmulatedOracle

# --- the wallet ---


def tnsnames(oracle: EmulatedOracle, protocol: str = "tcp") -> str:
    server = oracle.database.server
    address = f"(ADDRESS=(PROTOCOL={protocol})(HOST={server.host})(PORT={server.port}))"
    return f"mydb_high = (DESCRIPTION={address}(CONNECT_DATA=(SERVICE_NAME={oracle.database.name})))\n"


@pytest.fixture
def wallet_store(oracle_dba: Store, emulated_oracle: EmulatedOracle) -> Store:
    """A store behind an alias that only its wallet knows."""
    oracle_dba.backend["oracle"] |= {"dsn": "mydb_high", "walletSecretRef": {"name": "wallet"}}
    files = {"tnsnames.ora": tnsnames(emulated_oracle), "ewallet.pem": "PEM", "README": "not carried"}
    oracle_dba.sources["wallet"] = {**files, "walletPassword": "Of-The-Wallet-1"}
    return oracle_dba


def written_out(store: Store, directory: Path) -> DirectoryBinding:
    assert store.binding is not None
    for name, value in store.binding.items():
        (directory / name).write_text(value)
    return DirectoryBinding(directory)


async def test_the_binding_carries_the_wallet_and_means_its_own_directory(wallet_store: Store, tmp_path: Path) -> None:
    done = await wallet_store.reconcile()
    assert {"tnsnames.ora", "ewallet.pem"} <= done.binding.data.keys()
    assert "README" not in done.binding.data
    document = wallet_store.connection()
    assert isinstance(document, OracleConnection)
    assert (document.wallet_location, document.config_dir) == (".", None)
    assert document.wallet_password is not None
    assert "Of-The-Wallet" not in f"{done!r} {done.conditions} {document!r}"
    async with open_checkpointer(written_out(wallet_store, tmp_path), state_type=dict) as checkpointer:
        await checkpointer.save({"through": "the wallet"}, "thread")
        assert await checkpointer.load("thread") == {"through": "the wallet"}


async def test_a_changed_wallet_reaches_the_binding(wallet_store: Store) -> None:
    first = await wallet_store.reconcile()
    wallet_store.sources["wallet"]["ewallet.pem"] = "another PEM"
    done = await wallet_store.reconcile()
    assert not done.plan
    assert done.binding.data["ewallet.pem"] == "another PEM"
    assert done.binding.digest != first.binding.digest


async def test_the_operator_s_copy_is_private_and_goes_at_once(
    wallet_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    connect, seen = connect_parameters, []

    def look(document: OracleConnection) -> dict[str, object]:
        assert document.wallet_location is not None
        directory = Path(document.wallet_location)
        seen.append((stat.S_IMODE(directory.stat().st_mode), sorted(each.name for each in directory.iterdir())))
        return connect(document)

    monkeypatch.setattr(oracle_connect, "connect_parameters", look)
    await wallet_store.reconcile()
    assert seen
    assert all(each == (0o700, ["ewallet.pem", "tnsnames.ora"]) for each in seen)
    assert list(tmp_path.iterdir()) == []


async def test_a_wallet_without_a_file_of_the_driver_is_refused(wallet_store: Store) -> None:
    wallet_store.sources["wallet"] = {"README": "x", "walletPassword": "Of-The-Wallet-1"}
    with pytest.raises(RefusedError, match=r"Secret 'wallet'.*neither tnsnames\.ora nor ewallet\.pem") as caught:
        await wallet_store.reconcile()
    assert caught.value.reason is ConditionReason.SECRET_INVALID
    assert "Of-The-Wallet" not in str(caught.value)


@pytest.mark.parametrize("problem", ["no such alias", "no private key"])
async def test_a_wallet_that_does_not_fit_is_refused(
    wallet_store: Store, emulated_oracle: EmulatedOracle, problem: str
) -> None:
    if problem == "no such alias":
        wallet_store.backend["oracle"]["dsn"] = "mydb_low"
    else:
        wallet_store.sources["wallet"] = {"tnsnames.ora": tnsnames(emulated_oracle, "tcps")}
    with pytest.raises(RefusedError, match=r"Correct dsn and walletSecretRef") as caught:
        await wallet_store.reconcile()
    assert caught.value.reason is ConditionReason.BACKEND_REFUSED


# --- long-term memory ---


@pytest.mark.parametrize("dimension", [None, 3])
async def test_long_term_memory_is_provisioned_and_used_with_the_issued_login(
    oracle_operator: Store, dimension: int | None
) -> None:
    memory = {"enabled": True} | ({} if dimension is None else {"embeddingDimension": dimension})
    oracle_operator.spec = {"longTermMemory": memory}
    plan = str((await oracle_operator.reconcile()).plan)
    assert "create table LOCUS_CHECKPOINTS_ITEMS: missing" in plan
    assert ("LOCUS_CHECKPOINTS_ITEMS_VECTORS" in plan) == (dimension is not None)
    assert not (await oracle_operator.reconcile()).plan
    async with open_store(oracle_operator) as store:
        await store.put(("users", "ada"), "likes", {"flower": "rose"})
        assert (await store.get(("users", "ada"), "likes")) == {"flower": "rose"}
    async with oracle_operator.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_a_memory_that_is_not_asked_for_any_more_stays_as_it_is(oracle_dba: Store) -> None:
    oracle_dba.spec = {"longTermMemory": {"embeddingDimension": 3}}
    await oracle_dba.reconcile()
    names = users_of(oracle_dba)
    for oracle_dba.spec in ({}, {"longTermMemory": {"enabled": False}}):
        assert not (await oracle_dba.reconcile()).plan
    async with OracleSession.of_admin(oracle_dba) as admin:
        rows = await admin.rows(
            "SELECT o.object_name FROM dba_objects o WHERE o.owner = :owner AND o.object_name = :name",
            owner=names["o"],
            name="LOCUS_CHECKPOINTS_ITEMS_VECTORS",
        )
        assert len(rows) == 1
    with pytest.raises(BindingError, match="no long-term memory"):
        open_store(oracle_dba)


async def test_embeddings_of_another_length_are_not_thrown_away(oracle_dba: Store) -> None:
    oracle_dba.spec = {"longTermMemory": {"embeddingDimension": 3}}
    await oracle_dba.reconcile()
    oracle_dba.spec = {"longTermMemory": {"embeddingDimension": 4}}
    with pytest.raises(RefusedError, match=r"has embeddings of 3 numbers.*says 4: put back 3") as caught:
        await oracle_dba.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT


async def test_a_memory_s_lost_table_is_created_again(oracle_dba: Store) -> None:
    oracle_dba.spec = {"longTermMemory": {"embeddingDimension": 3}}
    await oracle_dba.reconcile()
    table = '"{o}"."LOCUS_CHECKPOINTS_ITEMS_VECTORS"'.format(**users_of(oracle_dba))
    async with OracleSession.of_admin(oracle_dba) as admin:
        await admin.run(f"DROP TABLE {table} CASCADE CONSTRAINTS PURGE")
    assert "create table LOCUS_CHECKPOINTS_ITEMS_VECTORS: missing" in str((await oracle_dba.reconcile()).plan)
    assert not (await oracle_dba.reconcile()).plan
