"""The images that the Dockerfiles make, installed with the chart, from a store to an agent that remembers.

Everything is in the cluster: Valkey, the webhook behind its Service, its certificate from the controller. Both
namespaces enforce the restricted Pod Security Standard.
"""

import secrets
import subprocess

import pytest
import yaml

from hack.demo.stage import AGENT_IMAGE, EXAMPLES
from tests.chart.helm import CHART, NAMESPACE, RELEASE, HelmError, helm
from tests.e2e.control_plane import REPOSITORY, KubectlError
from tests.kind.cluster import Cluster

pytestmark = pytest.mark.kind

STORE = "conversations-redis"
AGENTS = "agents"
SERVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: valkey}
spec:
  selector: {matchLabels: {app: valkey}}
  template:
    metadata: {labels: {app: valkey}}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 999, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: valkey
          image: valkey/valkey:8
          args: [--requirepass, $(PASSWORD), --save, "", --dir, /tmp]
          env:
            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: redis-admin, key: password}}}
          readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: valkey}
spec:
  selector: {app: valkey}
  ports: [{port: 6379}]
"""


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    """The chart, from images built here, and a store on a server in the cluster."""
    for image, dockerfile in {operator_image(): "Dockerfile", AGENT_IMAGE: "examples/agent/Dockerfile"}.items():
        subprocess.run(["docker", "build", f"--tag={image}", f"--file={dockerfile}", "."], cwd=REPOSITORY, check=True)
        cluster.kind.load_docker_image(image)
    cluster.create_restricted_namespace(NAMESPACE)
    # The other tests have put the definitions there; so may a platform team.
    run("install", cluster, "--set=crds.install=false", "--wait", "--timeout=180s")
    password = f"--from-literal=password={secrets.token_urlsafe(16)}"
    here = f"--namespace={AGENTS}"
    cluster.kubectl("create", "secret", "generic", "redis-admin", here, "--from-literal=username=default", password)
    cluster.kubectl("apply", "--filename=-", here, input=SERVER)
    cluster.kubectl("rollout", "status", "deployment/valkey", here, "--timeout=180s")
    cluster.kubectl("apply", "--filename=-", input=store_on("valkey:6379"))
    cluster.kubectl("wait", f"cps/{STORE}", here, "--for=condition=Ready", "--timeout=60s")
    return cluster


def operator_image() -> str:
    """The image that the chart names by itself."""
    values, chart = (yaml.safe_load((CHART / name).read_text()) for name in ("values.yaml", "Chart.yaml"))
    return f"{values['image']['repository']}:{chart['appVersion']}"


def run(verb: str, cluster: Cluster, *flags: str) -> str:
    """Run helm for our release."""
    charts = (str(CHART),) if verb in ("install", "upgrade") else ()
    place = f"--namespace={NAMESPACE}"
    return helm(verb, RELEASE, *charts, place, *flags, kubeconfig=cluster.kind.kubeconfig_path, with_log=True)


def store_on(address: str) -> str:
    """The example store, with the address of a server."""
    stores = yaml.safe_load_all((EXAMPLES / "02-stores.yaml").read_text())
    (store,) = [each for each in stores if each["metadata"]["name"] == STORE]
    store["spec"]["backend"]["redis"]["addresses"] = [address]
    return str(yaml.safe_dump(store))


def answers(cluster: Cluster) -> list[str]:
    """What the replicas of the example StatefulSet have printed, once they are all there."""
    here = f"--namespace={AGENTS}"
    cluster.kubectl("rollout", "status", "statefulset/guide", here, "--timeout=180s")
    return [cluster.kubectl("logs", pod, here) for pod in ("guide-0", "guide-1")]


class TestInstallation:
    """In this order: each test goes on where the one before it has ended."""

    def test_agents_are_injected_and_remember_in_their_next_pods(self, installed: Cluster) -> None:
        installed.kubectl("apply", f"--filename={EXAMPLES / 'agent/statefulset.yaml'}")
        assert all("agent: Lisbon!" in log for log in answers(installed))
        message = "MESSAGE=What were we discussing?"
        installed.kubectl("set", "env", "statefulset/guide", f"--namespace={AGENTS}", message)
        assert all("agent: Your trip to Lisbon." in log for log in answers(installed))

    def test_the_controller_can_make_itself_no_token_of_another_account(self, installed: Cluster) -> None:
        as_controller = f"--as=system:serviceaccount:{NAMESPACE}:{RELEASE}-controller"
        metadata = {"name": "stolen", "annotations": {"kubernetes.io/service-account.name": "default"}}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        create = ("create", "--dry-run=server", "--filename=-", f"--namespace={AGENTS}", as_controller)
        with pytest.raises(KubectlError, match="writes bindings and the webhook's certificate, no other Secrets"):
            installed.kubectl(*create, input=yaml.safe_dump(secret | {"type": "kubernetes.io/service-account-token"}))
        installed.kubectl(*create, input=yaml.safe_dump(secret | {"type": "servicebinding.io/redis"}))

    def test_helm_test_passes(self, installed: Cluster) -> None:
        assert "is ready" in run("test", installed, "--timeout=120s", "--logs")

    def test_an_upgrade_keeps_the_store(self, installed: Cluster) -> None:
        uid = ("get", f"cps/{STORE}", f"--namespace={AGENTS}", "--output=jsonpath={.metadata.uid}")
        before = installed.kubectl(*uid)
        flags = ("--set=crds.install=false", "--set=logs.level=DEBUG", "--wait", "--timeout=180s")
        run("upgrade", installed, *flags)
        assert installed.kubectl(*uid) == before

    def test_it_goes_once_the_store_has_gone(self, installed: Cluster) -> None:
        with pytest.raises(HelmError):
            run("uninstall", installed, "--timeout=120s")
        installed.kubectl("delete", "cps", "--all", f"--namespace={AGENTS}", "--timeout=60s")
        run("uninstall", installed, "--wait", "--timeout=120s")
