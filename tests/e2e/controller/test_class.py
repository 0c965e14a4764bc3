"""Stores that name a class: whose credentials they use, how long the class stays, and how they follow it."""

from pathlib import Path

import pytest

from tests.e2e.controller.conftest import PAUSES
from tests.e2e.controller.offer import FOR_ALL, Offer
from tests.e2e.controller.samples import Admin, assert_usable
from tests.e2e.operator_process import Controller, Stores
from tests.servers.processes import wait_for


async def test_a_store_uses_its_classs_credentials_and_never_sees_them(stores: Stores, offer: Offer) -> None:
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name})

    stores.wait("support")

    await assert_usable(stores.binding("support"))
    assert offer.name not in stores.kubectl("get", "secrets", "--output=name")
    assert stores.get("support")["status"]["className"] == offer.name


def test_a_class_says_what_it_lacks_and_is_ready_once_it_is_there(offer: Offer) -> None:
    offer.platform.kubectl("delete", f"secret/{offer.name}")
    offer.apply(**FOR_ALL)
    assert f"Secret '{offer.name}'" in offer.wait_for_reason("SecretNotFound")

    offer.create_secret(username="somebody")
    assert "has no password" in offer.wait_for_reason("SecretInvalid")

    offer.create_secret()
    assert "all namespaces may use it" in offer.wait_for_reason("Ready")
    status = offer.get()["status"]
    assert (status["backend"], status["boundStores"]) == ("postgresql", 0)
    assert status["observedGeneration"] == offer.get()["metadata"]["generation"]
    assert status["lastReconcileTime"]


def test_a_class_whose_parts_do_not_go_together_says_where(offer: Offer) -> None:
    offer.apply(defaults={"credentials": {"overlap": "2h"}}, limits={"maxRotationPeriod": "1h"})

    assert "spec.defaults.credentials.overlap: write an overlap" in offer.wait_for_reason("InvalidSpec")


def test_a_class_in_use_stays_until_its_last_store_has_left(stores: Stores, offer: Offer) -> None:
    offer.apply(**FOR_ALL)
    for name in ("one", "two"):
        stores.apply(name, {"className": offer.name})
    for name in ("one", "two"):
        stores.wait(name)
    offer.wait_for_stores(2)

    offer.delete()

    blocked = offer.wait_for_reason("ClassInUse", "DeletionBlocked")
    assert (
        f"2 stores were provisioned with it and cannot be released without it: delete {stores.namespace}/one" in blocked
    )
    offer.wait_for_event("DeletionBlocked")
    stores.apply("late", {"className": offer.name})
    assert "is being deleted" in stores.wait_for_reason("late", "ClassNotReady")["message"]

    stores.kubectl("delete", "cps/one", "--timeout=20s")
    offer.wait_for_stores(1)
    assert offer.exists()
    stores.kubectl("delete", "cps/two", "--timeout=20s")

    # "late" names it, and has nothing on its backend.
    wait_for(lambda: not offer.exists(), timeout=5, what="the class gone")
    stores.wait_for_reason("late", "ClassNotFound")


def test_a_class_without_stores_is_deleted_at_once(stores: Stores, offer: Offer) -> None:
    offer.apply()
    stores.apply("support", {"className": offer.name})
    stores.wait_for_reason("support", "NamespaceNotAllowed")

    offer.control_plane.kubectl("delete", f"cpsclass/{offer.name}", "--timeout=5s")


def test_stores_are_counted_right_after_a_restart(stores: Stores, offer: Offer, controller: Controller) -> None:
    offer.apply(**FOR_ALL)
    for name in ("stays", "goes", "waits"):
        stores.apply(name, {"className": offer.name})
    for name in ("stays", "goes", "waits"):
        stores.wait(name)
    offer.wait_for_stores(3)

    controller.kill()
    offer.delete()
    stores.kubectl("delete", "cps/goes", "cps/stays", "--wait=false")
    stores.apply("comes", {"className": offer.name})
    controller.start()

    stores.wait_until_gone("goes")
    stores.wait_until_gone("stays")
    offer.wait_for_stores(1)
    assert f"delete {stores.namespace}/waits" in offer.wait_for_reason("ClassInUse", "DeletionBlocked")
    stores.kubectl("delete", "cps/waits", "--timeout=20s")
    wait_for(lambda: not offer.exists(), timeout=5, what="the class gone")


def test_a_controller_of_some_namespaces_counts_the_stores_of_all(
    stores: Stores, offer: Offer, controller: Controller, kubeconfig: Path, tmp_path: Path
) -> None:
    others = Stores(stores.control_plane, f"{stores.namespace}-others")
    others.control_plane.kubectl("create", "namespace", others.namespace)
    offer.apply(**FOR_ALL)
    for each in (stores, others):
        each.apply("support", {"className": offer.name})
        each.wait("support")
    offer.wait_for_stores(2)
    controller.stop()
    partial = Controller(kubeconfig, tmp_path / "log", PAUSES | {"watch_namespaces": stores.namespace})
    partial.start()

    stores.kubectl("delete", "cps/support", "--timeout=20s")
    offer.wait_for_stores(1)
    offer.delete()

    assert f"delete {others.namespace}/support." in offer.wait_for_reason("ClassInUse", "DeletionBlocked")
    partial.stop()
    controller.start()
    others.kubectl("delete", "cps/support", "--timeout=20s")
    wait_for(lambda: not offer.exists(), timeout=5, what="the class gone")
    others.control_plane.kubectl("delete", "namespace", others.namespace, "--wait=false")


def test_a_changed_host_reaches_every_binding_at_once(stores: Stores, offer: Offer) -> None:
    offer.apply(**FOR_ALL)
    names = [f"store-{number}" for number in range(5)]
    for name in names:
        stores.apply(name, {"className": offer.name})
    for name in names:
        stores.wait(name)
    before = {name: stores.binding(name) for name in names}
    assert {binding["host"] for binding in before.values()} == {"127.0.0.1"}

    offer.apply(member={"host": "localhost"}, **FOR_ALL)

    # The next sweep would be in ten minutes.
    wait_for(lambda: {stores.binding(name)["host"] for name in names} == {"localhost"}, timeout=10, what="the new host")
    assert {name: stores.binding(name)["password"] for name in names} == {
        name: binding["password"] for name, binding in before.items()
    }


@pytest.mark.parametrize("allowed", ["All", "None"])
def test_a_class_lets_its_stores_leave_whether_or_not_it_still_allows_them(
    stores: Stores, offer: Offer, admin: Admin, allowed: str
) -> None:
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name, "deletionPolicy": "Delete"})
    stores.wait("support")

    offer.apply(allowedNamespaces={"from": allowed}, limits={"maxRetention": "1s"})

    stores.kubectl("delete", "cps/support", "--timeout=20s")
    stores.wait_for_event("support", "Released")
    assert admin.objects(stores.namespace) == set()


def test_a_class_that_is_gone_blocks_the_deletion_and_says_so(stores: Stores, offer: Offer) -> None:
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name})
    stores.wait("support")
    offer.remove_by_force()

    stores.kubectl("delete", "cps/support", "--wait=false")

    condition = stores.wait_for_reason("support", "ClassNotFound", "DeletionBlocked")
    assert offer.name in condition["message"]
    offer.apply(**FOR_ALL)
    stores.wait_until_gone("support")
