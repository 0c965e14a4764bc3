"""Pods as users create them, and how they come out of admission."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import INJECTION_LABEL, LABEL, store_manifest
from tests.servers.processes import wait_for

Pod = dict[str, Any]
INJECTED = "memory.locus.dev/injected"


@dataclass(frozen=True)
class Pods:
    """The pods of one namespace."""

    control_plane: ControlPlane
    namespace: str

    def create(self, manifest: Pod, *flags: str) -> tuple[Pod, str]:
        """Create a pod; returns it as it was admitted, and what kubectl printed on standard error."""
        command = self.control_plane.kubectl_command(
            "create", "--filename=-", "--output=json", f"--namespace={self.namespace}", *flags
        )
        done = subprocess.run(command, input=json.dumps(manifest), capture_output=True, text=True, check=True)
        return json.loads(done.stdout), done.stderr

    def admitted(self, manifest: Pod) -> Pod:
        """How a pod would come out now; none is created."""
        return self.create(manifest, "--dry-run=server")[0]

    def wait_until(self, manifest: Pod, holds: Callable[[Pod], bool], what: str) -> Pod:
        """Wait until a pod would come out so; returns it."""
        seen: list[Pod] = []

        def looks() -> bool:
            seen[:] = [self.admitted(manifest)]
            return holds(seen[0])

        wait_for(looks, timeout=10, what=what)
        return seen[0]

    def all(self) -> list[Pod]:
        """All pods of the namespace."""
        output = self.control_plane.kubectl("get", "pods", "--output=json", f"--namespace={self.namespace}")
        return list(json.loads(output)["items"])

    def apply_stores(self, **specs: Any) -> None:
        """Create or change stores; those without a backend are in memory."""
        stores = (
            store_manifest(self.namespace, name, {"backend": {"memory": {}}} | spec) for name, spec in specs.items()
        )
        self.control_plane.apply(*stores)

    def enable(self) -> None:
        """Opt the namespace in to selection."""
        self.control_plane.kubectl("label", "namespace", self.namespace, f"{INJECTION_LABEL}=enabled")

    def wait_until_called(self) -> None:
        """A new webhook configuration reaches the API server's admission a moment after it was created."""
        what = "the API server calls the webhook"
        self.wait_until(agent("probe", "probe"), lambda pod: stores_of(pod) == ["probe"], what)


def agent(name: str, store: str | None, **metadata: Any) -> Pod:
    """A pod with an init container; labelled, unless the store is None."""
    labels = {"app": "agent"} | ({} if store is None else {LABEL: store})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, **metadata},
        "spec": {
            "initContainers": [{"name": "migrate", "image": "none"}],
            "containers": [{"name": "agent", "image": "none"}],
        },
    }


def stores_of(pod: Pod) -> list[str]:
    """The stores that were injected."""
    text = pod["metadata"].get("annotations", {}).get(INJECTED, "")
    return text.split(",") if text else []


def secrets_of(pod: Pod) -> set[str]:
    """Secrets that are mounted as bindings."""
    return {
        each["secret"]["secretName"] for each in pod["spec"]["volumes"] if each["name"].startswith("locus-binding-")
    }


def bindings_of(pod: Pod, container: str) -> set[str]:
    """Where one of its containers has the volumes of stores."""
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    (found,) = [each for each in containers if each["name"] == container]
    return {each["mountPath"] for each in found["volumeMounts"] if each["name"].startswith("locus-")}


def default_of(pod: Pod, container: str = "agent") -> str:
    """The default store of one of its containers."""
    (found,) = [each for each in pod["spec"]["containers"] if each["name"] == container]
    return next(str(each["value"]) for each in found["env"] if each["name"] == "LOCUS_CHECKPOINT_STORE")
