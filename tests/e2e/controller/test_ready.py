"""A store that is asked for becomes ready, and stays so."""

import json
import time

from tests.e2e.controller.samples import WINDOW, Admin, assert_usable, redis_spec
from tests.e2e.operator_process import Controller, Stores
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer


async def test_a_postgresql_store_becomes_ready_with_a_binding_that_works(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec())

    stores.wait("support")

    status = stores.get("support")["status"]
    assert status["backend"] == "postgresql"
    assert status["binding"] == {"name": "support-binding"}
    assert status["claims"]["schema"].startswith("locus_")
    assert "branching" in status["capabilities"]
    assert status["observedGeneration"] == 1
    assert {name: found["status"] for name, found in stores.conditions("support").items()} == {
        "Ready": "True",
        "Provisioned": "True",
        "CredentialsReady": "True",
        "RetentionEnforced": "True",
    }
    assert "create schema" in stores.wait_for_event("support", "Provisioned")
    await assert_usable(stores.binding("support"))


async def test_a_redis_store_becomes_ready_with_a_binding_that_works(stores: Stores, redis_server: RedisServer) -> None:
    stores.create_secret("admin", password=redis_server.password)
    stores.apply("support", redis_spec(redis_server))

    stores.wait("support")

    await assert_usable(stores.binding("support"))


def test_the_binding_is_a_secret_of_the_service_binding_specification(stores: Stores) -> None:
    stores.apply("scratch", {"backend": {"memory": {}}})
    stores.wait("scratch")

    secret = stores.control_plane.get("secret", "scratch-binding", stores.namespace)

    (owner,) = secret["metadata"]["ownerReferences"]
    assert secret["type"] == "servicebinding.io/memory"
    assert stores.binding("scratch")["provider"] == "locus-memory"
    assert (owner["kind"], owner["name"], owner["controller"]) == ("CheckpointStore", "scratch", True)


def test_a_store_in_memory_has_no_finalizer_and_goes_at_once(stores: Stores) -> None:
    stores.apply("scratch", {"backend": {"memory": {}}})
    stores.wait("scratch")

    assert "finalizers" not in stores.get("scratch")["metadata"]
    stores.kubectl("delete", "cps/scratch", "--timeout=10s")


def test_a_suspended_store_is_left_alone_until_it_is_resumed(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec() | {"suspend": True})
    stores.wait_for_reason("support", "Suspended")

    assert admin.objects(stores.namespace) == set()
    assert "finalizers" not in stores.get("support")["metadata"]
    stores.apply("support", admin.spec() | {"suspend": False})
    stores.wait("support")


def test_a_binding_that_somebody_edited_is_restored_and_one_that_is_renamed_leaves_no_copy(stores: Stores) -> None:
    stores.apply("scratch", {"backend": {"memory": {}}})
    stores.wait("scratch")
    stores.kubectl("patch", "secret/scratch-binding", "--type=merge", '--patch={"data":{"type":"eA=="}}')

    stores.apply("scratch", {"backend": {"memory": {}}, "bindingSecretName": "renamed"})
    wait_for(lambda: stores.get("scratch")["status"]["binding"]["name"] == "renamed", timeout=10, what="new name")

    assert stores.binding("scratch")["type"] == "memory"
    assert "scratch-binding" not in stores.kubectl("get", "secrets", "--output=name")


def test_a_status_that_is_written_causes_no_further_reconcile(stores: Stores) -> None:
    stores.apply("scratch", {"backend": {"memory": {}}})
    stores.wait("scratch")
    before = settled_version(stores, "scratch")

    time.sleep(WINDOW)

    assert stores.get("scratch")["metadata"]["resourceVersion"] == before


def settled_version(stores: Stores, name: str) -> str:
    """The version after kopf has put down what it has handled."""
    wait_for(
        lambda: "kopf.memory.locus.dev/last-handled-configuration" in stores.get(name)["metadata"]["annotations"],
        timeout=10,
        what="kopf's own annotation",
    )
    return str(stores.get(name)["metadata"]["resourceVersion"])


def test_neither_log_nor_objects_show_a_password(stores: Stores, admin: Admin, controller: Controller) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec())
    stores.wait("support")
    issued = stores.binding("support")["password"]
    everything = controller.log.read_text() + json.dumps([stores.get("support"), stores.events("support")])

    assert stores.namespace in everything
    assert issued not in everything
    assert admin.password not in everything
