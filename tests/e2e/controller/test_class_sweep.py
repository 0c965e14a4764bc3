"""What reaches the stores of a class with the next sweep, because nothing tells of it: labels and Secrets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.e2e.controller.conftest import PAUSES
from tests.e2e.controller.offer import FOR_ALL, Offer
from tests.e2e.controller.samples import Admin, assert_usable
from tests.e2e.operator_process import Controller, Stores
from tests.servers.processes import wait_for


@pytest.fixture(scope="module", autouse=True)
def sweeping(
    controller: Controller, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Controller]:
    """A controller that sweeps all the time, in place of the one that all tests share."""
    controller.stop()
    log = tmp_path_factory.mktemp("sweeping") / "controller.log"
    pauses = PAUSES | {"drift_interval_seconds": 1, "refused_retry_seconds": 1, "refused_retry_max_seconds": 2}
    sweeping = Controller(kubeconfig, log, pauses)
    sweeping.start()
    yield sweeping
    sweeping.stop()
    controller.start()


def wait_for_sweeps(controller: Controller, count: int) -> None:
    def swept() -> int:
        return controller.log.read_text().count('"swept ')

    before = swept()
    wait_for(lambda: swept() >= before + count, timeout=20, what=f"{count} sweeps")


def tables(admin: Admin, schema: str) -> set[str]:
    query = sql.SQL("SELECT tablename FROM pg_tables WHERE schemaname = {}").format(sql.Literal(schema))
    return {name for (name,) in admin.database.execute(query)}


async def test_labels_of_a_namespace_are_followed_and_take_nothing_away(
    stores: Stores, offer: Offer, admin: Admin, sweeping: Controller
) -> None:
    label = ("label", "namespace", stores.namespace, "--overwrite")
    offer.apply(allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"team": "agents"}}})
    stores.apply("support", {"className": offer.name})
    stores.wait_for_reason("support", "NamespaceNotAllowed")
    stores.control_plane.kubectl(*label, "team=agents")
    stores.wait("support", timeout=15)
    binding, objects = stores.binding("support"), admin.objects(stores.namespace)

    stores.control_plane.kubectl(*label, "team=others")

    stores.wait_for_reason("support", "NamespaceNotAllowed", timeout=15)
    assert stores.binding("support") == binding
    assert admin.objects(stores.namespace) == objects
    await assert_usable(binding)
    schema = stores.get("support")["status"]["claims"]["schema"]
    admin.database.execute(sql.SQL("DROP TABLE {}.locus_search").format(sql.Identifier(schema)))
    wait_for_sweeps(sweeping, 3)
    assert "locus_search" not in tables(admin, schema)
    offer.wait_for_stores(1)
    stores.control_plane.kubectl(*label, "team=agents")
    stores.wait("support", timeout=15)
    assert "locus_search" in tables(admin, schema)
    assert stores.binding("support") == binding


def test_a_changed_secret_of_a_class_reaches_its_stores(stores: Stores, offer: Offer) -> None:
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name})
    stores.wait("support")

    offer.create_secret(username=offer.admin.name, password="rotated-away")
    stores.wait_for_reason("support", "AuthenticationFailed", timeout=15)
    offer.create_secret()

    stores.wait("support", timeout=15)


def test_a_class_whose_secret_has_gone_says_so(offer: Offer) -> None:
    offer.apply(**FOR_ALL)
    offer.wait_for_reason("Ready")

    offer.platform.kubectl("delete", f"secret/{offer.name}")

    offer.wait_for_reason("SecretNotFound")
