"""Two hundred stores that are asked for at once share a few connections to their server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.e2e.controller.conftest import PAUSES
from tests.e2e.controller.samples import Admin, assert_usable
from tests.e2e.operator_process import Controller, Stores, store_manifest
from tests.servers.processes import wait_for

COUNT = 200
CAP = 4
SECONDS = 55.0
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'locus-operator'"


@dataclass
class Sessions:
    """How many sessions of the operator the server has had at once."""

    most: int = 0
    samples: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def count(self, dsn: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not self.ended.wait(0.01):
                [found] = connection.execute(_SESSIONS).fetchone() or (0,)
                self.most = max(self.most, int(found))
                self.samples += 1


@contextmanager
def watched(admin: Admin) -> Iterator[Sessions]:
    sessions = Sessions()
    thread = threading.Thread(target=sessions.count, args=(admin.database.dsn(),), daemon=True)
    thread.start()
    try:
        yield sessions
    finally:
        sessions.ended.set()
        thread.join()


@pytest.fixture
def frugal_controller(controller: Controller, kubeconfig: Path) -> Iterator[Controller]:
    """In the controller's place one with more workers than it may have connections."""
    controller.stop()
    frugal = Controller(kubeconfig, controller.log, {**PAUSES, "workers": 20, "connections_per_endpoint": CAP})
    frugal.start()
    yield frugal
    frugal.stop()
    controller.start()


def ready_stores(stores: Stores) -> int | None:
    """How many are ready; None if there are none. `kubectl wait` and `delete` would look at one after the other."""
    conditions = "{range .items[*]}{.status.conditions[?(@.type=='Ready')].status}{' '}{end}"
    found = stores.kubectl("get", "cps", f"--output=jsonpath={conditions}x")
    return found.count("True") if found != "x" else None


@pytest.mark.usefixtures("frugal_controller")
async def test_they_never_exceed_the_cap_and_all_become_ready_and_go(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    names = [f"store-{number:03}" for number in range(COUNT)]
    spec = admin.spec() | {"deletionPolicy": "Delete"}
    started = time.monotonic()
    with watched(admin) as sessions:
        stores.control_plane.apply(*(store_manifest(stores.namespace, name, spec) for name in names))
        applied = time.monotonic()
        wait_for(lambda: ready_stores(stores) == COUNT, timeout=SECONDS, what="all stores ready")
        ready = time.monotonic()
        await assert_usable(stores.binding(names[0]))
        await assert_usable(stores.binding(names[-1]))
        stores.kubectl("delete", "cps", "--all", "--wait=false")
        wait_for(lambda: ready_stores(stores) is None, timeout=SECONDS, what="all stores gone")
        gone = time.monotonic()
    print(f"{applied - started:.1f} s to apply, {ready - applied:.1f} s until ready, {gone - ready:.1f} s until gone")
    assert 1 < sessions.most <= CAP
    assert sessions.samples > COUNT
    assert admin.objects(stores.namespace) == set()
