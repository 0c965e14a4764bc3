"""The webhook as the API server uses it: pods that are created through it come out with their bindings."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import LABEL, Webhook, install
from tests.servers.processes import wait_for

Pod = dict[str, Any]


@pytest.fixture(scope="module")
def webhook(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    install(control_plane)
    webhook = Webhook(control_plane, tmp_path_factory.mktemp("webhook") / "webhook.log")
    webhook.start()
    webhook.register()
    yield webhook
    control_plane.kubectl("delete", "mutatingwebhookconfiguration", "locus-operator")
    webhook.stop()


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

    def all(self) -> list[Pod]:
        output = self.control_plane.kubectl("get", "pods", "--output=json", f"--namespace={self.namespace}")
        return list(json.loads(output)["items"])


@pytest.fixture
def pods(control_plane: ControlPlane, webhook: Webhook, namespace: str) -> Pods:
    # Only a webhook that is called proves anything about a pod that was left alone.
    wait_until_called(control_plane, namespace)
    return Pods(control_plane, namespace)


def wait_until_called(control_plane: ControlPlane, namespace: str) -> None:
    """A new webhook configuration reaches the API server's admission a moment after it was created."""

    def is_called() -> bool:
        pod, _ = Pods(control_plane, namespace).create(agent("probe", "probe"), "--dry-run=server")
        return "volumes" in pod["spec"] and any(
            each["name"] == "locus-binding-probe" for each in pod["spec"]["volumes"]
        )

    wait_for(is_called, timeout=10, what="the API server calls the webhook")


def agent(name: str, store: str | None, **metadata: Any) -> Pod:
    labels = {} if store is None else {LABEL: store}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, **metadata},
        "spec": {
            "initContainers": [{"name": "migrate", "image": "none"}],
            "containers": [{"name": "agent", "image": "none"}],
        },
    }


def assert_injected(pod: Pod, store: str) -> None:
    assert pod["metadata"]["annotations"]["memory.locus.dev/injected"] == store
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == f"locus-binding-{store}"]
    assert volume["secret"]["secretName"] == f"{store}-binding"
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounts[f"/bindings/{store}"]["readOnly"] is True
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert variables == {"SERVICE_BINDING_ROOT": "/bindings", "LOCUS_CHECKPOINT_STORE": store}


def test_a_labelled_pod_gets_its_binding(pods: Pods) -> None:
    pod, warnings = pods.create(agent("agent", "support"))

    assert_injected(pod, "support")
    assert warnings == ""


def test_a_pod_without_label_stays_as_it_is(pods: Pods) -> None:
    pod, _ = pods.create(agent("agent", None))

    assert "memory.locus.dev/injected" not in pod["metadata"].get("annotations", {})
    assert "env" not in pod["spec"]["containers"][0]


def test_the_pods_of_a_deployment_get_it_although_they_have_no_name_yet(pods: Pods) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "agent"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent", LABEL: "support"}},
                "spec": {"containers": [{"name": "agent", "image": "none"}]},
            },
        },
    }
    pods.create(deployment)
    wait_for(lambda: len(pods.all()) == 2, timeout=20, what="two pods")

    for pod in pods.all():
        assert_injected(pod, "support")


def test_a_dry_run_shows_what_would_be_injected(pods: Pods) -> None:
    pod, _ = pods.create(agent("agent", "support"), "--dry-run=server")

    assert_injected(pod, "support")
    assert pods.all() == []


def test_several_stores_are_mounted_side_by_side(pods: Pods) -> None:
    pod, _ = pods.create(agent("agent", "", annotations={LABEL: "support,shared"}))

    (container,) = pod["spec"]["containers"]
    assert {"/bindings/support", "/bindings/shared"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"name": "LOCUS_CHECKPOINT_STORE", "value": "support"} in container["env"]


def test_a_wrong_name_is_a_warning_that_kubectl_shows(pods: Pods) -> None:
    pod, warnings = pods.create(agent("agent", "My_Store"))

    assert "memory.locus.dev/injected" not in pod["metadata"].get("annotations", {})
    assert "Warning: " in warnings
    assert "'My_Store' is no name of a CheckpointStore" in warnings


def test_a_pod_is_created_although_the_webhook_is_down(webhook: Webhook, pods: Pods) -> None:
    webhook.stop()
    try:
        pod, _ = pods.create(agent("agent", "support"))
        assert "memory.locus.dev/injected" not in pod["metadata"].get("annotations", {})
    finally:
        webhook.start()
