"""A control plane and a node for the chart alone: it brings the CRDs that other tests have put into theirs."""

import os
from collections.abc import Iterator

import pytest
import yaml

from hack.demo.stage import AGENT_IMAGE, agent_image
from tests.chart.helm import CHART, NAMESPACE, REPOSITORY
from tests.e2e.chart.release import WEBHOOK_SELECTOR
from tests.e2e.chart.service import Service
from tests.e2e.control_plane import ControlPlane
from tests.e2e.test_node.images import ImageRoot
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.report import ServerReport

USER = 65532
"""The user of the image, as in the Dockerfile."""


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory, server_report: ServerReport) -> Iterator[ControlPlane]:
    """A running API server that nobody else uses."""
    audited = ["system:serviceaccounts:locus-system"]
    with ControlPlane(tmp_path_factory.mktemp("chart-control-plane"), audited=audited) as running:
        server_report.started("cluster", "Kubernetes API server", ".".join(map(str, running.version)))
        for namespace in ("kube-system", "locus-system", "agents"):
            running.kubectl("get", "namespace", namespace, "--ignore-not-found") or running.kubectl(
                "create", "namespace", namespace
            )
            # As every API server from 1.21 on does by itself.
            running.kubectl("label", "namespace", namespace, f"kubernetes.io/metadata.name={namespace}", "--overwrite")
        running.wait_for_service_account("default", "agents")
        yield running


@pytest.fixture(scope="package")
def node(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that runs the operator's image, under the name that the chart has for it, and the example agent's."""
    if os.geteuid() != 0:
        reason = "running pods needs root, for mount namespaces"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    images = {operator_image(): ImageRoot.of_this_python(REPOSITORY, user=USER), AGENT_IMAGE: agent_image()}
    with NodeProcess(tmp_path_factory.mktemp("chart-node"), cluster.kubeconfig, images) as running:
        yield running


@pytest.fixture(scope="module")
def service(cluster: ControlPlane, node: NodeProcess) -> Iterator[Service]:
    """What stands before the webhook's pods."""
    with Service(cluster, NAMESPACE, WEBHOOK_SELECTOR, target_port=9443) as running:
        yield running


def operator_image() -> str:
    """The image that the chart names by itself."""
    repository = yaml.safe_load((CHART / "values.yaml").read_text())["image"]["repository"]
    return f"{repository}:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}"
