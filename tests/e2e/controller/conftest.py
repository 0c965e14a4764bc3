"""One controller for all tests of this package, with the permissions that it has in production."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.control_plane import ControlPlane
from tests.e2e.controller.offer import Offer
from tests.e2e.controller.samples import Admin
from tests.e2e.operator_process import Controller, Stores, install
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.redis import RedisServer

PAUSES = {
    "missing_retry_seconds": 1,
    "missing_retry_max_seconds": 2,
    "refused_retry_seconds": 30,
    "unavailable_retry_seconds": 0.5,
    "unavailable_retry_max_seconds": 1,
}


@pytest.fixture(scope="package")
def kubeconfig(control_plane: ControlPlane) -> Path:
    """The credentials of the controller's service account."""
    return install(control_plane)


@pytest.fixture(scope="package")
def controller(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Controller]:
    """A running controller; a test that stops it starts it again."""
    controller = Controller(kubeconfig, tmp_path_factory.mktemp("controller") / "controller.log", PAUSES)
    controller.start()
    yield controller
    # Stores whose backend has gone would block for good, and be tried by every operator of later tests.
    left = control_plane.kubectl("get", "cps", "--all-namespaces", "--output=jsonpath={.items[*].metadata.namespace}")
    for each in set(left.split()):
        control_plane.kubectl(
            "annotate", "cps", "--all", "--overwrite", "memory.locus.dev/abandon=true", f"--namespace={each}"
        )
    control_plane.kubectl("delete", "cps", "--all", "--all-namespaces", "--timeout=60s")
    control_plane.kubectl("delete", "checkpointstoreclasses", "--all", "--timeout=30s")
    controller.stop()


@pytest.fixture(scope="package")
def admin(postgresql_server: PostgreSQLServer) -> Iterator[Admin]:
    """A database with a provisioning login."""
    database = postgresql_server.create_database(f"test_{secrets.token_hex(6)}")
    admin = Admin(database)
    database.create_admin(admin.name, admin.password)
    yield admin
    database.drop()


@pytest.fixture
def stores(control_plane: ControlPlane, namespace: str, controller: Controller) -> Stores:
    """The stores of the test's own namespace."""
    return Stores(control_plane, namespace)


@pytest.fixture
def offer(control_plane: ControlPlane, controller: Controller, admin: Admin) -> Iterator[Offer]:
    """A class that the test has yet to apply; it goes with the last of its stores, its Secret stays for them."""
    offer = Offer(control_plane, f"class-{secrets.token_hex(4)}", admin)
    offer.create_secret()
    yield offer
    offer.delete()


@pytest.fixture
def redis_of_its_own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may stop."""
    with RedisServer(log=tmp_path / "redis.log", aclfile=True) as server:
        yield server
