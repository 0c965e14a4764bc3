"""Stores on Redis below Sentinels and on a Cluster."""

from __future__ import annotations

from typing import cast

from locus_memory.backends.redis_keys import KeyLayout
from tests.integration.operator.stores import NAMESPACE, Store
from tests.servers.redis_group import Member, RedisGroup
from tests.servers.redis_sentinel import NAME, RedisSentinels


def redis_group_backend(group: RedisGroup) -> Store:
    """A store that the default user provisions, on servers and Sentinels with the same password."""
    if isinstance(group, RedisSentinels):
        backend = {"mode": "sentinel", "addresses": addresses(group.sentinels), "masterName": NAME}
    else:
        backend = {"mode": "cluster", "addresses": addresses(group.servers)}
    return Store({"redis": {"adminSecretRef": {"name": "admin"}, **backend}}, {"admin": {"password": group.password}})


def addresses(members: list[Member]) -> list[str]:
    return [f"{each.host}:{each.port}" for each in members]


def layout(store: Store) -> KeyLayout:
    return KeyLayout(f"locus:{NAMESPACE}:{store.name}:")


def users(member: Member) -> set[str]:
    """Names of the users on this very server, but for the default one."""
    return {str(user) for user in member.send("ACL", "USERS")} - {"default"}


def flags(member: Member, user: str) -> list[str]:
    """What a user is on this very server, `on` or `off` among it."""
    with member.client() as client:
        found = client.acl_getuser(user) or {}
    return [str(flag) for flag in cast("list[str]", found["flags"])]
