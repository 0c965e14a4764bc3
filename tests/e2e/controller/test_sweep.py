"""Drift behind Kubernetes' back is corrected by the sweep, with nobody touching the store."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.e2e.controller.conftest import PAUSES
from tests.e2e.controller.samples import WINDOW, Admin, assert_usable, redis_spec
from tests.e2e.operator_process import Controller, Stores
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer

SWEEP_SECONDS = 1


@pytest.fixture(scope="module", autouse=True)
def sweeping(
    controller: Controller, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Controller]:
    """A controller that sweeps all the time, in place of the one that all tests share."""
    controller.stop()
    log = tmp_path_factory.mktemp("sweeping") / "controller.log"
    sweeping = Controller(kubeconfig, log, PAUSES | {"drift_interval_seconds": SWEEP_SECONDS})
    sweeping.start()
    yield sweeping
    sweeping.stop()
    controller.start()


async def test_dropped_and_widened_objects_are_corrected_and_named(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec())
    stores.wait("support")
    before = stores.get("support")
    schema = sql.Identifier(before["status"]["claims"]["schema"])

    for statement in ("DROP TABLE {}.locus_search", "GRANT ALL ON {}.locus_checkpoints TO PUBLIC"):
        admin.database.execute(sql.SQL(statement).format(schema))

    expected = {
        "create table locus_search: missing",
        "revoke table locus_checkpoints: PUBLIC has privileges",
    }
    # By one sweep, or by two: it may have come in between.
    wait_for(lambda: expected <= set(corrections(stores, "support")), timeout=15, what="both corrections")
    assert stores.get("support")["metadata"]["generation"] == before["metadata"]["generation"]
    await assert_usable(stores.binding("support"))


async def test_users_that_a_restart_has_lost_come_back_by_themselves(
    stores: Stores, redis_of_its_own: RedisServer
) -> None:
    stores.create_secret("admin", password=redis_of_its_own.password)
    stores.apply("support", redis_spec(redis_of_its_own))
    stores.wait("support")
    before = stores.binding("support")

    redis_of_its_own.reset()

    assert "ACL user" in stores.wait_for_event("support", "DriftCorrected")
    assert stores.binding("support") == before
    await assert_usable(before)


def test_a_binding_that_somebody_deleted_comes_back(stores: Stores) -> None:
    stores.apply("scratch", {"backend": {"memory": {}}})
    stores.wait("scratch")

    stores.kubectl("delete", "secret/scratch-binding")

    listed = ("get", "secret/scratch-binding", "--ignore-not-found", "--output=name")
    wait_for(lambda: bool(stores.kubectl(*listed)), timeout=15, what="the binding")


def test_a_store_that_is_refused_is_not_tried_by_each_sweep(stores: Stores, sweeping: Controller) -> None:
    stores.create_secret("admin", username="nobody", password="wrong")
    stores.apply("support", {"backend": {"memory": {}}, "className": "both"})
    stores.wait_for_reason("support", "InvalidSpec")
    tries = sweeping.log.read_text().count(f"{stores.namespace}/support")

    time.sleep(WINDOW)

    assert sweeping.log.read_text().count(f"{stores.namespace}/support") == tries


def test_a_suspended_store_is_not_looked_at(stores: Stores) -> None:
    stores.apply("scratch", {"backend": {"memory": {}}, "suspend": True})
    stores.wait_for_reason("scratch", "Suspended")
    version = stores.get("scratch")["metadata"]["resourceVersion"]

    time.sleep(WINDOW)

    assert stores.get("scratch")["metadata"]["resourceVersion"] == version


async def test_retention_deletes_what_is_too_old_and_says_so(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec() | {"retention": {"maxAge": "4s"}})
    stores.wait("support")
    await assert_usable(stores.binding("support"))

    told = stores.wait_for_event("support", "RetentionApplied")

    assert told.startswith("deleted 1 checkpoint: ")
    retention = stores.get("support")["status"]["retention"]
    assert retention["deletedTotal"] == 1
    assert retention["lastRunAt"]
    assert stores.conditions("support")["RetentionEnforced"]["reason"] == "RetentionApplied"


def corrections(stores: Stores, name: str) -> list[str]:
    """What the sweep says that it has corrected, action by action."""
    told = [message for reason, message in stores.events(name) if reason == "DriftCorrected"]
    return [action for message in told for action in message.split("; ")]
