"""The webhook as the API server uses it: pods that are created through it come out with their bindings."""

import functools
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.control_plane import REPOSITORY, ControlPlane
from tests.e2e.operator_process import LABEL, NAMESPACE, WEBHOOK_ACCOUNT, Webhook, install
from tests.e2e.pods import Pod, Pods, agent, bindings_of, default_of, secrets_of, stores_of
from tests.servers.processes import wait_for

PAGE = REPOSITORY / "docs" / "injection.md"


@pytest.fixture(scope="module")
def webhook(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    install(control_plane)
    webhook = Webhook(control_plane, tmp_path_factory.mktemp("webhook") / "webhook.log")
    webhook.start()
    webhook.register()
    # Only a webhook that is called proves anything about a pod that was left alone.
    Pods(control_plane, "default").wait_until_called()
    yield webhook
    control_plane.kubectl("delete", "mutatingwebhookconfiguration", "locus-operator")
    webhook.stop()


@pytest.fixture
def pods(control_plane: ControlPlane, webhook: Webhook, namespace: str) -> Pods:
    return Pods(control_plane, namespace)


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


def test_stores_that_do_not_exist_yet_are_mounted_side_by_side(pods: Pods) -> None:
    pod, _ = pods.create(agent("agent", "", annotations={LABEL: "support,shared"}))

    (container,) = pod["spec"]["containers"]
    assert {"/bindings/support", "/bindings/shared"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"name": "LOCUS_CHECKPOINT_STORE", "value": "support"} in container["env"]


def test_a_wrong_name_is_a_warning_that_kubectl_shows(pods: Pods) -> None:
    pod, warnings = pods.create(agent("agent", "My_Store"))

    assert "memory.locus.dev/injected" not in pod["metadata"].get("annotations", {})
    assert "Warning: " in warnings
    assert "'My_Store' is no name of a CheckpointStore" in warnings


def test_a_store_says_where_its_binding_is_and_for_which_containers(pods: Pods) -> None:
    manifest = agent("agent", "support")
    pods.apply_stores(support={"bindingSecretName": "database", "pods": {"containers": ["agent"]}})

    pod = pods.wait_until(manifest, lambda pod: secrets_of(pod) == {"database"}, "the store's own Secret")

    assert bindings_of(pod, "agent") == {"/bindings/support"}
    assert bindings_of(pod, "migrate") == set()


def test_a_pod_may_be_created_before_its_store(pods: Pods) -> None:
    pod, _ = pods.create(agent("early", "support"))
    pods.apply_stores(support={})

    assert_injected(pod, "support")


def test_two_stores_are_mounted_in_the_containers_that_each_is_for(pods: Pods) -> None:
    pods.apply_stores(
        support={"pods": {"containers": ["agent"]}}, shared={"pods": {"containers": ["agent", "migrate"]}}
    )
    manifest = agent("agent", "", annotations={LABEL: "support,shared"})

    pod = pods.wait_until(
        manifest, lambda pod: bindings_of(pod, "migrate") == {"/bindings/shared"}, "the containers are known"
    )

    assert stores_of(pod) == ["support", "shared"]
    assert bindings_of(pod, "agent") == {"/bindings/support", "/bindings/shared"}
    assert default_of(pod) == "support"


def test_pods_are_selected_where_the_namespace_has_opted_in_and_nowhere_else(pods: Pods) -> None:
    pods.apply_stores(
        support={"pods": {"selector": {"matchLabels": {"app": "agent"}}}},
        another={"pods": {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["agent"]}]}}},
        unrelated={"pods": {"selector": {"matchLabels": {"app": "web"}}}},
    )
    # The webhook knows all of them when it knows the containers of the one that came last.
    pods.apply_stores(last={"pods": {"containers": ["agent"]}})
    pods.wait_until(agent("agent", "last"), lambda pod: not bindings_of(pod, "migrate"), "the stores are known")
    assert stores_of(pods.admitted(agent("agent", None))) == []

    pods.enable()
    pod = pods.wait_until(agent("agent", None), lambda pod: stores_of(pod) != [], "the namespace has opted in")

    assert stores_of(pod) == ["another", "support"]
    assert default_of(pod) == "another"


def test_a_labelled_pod_that_is_selected_too_gets_each_store_once_its_own_first(pods: Pods) -> None:
    pods.apply_stores(support={"pods": {"selector": {}}}, another={"pods": {"selector": {}}})
    pods.enable()

    manifest = agent("agent", "support")
    pod = pods.wait_until(manifest, lambda pod: len(stores_of(pod)) == 2, "the namespace has opted in")

    assert stores_of(pod) == ["support", "another"]
    assert default_of(pod) == "support"
    names = [volume["name"] for volume in pod["spec"]["volumes"]]
    assert sorted(names) == sorted(set(names))
    assert bindings_of(pod, "agent") == {"/bindings/support", "/bindings/another"}


def test_the_volume_of_a_file_store_is_mounted_to_be_written(pods: Pods) -> None:
    pods.apply_stores(support={"backend": {"file": {"size": "1Gi"}}})

    pod = pods.wait_until(agent("agent", "support"), lambda pod: len(bindings_of(pod, "agent")) == 2, "its volume")

    (volume,) = [each for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each]
    assert volume["persistentVolumeClaim"]["claimName"] == "support-checkpoints"
    (mount,) = [each for each in pod["spec"]["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    assert (mount["mountPath"], mount.get("readOnly", False)) == ("/var/lib/locus/support", False)


def has_secret(name: str, pod: Pod) -> bool:
    return secrets_of(pod) == {name}


def test_what_changes_about_a_store_is_known_within_seconds_and_forgotten_with_it(pods: Pods) -> None:
    manifest, seconds = agent("agent", "support"), []
    for secret in ("one", "two"):
        pods.apply_stores(support={"bindingSecretName": secret})
        started = time.monotonic()
        pods.wait_until(manifest, functools.partial(has_secret, secret), f"Secret {secret} is known")
        seconds.append(time.monotonic() - started)
    pods.control_plane.kubectl("delete", "cps", "support", f"--namespace={pods.namespace}")
    pods.wait_until(manifest, lambda pod: secrets_of(pod) == {"support-binding"}, "the store is forgotten")

    print(f"seconds until a change was known: {seconds}")


def test_what_the_page_about_injection_shows_is_what_happens(pods: Pods) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    documents = [yaml.safe_load(block) for block in blocks]
    stores = [each for each in documents if "kind" in each]
    label, several, secret = (each["metadata"] for each in documents if "kind" not in each)
    pods.control_plane.kubectl(
        "apply", "--filename=-", f"--namespace={pods.namespace}", input=yaml.safe_dump_all(stores)
    )
    pods.enable()

    def as_the_page_says(pod: Pod) -> bool:
        return stores_of(pod) == ["support", "shared"] and default_of(pod) == "support"

    labels = {"app": "agent", **label["labels"]}
    one = pods.wait_until(agent("one", None) | {"metadata": {"name": "one", "labels": labels}}, as_the_page_says, "one")
    assert bindings_of(one, "agent") == bindings_of(one, "migrate") == {"/bindings/support", "/bindings/shared"}
    assert as_the_page_says(pods.admitted(agent("several", "", annotations=several["annotations"])))
    other = pods.admitted(agent("other", "support", annotations=secret["annotations"]))
    assert "my-secret" in secrets_of(other)


def test_its_account_may_list_and_watch_stores_and_nothing_else(control_plane: ControlPlane, pods: Pods) -> None:
    def may(*what: str) -> bool:
        as_account = f"--as=system:serviceaccount:{NAMESPACE}:{WEBHOOK_ACCOUNT}"
        command = control_plane.kubectl_command("auth", "can-i", *what, as_account, "--all-namespaces")
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "yes"

    assert may("list", "checkpointstores.memory.locus.dev")
    assert may("watch", "checkpointstores.memory.locus.dev")
    for verb, what in (("get", "secrets"), ("list", "secrets"), ("list", "pods"), ("create", "events")):
        assert not may(verb, what), f"{verb} {what}"
    assert not may("patch", "checkpointstores.memory.locus.dev")


def test_pods_are_created_while_the_webhook_is_down_and_it_knows_the_stores_when_it_is_back(
    webhook: Webhook, pods: Pods
) -> None:
    webhook.stop()
    try:
        pod, _ = pods.create(agent("agent", "support"))
        pods.apply_stores(support={"bindingSecretName": "database"})
    finally:
        webhook.start()

    assert stores_of(pod) == []
    assert secrets_of(pods.admitted(agent("later", "support"))) == {"database"}
