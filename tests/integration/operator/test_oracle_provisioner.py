"""What only Oracle has: users as schemas, claims in views, quotas, accounts; their drift, and who owns what."""

import asyncio
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from locus_memory.backends import oracle_checkpointer
from locus_memory.errors import AuthenticationError
from locus_operator import engine
from locus_operator.backends import oracle_connect
from locus_operator.connections import Connections
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from tests.emulators.oracle import EmulatedConnection
from tests.integration.operator.oracle_stores import OPERATOR_PRIVILEGES, OracleSession, oracle_backend, users_of
from tests.integration.operator.stores import InterruptedRunError, Store
from tests.servers.oracle import EmulatedOracle
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.relay import Relay

# --- drift ---

TABLE = '"{o}"."LOCUS_CHECKPOINTS"'
DRIFTS: dict[str, tuple[tuple[str, ...], str]] = {
    "login dropped": (('DROP USER "{a}" CASCADE',), "create user {a}: missing"),
    "idle login dropped": (('DROP USER "{b}" CASCADE',), "create user {b}: missing"),
    "claim of the owner dropped": (('DROP VIEW "{o}"."LOCUS_CLAIM"',), "claim user {o}: not claimed"),
    "claim of a login dropped": (('DROP VIEW "{a}"."LOCUS_CLAIM"',), "claim user {a}: not claimed"),
    "owner with a password": (
        ('ALTER USER "{o}" IDENTIFIED BY "Another-Password-1"',),
        "alter user {o}: differs: authentication PASSWORD",
    ),
    "owner open": (('ALTER USER "{o}" ACCOUNT UNLOCK',), "alter user {o}: differs: OPEN"),
    "idle login open": (('ALTER USER "{b}" ACCOUNT UNLOCK',), "lock user {b}: differs: OPEN"),
    "login locked": (('ALTER USER "{a}" ACCOUNT LOCK',), "set password of {a}: differs: LOCKED"),
    "login without password": (
        ('ALTER USER "{a}" NO AUTHENTICATION',),
        "set password of {a}: differs: authentication NONE",
    ),
    "password changed": (
        ('ALTER USER "{a}" IDENTIFIED BY "Another-Password-1"',),
        "set password of {a}: differs from the binding's",
    ),
    "quota changed": (('ALTER USER "{o}" QUOTA 1M ON "USERS"',), "set quota of {o}: differs: 1048576 bytes on USERS"),
    "quota taken": (('ALTER USER "{o}" QUOTA 0K ON "USERS"',), "set quota of {o}: differs: 0 bytes on USERS"),
    "tablespace changed": (
        ('ALTER USER "{o}" DEFAULT TABLESPACE "DATA" QUOTA UNLIMITED ON "DATA"',),
        "nothing to do",  # spec.tablespace says nothing, so a DBA may move it
    ),
    "quota of a login": (
        ('ALTER USER "{a}" QUOTA 1M ON "DATA"',),
        "revoke quota of {a}: it may use tablespace DATA",
    ),
    "no sessions": (('REVOKE CREATE SESSION FROM "{a}"',), "grant privilege CREATE SESSION: {a} lacks it"),
    "sessions passed on": (
        ('GRANT CREATE SESSION TO "{a}" WITH ADMIN OPTION',),
        "revoke privilege CREATE SESSION: {a} has it",
    ),
    "system privilege": (('GRANT CREATE TABLE TO "{a}"',), "revoke privilege CREATE TABLE: {a} has it"),
    "system privilege of the owner": (
        ('GRANT UNLIMITED TABLESPACE TO "{o}"',),
        "revoke privilege UNLIMITED TABLESPACE: {o} has it",
    ),
    "role": (('GRANT "RESOURCE" TO "{b}"',), "revoke role RESOURCE: {b} has it"),
    "privilege revoked": (
        (f'REVOKE INSERT, DELETE ON {TABLE} FROM "{{a}}"',),
        "grant table LOCUS_CHECKPOINTS: privileges of {a} differ",
    ),
    "privilege of the idle login revoked": (
        ('REVOKE SELECT ON "{o}"."LOCUS_CHECKPOINTS" FROM "{b}"',),
        "grant table LOCUS_CHECKPOINTS: privileges of {b} differ",
    ),
    "sequence revoked": (
        ('REVOKE SELECT ON "{o}"."LOCUS_CHECKPOINTS_ORDER" FROM "{a}"',),
        "grant sequence LOCUS_CHECKPOINTS_ORDER: privileges of {a} differ",
    ),
    "privilege added": (
        (f'GRANT REFERENCES ON {TABLE} TO "{{a}}"',),
        "revoke object {o}.LOCUS_CHECKPOINTS: {a} has REFERENCES",
    ),
    "privilege that may be passed on": (
        (f'GRANT SELECT ON {TABLE} TO "{{a}}" WITH GRANT OPTION',),
        "revoke object {o}.LOCUS_CHECKPOINTS: {a} has SELECT, and may pass it on",
    ),
    "open to everybody": (
        (f"GRANT SELECT ON {TABLE} TO PUBLIC",),
        "revoke object {o}.LOCUS_CHECKPOINTS: PUBLIC has SELECT",
    ),
    "claim view open to a login": (
        ('GRANT SELECT ON "{o}"."LOCUS_CLAIM" TO "{a}"',),
        "revoke object {o}.LOCUS_CLAIM: {a} has SELECT",
    ),
    "index dropped": (
        ('DROP INDEX "{o}"."LOCUS_CHECKPOINTS_CREATED"',),
        "create index LOCUS_CHECKPOINTS_CREATED: missing",
    ),
    "leaf table dropped": (
        ('DROP TABLE "{o}"."LOCUS_CHECKPOINTS_WORDS" CASCADE CONSTRAINTS PURGE',),
        "create table LOCUS_CHECKPOINTS_WORDS: missing",
    ),
    "first table dropped": (
        ('DROP TABLE "{o}"."LOCUS_CHECKPOINTS_THREADS" CASCADE CONSTRAINTS PURGE',),
        "drop table LOCUS_CHECKPOINTS: it belongs to table LOCUS_CHECKPOINTS_THREADS, which is missing",
    ),
    "version table empty": (
        ('DELETE FROM "{o}"."LOCUS_CHECKPOINTS_SCHEMA"',),
        "create table LOCUS_CHECKPOINTS_SCHEMA: has no row",
    ),
    "owner dropped": (('DROP USER "{o}" CASCADE',), "create user {o}: missing"),
}


@pytest.mark.parametrize("drift", DRIFTS)
async def test_drift_is_named_and_corrected(oracle_dba: Store, drift: str) -> None:
    statements, named = DRIFTS[drift]
    await oracle_dba.reconcile()
    names = users_of(oracle_dba)
    async with OracleSession.of_admin(oracle_dba) as admin:
        await admin.run(*(each.format(**names) for each in statements))
    corrected = await oracle_dba.reconcile()
    assert named.format(**names) in str(corrected.plan)
    assert not (await oracle_dba.reconcile()).plan
    async with oracle_dba.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")
        assert await checkpointer.load("thread") == {"works": True}


async def test_tables_whose_rows_have_lost_their_threads_are_not_dropped_unasked(oracle_dba: Store) -> None:
    await oracle_dba.reconcile()
    async with oracle_dba.checkpointer() as checkpointer:
        await checkpointer.save({"kept": True}, "thread")
    drop = 'DROP TABLE "{o}"."LOCUS_CHECKPOINTS_THREADS" CASCADE CONSTRAINTS PURGE'.format(**users_of(oracle_dba))
    async with OracleSession.of_admin(oracle_dba) as admin:
        await admin.run(drop)
    with pytest.raises(RefusedError, match=r"would destroy data.*drop table LOCUS_CHECKPOINTS: its rows") as caught:
        await oracle_dba.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    oracle_dba.allow_destructive = True
    await oracle_dba.reconcile()
    assert not (await oracle_dba.reconcile()).plan


async def test_a_sequence_starts_again_behind_the_rows_that_it_has_numbered(oracle_dba: Store) -> None:
    await oracle_dba.reconcile()
    async with oracle_dba.checkpointer() as checkpointer:
        for number in range(3):
            await checkpointer.save({"number": number}, "thread")
        async with OracleSession.of_admin(oracle_dba) as admin:
            await admin.run('DROP SEQUENCE "{o}"."LOCUS_CHECKPOINTS_ORDER"'.format(**users_of(oracle_dba)))
        done = await oracle_dba.reconcile()
        assert "create sequence LOCUS_CHECKPOINTS_ORDER: missing" in str(done.plan)
        await checkpointer.save({"number": 3}, "thread")
        assert await checkpointer.load("thread") == {"number": 3}
        assert len(await checkpointer.list_checkpoints("thread")) == 4


async def test_the_owner_s_space_is_what_the_spec_says(oracle_dba: Store) -> None:
    oracle_dba.backend["oracle"] |= {"tablespace": "users", "quota": "10M"}
    await oracle_dba.reconcile()
    assert not (await oracle_dba.reconcile()).plan
    oracle_dba.backend["oracle"] |= {"tablespace": "DATA", "quota": "100K"}
    owner = users_of(oracle_dba)["o"]
    assert f"set quota of {owner}: differs: tablespace USERS" in str((await oracle_dba.reconcile()).plan)
    assert not (await oracle_dba.reconcile()).plan
    query = "SELECT q.tablespace_name, q.max_bytes FROM dba_ts_quotas q WHERE q.username = :owner"
    async with OracleSession.of_admin(oracle_dba) as admin:
        # What lies in the old one may still grow there.
        assert sorted(await admin.rows(query, owner=owner)) == [("DATA", 106_496), ("USERS", 10 * 2**20)]
    oracle_dba.backend["oracle"] |= {"tablespace": "NOWHERE"}
    with pytest.raises(RefusedError, match=r"ORA-00959.*correct spec\.backend\.oracle\.tablespace"):
        await oracle_dba.reconcile()


# --- whose it is ---


@pytest.mark.parametrize("user", ["o", "a", "b"])
async def test_a_user_that_nobody_claimed_is_a_conflict_until_it_is_adopted(oracle_dba: Store, user: str) -> None:
    name = users_of(oracle_dba)[user]
    async with OracleSession.of_admin(oracle_dba) as admin:
        await admin.run(f'CREATE USER "{name}" IDENTIFIED BY "Somebody-Elses-1"', f'GRANT CREATE SESSION TO "{name}"')
    with pytest.raises(RefusedError, match=f"user {name} belongs to no store.*adopt") as caught:
        await oracle_dba.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    async with OracleSession.of_admin(oracle_dba) as admin:
        left = "SELECT u.username FROM dba_users u WHERE u.username LIKE :names"
        assert await admin.rows(left, names=f"{users_of(oracle_dba)['o']}%") == [(name,)]
    oracle_dba.adopt = True
    await oracle_dba.reconcile()
    oracle_dba.adopt = False
    assert not (await oracle_dba.reconcile()).plan
    async with oracle_dba.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_an_application_s_own_schema_is_adopted_with_its_conversations(
    oracle_dba: Store, emulated_oracle: EmulatedOracle
) -> None:
    user, password = emulated_oracle.create_user()
    async with oracle_checkpointer(emulated_oracle.dsn, user, password) as checkpointer:
        await checkpointer.save({"kept": True}, "thread")
    oracle_dba.backend["oracle"] |= {"owner": user}
    with pytest.raises(RefusedError, match=rf"user {user.upper()} belongs to no store"):
        await oracle_dba.reconcile()
    oracle_dba.adopt = True
    await oracle_dba.reconcile()
    oracle_dba.adopt = False
    assert not (await oracle_dba.reconcile()).plan
    async with oracle_dba.checkpointer() as adopted:
        assert await adopted.load("thread") == {"kept": True}
    with pytest.raises(AuthenticationError):
        await oracle_checkpointer(emulated_oracle.dsn, user, password).load("thread")


async def test_users_that_are_not_to_be_touched_are_not_even_adopted(
    oracle_dba: Store, emulated_oracle: EmulatedOracle
) -> None:
    oracle_dba.adopt = True
    admin = oracle_dba.sources["admin"]["username"]
    for owner, words in (("SYSTEM", "is Oracle's own"), (admin, "is the administrator")):
        oracle_dba.backend["oracle"] |= {"owner": owner}
        with pytest.raises(RefusedError, match=words) as caught:
            await oracle_dba.reconcile()
        assert caught.value.reason is ConditionReason.CONFLICT
        assert not (await oracle_dba.release("Delete")).plan


async def test_a_user_that_was_made_and_not_claimed_is_no_conflict(oracle_dba: Store) -> None:
    names = users_of(oracle_dba)
    async with OracleSession.of_admin(oracle_dba) as admin:
        await admin.run(*(f'CREATE USER "{name}" NO AUTHENTICATION ACCOUNT LOCK' for name in names.values()))
    plan = str((await oracle_dba.reconcile()).plan)
    assert all(f"claim user {name}: not claimed" in plan for name in names.values())
    assert not (await oracle_dba.reconcile()).plan


async def test_two_stores_cannot_have_one_owner(oracle_dba: Store) -> None:
    sibling = oracle_dba.sibling()
    oracle_dba.backend["oracle"] |= {"owner": "shared_owner"}
    sibling.backend, sibling.uid = {"oracle": {**oracle_dba.backend["oracle"]}}, "uid-9"
    await oracle_dba.reconcile()
    for sibling.adopt in (False, True):
        with pytest.raises(RefusedError, match=f"SHARED_OWNER belongs to the store agents/{oracle_dba.name}"):
            await sibling.reconcile()
    await sibling.release("Delete")
    assert not (await oracle_dba.reconcile()).plan
    await oracle_dba.release("Delete")


# --- deletion ---


async def test_deletion_ends_the_sessions_of_agents_and_leaves_nothing(oracle_dba: Store) -> None:
    await oracle_dba.reconcile()
    agent = oracle_dba.checkpointer()
    await agent.save({"kept": False}, "thread")
    done = await oracle_dba.release("Delete")
    assert [action.verb for action in done.plan.actions] == ["lock", "drop", "drop", "drop"]
    with pytest.raises(AuthenticationError):
        await agent.load("thread")
    await agent.close()
    async with OracleSession.of_admin(oracle_dba) as admin:
        query = "SELECT u.username FROM dba_users u WHERE u.username LIKE :names"
        assert await admin.rows(query, names=f"{users_of(oracle_dba)['o']}%") == []
    assert not (await oracle_dba.release("Delete")).plan


async def test_without_the_right_to_end_sessions_deletion_says_so_and_finishes_without_them(
    oracle_dba: Store, emulated_oracle: EmulatedOracle
) -> None:
    privileges = [each for each in OPERATOR_PRIVILEGES if each != "ALTER SYSTEM"]
    store = oracle_backend(emulated_oracle, emulated_oracle.create_admin(privileges, passes_session_on=True))
    await store.reconcile()
    async with OracleSession.of_agent(store):
        with pytest.raises(RefusedError, match=r"1 sessions of user .*_A are open.*GRANT ALTER SYSTEM") as caught:
            await store.release("Delete")
        assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    async with asyncio.timeout(10):
        while True:
            try:
                await store.release("Delete")
                break
            except RefusedError:  # the agent's session is still being ended
                await asyncio.sleep(0.05)


async def test_what_somebody_else_has_claimed_since_is_left_alone(oracle_dba: Store) -> None:
    await oracle_dba.reconcile()
    await oracle_dba.release()
    successor = oracle_dba.successor()
    successor.adopt = True
    await successor.reconcile()
    assert not (await oracle_dba.release("Delete")).plan
    successor.adopt = False
    assert not (await successor.reconcile()).plan


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_database_that_goes_away_during_a_deletion_is_unavailable(
    oracle_dba: Store, postgresql_server: PostgreSQLServer, emulated_oracle: EmulatedOracle, policy: str
) -> None:
    with Relay(postgresql_server.port).running() as relay:
        direct = oracle_dba.backend["oracle"]["dsn"]
        oracle_dba.backend["oracle"]["dsn"] = direct.replace(f":{postgresql_server.port}/", f":{relay.port}/")
        await oracle_dba.reconcile()
        with pytest.raises(InterruptedRunError):
            await oracle_dba.release_until(0, policy)

        def cut(index: int, action: object) -> None:
            relay.drop()

        with pytest.raises(UnavailableError, match=r"Oracle at .*: cannot (drop|lock|release) user"):
            await engine.release(replace(oracle_dba.request(), allow_destructive=True), progress=cut)
        await oracle_dba.release(policy)
        assert not (await oracle_dba.release(policy)).plan


async def test_a_database_that_does_not_answer_holds_nobody_up(
    oracle_dba: Store, emulated_oracle: EmulatedOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await oracle_dba.reconcile()
    table = sql.Identifier(users_of(oracle_dba)["o"], "LOCUS_CHECKPOINTS_SCHEMA")
    monkeypatch.setattr(oracle_connect, "CALL_SECONDS", 0.3)
    with psycopg.connect(emulated_oracle.database.dsn()) as other:
        other.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
        async with asyncio.timeout(10):
            with pytest.raises(UnavailableError, match=r"cannot read the table LOCUS_CHECKPOINTS_SCHEMA: DPY-4024"):
                await oracle_dba.reconcile()
    assert not (await oracle_dba.reconcile()).plan


async def test_stores_of_one_database_share_the_administrator_s_connections(oracle_dba: Store) -> None:
    stores = [oracle_dba, *(oracle_dba.sibling() for _ in range(7))]
    connections = Connections(limit=3)
    open_before = EmulatedConnection.open_connections
    most = 0

    def look(index: int, action: object) -> None:
        nonlocal most
        most = max(most, EmulatedConnection.open_connections - open_before)

    requests = [replace(store.request(), connections=connections) for store in stores]
    await asyncio.gather(*(engine.reconcile(request, progress=look) for request in requests))
    assert 2 <= most <= 3
    await connections.close()
    assert EmulatedConnection.open_connections == open_before
