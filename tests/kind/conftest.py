"""One kind cluster for the session, with the definitions; skipped without Docker, and unless asked for."""

import shutil
import subprocess

import pytest
from pytest_kind.cluster import KindCluster  # type: ignore[import-untyped]

from tests.e2e.control_plane import REPOSITORY
from tests.kind.cluster import Cluster


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reason = _reason_to_skip(config)
    for item in items:
        if item.get_closest_marker("kind") is not None and reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _reason_to_skip(config: pytest.Config) -> str:
    if "kind" not in config.getoption("markexpr"):
        return "makes a kind cluster: make kind"
    if shutil.which("docker") is None:
        return "needs Docker"
    done = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"needs a Docker engine: {done.stderr.strip()}"


@pytest.fixture(scope="session")
def cluster(kind_cluster: KindCluster) -> Cluster:
    """A cluster of a current Kubernetes, with the CRDs as users of kubectl install them."""
    kind_cluster.ensure_kubectl()
    cluster = Cluster(kind_cluster)
    cluster.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "crds"))
    for name in ("checkpointstores", "checkpointstoreclasses"):
        cluster.kubectl("wait", f"crd/{name}.memory.locus.dev", "--for=condition=Established", "--timeout=30s")
    cluster.create_restricted_namespace("agents")
    return cluster
