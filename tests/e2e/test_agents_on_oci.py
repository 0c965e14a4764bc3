"""A conversation of two days in a bucket: the documentation's YAML and statements, with the address of the emulator."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import oci  # type: ignore[import-untyped]
import pytest
import yaml

from hack.demo.stage import AGENT_IMAGE, agent_image
from tests.e2e.control_plane import ControlPlane
from tests.e2e.conversations import (
    Day,
    assert_both_days_are_stored,
    assert_remembered,
    deploy_agent,
    documented,
    documented_store,
    play_both_days,
)
from tests.e2e.operator_process import Controller, Stores
from tests.e2e.test_node.launcher import NodeProcess
from tests.integration.operator.oci_stores import add_policy, agents_key, api_key_secret, reset
from tests.servers.oci import COMPARTMENT, NAMESPACE, ApiKey, ObjectStorageServer

DOCUMENTED = "ocid1.compartment.oc1..aaaaexample"
Object = dict[str, Any]


def blocks(language: str) -> list[str]:
    """The blocks of a language in the documentation, about the emulator's compartment."""
    return [each.replace(DOCUMENTED, COMPARTMENT) for each in documented("provision/oci-bucket.md", language)]


@pytest.fixture(scope="module")
def agents(oci_server: ObjectStorageServer) -> Iterator[ApiKey]:
    """A user that may do nothing, on an emulator where the operator may do what is documented."""
    reset(oci_server)
    yield agents_key(oci_server)
    reset(oci_server)


@pytest.fixture(scope="module")
def stores(
    control_plane: ControlPlane,
    test_node: NodeProcess,
    operator: Controller,
    agents_namespace: str,
    oci_server: ObjectStorageServer,
    agents: ApiKey,
) -> Iterator[Stores]:
    """The store of the documentation, ready."""
    test_node.add_images({AGENT_IMAGE: agent_image()})
    key = oci_server.create_key("ocid1.user.oc1..operator", {})
    oci_server.admin("PUT", "principals", {"name": key.user, "subjects": ["group locus-operators"]})
    add_policy(oci_server, blocks("text")[0].splitlines())
    here = Stores(control_plane, agents_namespace)
    here.create_secret("oci-operator", **api_key_secret(key))
    here.create_secret("oci-agents", **api_key_secret(agents))
    endpoint = oci_server.endpoint
    with documented_store(here, blocks("yaml")[1], endpoint=endpoint, identityEndpoint=endpoint):
        yield here


@pytest.fixture(scope="module")
def days(control_plane: ControlPlane, stores: Stores) -> tuple[Day, Day]:
    deploy_agent(stores, "agent-oci")
    return play_both_days(control_plane, stores.namespace, "agent-oci")


def test_another_pod_answers_from_what_the_first_was_told(days: tuple[Day, Day]) -> None:
    assert_remembered(days)


def test_both_days_are_in_the_bucket(stores: Stores, days: tuple[Day, Day]) -> None:
    assert_both_days_are_stored(stores)


def test_the_agents_key_reaches_their_own_objects_only(
    stores: Stores, days: tuple[Day, Day], oci_server: ObjectStorageServer, agents: ApiKey, operator: Controller
) -> None:
    status = stores.get("conversations")["status"]
    assert (status["backend"], "logins" in status["claims"]) == ("ociBucket", False)
    oci_server.create_bucket("somebody-elses")
    client, own = oci_server.client(agents), status["claims"]["bucket"]
    assert client.list_objects(NAMESPACE, own).data.objects
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: client.list_objects(NAMESPACE, "somebody-elses"),
        lambda: client.get_bucket(NAMESPACE, own),
        lambda: client.delete_bucket(NAMESPACE, own),
        lambda: client.list_buckets(NAMESPACE, COMPARTMENT),
    )
    for attempt in attempts:
        with pytest.raises(oci.exceptions.ServiceError, match="404"):
            attempt()
    assert "PRIVATE KEY" not in operator.log.read_text()
    assert agents.private_key not in json.dumps(stores.get("conversations"))


def test_conditions_and_events_say_what_was_done(stores: Stores) -> None:
    conditions = stores.conditions("conversations")
    assert "a lifecycle rule deletes checkpoints 90 days after" in conditions["RetentionEnforced"]["message"]
    assert "the sweep keeps the newest 200 checkpoints" in conditions["RetentionEnforced"]["message"]
    assert "the API key of Secret 'oci-agents'" in conditions["CredentialsReady"]["message"]
    event = stores.wait_for_event("conversations", "Provisioned")
    assert "create bucket locus_" in event
    assert "create IAM policy locus_" in event


def test_the_documented_class_is_valid(control_plane: ControlPlane, stores: Stores) -> None:
    store_class: Object = yaml.safe_load(blocks("yaml")[0])
    control_plane.apply(store_class)
    control_plane.kubectl("delete", "cpsclass", store_class["metadata"]["name"])
