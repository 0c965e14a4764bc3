"""A namespace is deleted with its stores in it, and takes the administrators' Secrets along."""

from tests.e2e.controller.samples import Admin, redis_spec
from tests.e2e.operator_process import Controller, Stores
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer


def test_a_deleted_namespace_goes_and_its_stores_are_released(
    stores: Stores, admin: Admin, redis_of_its_own: RedisServer
) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec() | {"deletionPolicy": "Delete"})
    stores.create_secret("redis-admin", password=redis_of_its_own.password)
    spec = redis_spec(redis_of_its_own)
    spec["backend"]["redis"]["adminSecretRef"] = {"name": "redis-admin"}
    stores.apply("cache", spec)
    stores.wait("support")
    stores.wait("cache")

    stores.control_plane.kubectl("delete", "namespace", stores.namespace, "--timeout=60s")

    assert not admin.objects(stores.namespace)
    with redis_of_its_own.client() as client:
        assert client.acl_users() == ["default"]
        assert "released" in str(client.get(f"locus:{stores.namespace}:cache:claim"))


def test_a_namespace_that_ends_without_the_operator_is_held_up_only_by_a_promise_to_delete(
    stores: Stores, admin: Admin, controller: Controller
) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("kept", admin.spec())
    stores.apply("promised", admin.spec() | {"deletionPolicy": "Delete"})
    stores.wait("kept")
    stores.wait("promised")
    controller.stop()
    try:
        stores.control_plane.kubectl("delete", "namespace", stores.namespace, "--wait=false")
        wait_for(
            lambda: "secret/admin" not in stores.kubectl("get", "secrets", "-o=name"), timeout=30, what="Secret gone"
        )
    finally:
        controller.start()

    stores.wait_until_gone("kept")
    condition = stores.wait_for_reason("promised", "SecretNotFound", "DeletionBlocked")
    assert "memory.locus.dev/abandon" in condition["message"]
    stores.kubectl("annotate", "cps/promised", "memory.locus.dev/abandon=true")
    wait_for(
        lambda: not stores.control_plane.kubectl("get", "namespace", stores.namespace, "--ignore-not-found"),
        timeout=60,
        what="namespace gone",
    )
