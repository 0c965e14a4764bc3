"""A conversation of two days on OpenSearch: the documentation's YAML, with the address of the tests' server."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from locus.core.messages import Role

from hack.demo.stage import AGENT_IMAGE, agent_image
from locus_memory.binding import DirectoryBinding
from locus_memory.opening import open_checkpointer
from tests.e2e.control_plane import ControlPlane
from tests.e2e.conversations import (
    ASKED,
    THREAD,
    TOLD,
    Day,
    assert_remembered,
    deploy_agent,
    documented,
    documented_store,
    play_both_days,
)
from tests.e2e.operator_process import Controller, Stores
from tests.e2e.test_node.launcher import NodeProcess
from tests.integration.operator.opensearch_stores import ADMIN, ADMIN_PASSWORD, API
from tests.servers.opensearch import OpenSearchServer

Object = dict[str, Any]


def block(language: str) -> str:
    """The first block of a language in the documentation."""
    return documented("provision/opensearch.md", language)[0]


@pytest.fixture(scope="module")
def server(tls_opensearch_server: OpenSearchServer) -> OpenSearchServer:
    """With the administrator of the documentation."""
    tls_opensearch_server.reset()
    tls_opensearch_server.ask("PUT", f"{API}/roles/{ADMIN}", json.loads(block("json")))
    user = {"password": ADMIN_PASSWORD, "opendistro_security_roles": [ADMIN, "security_rest_api_access"]}
    tls_opensearch_server.ask("PUT", f"{API}/internalusers/{ADMIN}", user)
    return tls_opensearch_server


@pytest.fixture(scope="module")
def stores(
    control_plane: ControlPlane,
    test_node: NodeProcess,
    operator: Controller,
    agents_namespace: str,
    server: OpenSearchServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stores]:
    """The store of the documentation, ready."""
    test_node.add_images({AGENT_IMAGE: agent_image()})
    here = Stores(control_plane, agents_namespace)
    certificate = tmp_path_factory.mktemp("opensearch") / "ca.crt"
    certificate.write_text(server.ca or "")
    here.create_secret("opensearch-admin", username=ADMIN, password=ADMIN_PASSWORD)
    here.kubectl("create", "configmap", "opensearch-ca", f"--from-file={certificate}")
    with documented_store(here, block("yaml"), hosts=[server.address]):
        yield here


@pytest.fixture(scope="module")
def days(control_plane: ControlPlane, stores: Stores) -> tuple[Day, Day]:
    deploy_agent(stores, "agent-opensearch")
    return play_both_days(control_plane, stores.namespace, "agent-opensearch")


def test_another_pod_answers_from_what_the_first_was_told(days: tuple[Day, Day]) -> None:
    assert_remembered(days)


def test_both_days_are_in_the_index_and_can_be_searched(stores: Stores, days: tuple[Day, Day], tmp_path: Path) -> None:
    for name, value in stores.binding("conversations").items():
        (tmp_path / name).write_text(value)

    async def read() -> tuple[Any, Any]:
        async with open_checkpointer(DirectoryBinding(tmp_path)) as checkpointer:
            return await checkpointer.load(THREAD), await checkpointer.search("tokyo")

    state, found = asyncio.run(read())
    assert [each.content for each in state.messages if each.role is Role.USER] == [TOLD, ASKED]
    assert len(found) == 1


def test_the_binding_holds_the_issued_login_which_cannot_leave_its_index(
    stores: Stores, days: tuple[Day, Day], server: OpenSearchServer, operator: Controller
) -> None:
    binding, status = stores.binding("conversations"), stores.get("conversations")["status"]
    assert binding["username"] == status["claims"]["logins"][0] != ADMIN
    assert status["backend"] == "opensearch"
    login = (binding["username"], binding["password"])
    context = ssl.create_default_context(cadata=binding["certificates"])
    for method, path in (
        ("GET", "/"),
        ("POST", "/somebody-elses/_search"),
        ("DELETE", f"/{status['claims']['indexPrefix']}"),
    ):
        assert httpx.request(method, server.address + path, auth=login, verify=context).status_code == 403
    assert binding["password"] not in operator.log.read_text()
    assert ADMIN_PASSWORD not in operator.log.read_text()


def test_conditions_and_events_say_what_was_done(stores: Stores) -> None:
    conditions = stores.conditions("conversations")
    assert "the sweep deletes checkpoints older than 90d" in conditions["RetentionEnforced"]["message"]
    assert "the sweep keeps the newest 200 checkpoints" in conditions["RetentionEnforced"]["message"]
    assert "create index locus_" in stores.wait_for_event("conversations", "Provisioned")
