"""What tenants of a class, and those who may not use it, can find out about it and about each other."""

import json

import pytest
from psycopg import sql

from locus_operator.provisioner import Owner
from tests.e2e.controller.offer import FOR_ALL, Offer, readable
from tests.e2e.controller.samples import Admin, Spec
from tests.e2e.operator_process import CEL_SINCE, Controller, Stores

FOREIGN = Owner("a-cluster", "a-uid", "payroll", "salaries")


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"allowedNamespaces": {"from": "None"}},
        {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "payroll"}}}},
        {"limits": {"maxRotationPeriod": "1h"}, "defaults": {"credentials": {"overlap": "2h"}}},
    ],
    ids=["nothing-said", "nobody", "others", "invalid"],
)
def test_who_may_not_use_a_class_learns_that_and_nothing_else(
    stores: Stores, offer: Offer, admin: Admin, spec: Spec
) -> None:
    # Servers with CEL take no class that breaks a rule of its own.
    is_refused_when_read = "limits" in spec and stores.control_plane.version < CEL_SINCE
    offer.apply(member={"host": "db.internal"} | ({"schema": "one"} if is_refused_when_read else {}), **spec)
    offer.platform.kubectl("delete", f"secret/{offer.name}")
    stores.apply("support", {"className": offer.name})

    condition = stores.wait_for_reason("support", "NamespaceNotAllowed")

    assert condition["message"] == (
        f"CheckpointStoreClass '{offer.name}' does not allow stores of namespace '{stores.namespace}': ask the "
        "platform team to allow it"
    )
    stores.wait_for_event("support", "ProvisioningFailed")
    read = readable(stores)
    for word in ("from", "Selector", "None", "payroll", "db.internal", "overlap", "postgresql", "Secret", admin.name):
        assert word not in read.replace('"kind": "Secret"', "")
    assert set(stores.get("support")["status"]) <= {"conditions", "observedGeneration", "lastReconcileTime"}
    assert admin.objects(stores.namespace) == set()


def test_a_secret_of_the_same_name_in_the_tenants_namespace_is_not_used(
    stores: Stores, offer: Offer, admin: Admin
) -> None:
    offer.platform.kubectl("delete", f"secret/{offer.name}")
    stores.create_secret(offer.name, username=admin.name, password=admin.password)
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name})

    message = stores.wait_for_reason("support", "SecretNotFound")["message"]

    assert message.startswith("credentials of the class are missing. Ask the platform team")
    assert admin.objects(stores.namespace) == set()
    assert f"Secret '{offer.name}'" in offer.wait_for_event("ProvisioningFailed")


def test_a_config_map_of_the_same_name_in_the_tenants_namespace_is_not_used(
    stores: Stores, offer: Offer, admin: Admin
) -> None:
    stores.create_secret(offer.name, username=admin.name, password=admin.password)
    stores.kubectl("create", "configmap", offer.name, "--from-literal=ca.crt=theirs")
    offer.apply(member={"sslMode": "verify-ca", "ca": {"configMapKeyRef": {"name": offer.name}}}, **FOR_ALL)
    stores.apply("support", {"className": offer.name})

    stores.wait_for_reason("support", "SecretNotFound")

    assert f"ConfigMap '{offer.name}'" in offer.wait_for_reason("SecretNotFound")
    assert admin.objects(stores.namespace) == set()


def test_a_tenants_own_secret_is_not_looked_for_in_the_operators_namespace(
    stores: Stores, offer: Offer, admin: Admin
) -> None:
    stores.apply("support", admin.spec(adminSecretRef={"name": offer.name}))

    assert f"Secret '{offer.name}'" in stores.wait_for_reason("support", "SecretNotFound")["message"]


def test_a_conflict_does_not_tell_whose_the_place_is(
    stores: Stores, offer: Offer, admin: Admin, controller: Controller
) -> None:
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name})
    stores.wait("support")
    taken = sql.Identifier(stores.get("support")["status"]["claims"]["schema"])
    claim = sql.Literal(FOREIGN.claim())

    admin.database.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(taken, claim))
    stores.kubectl("annotate", "cps/support", "look=again")

    message = stores.wait_for_reason("support", "Conflict")["message"]
    assert message.startswith("the place of this store on the backend belongs to another store or to nobody")
    assert "payroll/salaries" in offer.wait_for_event("Conflict")
    assert f"store {stores.namespace}/support: " in offer.wait_for_event("Conflict")
    assert "payroll/salaries" in controller.log.read_text()
    stores.kubectl("delete", "cps/support", "--timeout=20s")
    read = readable(stores)
    assert "payroll" not in read
    assert admin.name not in read


def test_a_wrong_administrator_is_told_on_the_class_and_not_to_tenants(stores: Stores, offer: Offer) -> None:
    offer.create_secret(username="chief-of-databases", password="wrong-password")
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name})

    message = stores.wait_for_reason("support", "AuthenticationFailed")["message"]

    assert message == (
        "the backend rejects the credentials of the class. Ask the platform team: the Events of CheckpointStoreClass "
        f"'{offer.name}' say more"
    )
    told = offer.wait_for_event("ProvisioningFailed")
    assert "chief-of-databases" in told
    assert "wrong-password" not in told
    assert "chief-of-databases" not in readable(stores)


def test_a_blocked_deletion_does_not_tell_the_classs_secret(stores: Stores, offer: Offer) -> None:
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name})
    stores.wait("support")
    offer.create_secret(username="chief-of-databases", password="wrong-password")

    stores.kubectl("delete", "cps/support", "--wait=false")

    message = stores.wait_for_reason("support", "AuthenticationFailed", "DeletionBlocked")["message"]
    assert message.startswith("the backend rejects the credentials of the class. Ask the platform team")
    assert "memory.locus.dev/abandon" in message
    assert "chief-of-databases" in offer.wait_for_event("ProvisioningFailed")
    stores.wait_for_event("support", "DeletionBlocked")
    # kopf keeps the text of a failed try in an annotation.
    assert "kopf.memory.locus.dev/release" in json.dumps(stores.get("support")["metadata"]["annotations"])
    assert "chief-of-databases" not in readable(stores)
    offer.create_secret()
    stores.kubectl("annotate", "cps/support", "memory.locus.dev/abandon=true")
    stores.wait_until_gone("support")
