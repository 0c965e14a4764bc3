"""A release of the chart, and the agents of the examples beside it."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hack.demo.stage import EXAMPLES
from tests.chart.helm import CHART, NAMESPACE, RELEASE, helm
from tests.e2e.certificates import KeyPair
from tests.e2e.control_plane import ControlPlane
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer

Object = dict[str, Any]
AGENTS = "agents"
STORE = "conversations-redis"
AGENT = "agent-redis"
WEBHOOK_SELECTOR = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=webhook"
PER_POD: list[Object] = [
    # All pods of the test node share one network: each listens on its own address, so that all can have one port.
    {"name": f"LOCUS_OPERATOR_{name}_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    for name in ("HEALTH", "WEBHOOK")
]


class Release:
    """The chart as `helm` installs it on a cluster.

    Args:
        cluster: where.
        values: beside those that the test node needs.
    """

    def __init__(self, cluster: ControlPlane, values: Mapping[str, Any]) -> None:
        self.cluster = cluster
        self._values = dict(values)

    def helm(self, *arguments: str) -> str:
        """Run `helm` as administrator in the operator's namespace; returns its log as well."""
        return helm(*arguments, f"--namespace={NAMESPACE}", kubeconfig=self.cluster.kubeconfig, with_log=True)

    def install(self, *, wait: bool = True, chart: Path = CHART) -> str:
        """`helm install`; returns the notes."""
        return self._put("install", chart, wait=wait)

    def upgrade(self, *changes: str) -> str:
        """`helm upgrade` with `--set` for each change."""
        return self._put("upgrade", CHART, *(f"--set={each}" for each in changes))

    def rollback(self) -> str:
        """`helm rollback` to the revision before this one."""
        return self.helm("rollback", RELEASE, "--wait", "--timeout=120s")

    def test(self) -> str:
        """`helm test`; returns what its pods printed."""
        return self.helm("test", RELEASE, "--timeout=60s")

    def uninstall(self, *flags: str) -> str:
        """`helm uninstall`, and wait until the last pod has ended: Kubernetes deletes them after their Deployments."""
        printed = self.helm("uninstall", RELEASE, "--wait", "--timeout=90s", *flags)
        query = ("get", "pods", f"--namespace={NAMESPACE}", f"--selector=app.kubernetes.io/instance={RELEASE}")
        wait_for(lambda: not self.cluster.kubectl(*query, "--output=name"), timeout=90, what="the last pod gone")
        return printed

    def pods(self, part: str) -> list[Object]:
        """Pods of a part that are not being deleted."""
        selector = f"--selector=app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={part}"
        output = self.cluster.kubectl("get", "pods", f"--namespace={NAMESPACE}", selector, "--output=json")
        return [each for each in json.loads(output)["items"] if "deletionTimestamp" not in each["metadata"]]

    def _put(self, verb: str, chart: Path, *flags: str, wait: bool = True) -> str:
        controller = {"extraEnv": PER_POD[:1], **self._values.get("controller", {})}
        # Where nobody creates pods while the webhook's own are replaced, no test need wait for them.
        webhook = {"settings": {"webhookFarewellSeconds": 0}, **self._values.get("webhook", {})}
        text = yaml.safe_dump(self._values | {"controller": controller, "webhook": webhook})
        waiting = ("--wait", "--timeout=120s") if wait else ()
        return helm(
            *(verb, RELEASE, chart, f"--namespace={NAMESPACE}", "--values=-", *waiting, *flags),
            input=text,
            kubeconfig=self.cluster.kubeconfig,
        )


def create_tls_secret(cluster: ControlPlane, name: str, pair: KeyPair, **more: bytes) -> None:
    """Create or replace a Secret with a certificate, as cert-manager or a person would."""
    entries = {"tls.crt": pair.certificate.read_bytes(), "tls.key": pair.key.read_bytes()} | more
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {key: base64.b64encode(value).decode() for key, value in entries.items()},
        }
    )


def example_agents(server: RedisServer) -> list[Object]:
    """The example store and agent on Redis, with the address of a server of ours, and its administrator's Secret."""
    store = _example("02-stores.yaml", STORE)
    store["spec"]["backend"]["redis"]["addresses"] = [f"{server.host}:{server.port}"]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "redis-admin", "namespace": AGENTS},
        "stringData": {"username": "default", "password": server.password},
    }
    return [secret, store, _example("03-agents.yaml", AGENT)]


def _example(file: str, name: str) -> Object:
    (found,) = [each for each in yaml.safe_load_all((EXAMPLES / file).read_text()) if each["metadata"]["name"] == name]
    return dict(found)
