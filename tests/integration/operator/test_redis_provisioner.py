"""What only Redis has: ACL users and key prefixes, their drift, and what they keep the application from."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from locus_memory.backends.redis_keys import KeyLayout
from locus_memory.connection import RedisConnection
from locus_operator import engine
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.errors import RefusedError, UnavailableError
from tests.integration.operator.stores import NAMESPACE, Store, redis_backend
from tests.servers.redis import RedisServer, TLSRedisServer
from tests.servers.tls import CertificateAuthority


def layout(store: Store) -> KeyLayout:
    return KeyLayout(f"locus:{NAMESPACE}:{store.name}:")


def client_of(server: RedisServer, store: Store) -> Redis:
    """Log in as an agent does."""
    assert store.binding is not None
    return Redis.from_url(server.url(store.binding["username"], store.binding["password"]), decode_responses=True)


def send(client: Redis, *command: str) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


# --- drift ---

Sabotage = Callable[[Redis, Store], Any]


def acl(*rules: str, user: int = 0) -> Sabotage:
    return lambda client, store: send(client, "ACL SETUSER", store.names.logins[user], *rules)


DRIFTS: dict[str, tuple[Sabotage, str]] = {
    "user dropped": (lambda c, s: c.acl_deluser(s.names.logins[0]), "create ACL user {a}: missing"),
    "idle user dropped": (lambda c, s: c.acl_deluser(s.names.logins[1]), "create ACL user {b}: missing"),
    "user disabled": (acl("off"), "alter ACL user {a}: differs: enabled"),
    "idle user enabled": (acl("on", user=1), "alter ACL user {b}: differs: enabled"),
    "password changed": (acl("resetpass", ">another"), "alter ACL user {a}: differs: password"),
    "password added": (acl(">another"), "alter ACL user {a}: differs: password"),
    "no password needed": (acl("nopass"), "alter ACL user {a}: differs: password, nopass"),
    "keys added": (acl("~*"), "alter ACL user {a}: differs: keys"),
    "keys reset": (acl("resetkeys"), "alter ACL user {a}: differs: keys"),
    "read-only keys added": (acl("%R~other:*"), "alter ACL user {a}: differs: keys"),
    "command added": (acl("+flushall"), "alter ACL user {a}: differs: commands"),
    "category added": (acl("+@read"), "alter ACL user {a}: differs: commands"),
    "all commands": (acl("+@all"), "alter ACL user {a}: differs: commands"),
    "command removed": (acl("-hset"), "alter ACL user {a}: differs: commands"),
    "channels added": (acl("&*"), "alter ACL user {a}: differs: channels"),
    "selector added": (acl("(+get ~*)"), "alter ACL user {a}: differs: selectors"),
    "claim lost": (lambda c, s: c.delete(layout(s).claim), "claim key prefix"),
    "everything lost": (lambda c, s: c.flushall(), "claim key prefix"),
}


@pytest.mark.parametrize("drift", DRIFTS)
async def test_drift_is_named_and_corrected(redis_store: Store, redis: RedisServer, drift: str) -> None:
    store, (sabotage, named) = redis_store, DRIFTS[drift]
    await store.reconcile()
    with redis.client() as client:
        sabotage(client, store)
    corrected = await store.reconcile()
    a, b = store.names.logins
    assert named.format(a=a, b=b) in str(corrected.plan)
    assert not (await store.reconcile()).plan
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_a_lost_claim_over_data_is_written_again(redis_store: Store, redis: RedisServer) -> None:
    await redis_store.reconcile()
    async with redis_store.checkpointer() as checkpointer:
        await checkpointer.save({"kept": True}, "thread")
        with redis.client() as client:
            client.delete(layout(redis_store).claim)
        await redis_store.reconcile()
        assert await checkpointer.load("thread") == {"kept": True}


async def test_users_survive_a_restart_with_an_acl_file() -> None:
    with RedisServer(aclfile=True) as server:
        store = redis_backend(server)
        await store.reconcile()
        await asyncio.to_thread(server.restart)
        assert not (await store.reconcile()).plan


async def test_users_lost_in_a_restart_are_made_again_and_the_condition_says_so() -> None:
    with RedisServer() as server:
        store = redis_backend(server)
        first = await store.reconcile()
        await asyncio.to_thread(server.restart)
        second = await store.reconcile()
        assert [action.verb for action in second.plan.actions] == ["create", "create"]
        assert second.binding.digest == first.binding.digest
        provisioned = next(each for each in second.conditions if each.type is ConditionType.PROVISIONED)
        assert "aclfile" in provisioned.message
        async with store.checkpointer() as checkpointer:
            await checkpointer.save({"works": True}, "thread")


# --- whose it is ---


async def test_data_that_nobody_claimed_is_a_conflict_until_it_is_adopted(
    redis_store: Store, redis: RedisServer
) -> None:
    with redis.client() as client:
        client.zadd(layout(redis_store).threads, {"thread": 0})
    with pytest.raises(RefusedError, match=r"holds data that belongs to no store.*adopt") as caught:
        await redis_store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    with redis.client() as client:
        assert client.acl_users() == ["default"]
    redis_store.adopt = True
    await redis_store.reconcile()
    redis_store.adopt = False
    assert not (await redis_store.reconcile()).plan


async def test_a_foreign_user_of_the_derived_name_is_a_conflict(redis_store: Store, redis: RedisServer) -> None:
    with redis.client() as client:
        client.acl_setuser(redis_store.names.logins[0], enabled=True, passwords=["+x"], keys=["other:*"])
    with pytest.raises(RefusedError, match=r"ACL user .* exists, for the keys ~other:\*"):
        await redis_store.reconcile()


@pytest.mark.parametrize(("one", "other"), [("app:", "app:t:x:"), ("app:t:x:", "app:"), ("app/", "app/i:s:/")])
async def test_prefixes_of_two_stores_may_not_overlap(redis_store: Store, one: str, other: str) -> None:
    first, second = redis_store, redis_store.sibling()
    for store, prefix in ((first, one), (second, other)):
        store.backend = {"redis": {**store.backend["redis"], "keyPrefix": prefix}}
    await first.reconcile()
    with pytest.raises(RefusedError, match="key prefix") as caught:
        await second.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT


@pytest.mark.parametrize(("one", "other"), [("app:", "app:x:"), ("app:x:", "app:"), ("app/", "app/nested/")])
async def test_prefixes_whose_keys_never_meet_are_no_conflict(redis_store: Store, one: str, other: str) -> None:
    """Whoever adopts the library's own `locus:` must not lock out the derived prefixes below it."""
    first, second = redis_store, redis_store.sibling()
    for store, prefix in ((first, one), (second, other)):
        store.backend = {"redis": {**store.backend["redis"], "keyPrefix": prefix}}
        await store.reconcile()
        async with store.checkpointer() as checkpointer:
            await checkpointer.save({"in": prefix}, "thread")
    await first.release("Delete")
    async with second.checkpointer() as checkpointer:
        assert await checkpointer.load("thread") == {"in": other}


async def test_deletion_takes_the_stores_keys_and_no_others(redis_store: Store, redis: RedisServer) -> None:
    sibling = redis_store.sibling()
    for store in (redis_store, sibling):
        await store.reconcile()
        async with store.checkpointer() as checkpointer:
            for number in range(700):
                await checkpointer.save({"number": number}, f"thread-{number}")
    with redis.client() as client:
        client.set("unrelated", "kept")
    await redis_store.release("Delete")
    with redis.client() as client:
        assert client.keys(f"{layout(redis_store).prefix}*") == []
        assert client.get("unrelated") == "kept"
    async with sibling.checkpointer() as checkpointer:
        assert len(await checkpointer.list_threads(limit=1000)) == 700


# --- what the application must not do ---


REFUSALS = ("permission", "can't access", "can't run", "not allowed")
FORBIDDEN = [
    "GET|{own.claim}",
    "SET|{own.claim}|mine",
    "HGETALL|{own.claim}",
    "UNLINK|{own.claim}",
    "UNLINK|{other.claim}",
    "ZRANGE|{other.threads}|0|-1",
    "ZADD|{other.threads}|0|x",
    "EXISTS|{other.threads}",
    "HGETALL|unrelated",
    "COPY|{other.threads}|{own.threads}",
    "EVAL|return redis.call('ZRANGE', '{other.threads}', 0, -1)|0",
    "EVAL|return redis.call('KEYS', '*')|0",
    "EVAL|return redis.call('UNLINK', '{own.claim}')|0",
    "FLUSHALL",
    "FLUSHDB",
    "KEYS|*",
    "SCAN|0",
    "RANDOMKEY",
    "DBSIZE",
    "CONFIG|GET|*",
    "CONFIG|SET|maxmemory|1",
    "SELECT|1",
    "MOVE|{own.threads}|1",
    "SWAPDB|0|1",
    "ACL|LIST",
    "ACL|WHOAMI",
    "ACL|SETUSER|{a}|+@all",
    "SCRIPT|FLUSH",
    "SCRIPT|KILL",
    "FUNCTION|LIST",
    "FUNCTION|FLUSH",
    "PUBLISH|channel|x",
    "SUBSCRIBE|channel",
    "MONITOR",
    "CLIENT|LIST",
    "CLIENT|KILL|TYPE|normal",
    "DEBUG|SLEEP|0",
    "SHUTDOWN|NOSAVE",
    "SAVE",
    "BGSAVE",
    "REPLICAOF|NO|ONE",
    "SLOWLOG|GET",
    "INFO",
    "OBJECT|ENCODING|{own.threads}",
    "RENAME|{own.threads}|x",
    "SORT|{own.threads}|BY|*",
    "WAIT|0|1",
]


async def test_the_issued_login_is_refused_everything_else(redis_store: Store, redis: RedisServer) -> None:
    store, other = redis_store, redis_store.sibling()
    for each in (store, other):
        await each.reconcile()
        async with each.checkpointer() as checkpointer:
            await checkpointer.save({"private": True}, "thread")
    allowed = []
    with client_of(redis, store) as client:
        assert client.zrange(layout(store).threads, 0, -1) == ["thread"]
        for line in FORBIDDEN:
            names = {"own": layout(store), "other": layout(other), "a": store.names.logins[0]}
            try:
                send(client, *line.format(**names).split("|"))
            except NoPermissionError:
                continue
            except RedisError as error:  # in a script, and for DEBUG, the server uses other words
                if not any(refusal in str(error) for refusal in REFUSALS):
                    raise
                continue
            allowed.append(line)
    assert allowed == []


async def test_the_idle_user_cannot_log_in(redis_store: Store, redis: RedisServer) -> None:
    await redis_store.reconcile()
    password = (redis_store.binding or {})["password"]
    for attempt in (password, ""):
        with (
            Redis.from_url(redis.url(redis_store.names.logins[1], attempt)) as client,
            pytest.raises(AuthenticationError),
        ):
            client.ping()


async def test_a_released_user_is_thrown_out(redis_store: Store, redis: RedisServer) -> None:
    await redis_store.reconcile()
    with client_of(redis, redis_store) as client:
        client.ping()
        await redis_store.release()
        with pytest.raises((RedisConnectionError, AuthenticationError)):
            client.ping()


async def test_another_database_is_used_without_the_right_to_change_it(redis_store: Store, redis: RedisServer) -> None:
    redis_store.backend = {"redis": {**redis_store.backend["redis"], "database": 3}}
    await redis_store.reconcile()
    assert not (await redis_store.reconcile()).plan
    async with redis_store.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")
        assert await checkpointer.load("thread") == {"works": True}
    with client_of(redis, redis_store) as client, pytest.raises(NoPermissionError):
        send(client, "SELECT", "1")
    await redis_store.release("Delete")
    with redis.client() as client:
        assert not client.info("keyspace")


# --- retention ---


@pytest.mark.parametrize(
    ("spec", "ttl", "seconds", "enforced"),
    [
        ({}, {}, None, True),
        ({"retention": {"maxAge": "90d"}}, {}, 90 * 86_400, True),
        ({"retention": {"maxAge": "90d"}}, {"onWrite": "24h"}, 86_400, True),
        ({}, {"onWrite": "24h", "refreshOnRead": True}, 86_400, True),
        ({"retention": {"maxAge": "90d"}}, {"refreshOnRead": True}, 90 * 86_400, False),
        ({"retention": {"maxCheckpointsPerThread": 5}}, {}, None, True),
    ],
)
async def test_the_ttl_policy_is_in_the_document_and_told_honestly(
    redis_store: Store, spec: dict[str, Any], ttl: dict[str, Any], seconds: int | None, enforced: bool
) -> None:
    redis_store.spec = spec
    redis_store.backend = {"redis": {**redis_store.backend["redis"], "ttl": ttl}}
    done = await redis_store.reconcile()
    connection = redis_store.connection()
    assert isinstance(connection, RedisConnection)
    assert (connection.ttl_seconds, connection.refresh_ttl_on_read) == (seconds, ttl.get("refreshOnRead", False))
    retention = next(each for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED)
    assert (retention.status == "True") is enforced


async def test_a_thread_expires(redis_store: Store, redis: RedisServer) -> None:
    redis_store.spec = {"retention": {"maxAge": "60s"}}
    await redis_store.reconcile()
    async with redis_store.checkpointer() as checkpointer:
        assert checkpointer.capabilities.ttl
        await checkpointer.save({"short": True}, "thread")
    with redis.client() as client:
        lifetimes = [client.pttl(key) for key in client.keys(f"{layout(redis_store).prefix}t:*")]
    assert lifetimes
    assert all(0 < lifetime <= 60_000 for lifetime in lifetimes)


# --- what stands in the way ---


async def test_a_server_of_another_authority_is_refused(tls_redis_server: TLSRedisServer) -> None:
    store = redis_backend(tls_redis_server)
    store.sources = {**store.sources, "server-ca": {"ca.crt": CertificateAuthority().certificate.decode()}}
    with pytest.raises(RefusedError, match=r"no trusted TLS connection.*tls and ca"):
        await store.reconcile()


async def test_a_server_that_hangs_is_given_up(
    redis_store: Store, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TIMEOUT_SECONDS", 0.5)
    redis.pause()
    try:
        with pytest.raises(UnavailableError, match="not done within"):
            await redis_store.reconcile()
    finally:
        redis.resume()


async def test_no_password_is_in_the_slow_log_or_the_acl_log() -> None:
    with RedisServer(aclfile=True, settings={"slowlog-log-slower-than": "0", "slowlog-max-len": "10000"}) as server:
        store = redis_backend(server)
        passwords = [server.password]
        for _ in range(2):
            passwords.append((await store.reconcile()).binding.data["password"])
            async with store.checkpointer() as checkpointer:
                await checkpointer.save({"logged": True}, "thread")
            store.binding = None
        await store.release("Delete")
        with Redis.from_url(server.url()) as client:
            slow = repr(client.slowlog_get(-1))
            logged = slow + repr(client.acl_log()) + server.log.read_text()
        assert "SETUSER" in slow
        assert not [password for password in passwords if password in logged]
