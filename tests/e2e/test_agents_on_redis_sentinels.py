"""A conversation of two days below Sentinels: the documentation's YAML, and a failover between the days."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from hack.demo.stage import AGENT_IMAGE, agent_image
from tests.e2e.control_plane import REPOSITORY, ControlPlane
from tests.e2e.conversations import ASKED, Day, assert_remembered, deploy_agent, documented, documented_store, play_day
from tests.e2e.operator_process import Controller, Stores
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.redis_sentinel import RedisSentinels

PAGE = (REPOSITORY / "docs" / "provision" / "redis.md").read_text()
ADMIN = "locus-operator"
Object = dict[str, Any]


@pytest.fixture(scope="module")
def sentinels(redis_sentinels: RedisSentinels) -> RedisSentinels:
    """With the administrator of the documentation on every server."""
    redis_sentinels.reset()
    lines: list[str] = re.findall(rf"^ACL SETUSER {ADMIN} .*$", PAGE, re.MULTILINE)
    for member in redis_sentinels.members():
        member.send(*lines[2 if member in redis_sentinels.sentinels else 1].split())
    return redis_sentinels


@pytest.fixture(scope="module")
def stores(
    control_plane: ControlPlane,
    test_node: NodeProcess,
    operator: Controller,
    agents_namespace: str,
    sentinels: RedisSentinels,
) -> Iterator[Stores]:
    """The store of the documentation, ready."""
    test_node.add_images({AGENT_IMAGE: agent_image()})
    here = Stores(control_plane, agents_namespace)
    here.create_secret("redis-admin", username=ADMIN, password="secret")
    (manifest,) = [each for each in documented("provision/redis.md", "yaml") if "masterName" in each]
    with documented_store(here, manifest, addresses=[f"{each.host}:{each.port}" for each in sentinels.sentinels]):
        yield here


@pytest.fixture(scope="module")
def days(control_plane: ControlPlane, stores: Stores, sentinels: RedisSentinels) -> tuple[Day, Day]:
    deploy_agent(stores, "agent-redis")
    first = play_day(control_plane, stores.namespace, "agent-redis")
    sentinels.promote(sentinels.primary)
    stores.kubectl("set", "env", "deployment/agent-redis", f"MESSAGE={ASKED}")
    return first, play_day(control_plane, stores.namespace, "agent-redis")


def test_another_pod_answers_from_another_server(days: tuple[Day, Day]) -> None:
    assert_remembered(days)


def test_the_binding_has_the_issued_login_and_no_administrators(
    stores: Stores, sentinels: RedisSentinels, operator: Controller, days: tuple[Day, Day]
) -> None:
    binding, claims = stores.binding("conversations"), stores.get("conversations")["status"]["claims"]
    assert binding["username"] == claims["logins"][0] != ADMIN
    assert binding["uri"].startswith(f"redis+sentinel://{binding['username']}:")
    for secret in (sentinels.password, '"secret"'):
        assert secret not in json.dumps(binding)
    assert binding["password"] not in operator.log.read_text()
    assert "create ACL user" in stores.wait_for_event("conversations", "Provisioned")
