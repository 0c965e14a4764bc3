"""A store is deleted: what goes, what stays, what blocks it."""

import time

import pytest

from tests.e2e.controller.samples import WINDOW, Admin, redis_spec
from tests.e2e.operator_process import Stores
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer


@pytest.mark.parametrize(("policy", "schema_stays"), [("Retain", True), ("Delete", False)])
def test_deletion_takes_the_logins_and_as_the_policy_says_the_data(
    stores: Stores, admin: Admin, policy: str, schema_stays: bool
) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec() | {"deletionPolicy": policy})
    stores.wait("support")
    claims = stores.get("support")["status"]["claims"]

    stores.kubectl("delete", "cps/support", "--timeout=30s")

    left = admin.objects(stores.namespace)
    assert not left & set(claims["logins"])
    assert (claims["schema"] in left) is schema_stays
    stores.wait_for_event("support", "Released")
    wait_for(lambda: "support-binding" not in stores.kubectl("get", "secrets", "-o=name"), timeout=20, what="binding")


def test_a_deletion_waits_for_its_backend_and_says_so_once(stores: Stores, redis_of_its_own: RedisServer) -> None:
    stores.create_secret("admin", password=redis_of_its_own.password)
    stores.apply("support", redis_spec(redis_of_its_own))
    stores.wait("support")
    redis_of_its_own.stop()

    stores.kubectl("delete", "cps/support", "--wait=false")
    condition = stores.wait_for_reason("support", "BackendUnavailable", "DeletionBlocked")
    assert condition["status"] == "True"
    assert 'memory.locus.dev/abandon="true"' in condition["message"]
    time.sleep(WINDOW)

    assert [reason for reason, _ in stores.events("support")].count("DeletionBlocked") == 1
    redis_of_its_own.start()
    stores.wait_until_gone("support")
    with redis_of_its_own.client() as client:
        assert client.acl_users() == ["default"]


def test_a_deletion_without_its_admin_secret_says_what_is_missing(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec())
    stores.wait("support")
    stores.kubectl("delete", "secret/admin")

    stores.kubectl("delete", "cps/support", "--wait=false")

    condition = stores.wait_for_reason("support", "SecretNotFound", "DeletionBlocked")
    assert "Secret 'admin'" in condition["message"]
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.wait_until_gone("support")


def test_an_abandoned_store_goes_at_once_and_its_backend_stays(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec() | {"deletionPolicy": "Delete"})
    stores.wait("support")
    schema = stores.get("support")["status"]["claims"]["schema"]
    stores.create_secret("admin", username=admin.name, password="wrong")
    stores.kubectl("delete", "cps/support", "--wait=false")
    stores.wait_for_reason("support", "AuthenticationFailed", "DeletionBlocked")

    stores.kubectl("annotate", "cps/support", "memory.locus.dev/abandon=true")

    # The next try by itself would be in 30 seconds.
    stores.wait_until_gone("support", timeout=10)
    assert schema in stores.wait_for_event("support", "Abandoned")
    assert schema in admin.objects(schema)
