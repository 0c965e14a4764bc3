"""The test node does with a pod what a kubelet does, as far as our tests rely on it."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import TEST_IMAGE
from tests.e2e.control_plane import ControlPlane, KubectlError
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.processes import wait_for

Object = dict[str, Any]
SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


class Pods:
    """Pods of one namespace."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.control_plane = control_plane
        self.namespace = namespace

    def run(self, script: str, *, name: str = "pod", container: Object | None = None, **spec: Any) -> None:
        """Create a pod with one container, ``main``, that runs a shell script."""
        main = {"name": "main", "image": TEST_IMAGE, "command": ["sh", "-c", script], **(container or {})}
        # The server defaults are fine but for time: nothing here needs 30 seconds to stop.
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [main], **spec}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def apply(self, body: Object) -> None:
        body["metadata"]["namespace"] = self.namespace
        self.control_plane.apply(body)

    def kubectl(self, *arguments: str) -> str:
        return self.control_plane.kubectl(f"--namespace={self.namespace}", *arguments)

    def get(self, name: str = "pod") -> Object:
        return self.control_plane.get("pod", name, self.namespace)

    def output(self, script: str, container: Object | None = None, **spec: Any) -> str:
        """Run a script to its successful end and return what it printed."""
        self.run(script, container=container, **spec)
        self.wait_for_phase("Succeeded")
        return self.logs()

    def logs(self, *arguments: str, name: str = "pod") -> str:
        return self.kubectl("logs", name, *arguments)

    def wait_for_phase(self, phase: str, name: str = "pod") -> None:
        def reached() -> bool:
            pod = self.get(name)
            if pod["status"]["phase"] == "Failed" != phase:
                pytest.fail(f"pod {name} failed: {json.dumps(pod['status']['containerStatuses'], indent=1)}")
            return bool(pod["status"]["phase"] == phase)

        wait_for(reached, timeout=15, what=f"pod {name} {phase}")

    def wait_for(self, condition: Callable[[Object], bool], what: str, name: str = "pod") -> None:
        wait_for(lambda: condition(self.get(name)), timeout=15, what=what)

    def waiting_reason(self, name: str = "pod") -> str:
        statuses = self.get(name)["status"].get("containerStatuses") or [{}]
        return str(statuses[0].get("state", {}).get("waiting", {}).get("reason"))

    def wait_for_log(self, text: str, name: str = "pod") -> None:
        wait_for(lambda: text in self.logs(name=name), timeout=15, what=f"{text!r} in the log of pod {name}")


@pytest.fixture
def pods(control_plane: ControlPlane, namespace: str, test_node: NodeProcess) -> Pods:
    return Pods(control_plane, namespace)


def status(pod: Object) -> Object:
    """The status of a pod's only container."""
    return dict((pod["status"].get("containerStatuses") or [{}])[0])


def mounts(*entries: Object, **of_container: Any) -> Object:
    return {"volumeMounts": list(entries), **of_container}


class TestRunning:
    def test_pods_of_a_deployment_run_and_become_ready(self, pods: Pods) -> None:
        container = {"name": "main", "image": TEST_IMAGE, "command": ["sh", "-c", SLEEP]}
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        pods.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
        pods.kubectl("rollout", "status", "deployment/web", "--timeout=15s")

    def test_container_that_ends_is_restarted(self, pods: Pods) -> None:
        pods.run("exit 3", restartPolicy="Always")
        pods.wait_for(lambda pod: status(pod).get("restartCount", 0) >= 2, "two restarts")
        assert status(pods.get())["lastState"]["terminated"]["exitCode"] == 3
        pods.wait_for(lambda pod: "waiting" in status(pod)["state"], "back-off")
        assert pods.waiting_reason() == "CrashLoopBackOff"

    def test_failed_pod_that_is_not_restarted_has_failed_and_says_why(self, pods: Pods) -> None:
        pods.run("echo the disk is full; exit 4")
        pods.wait_for_phase("Failed")
        terminated = status(pods.get())["state"]["terminated"]
        assert (terminated["exitCode"], terminated["message"]) == (4, "the disk is full")

    def test_job_completes(self, pods: Pods) -> None:
        pods.kubectl("create", "job", "once", f"--image={TEST_IMAGE}", "--", "true")
        pods.kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=15s")

    def test_init_containers_run_first_and_in_order(self, pods: Pods) -> None:
        volume = {"name": "shared", "mountPath": "/shared"}
        steps = [
            {
                "name": f"step-{number}",
                "image": TEST_IMAGE,
                "command": ["sh", "-c", f"echo {number} >> /shared/steps"],
                "volumeMounts": [volume],
            }
            for number in (1, 2)
        ]
        shared = {"name": "shared", "emptyDir": {}}
        output = pods.output("cat /shared/steps", mounts(volume), initContainers=steps, volumes=[shared])
        assert output == "1\n2\n"

    def test_unknown_image_cannot_be_pulled(self, pods: Pods) -> None:
        pods.run("true", container={"image": "nobody/knows:1"})
        wait_for(lambda: pods.waiting_reason() == "ErrImagePull", timeout=10, what="ErrImagePull")

    def test_deleted_pod_is_asked_to_stop_and_goes(self, pods: Pods) -> None:
        pods.run("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done")
        pods.wait_for_log("up")
        follower = subprocess.Popen(
            pods.control_plane.kubectl_command("logs", "--follow", "pod", f"--namespace={pods.namespace}"),
            stdout=subprocess.PIPE,
            text=True,
        )
        pods.kubectl("delete", "pod", "pod", "--timeout=4s")
        output, _ = follower.communicate(timeout=10)
        assert output == "up\nbye\n"

    def test_pod_that_ignores_the_request_is_killed_after_its_grace_period(self, pods: Pods) -> None:
        pods.run("trap '' TERM; echo up; while :; do sleep 0.1; done", terminationGracePeriodSeconds=1)
        pods.wait_for_log("up")
        begin = time.monotonic()
        pods.kubectl("delete", "pod", "pod", "--timeout=10s")
        assert 1 <= time.monotonic() - begin < 5

    def test_user_and_group_of_the_security_context_are_taken(self, pods: Pods) -> None:
        security = {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000, "runAsNonRoot": True}
        script = 'echo "$(id -u) $(id -g) $(id -G)"; python -c "import pydantic"'
        assert pods.output(script, securityContext=security) == "1000 2000 2000 3000\n"

    def test_pod_that_must_not_be_root_is_refused_as_root(self, pods: Pods) -> None:
        pods.run("true", securityContext={"runAsNonRoot": True})
        wait_for(lambda: pods.waiting_reason() == "CreateContainerConfigError", timeout=10, what="the refusal")


class TestProbes:
    def test_pod_is_ready_only_while_its_probe_succeeds(self, pods: Pods) -> None:
        probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
        script = f"sleep 1.5; touch /tmp/ready; {SLEEP}"
        pods.run(script, container={"readinessProbe": probe})
        pods.wait_for_phase("Running")
        assert not status(pods.get())["ready"]
        pods.kubectl("wait", "--for=condition=Ready", "pod/pod", "--timeout=10s")

    def test_http_probe_asks_the_named_port(self, pods: Pods) -> None:
        port = 18473
        probe = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1}
        container = {
            "command": ["python", "-m", "http.server", "--bind=0.0.0.0", str(port)],
            "ports": [{"name": "web", "containerPort": port}],
            "readinessProbe": probe,
        }
        pods.run("", container=container)
        pods.kubectl("wait", "--for=condition=Ready", "pod/pod", "--timeout=10s")

    def test_container_is_restarted_when_its_liveness_probe_fails(self, pods: Pods) -> None:
        probe = {"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1}
        pods.run(SLEEP, container={"livenessProbe": probe}, restartPolicy="Always")
        pods.wait_for(lambda pod: status(pod).get("restartCount", 0) >= 1, "a restart")


class TestEnvironment:
    def test_every_kind_of_source(self, pods: Pods) -> None:
        pods.kubectl("create", "secret", "generic", "secret", "--from-literal=password=s3cret")
        pods.kubectl("create", "configmap", "settings", "--from-literal=LEVEL=debug")
        env: list[Object] = [
            {"name": "LITERAL", "value": "plain"},
            {"name": "EXPANDED", "value": "$(LITERAL)-$(UNKNOWN)-$$(LITERAL)"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "password"}}},
            {"name": "NOBODY", "valueFrom": {"secretKeyRef": {"name": "no", "key": "no", "optional": True}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ]
        sources = [{"prefix": "APP_", "configMapRef": {"name": "settings"}}]
        lines = pods.output("env", {"env": env, "envFrom": sources}).splitlines()
        assert {
            "LITERAL=plain",
            "EXPANDED=plain-$(UNKNOWN)-$(LITERAL)",
            "PASSWORD=s3cret",
            "POD=pod",
            "NODE=test-node",
            "APP_LEVEL=debug",
        } <= set(lines)
        assert not [line for line in lines if line.startswith("NOBODY=")]

    def test_variables_are_expanded_in_arguments(self, pods: Pods) -> None:
        container = {"command": ["echo"], "args": ["$(WHO)"], "env": [{"name": "WHO", "value": "me"}]}
        assert pods.output("", container) == "me\n"

    def test_services_of_the_namespace_are_in_the_environment_unless_declined(self, pods: Pods) -> None:
        pods.kubectl("create", "service", "clusterip", "my-app", "--tcp=443:8443")
        pods.kubectl("create", "service", "clusterip", "headless", "--clusterip=None")
        lines = pods.output("env").splitlines()
        address = pods.kubectl("get", "service", "my-app", "--output=jsonpath={.spec.clusterIP}")
        assert {
            f"MY_APP_SERVICE_HOST={address}",
            "MY_APP_SERVICE_PORT=443",
            "MY_APP_SERVICE_PORT_443_8443=443",
            f"MY_APP_PORT=tcp://{address}:443",
            f"MY_APP_PORT_443_TCP=tcp://{address}:443",
            "MY_APP_PORT_443_TCP_PROTO=tcp",
            "MY_APP_PORT_443_TCP_PORT=443",
            f"MY_APP_PORT_443_TCP_ADDR={address}",
        } == {line for line in lines if line.startswith("MY_APP_")}
        assert not [line for line in lines if line.startswith("HEADLESS")]
        pods.kubectl("delete", "pod", "pod")
        assert "MY_APP" not in pods.output("env", enableServiceLinks=False)

    def test_container_waits_for_a_secret_that_its_environment_needs(self, pods: Pods) -> None:
        source = {"secretKeyRef": {"name": "late", "key": "a"}}
        pods.run("echo $A", container={"env": [{"name": "A", "valueFrom": source}]})
        wait_for(lambda: pods.waiting_reason() == "CreateContainerConfigError", timeout=10, what="the container waits")
        pods.kubectl("create", "secret", "generic", "late", "--from-literal=a=here")
        pods.wait_for_phase("Succeeded")
        assert pods.logs() == "here\n"


SECRET_VOLUME = {"name": "secret", "secret": {"secretName": "binding"}}
SECRET_MOUNT = {"name": "secret", "mountPath": "/bindings/store"}


class TestVolumes:
    def create_secret(self, pods: Pods, value: str = "one") -> None:
        pods.kubectl("create", "secret", "generic", "binding", f"--from-literal=url={value}")

    def test_secret_is_mounted_read_only(self, pods: Pods) -> None:
        self.create_secret(pods)
        script = "cat /bindings/store/url; echo; ! touch /bindings/store/more 2>/dev/null"
        assert pods.output(script, mounts(SECRET_MOUNT), volumes=[SECRET_VOLUME]) == "one\n"

    def test_mounted_secret_follows_the_object(self, pods: Pods) -> None:
        self.create_secret(pods)
        script = "while ! grep -q two /bindings/store/url; do sleep 0.1; done; readlink /bindings/store/url"
        pods.run(script, container=mounts(SECRET_MOUNT), volumes=[SECRET_VOLUME])
        pods.wait_for_phase("Running")
        pods.kubectl("patch", "secret", "binding", '--patch={"stringData": {"url": "two"}}')
        pods.wait_for_phase("Succeeded")
        assert pods.logs() == "..data/url\n"

    def test_pod_waits_for_its_secret_and_says_so(self, pods: Pods) -> None:
        pods.run("cat /bindings/store/url", container=mounts(SECRET_MOUNT), volumes=[SECRET_VOLUME])

        def mount_failed() -> bool:
            events = pods.kubectl("get", "events", "--field-selector=reason=FailedMount", "--output=name")
            return bool(events.strip())

        wait_for(mount_failed, timeout=10, what="an Event FailedMount")
        assert pods.waiting_reason() == "ContainerCreating"
        assert pods.get()["status"]["phase"] == "Pending"
        self.create_secret(pods)
        pods.wait_for_phase("Succeeded")
        assert pods.logs() == "one"

    def test_optional_secret_may_be_missing(self, pods: Pods) -> None:
        volume = {"name": "secret", "secret": {"secretName": "binding", "optional": True}}
        assert pods.output("ls /bindings/store", mounts(SECRET_MOUNT), volumes=[volume]) == ""

    def test_items_modes_and_sub_paths(self, pods: Pods) -> None:
        self.create_secret(pods)
        items = [{"key": "url", "path": "deep/er", "mode": 0o400}]
        volume = {"name": "secret", "secret": {"secretName": "binding", "items": items}}
        single = {"name": "secret", "mountPath": "/etc/single.conf", "subPath": "deep/er"}
        script = "stat -L -c %a /bindings/store/deep/er; cat /etc/single.conf"
        assert pods.output(script, mounts(SECRET_MOUNT, single), volumes=[volume]) == "400\none"

    def test_projected_volume_joins_its_sources(self, pods: Pods) -> None:
        self.create_secret(pods)
        pods.kubectl("create", "configmap", "settings", "--from-literal=level=debug")
        items = [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
        sources = [
            {"secret": {"name": "binding"}},
            {"configMap": {"name": "settings"}},
            {"downwardAPI": {"items": items}},
            {"serviceAccountToken": {"path": "token", "audience": "store"}},
        ]
        volume = {"name": "secret", "projected": {"sources": sources}}
        script = "cd /bindings/store; cat url level name; echo; wc -w < token"
        assert pods.output(script, mounts(SECRET_MOUNT), volumes=[volume]) == "onedebugpod\n1\n"

    def test_claim_keeps_its_content_for_the_next_pod(self, pods: Pods) -> None:
        resources = {"requests": {"storage": "1Gi"}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": resources}
        pods.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec})
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        mount = mounts({"name": "data", "mountPath": "/var/lib/locus/store"})
        pods.output("echo kept > /var/lib/locus/store/file", mount, volumes=[volume])
        pods.run("cat /var/lib/locus/store/file", name="next", container=mount, volumes=[volume])
        pods.wait_for_phase("Succeeded", "next")
        assert pods.logs(name="next") == "kept\n"


class TestServiceAccount:
    SCRIPT = """
import asyncio
from kubernetes.aio import client, config

async def main():
    config.load_incluster_config()
    async with client.ApiClient() as api:
        namespace = open("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read()
        for call in (client.CoreV1Api(api).list_namespaced_pod, client.CoreV1Api(api).list_namespaced_secret):
            try:
                await call(namespace)
                print("allowed")
            except client.ApiException as error:
                print(error.status)

asyncio.run(main())
"""

    def test_in_cluster_configuration_works_and_rbac_decides(self, pods: Pods) -> None:
        pods.kubectl("create", "role", "reader", "--verb=list", "--resource=pods")
        account = f"--serviceaccount={pods.namespace}:default"
        pods.kubectl("create", "rolebinding", "reader", "--role=reader", account)
        container = {"command": ["python", "-c", self.SCRIPT]}
        assert pods.output("", container) == "allowed\n403\n"


class TestLogs:
    def test_tail_and_previous_run(self, pods: Pods) -> None:
        pods.run(
            "if [ -e /data/again ]; then echo second; exec sleep 60; fi; touch /data/again; echo a; echo b; exit 1",
            container=mounts({"name": "data", "mountPath": "/data"}),
            volumes=[{"name": "data", "emptyDir": {}}],
            restartPolicy="OnFailure",
            terminationGracePeriodSeconds=0,
        )
        pods.wait_for_log("second")
        assert pods.logs("--previous") == "a\nb\n"
        assert pods.logs("--previous", "--tail=1") == "b\n"

    def test_log_of_a_container_that_has_not_started_is_an_error(self, pods: Pods) -> None:
        pods.run("true", container={"image": "nobody/knows:1"})
        wait_for(lambda: pods.waiting_reason() == "ErrImagePull", timeout=10, what="ErrImagePull")
        with pytest.raises(KubectlError):
            pods.logs()


class TestNothingStaysBehind:
    def test_writes_and_mounts_of_a_container_do_not_reach_the_host(self, pods: Pods) -> None:
        before = Path("/proc/self/mountinfo").read_text()
        path = Path(f"/{pods.namespace}-mark")
        mount = mounts({"name": "data", "mountPath": f"{path}/mounted"})
        pods.run(f"touch {path}/file; echo up; {SLEEP}", container=mount, volumes=[{"name": "data", "emptyDir": {}}])
        pods.wait_for_log("up")
        assert not path.exists()
        assert Path("/proc/self/mountinfo").read_text() == before

    @pytest.mark.parametrize("how", ["terminate", "kill"])
    def test_stopped_node_ends_every_process_of_its_pods(self, pods: Pods, test_node: NodeProcess, how: str) -> None:
        mark = f"sleep 9{int(pods.namespace[-4:], 16)}"
        pods.run(f"{mark} & {mark}")

        def processes() -> list[psutil.Process]:
            found = psutil.process_iter(["cmdline"])
            return [process for process in found if " ".join(process.info["cmdline"] or []) == mark]

        wait_for(lambda: len(processes()) == 2, timeout=10, what="the container's processes")
        assert test_node.pid is not None
        getattr(psutil.Process(test_node.pid), how)()
        wait_for(lambda: not processes(), timeout=10, what="the end of the container's processes")
        test_node.stop()
        test_node.start()
