"""Every manifest of ``examples/agent`` on the cluster: its pods run, answer and remember, under restricted security."""

import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from hack.demo.stage import AGENT_IMAGE, EXAMPLES, agent_image
from tests.e2e.control_plane import ControlPlane, KubectlError
from tests.e2e.conversations import TOLD
from tests.e2e.operator_process import Controller
from tests.e2e.test_node.images import ImageRoot
from tests.e2e.test_node.launcher import NodeProcess
from tests.image.dockerfile import Dockerfile
from tests.integration.operator.stores import drop_roles
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.redis import RedisServer

Object = dict[str, Any]
AGENTS = EXAMPLES / "agent"
MANIFESTS = sorted(path.name for path in AGENTS.glob("*.yaml"))
PSQL_IMAGE = "postgres:17"
ADMIN = "locus_admin"
CRONJOB_V1 = (1, 21)
"""Version of Kubernetes from which on `batch/v1` has CronJobs."""
KEPT, EXPIRING = "conversations-postgresql", "conversations-redis"


@dataclass(frozen=True)
class Agents:
    """The examples in one namespace that has their stores."""

    control_plane: ControlPlane
    namespace: str

    def kubectl(self, *arguments: str) -> str:
        return self.control_plane.kubectl(*arguments, f"--namespace={self.namespace}")

    def wait(self, *arguments: str) -> None:
        """Wait with kubectl for a minute; when it was in vain, the error tells what happened to the pods."""
        try:
            self.kubectl(*arguments, "--timeout=60s")
        except KubectlError as error:
            error.add_note(self.kubectl("get", "pods"))
            error.add_note(self.kubectl("get", "events"))
            raise

    def apply(self, name: str) -> list[Object]:
        """Apply a manifest as it is, but here."""
        objects = manifests(name)
        for each in objects:
            each["metadata"]["namespace"] = self.namespace
            if each["kind"] == "CronJob" and self.control_plane.version < CRONJOB_V1:
                each["apiVersion"] = "batch/v1beta1"
        self.control_plane.apply(*objects)
        return objects

    def pods(self, app: str) -> list[Object]:
        """Its pods by name."""
        found: list[Object] = json.loads(self.kubectl("get", "pods", f"--selector=app={app}", "--output=json"))["items"]
        return sorted(found, key=lambda each: str(each["metadata"]["name"]))

    def log(self, pod: Object) -> str:
        return self.kubectl("logs", str(pod["metadata"]["name"]))

    def finish(self, job: str, app: str) -> str:
        """Wait for the end of a Job; returns what its only pod printed."""
        self.wait("wait", f"job/{job}", "--for=condition=Complete")
        (pod,) = [each for each in self.pods(app) if each["metadata"]["labels"]["job-name"] == job]
        check_restricted(pod)
        return self.log(pod)


def manifests(name: str) -> list[Object]:
    return list(yaml.safe_load_all((AGENTS / name).read_text()))


def pod_specs(manifest: Object) -> list[Object]:
    """The pod templates' specs of an object that makes pods."""
    if manifest["kind"] == "CronJob":
        manifest = manifest["spec"]["jobTemplate"]
    return [manifest["spec"]["template"]["spec"]] if "template" in manifest["spec"] else []


def check_restricted(pod: Object) -> None:
    """Judge by the restricted Pod Security Standard (https://kubernetes.io/docs/concepts/security/)."""
    spec = pod["spec"]
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"} <= allowed
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        # Beyond the standard: nothing is written but where a volume is.
        assert security["readOnlyRootFilesystem"] is True


@pytest.fixture(scope="module")
def agents(
    control_plane: ControlPlane,
    test_node: NodeProcess,
    operator: Controller,
    agents_namespace: str,
    postgresql_server: PostgreSQLServer,
    redis_server: RedisServer,
) -> Iterator[Agents]:
    """The stores of the examples, Ready, on servers of ours."""
    psql = shutil.which("psql")
    assert psql is not None, "hack/install-test-packages installs it"
    final = Dockerfile.read(AGENTS / "Dockerfile").final
    uid = int(final.last("USER").value.partition(":")[0])
    image = replace(agent_image(), user=uid, cmd=tuple(final.last("CMD").words))
    test_node.add_images({AGENT_IMAGE: image, PSQL_IMAGE: ImageRoot()})
    agents = Agents(control_plane, agents_namespace)
    password = secrets.token_urlsafe(16)
    database = postgresql_server.create_database(f"agents_{secrets.token_hex(4)}")
    database.create_admin(ADMIN, password)
    for name, user, secret in (
        ("postgresql-admin", ADMIN, password),
        ("redis-admin", "default", redis_server.password),
    ):
        agents.kubectl(
            "create", "secret", "generic", name, f"--from-literal=username={user}", f"--from-literal=password={secret}"
        )
    stores = list(yaml.safe_load_all((EXAMPLES / "02-stores.yaml").read_text()))
    for each in stores:
        each["metadata"]["namespace"] = agents_namespace
        backend = each["spec"]["backend"]
        if "postgresql" in backend:
            backend["postgresql"] |= {"port": postgresql_server.port, "database": database.name}
        else:
            backend["redis"]["addresses"] = [f"{redis_server.host}:{redis_server.port}"]
    control_plane.apply(*stores)
    agents.kubectl("wait", "cps", "--all", "--for=condition=Ready", "--timeout=60s")
    yield agents
    agents.kubectl("delete", "cps", "--all", "--timeout=30s")
    drop_roles(database)


class TestManifests:
    @pytest.mark.parametrize("name", MANIFESTS)
    def test_pods_are_restricted_and_hold_no_secret(self, name: str) -> None:
        specs = [spec for each in manifests(name) for spec in pod_specs(each)]
        assert specs
        for spec in specs:
            check_restricted({"spec": spec})
            assert spec["automountServiceAccountToken"] is False
            assert "secretName" not in json.dumps(spec), "the webhook mounts bindings, not the manifest"

    def test_versions_are_those_of_current_servers(self) -> None:
        found = {each["kind"]: each["apiVersion"] for name in MANIFESTS for each in manifests(name)}
        assert found == {
            "CronJob": "batch/v1",
            "Deployment": "apps/v1",
            "Job": "batch/v1",
            "Service": "v1",
            "StatefulSet": "apps/v1",
        }

    def test_scripts_are_in_the_image(self) -> None:
        dockerfile = (AGENTS / "Dockerfile").read_text()
        commands = [
            spec["containers"][0].get("command", ["python", "agent.py"])
            for name in MANIFESTS
            for each in manifests(name)
            for spec in pod_specs(each)
        ]
        scripts = {command[1] for command in commands if command[0] == "python"}
        assert scripts == {"agent.py", "ask.py", "two_stores.py"}
        for script in scripts:
            assert f"examples/{script} " in dockerfile
            assert (EXAMPLES / script).exists()


class TestRunning:
    def test_deployment(self, agents: Agents) -> None:
        agents.apply("deployment.yaml")
        agents.wait("rollout", "status", "deployment/concierge")
        (pod,) = agents.pods("concierge")
        check_restricted(pod)
        assert f"user:  {TOLD}" in agents.log(pod)
        agents.kubectl("delete", "deployment/concierge", "--timeout=30s")

    def test_statefulset_replicas_go_on_with_their_own_conversations(self, agents: Agents) -> None:
        agents.apply("statefulset.yaml")
        agents.wait("rollout", "status", "statefulset/guide")
        first = agents.pods("guide")
        assert [each["metadata"]["name"] for each in first] == ["guide-0", "guide-1"]
        for pod in first:
            check_restricted(pod)
            assert "agent: Lisbon!" in agents.log(pod)
        agents.kubectl("set", "env", "statefulset/guide", "MESSAGE=What were we discussing?")
        agents.wait("rollout", "status", "statefulset/guide")
        for pod in agents.pods("guide"):
            assert 'agent: Your trip to Lisbon. You told me: "I\'m planning a trip to Lisbon."' in agents.log(pod)
        agents.kubectl("delete", "statefulset/guide", "service/guide", "--timeout=30s")

    def test_job(self, agents: Agents) -> None:
        agents.apply("job.yaml")
        assert agents.finish("question", "question").startswith("Reykjavik!")

    def test_cronjob(self, agents: Agents) -> None:
        agents.apply("cronjob.yaml")
        for night in ("first", "second"):
            # A run now, of the same template: the schedule is the server's business.
            agents.kubectl("create", "job", f"nightly-{night}", "--from=cronjob/nightly")
            assert agents.finish(f"nightly-{night}", "nightly").startswith("Tokyo!")
        agents.kubectl("delete", "cronjob/nightly")

    def test_two_stores(self, agents: Agents) -> None:
        agents.apply("two-stores.yaml")
        lines = agents.finish("two-stores", "two-stores").splitlines()
        # The other store has a thread of the same name, and knows nothing of this one.
        assert lines[0].startswith("to be kept: Lisbon!")
        assert lines[1] == "draft: I don't know: you have not told me anything yet."
        (pod,) = agents.pods("two-stores")
        assert pod["metadata"]["annotations"]["memory.locus.dev/injected"] == f"{KEPT},{EXPIRING}"

    def test_an_image_without_the_library_reads_variables(self, agents: Agents) -> None:
        agents.apply("job.yaml")  # at least one conversation, whatever has run before
        agents.finish("question", "question")
        agents.apply("env-from.yaml")
        assert int(agents.finish("count-conversations", "count-conversations")) >= 1
        (pod,) = agents.pods("count-conversations")
        assert "memory.locus.dev/injected" not in pod["metadata"].get("annotations", {})
