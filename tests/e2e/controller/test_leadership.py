"""Of two controllers one works, whatever happens to it."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.controller.conftest import PAUSES
from tests.e2e.operator_process import NAMESPACE, Controller, Stores
from tests.servers.processes import wait_for

ELECTED = {**PAUSES, "leader_election": True}
SHORT_LEASE_SECONDS = 4
LOST = 75


@pytest.fixture
def pair(
    controller: Controller, kubeconfig: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Controller, Controller]]:
    """The controller that works, and one that waits, in place of the one that all tests share."""
    controller.stop()
    settings = {**ELECTED, **getattr(request, "param", {})}
    pair = tuple(Controller(kubeconfig, tmp_path / f"{name}.log", settings) for name in ("first", "second"))
    first, second = pair
    first.start()
    wait_for(lambda: leads(first), timeout=30, what="the first controller to lead")
    second.start()
    yield first, second
    for each in pair:
        each.stop()
    controller.start()


def leads(controller: Controller) -> bool:
    return controller.metrics()["locus_operator_leader"] == 1


def ready(stores: Stores, name: str) -> None:
    stores.apply(name, {"backend": {"memory": {}}})
    stores.wait(name)


def test_one_works_and_the_other_is_alive_and_waits(pair: tuple[Controller, Controller], stores: Stores) -> None:
    first, second = pair
    ready(stores, "scratch")
    assert leads(first)
    assert not leads(second)
    # The controller counts what it sees again after it has written the status that kubectl has waited for.
    figures = {
        'locus_operator_stores{backend="memory",reason="Ready"}',
        'locus_operator_reconciles_total{backend="memory",outcome="Ready"}',
    }
    wait_for(lambda: figures <= first.metrics().keys(), timeout=10, what="the figures of a store that is ready")
    assert "scratch" not in second.log.read_text()


def test_a_clean_stop_hands_over_at_once(pair: tuple[Controller, Controller], stores: Stores) -> None:
    first, second = pair
    assert first.child is not None
    first.stop()
    begin = time.monotonic()
    wait_for(lambda: leads(second), timeout=20, what="the second controller to lead")
    # Its next look at the Lease, far from the end of the Lease itself.
    assert time.monotonic() - begin < 8
    ready(stores, "scratch")


def test_a_killed_leader_is_followed_within_twenty_seconds(pair: tuple[Controller, Controller], stores: Stores) -> None:
    first, second = pair
    begin = time.monotonic()
    first.kill()
    wait_for(lambda: leads(second), timeout=20, what="the second controller to lead")
    assert time.monotonic() - begin < 20
    ready(stores, "scratch")


@pytest.mark.parametrize("pair", [{"lease_seconds": SHORT_LEASE_SECONDS, "drift_interval_seconds": 1}], indirect=True)
def test_a_leader_that_was_paused_beyond_its_lease_changes_nothing_any_more(
    pair: tuple[Controller, Controller], stores: Stores
) -> None:
    first, second = pair
    for name in ("one", "two", "three"):
        ready(stores, name)
    assert first.child is not None
    first.child.pause()
    wait_for(lambda: leads(second), timeout=20, what="the second controller to lead")
    version = stores.control_plane.get("lease", "locus-operator", NAMESPACE)["metadata"]["resourceVersion"]
    log = first.log.read_text()

    first.child.resume()

    wait_for(lambda: first.child is not None and not first.child.running, timeout=10, what="the end of the first one")
    said = first.log.read_text()[len(log) :]
    assert first.child.exit_code == LOST
    assert "is lost, another controller may be working" in said
    assert "applied:" not in said
    assert not re.search(r"swept \d+ stores", said)
    assert leads(second)
    holder = stores.control_plane.get("lease", "locus-operator", NAMESPACE)
    assert holder["metadata"]["resourceVersion"] >= version
    assert holder["spec"]["leaseTransitions"] >= 1
    ready(stores, "four")


def test_a_controller_that_waits_ends_when_it_is_told_to(pair: tuple[Controller, Controller]) -> None:
    _, second = pair
    assert second.child is not None
    second.child.stop(signal.SIGTERM, timeout=5)
    assert second.child.exit_code == 0
