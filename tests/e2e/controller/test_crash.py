"""The controller is killed between any two actions on a backend, and started again."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.control_plane import ControlPlane
from tests.e2e.controller.conftest import PAUSES
from tests.e2e.controller.samples import Admin, Spec, assert_usable, redis_spec
from tests.e2e.operator_process import Controller, Stores
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer

KILLER = ("-m", "tests.e2e.killing_controller")


def run_until_killed(kubeconfig: Path, log: Path, stores: Stores, index: int) -> bool:
    """Run a controller for one namespace that kills itself after an action; tells whether it came to that."""
    settings = PAUSES | {"watch_namespaces": stores.namespace, "log_format": "text"}
    killer = Controller(kubeconfig, log, settings, (*KILLER, str(index)))
    killer.start(wait=False)
    assert killer.child is not None
    child = killer.child
    try:
        wait_for(lambda: not child.running or is_ready(stores), timeout=60, what="killed or ready")
        if child.running:
            return False
        assert f"killed after {index}:" in child.log_tail(), child.log_tail()
        return True
    finally:
        killer.kill()


def is_ready(stores: Stores) -> bool:
    return stores.conditions("support").get("Ready", {}).get("status") == "True"


@pytest.fixture
def namespaces(control_plane: ControlPlane) -> Callable[[], Stores]:
    def create() -> Stores:
        name = f"crash-{secrets.token_hex(4)}"
        control_plane.kubectl("create", "namespace", name)
        return Stores(control_plane, name)

    return create


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["postgresql", "redis"])
async def test_a_controller_killed_after_any_action_is_completed_by_the_next(
    kind: str,
    admin: Admin,
    redis_server: RedisServer,
    controller: Controller,
    kubeconfig: Path,
    tmp_path: Path,
    namespaces: Callable[[], Stores],
) -> None:
    spec: Spec = admin.spec() if kind == "postgresql" else redis_spec(redis_server)
    password = admin.password if kind == "postgresql" else redis_server.password
    controller.stop()
    log = tmp_path / "killed.log"
    cut: list[Stores] = []
    killed = True
    while killed:
        stores = namespaces()
        stores.create_secret("admin", username=admin.name if kind == "postgresql" else "default", password=password)
        stores.apply("support", spec)
        killed = run_until_killed(kubeconfig, log, stores, len(cut))
        cut.append(stores)
    # The last one was not killed: it shows what is there when nothing happens.
    *cut, whole = cut

    controller.start()

    assert len(cut) >= 3
    for stores in cut:
        stores.wait("support")
        await assert_usable(stores.binding("support"))
        assert shape(stores) == shape(whole)
        if kind == "postgresql":
            assert len(admin.objects(stores.namespace)) == len(admin.objects(whole.namespace))
        stores.kubectl("delete", "cps/support", "--timeout=30s")


def shape(stores: Stores) -> dict[str, int]:
    """What exists by kind; names differ with the namespace."""
    claims = stores.get("support")["status"]["claims"]
    return {name: len(value) if isinstance(value, list) else 1 for name, value in claims.items()}
