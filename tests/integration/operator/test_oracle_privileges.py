"""What administrators need on Oracle, and what the issued login may not do: tried, and refused by the server."""

import oracledb
import pytest

from locus_memory.backends.oracle_errors import code_of
from locus_operator import engine
from locus_operator.backends.oracle_preflight import PRIVILEGES, RETENTION
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.errors import RefusedError, UnavailableError
from tests.integration.operator.oracle_stores import OPERATOR_PRIVILEGES, OracleSession, oracle_backend, users_of
from tests.integration.operator.stores import Store
from tests.servers.oracle import EmulatedOracle

# --- the administrator ---


async def test_all_missing_privileges_are_listed_with_their_statements_and_nothing_is_done(
    emulated_oracle: EmulatedOracle,
) -> None:
    admin = emulated_oracle.create_admin(["CREATE SESSION", "SELECT ANY DICTIONARY", "CREATE USER"])
    store = oracle_backend(emulated_oracle, admin)
    with pytest.raises(RefusedError, match="Nothing was changed") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    for privilege in set(PRIVILEGES) - {"CREATE USER"}:
        assert f"(GRANT {privilege} TO {admin[0]})" in str(caught.value)
    assert f"(GRANT CREATE SESSION TO {admin[0]} WITH ADMIN OPTION)" in str(caught.value)
    assert "GRANT CREATE USER" not in str(caught.value)
    assert "ANY DICTIONARY" not in str(caught.value)


async def test_without_the_dictionary_it_is_listed_with_the_rest(emulated_oracle: EmulatedOracle) -> None:
    store = oracle_backend(emulated_oracle, emulated_oracle.create_admin(["CREATE SESSION"]))
    for act in (store.reconcile, store.release):
        with pytest.raises(RefusedError, match=r"lacks: SELECT ANY DICTIONARY .*; CREATE USER") as caught:
            await act()
        assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES


@pytest.mark.parametrize("lacking", [*PRIVILEGES, "SELECT ANY DICTIONARY"])
async def test_every_privilege_that_is_asked_for_is_needed(emulated_oracle: EmulatedOracle, lacking: str) -> None:
    privileges = [each for each in OPERATOR_PRIVILEGES if each != lacking]
    store = oracle_backend(emulated_oracle, emulated_oracle.create_admin(privileges, passes_session_on=True))
    with pytest.raises(RefusedError, match=rf"lacks: {lacking} \(GRANT {lacking} TO admin_\w+\)\. Nothing"):
        await store.reconcile()


async def test_retention_needs_the_right_to_delete(emulated_oracle: EmulatedOracle) -> None:
    privileges = [each for each in OPERATOR_PRIVILEGES if each not in RETENTION]
    store = oracle_backend(emulated_oracle, emulated_oracle.create_admin(privileges, passes_session_on=True))
    await store.reconcile()
    store.spec = {"retention": {"maxAge": "1d"}}
    with pytest.raises(RefusedError, match=r"lacks: UPDATE ANY TABLE .*; DELETE ANY TABLE"):
        await store.reconcile()


async def test_an_administrator_who_is_not_let_in_is_told_why(emulated_oracle: EmulatedOracle) -> None:
    admin, password = emulated_oracle.create_admin()
    wrong = oracle_backend(emulated_oracle, (admin, "guess"))
    with pytest.raises(RefusedError, match=rf"rejects the administrator '{admin}' of Secret 'admin'") as caught:
        await wrong.reconcile()
    assert caught.value.reason is ConditionReason.AUTHENTICATION_FAILED
    assert "guess" not in str(caught.value)
    emulated_oracle.lock(admin)
    with pytest.raises(RefusedError, match="ORA-28000") as caught:
        await oracle_backend(emulated_oracle, (admin, password)).reconcile()
    assert caught.value.reason is ConditionReason.AUTHENTICATION_FAILED


async def test_a_connect_string_that_is_none_is_refused(oracle_dba: Store) -> None:
    oracle_dba.backend["oracle"]["dsn"] = "mydb_high"
    with pytest.raises(RefusedError, match=r"Oracle at mydb_high: .*Correct dsn and walletSecretRef") as caught:
        await oracle_dba.reconcile()
    assert caught.value.reason is ConditionReason.BACKEND_REFUSED
    oracle_dba.backend["oracle"]["dsn"] = "127.0.0.1:1/agents"
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/agents"):
        await oracle_dba.reconcile()


# --- the login ---

REFUSALS = ("ORA-00942", "ORA-01031", "ORA-41900")
FORBIDDEN = (
    'SELECT t.thread_id FROM "{other}"."LOCUS_CHECKPOINTS_THREADS" t',
    'DELETE FROM "{other}"."LOCUS_CHECKPOINTS" c',
    'UPDATE "{other}"."LOCUS_CHECKPOINTS_THREADS" t SET t.latest_checkpoint = NULL',
    'SELECT "{other}"."LOCUS_CHECKPOINTS_ORDER".NEXTVAL FROM dual',
    'SELECT v.claim FROM "{o}"."LOCUS_CLAIM" v',
    'DELETE FROM "{o}"."LOCUS_CHECKPOINTS_SCHEMA" v',
    "CREATE TABLE mine (a NUMBER(1))",
    'CREATE TABLE "{o}"."MINE" (a NUMBER(1))',
    'DROP TABLE "{o}"."LOCUS_CHECKPOINTS" CASCADE CONSTRAINTS PURGE',
    'CREATE INDEX "{o}"."MINE" ON "{o}"."LOCUS_CHECKPOINTS" (parent_id)',
    'CREATE OR REPLACE VIEW "{a}"."LOCUS_CLAIM" AS SELECT 1 AS claim FROM dual',
    'CREATE USER "MINE" NO AUTHENTICATION',
    'ALTER USER "{b}" ACCOUNT UNLOCK',
    'DROP USER "{o}" CASCADE',
    'GRANT SELECT ON "{o}"."LOCUS_CHECKPOINTS" TO PUBLIC',
    'GRANT CREATE TABLE TO "{a}"',
    "SELECT u.username FROM dba_users u",
    "SELECT p.grantee FROM dba_tab_privs p",
    'SELECT s.sid FROM "GV$SESSION" s',
)


async def test_the_issued_login_is_refused_everything_but_its_own_rows(oracle_dba: Store) -> None:
    other = oracle_dba.sibling()
    for store in (oracle_dba, other):
        await store.reconcile()
        async with store.checkpointer() as checkpointer:
            await checkpointer.save({"private": True}, "thread")
    names = users_of(oracle_dba) | {"other": users_of(other)["o"]}
    allowed = list(FORBIDDEN)
    async with OracleSession.of_agent(oracle_dba) as agent:
        own = FORBIDDEN[0].replace("{other}", names["o"])
        assert await agent.rows(own) == [(b"thread",)], "its own rows are open to it"
        for statement in FORBIDDEN:
            try:
                await agent.run(statement.format(**names))
            except oracledb.DatabaseError as error:
                if code_of(error) in REFUSALS:
                    allowed.remove(statement)
    assert allowed == []
    async with other.checkpointer() as checkpointer:
        assert await checkpointer.load("thread") == {"private": True}


async def test_neither_owner_nor_idle_login_let_anybody_in(oracle_dba: Store) -> None:
    await oracle_dba.reconcile()
    assert oracle_dba.binding is not None
    names = users_of(oracle_dba)
    for name in (names["o"], names["b"]):
        with pytest.raises(oracledb.DatabaseError, match=r"ORA-(01017|28000)"):
            async with OracleSession(oracle_dba.backend["oracle"]["dsn"], name, oracle_dba.binding["password"]):
                pass


# --- passwords ---


async def test_a_password_that_expires_is_set_again(oracle_dba: Store, emulated_oracle: EmulatedOracle) -> None:
    first = await oracle_dba.reconcile()
    emulated_oracle.expire(users_of(oracle_dba)["a"])
    done = await oracle_dba.reconcile()
    assert str(done.plan.actions[0]).endswith("it expires")
    assert done.binding.digest == first.binding.digest
    async with oracle_dba.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_where_passwords_are_not_used_twice_the_binding_gets_a_new_one(
    oracle_dba: Store, emulated_oracle: EmulatedOracle
) -> None:
    emulated_oracle.remember_passwords(4)
    try:
        first = await oracle_dba.reconcile()
        emulated_oracle.expire(users_of(oracle_dba)["a"])
        done = await oracle_dba.reconcile()
    finally:
        emulated_oracle.remember_passwords(0)
    assert done.binding.data["password"] != first.binding.data["password"]
    assert not (await oracle_dba.reconcile()).plan
    async with oracle_dba.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_a_locked_login_keeps_its_password(oracle_dba: Store, emulated_oracle: EmulatedOracle) -> None:
    emulated_oracle.remember_passwords(4)
    try:
        first = await oracle_dba.reconcile()
        emulated_oracle.lock(users_of(oracle_dba)["a"].lower())
        done = await oracle_dba.reconcile()
    finally:
        emulated_oracle.remember_passwords(0)
    assert "differs: LOCKED" in str(done.plan)
    assert done.binding.digest == first.binding.digest
    async with oracle_dba.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_retention_is_said_to_be_enforced_as_far_as_it_is_asked_for(oracle_dba: Store) -> None:
    oracle_dba.spec = {"retention": {"maxAge": "90d"}}
    done = await engine.reconcile(oracle_dba.request())
    said = next(each for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED)
    assert said.reason is ConditionReason.RETENTION_APPLIED
    assert said.message == "the operator's sweep deletes older checkpoints"
