"""What the operator's login needs on Redis: the documented rules suffice, none of their rights can be spared."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from locus_memory.opening import open_store
from locus_operator import engine
from locus_operator.api.backends import RedisMode
from locus_operator.backends.redis_privileges import OPTIONAL_COMMANDS, admin_commands
from locus_operator.backends.redis_servers import Kind
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from tests.integration.operator.kinds import REDIS_GROUPS, REDIS_SERVERS
from tests.integration.operator.redis_groups import layout, redis_group_backend
from tests.integration.operator.stores import Store, redis_backend
from tests.servers.redis import RedisServer
from tests.servers.redis_group import Member, RedisGroup
from tests.servers.redis_sentinel import RedisSentinels

PAGE = (Path(__file__).parents[3] / "docs" / "provision" / "redis.md").read_text()
ADMIN = "locus-operator"
_LINES: list[str] = re.findall(rf"^ACL SETUSER {ADMIN} .*$", PAGE, re.MULTILINE)
ALONE, BELOW_SENTINELS, AT_SENTINELS, IN_CLUSTER = (line.split()[2:] for line in _LINES)
RULES = {
    (RedisMode.STANDALONE, Kind.ONLY): ALONE,
    (RedisMode.SENTINEL, Kind.REPLICA): BELOW_SENTINELS,
    (RedisMode.SENTINEL, Kind.SENTINEL): AT_SENTINELS,
    (RedisMode.CLUSTER, Kind.PRIMARY): IN_CLUSTER,
}
Servers = RedisServer | RedisGroup


def members(servers: Servers) -> list[RedisServer]:
    return [servers] if isinstance(servers, RedisServer) else [*servers.members()]


def send(server: RedisServer, *command: str) -> Any:
    with server.client() as client:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]


def rule_for(servers: Servers, member: RedisServer) -> list[str]:
    if not isinstance(servers, RedisGroup):
        return ALONE
    if isinstance(servers, RedisSentinels):
        return AT_SENTINELS if member in servers.sentinels else BELOW_SENTINELS
    return IN_CLUSTER


def limited(servers: Servers) -> Store:
    """A store whose administrator has the documented rights, everywhere."""
    servers.reset()
    for member in members(servers):
        send(member, "ACL", "SETUSER", *rule_for(servers, member))
    store = redis_group_backend(servers) if isinstance(servers, RedisGroup) else redis_backend(servers)
    store.sources = {**store.sources, "admin": {"username": ADMIN, "password": "secret"}}
    return store


def test_the_documented_rules_are_what_preflight_asks_for() -> None:
    for (mode, kind), rule in RULES.items():
        optional = () if kind is Kind.SENTINEL else OPTIONAL_COMMANDS
        assert {each.removeprefix("+") for each in rule if each.startswith("+")} == {
            *admin_commands(mode, kind),
            *optional,
        }


@pytest.mark.parametrize("name", [*REDIS_SERVERS, *REDIS_GROUPS])
async def test_the_documented_login_suffices_for_a_whole_life(request: pytest.FixtureRequest, name: str) -> None:
    servers: Servers = request.getfixturevalue(name)
    store = limited(servers)
    store.spec = {"retention": {"maxAge": "1h", "maxCheckpointsPerThread": 2}, "longTermMemory": {"enabled": True}}
    await store.reconcile()
    async with store.checkpointer() as checkpointer:
        for number in range(12):
            await checkpointer.save({"n": number}, f"thread-{number // 4}", metadata={"n": number})
    for member in members(servers):
        send(member, "ACL", "DELUSER", store.names.logins[0])
    request_to_sweep = replace(store.request(), enforce_retention=True)
    done = await engine.reconcile(request_to_sweep)
    assert len(done.plan.actions) == len(members(servers))
    assert done.expired == 6
    await store.release("Retain")
    successor = store.successor()
    successor.adopt = True
    await successor.reconcile()
    await successor.release("Delete")
    assert servers.expiries(layout(store).prefix) == {}


async def test_each_right_that_is_missing_is_named_with_what_grants_it(redis_server: RedisServer) -> None:
    store = limited(redis_server)
    for command in admin_commands(RedisMode.STANDALONE, Kind.ONLY):
        send(redis_server, "ACL", "SETUSER", ADMIN, f"-{command}")
        with pytest.raises(RefusedError) as caught:
            await store.reconcile()
        assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
        assert command in str(caught.value)
        if command != "client|setname":  # found when it connects
            await follow_advice(redis_server, caught.value)
        send(redis_server, "ACL", "SETUSER", *ALONE)
    await store.reconcile()
    send(redis_server, "ACL", "SETUSER", ADMIN, *(f"-{command}" for command in OPTIONAL_COMMANDS))
    assert not (await store.reconcile()).plan


async def follow_advice(server: RedisServer, refusal: RefusedError) -> None:
    (advice,) = re.findall(r"ACL SETUSER ([^(]*) \(on", str(refusal))
    send(server, "ACL", "SETUSER", *advice.split())


@pytest.mark.parametrize("name", REDIS_SERVERS)
async def test_all_that_is_missing_is_listed_at_once(request: pytest.FixtureRequest, name: str) -> None:
    server: RedisServer = request.getfixturevalue(name)
    store = limited(server)
    few = ("reset", "on", ">secret", "resetchannels", "~other:*", "+client|setname", "+acl|dryrun", "+get")
    send(server, "ACL", "SETUSER", ADMIN, *few)
    with pytest.raises(RefusedError, match=r"run: acl\|setuser, .*scan.*, nor reach the keys locus:agents:s") as caught:
        await store.reconcile()
    assert send(server, "ACL", "USERS") == ["default", ADMIN]
    await follow_advice(server, caught.value)
    await store.reconcile()
    await store.release("Delete")


async def test_who_may_not_ask_for_its_rights_is_told_all_that_it_needs(redis_server: RedisServer) -> None:
    store = limited(redis_server)
    send(redis_server, "ACL", "SETUSER", ADMIN, "reset", "on", ">secret", "resetchannels", "+client|setname")
    with pytest.raises(RefusedError, match=r"may not run acl\|dryrun") as caught:
        await store.reconcile()
    await follow_advice(redis_server, caught.value)
    await store.reconcile()
    await store.release("Delete")


async def test_a_right_that_is_missing_on_one_server_names_the_server(redis_sentinels: RedisSentinels) -> None:
    store = limited(redis_sentinels)
    replica, sentinel = redis_sentinels.replicas[0], redis_sentinels.sentinels[2]
    lacking: list[tuple[Member, str, str]] = [
        (replica, "config|rewrite", "replica"),
        (sentinel, "sentinel|flushconfig", "Sentinel"),
    ]
    for member, command, _ in lacking:
        send(member, "ACL", "SETUSER", ADMIN, f"-{command}")
    with pytest.raises(RefusedError) as caught:
        await store.reconcile()
    for member, command, kind in lacking:
        assert f"ACL SETUSER {ADMIN} +{command} (on {kind} {member.host}:{member.port})" in str(caught.value)


@pytest.mark.parametrize("name", ["redis_server", *REDIS_GROUPS])
async def test_the_documented_stores_are_provisioned(request: pytest.FixtureRequest, name: str) -> None:
    servers: Servers = request.getfixturevalue(name)
    store = limited(servers)
    documents = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
    by_mode = {each["spec"]["backend"]["redis"].get("mode", "standalone"): each["spec"] for each in documents}
    spec = by_mode[store.backend["redis"].get("mode", "standalone")]
    documented = spec.pop("backend")["redis"]
    assert documented.keys() == store.backend["redis"].keys() - {"ca", "tls"}
    store.sources["redis-admin"] = store.sources["admin"]
    store.backend = {"redis": {**documented, "addresses": store.backend["redis"]["addresses"]}}
    store.spec = spec
    await store.reconcile()
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"n": 1}, "thread")
    if "longTermMemory" in spec:
        async with open_store(store) as memory:
            await memory.put(("user",), "fact", {"likes": "roses"})
            assert (await memory.get(("user",), "fact")) is not None
    await store.release("Delete")
