"""A real control plane and a node for the session, and a namespace for each test."""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.e2e.control_plane import REPOSITORY, ControlPlane
from tests.e2e.operator_process import Controller, operating
from tests.e2e.test_node.images import ImageRoot
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.report import ServerReport

TEST_IMAGE = "locus-memory:test"


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, server_report: ServerReport) -> Iterator[ControlPlane]:
    """A running API server with its controllers; ``hack/control-plane`` builds it the first time."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        server_report.started("control_plane", "Kubernetes API server", ".".join(map(str, running.version)))
        yield running


@pytest.fixture(scope="session")
def test_node(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that runs pods; it knows the image ``locus-memory:test``, this repository with its packages."""
    if os.geteuid() != 0:
        reason = "running pods needs root, for mount namespaces"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    images = {TEST_IMAGE: ImageRoot.of_this_python(REPOSITORY)}
    with NodeProcess(tmp_path_factory.mktemp("node"), control_plane.kubeconfig, images) as node:
        yield node


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own; its deletion goes on in the background."""
    name = f"test-{secrets.token_hex(4)}"
    control_plane.kubectl("create", "namespace", name)
    control_plane.wait_for_service_account("default", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="module")
def agents_namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace for all conversations of a module."""
    name = f"test-{secrets.token_hex(4)}"
    control_plane.kubectl("create", "namespace", name)
    control_plane.wait_for_service_account("default", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Controller and webhook, registered with the API server."""
    with operating(control_plane, tmp_path_factory.mktemp("operator")) as controller:
        yield controller
