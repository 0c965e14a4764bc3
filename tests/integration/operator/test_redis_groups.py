"""Redis below Sentinels and as a Cluster: users are on each server by itself, and servers come, go and take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from locus_operator import engine
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.provisioner import Action
from tests.integration.operator.redis_groups import addresses, flags, layout, redis_group_backend, users
from tests.integration.operator.stores import Store
from tests.servers.processes import free_port, wait_for
from tests.servers.redis_cluster import RedisCluster, server_bus_port
from tests.servers.redis_group import Member, RedisGroup
from tests.servers.redis_sentinel import RedisSentinels
from tests.servers.report import ServerReport

T = TypeVar("T")


@pytest.fixture(scope="module")
def replicated_cluster(server_report: ServerReport) -> Iterator[RedisCluster]:
    """A Cluster whose primaries have replicas."""
    with RedisCluster(replicas=1) as cluster:
        server_report.started("replicated_cluster", cluster.product, cluster.version)
        yield cluster


@pytest.fixture(scope="module")
def replicated_sentinels(server_report: ServerReport) -> Iterator[RedisSentinels]:
    """Sentinels of their own: in these tests servers die."""
    with RedisSentinels() as sentinels:
        server_report.started("replicated_sentinels", sentinels.product, sentinels.version)
        yield sentinels


@pytest.fixture(params=["replicated_sentinels", "replicated_cluster"])
def group(request: pytest.FixtureRequest) -> RedisGroup:
    """Empty, and complete."""
    found: RedisGroup = request.getfixturevalue(request.param)
    found.reset()
    return found


@pytest.fixture
def fragile(group: RedisGroup) -> Iterator[Any]:
    """The same, for servers that die or take over."""
    yield group
    for member in group.members():
        if not member.running:
            member.start()
    group.settle()


@pytest.fixture
def group_store(group: RedisGroup) -> Store:
    return redis_group_backend(group)


def primary_of(group: RedisGroup) -> Member:
    """One that a failover is tried with."""
    return group.primary if isinstance(group, RedisSentinels) else group.primaries[0]


async def use(store: Store) -> None:
    """In a Cluster on all primaries."""
    async with store.checkpointer() as checkpointer:
        for number in range(8):
            await checkpointer.save({"n": number}, f"thread-{number}")
            assert await checkpointer.load(f"thread-{number}") == {"n": number}


async def again(run: Callable[[], Awaitable[T]]) -> T:
    """Run until the nodes have told each other who is in charge, as the controller does."""
    async with asyncio.timeout(10):
        while True:
            with suppress(UnavailableError):
                return await run()
            await asyncio.sleep(0.1)


# --- every server has the users ---


async def test_the_users_are_on_every_server_and_every_sentinel(group: RedisGroup, group_store: Store) -> None:
    done = await group_store.reconcile()
    active, idle = group_store.names.logins
    for member in group.members():
        assert users(member) == {active, idle}
        assert flags(member, active) == ["on"]
        assert "off" in flags(member, idle)
    assert len(done.plan.actions) == 1 + 2 * len(group.members())


async def test_agents_go_on_after_a_failover_with_the_login_they_have(fragile: Any, group_store: Store) -> None:
    await group_store.reconcile()
    async with group_store.checkpointer() as checkpointer:
        await checkpointer.save({"before": True}, "thread")
        for primary in fragile.primaries:
            fragile.promote(primary)
        assert await checkpointer.load("thread") == {"before": True}
    await use(group_store)
    assert not (await again(group_store.reconcile)).plan


Sabotage = Callable[[Member, str], Any]
DRIFTS: dict[str, tuple[Sabotage, str]] = {
    "dropped": (lambda m, u: m.send("ACL", "DELUSER", u), "create ACL user {u} on {m}: missing"),
    "disabled": (lambda m, u: m.send("ACL", "SETUSER", u, "off"), "alter ACL user {u} on {m}: differs: enabled"),
    "password": (lambda m, u: m.send("ACL", "SETUSER", u, ">x"), "alter ACL user {u} on {m}: differs: password"),
    "no password": (lambda m, u: m.send("ACL", "SETUSER", u, "nopass"), "{u} on {m}: differs: password, nopass"),
    "command": (lambda m, u: m.send("ACL", "SETUSER", u, "+@all"), "alter ACL user {u} on {m}: differs: commands"),
    "keys": (lambda m, u: m.send("ACL", "SETUSER", u, "~*"), "alter ACL user {u} on {m}: differs: keys"),
    "selector": (lambda m, u: m.send("ACL", "SETUSER", u, "(+ping)"), "{u} on {m}: differs: selectors"),
}


@pytest.mark.parametrize("kind", ["primary", "replica", "Sentinel"])
async def test_drift_on_one_server_is_named_and_corrected_there(
    group: RedisGroup, group_store: Store, kind: str
) -> None:
    sentinels = group.sentinels if isinstance(group, RedisSentinels) else []
    candidates = {"primary": group.primaries, "replica": group.replicas, "Sentinel": sentinels}[kind]
    if not candidates:
        return  # A Cluster has no Sentinels.
    member, user = candidates[-1], group_store.names.logins[0]
    await group_store.reconcile()
    for sabotage, named in DRIFTS.values():
        sabotage(member, user)
        corrected = await group_store.reconcile()
        expected = named.format(u=user, m=f"{kind} {member.host}:{member.port}")
        assert [expected in str(action) for action in corrected.plan.actions] == [True]
        assert not (await group_store.reconcile()).plan
    await use(group_store)


# --- servers that are away ---


async def test_a_replica_that_is_away_is_told_of_and_gets_its_users_when_it_is_back(
    fragile: Any, group_store: Store
) -> None:
    replica = fragile.replicas[0]
    place = f"{replica.host}:{replica.port}"
    replica.kill()
    done = await group_store.reconcile()
    (warning,) = done.warnings
    assert place in warning
    assert "rejects agents" in warning
    await use(group_store)
    replica.start()
    fragile.settle()
    back = await group_store.reconcile()
    assert [str(action) for action in back.plan.actions] == [
        f"create ACL user {user} on replica {place}: missing" for user in group_store.names.logins
    ]
    assert not back.warnings
    assert users(replica) == set(group_store.names.logins)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_release_waits_for_a_replica_whose_logins_would_come_back(
    fragile: Any, group_store: Store, policy: str
) -> None:
    await group_store.reconcile()
    await use(group_store)
    replica = fragile.replicas[0]
    replica.kill()
    with pytest.raises(UnavailableError, match=f"{replica.host}:{replica.port}"):
        await group_store.release(policy)
    assert all(not users(member) for member in fragile.members() if member.running)
    assert fragile.expiries(layout(group_store).prefix), "nothing of the data goes before the logins are gone"
    replica.start()
    fragile.settle()
    await group_store.release(policy)
    assert bool(fragile.expiries(layout(group_store).prefix)) is (policy == "Retain")
    assert all(not users(member) for member in fragile.members())
    assert not (await group_store.release(policy)).plan


async def test_without_a_primary_nothing_is_done(fragile: Any, group_store: Store) -> None:
    await group_store.reconcile()
    primary = primary_of(fragile)
    primary.kill()
    try:
        with pytest.raises(UnavailableError, match=str(primary.port)):
            await group_store.reconcile()
    finally:
        primary.start()
        fragile.settle()
    # It came back without its users, unless a file keeps them.
    places = {action.name.partition(" on ")[2] for action in (await group_store.reconcile()).plan.actions}
    kept = isinstance(fragile, RedisSentinels)
    assert places == (set() if kept else {f"primary {primary.host}:{primary.port}"})


async def test_one_sentinel_is_enough(replicated_sentinels: RedisSentinels) -> None:
    replicated_sentinels.reset()
    store = redis_group_backend(replicated_sentinels)
    away = replicated_sentinels.sentinels[:2]
    for sentinel in away:
        sentinel.kill()
    try:
        warnings = sorted((await store.reconcile()).warnings)
        places = sorted(addresses(away))
        assert [place in warning for place, warning in zip(places, warnings, strict=True)] == [True, True]
        await use(store)
    finally:
        for sentinel in away:
            sentinel.start()
        replicated_sentinels.settle()
    assert len((await store.reconcile()).plan.actions) == 2 * len(away)


# --- failovers in the middle ---


@pytest.mark.parametrize("index", [0, 1, 4])
async def test_a_failover_between_two_actions_is_survived(fragile: Any, group_store: Store, index: int) -> None:
    def fail_over(at: int, action: Action) -> None:
        if at == index:
            fragile.promote(primary_of(fragile))

    with suppress(UnavailableError):
        done = await engine.reconcile(group_store.request(), progress=fail_over)
        group_store.binding = done.binding.data
    await again(group_store.reconcile)
    assert not (await again(group_store.reconcile)).plan
    await use(group_store)


async def test_a_failover_before_data_is_deleted_makes_the_deletion_begin_anew(
    fragile: Any, group_store: Store
) -> None:
    await group_store.reconcile()
    await use(group_store)
    group_store.spec, group_store.allow_destructive = {"deletionPolicy": "Delete"}, True
    last_user = 2 * len(fragile.members()) - 1

    def fail_over(at: int, action: Action) -> None:
        if at != last_user:
            return
        if isinstance(fragile, RedisSentinels):
            # The old primary takes writes until it is told, and loses them then.
            fragile.promote(primary_of(fragile), coordinated=False)
        else:
            fragile.promote(primary_of(fragile))

    with pytest.raises(UnavailableError):
        await engine.release(group_store.request(), progress=fail_over)
    assert fragile.expiries(layout(group_store).claim)
    await again(lambda: group_store.release("Delete"))
    fragile.settle()  # The old primary has become a replica.
    assert not fragile.expiries(layout(group_store).prefix)


async def test_a_node_that_joined_later_gets_its_users(replicated_cluster: RedisCluster) -> None:
    cluster = replicated_cluster
    cluster.reset()
    store = redis_group_backend(cluster)
    await store.reconcile()
    first = cluster.servers[0]
    settings = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    newcomer = Member(cluster.directory / "newcomer", cluster.password, settings)
    newcomer.start()
    try:
        newcomer.send("CLUSTER", "MEET", first.host, str(first.port), server_bus_port(first))
        wait_for(lambda: joined(cluster, newcomer), timeout=20, what="the newcomer is known")
        done = await store.reconcile()
        place = f"node without slots {newcomer.host}:{newcomer.port}"
        assert [str(action) for action in done.plan.actions] == [
            f"create ACL user {user} on {place}: missing" for user in store.names.logins
        ]
        assert users(newcomer) == set(store.names.logins)
    finally:
        name = cluster.node_id(newcomer)
        newcomer.kill()
        for server in cluster.servers:
            server.send("CLUSTER", "FORGET", name)
    assert not (await store.reconcile()).plan


def joined(cluster: RedisCluster, newcomer: Member) -> bool:
    name = cluster.node_id(newcomer)
    lines = [line.split() for server in cluster.servers for line in server.send("CLUSTER", "NODES").splitlines()]
    known = [line for line in lines if line[0] == name and "handshake" not in line[2]]
    return len(known) == len(cluster.servers)


# --- logins ---


async def test_the_issued_login_is_refused_on_every_server(group: RedisGroup, group_store: Store) -> None:
    other = group_store.sibling()
    for store in (group_store, other):
        await store.reconcile()
        await use(store)
    theirs = [key for server in group.primaries for key in server.expiries(layout(other).prefix)]
    login, password = (group_store.binding or {})["username"], (group_store.binding or {})["password"]
    forbidden = [["GET", layout(group_store).claim], ["ACL", "LIST"], ["KEYS", "*"], ["FLUSHALL"], ["SCAN", "0"]]
    forbidden += [["EVAL", f"return redis.call('UNLINK', '{key}')", "1", key] for key in theirs[:5]]
    forbidden += [["CONFIG", "GET", "*"], ["REPLICAOF", "NO", "ONE"], ["CLUSTER", "RESET"], ["INFO"]]
    at_sentinels = [["SENTINEL", "FAILOVER", "main"], ["SENTINEL", "REMOVE", "main"], ["SENTINEL", "MASTERS"]]
    at_sentinels += [["SENTINEL", "SET", "main", "quorum", "1"], ["ACL", "LIST"], ["SHUTDOWN"], ["INFO"]]
    for member in group.members():
        commands = forbidden if member in group.servers else at_sentinels
        with Redis.from_url(member.url(login, password)) as client:
            for command in commands:
                with pytest.raises(NoPermissionError):
                    client.execute_command(*command)


@pytest.mark.parametrize("own", [True, False])
async def test_sentinels_may_have_logins_of_their_own_or_none(own: bool) -> None:
    with RedisSentinels(sentinel_password="only-theirs" if own else "") as sentinels:
        store = redis_group_backend(sentinels)
        if own:
            with pytest.raises(RefusedError, match=r"Redis Sentinel at .*Secret 'admin'") as caught:
                await store.reconcile()
            assert caught.value.reason is ConditionReason.AUTHENTICATION_FAILED
            store.backend["redis"]["sentinelSecretRef"] = {"name": "sentinel", "keys": {"password": "pw"}}
            store.sources["sentinel"] = {"pw": "only-theirs"}
        done = await store.reconcile()
        at_sentinels = [str(action) for action in done.plan.actions if "Sentinel" in action.name]
        assert len(at_sentinels) == (6 if own else 0)
        assert not (await store.reconcile()).plan
        assert "only-theirs" not in f"{done!r} {store.request()!r} {done.binding.data}"
        await use(store)
        await store.release("Delete")
        assert not any(map(users, sentinels.members()))


async def test_below_sentinels_users_are_kept_and_dropped_in_configuration_files(
    replicated_sentinels: RedisSentinels,
) -> None:
    replicated_sentinels.reset()
    store = redis_group_backend(replicated_sentinels)
    await store.reconcile()
    files = [member.directory / "server.conf" for member in replicated_sentinels.members()]
    assert all(f"user {store.names.logins[0]} on #" in file.read_text() for file in files)
    await store.release()
    assert not [file for file in files if store.names.logins[0] in file.read_text()]


@pytest.mark.parametrize(
    ("mode", "words"),
    [("cluster", "belongs to no Cluster"), ("sentinel", "SENTINEL"), ("standalone", "belongs to a Cluster")],
)
async def test_a_wrong_mode_is_refused_with_the_right_one(
    redis_cluster: RedisCluster, redis_sentinels: RedisSentinels, mode: str, words: str
) -> None:
    place = redis_cluster.servers[:1] if mode == "standalone" else redis_sentinels.servers[:1]
    redis: dict[str, Any] = {"mode": mode, "addresses": addresses(place), "adminSecretRef": {"name": "admin"}}
    if mode == "sentinel":
        redis["masterName"] = "main"
    store = Store({"redis": redis}, {"admin": {"password": place[0].password}})
    with pytest.raises(RefusedError, match=words) as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.BACKEND_REFUSED


async def test_an_unknown_name_of_the_primary_is_refused(redis_sentinels: RedisSentinels) -> None:
    store = redis_group_backend(redis_sentinels)
    store.backend["redis"]["masterName"] = "another"
    with pytest.raises(RefusedError, match=r"no primary named 'another'.*masterName"):
        await store.reconcile()
