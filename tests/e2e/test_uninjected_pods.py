"""Pods that were created while the webhook was down, or that a store has come to select: the controller tells."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import LABEL, Controller, Stores, Webhook, install
from tests.e2e.pods import Pod, Pods, agent, stores_of
from tests.servers.processes import wait_for

WINDOW = 3.0
"""Seconds over which is watched that something does not happen; a sweep and more."""
REASON = "NotInjected"


@pytest.fixture(scope="module")
def controller(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    log = tmp_path_factory.mktemp("controller") / "controller.log"
    controller = Controller(install(control_plane), log, {"drift_interval_seconds": 1, "log_format": "json"})
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture
def pods(control_plane: ControlPlane, controller: Controller, namespace: str) -> Pods:
    """Pods that no webhook is there for."""
    return Pods(control_plane, namespace)


def told(pods: Pods, name: str) -> list[str]:
    """The messages of the Events about a pod."""
    events = Stores(pods.control_plane, pods.namespace).events(name)
    return [message for reason, message in events if reason == REASON]


def wait_until_told(pods: Pods, name: str) -> str:
    wait_for(lambda: told(pods, name) != [], timeout=15, what=f"Event {REASON} about {name}")
    (message,) = told(pods, name)
    return message


def test_a_labelled_pod_that_was_missed_is_told_once_and_what_to_do(pods: Pods, controller: Controller) -> None:
    pods.create(agent("missed", "support"))
    pods.create(agent("unrelated", None))

    message = wait_until_told(pods, "missed")
    time.sleep(WINDOW)

    assert message.startswith("not mounted: store support. The webhook was not reached when this pod was created")
    assert "Create the pod again" in message
    assert len(told(pods, "missed")) == 1
    assert told(pods, "unrelated") == []
    lines = [json.loads(line) for line in controller.log.read_text().splitlines() if '"pod was not injected"' in line]
    (line,) = [line for line in lines if line["namespace"] == pods.namespace]
    assert (line["pod"], line["stores"]) == ("missed", ["support"])


def test_a_controller_that_starts_again_tells_no_second_time_and_nothing_of_pods_that_have_ended(
    control_plane: ControlPlane, pods: Pods, controller: Controller
) -> None:
    pods.create(agent("missed", "support"))
    wait_until_told(pods, "missed")

    controller.stop()
    pods.create(agent("ended", "support"))
    end(pods, "ended")
    # Its first sweep is ten minutes away: what it tells, it has from its watch.
    watching = Controller(install(control_plane), controller.log)
    watching.start()
    try:
        pods.create(agent("later", "support"))
        wait_until_told(pods, "later")
    finally:
        watching.stop()
        controller.start()
    time.sleep(WINDOW)

    assert len(told(pods, "missed")) == 1
    assert told(pods, "ended") == []


def end(pods: Pods, name: str) -> None:
    """Say what a kubelet says of a pod that has done its work."""
    pod = pods.control_plane.get("pod", name, pods.namespace)
    pod["status"]["phase"] = "Succeeded"
    path = f"/api/v1/namespaces/{pods.namespace}/pods/{name}/status"
    pods.control_plane.kubectl("replace", f"--raw={path}", "--filename=-", input=json.dumps(pod))


def test_the_controller_leaves_nothing_on_the_pod(pods: Pods) -> None:
    pods.create(agent("missed", "support"))
    wait_until_told(pods, "missed")

    (pod,) = pods.all()
    assert "finalizers" not in pod["metadata"]
    assert "annotations" not in pod["metadata"]


def test_a_label_that_names_no_store_is_told(pods: Pods) -> None:
    pods.create(agent("wrong", "My_Store"))

    assert "'My_Store' is no name of a CheckpointStore" in wait_until_told(pods, "wrong")


def test_a_pod_that_brings_its_own_is_not_told(pods: Pods) -> None:
    own = agent("own", "support")
    own["spec"]["volumes"] = [{"name": "mine", "emptyDir": {}}]
    for container in (*own["spec"]["initContainers"], *own["spec"]["containers"]):
        container["volumeMounts"] = [{"name": "mine", "mountPath": "/bindings/support"}]
    pods.create(own)
    pods.create(agent("missed", "support"))
    wait_until_told(pods, "missed")
    time.sleep(WINDOW)

    assert told(pods, "own") == []


def test_pods_that_a_store_selects_are_told_where_the_namespace_has_opted_in(pods: Pods) -> None:
    selector = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["agent", "worker"]}]}
    pods.apply_stores(support={"pods": {"selector": selector}})
    pods.create(agent("selected", None))
    other = agent("other", None)
    other["metadata"]["labels"] = {"app": "web"}
    pods.create(other)
    time.sleep(WINDOW)
    assert told(pods, "selected") == [], "the namespace has not opted in"

    pods.enable()

    assert "not mounted: store support." in wait_until_told(pods, "selected")
    time.sleep(WINDOW)
    assert told(pods, "other") == []


def test_a_pod_with_one_of_two_stores_is_told_about_the_other(
    control_plane: ControlPlane, pods: Pods, tmp_path_factory: pytest.TempPathFactory
) -> None:
    webhook = Webhook(control_plane, tmp_path_factory.mktemp("webhook") / "webhook.log")
    webhook.start()
    webhook.register()
    try:
        pods.wait_until_called()
        pods.create(agent("complete", "support"))
        half = without_volume(pods.admitted(agent("half", "", annotations={LABEL: "support,shared"})), "shared")
    finally:
        control_plane.kubectl("delete", "mutatingwebhookconfiguration", "locus-operator")
        webhook.stop()
    wait_for(lambda: stores_of(pods.admitted(agent("probe", "x"))) == [], timeout=10, what="no webhook any more")
    pods.create(half)

    assert wait_until_told(pods, "half").startswith("not mounted: store shared.")
    assert told(pods, "complete") == []


def without_volume(pod: Pod, store: str) -> Pod:
    """A pod as if the webhook had not known one of its stores."""
    for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        pod["metadata"].pop(key, None)
    name = f"locus-binding-{store}"
    spec = pod["spec"]
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] != name]
    for container in [*spec["initContainers"], *spec["containers"]]:
        container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] != name]
    pod["metadata"]["annotations"].pop("memory.locus.dev/injected")
    return pod
