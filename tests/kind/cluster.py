"""A kind cluster as the tests use it."""

import subprocess
from dataclasses import dataclass

from pytest_kind.cluster import KindCluster  # type: ignore[import-untyped]

from tests.e2e.control_plane import KubectlError


@dataclass(frozen=True)
class Cluster:
    """Runs kubectl on a kind cluster, and says what went wrong."""

    kind: KindCluster

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002
        """Run kubectl as administrator and return its output.

        Raises:
            KubectlError: it failed.
        """
        command = [str(self.kind.kubectl_path), f"--kubeconfig={self.kind.kubeconfig_path}", *arguments]
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def create_restricted_namespace(self, name: str) -> None:
        """Make a namespace that refuses pods which are not restricted."""
        self.kubectl("create", "namespace", name)
        self.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
