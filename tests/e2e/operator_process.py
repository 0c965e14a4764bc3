"""Runs the operator's two processes beside a control plane; knows nothing of pytest, so the demo uses it too."""

import base64
import http.client
import json
import os
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.e2e.control_plane import HOST, REPOSITORY, ControlPlane, free_ports
from tests.servers.processes import Child, wait_for

NAMESPACE: Final = "locus-system"
SERVICE_ACCOUNT: Final = "locus-operator-controller"
WEBHOOK_ACCOUNT: Final = "locus-operator-webhook"
RBAC: Final = REPOSITORY / "examples" / "operator-rbac.yaml"
CRDS: Final = REPOSITORY / "crds"
LABEL: Final = "memory.locus.dev/checkpoint-store"
INJECTION_LABEL: Final = "memory.locus.dev/injection"
START_TIMEOUT: Final = 60.0
_COMMAND: Final = ("-m", "locus_operator.cli")
CEL_SINCE: Final = (1, 25)
"""Kubernetes version from which on the CRDs' CEL rules are enforced."""


def install(control_plane: ControlPlane) -> Path:
    """Create CRDs, namespace, service accounts and their permissions; returns the controller's kubeconfig."""
    # The server of 1.20 ignores CEL rules, its kubectl refuses them.
    validate = "true" if control_plane.version >= CEL_SINCE else "false"
    control_plane.kubectl("apply", f"--filename={CRDS}", f"--validate={validate}")
    control_plane.kubectl("apply", f"--filename={RBAC}")
    for crd in ("checkpointstores", "checkpointstoreclasses"):
        name = f"crd/{crd}.memory.locus.dev"
        control_plane.kubectl("wait", name, "--for=condition=Established", "--timeout=30s")
    for account in (SERVICE_ACCOUNT, WEBHOOK_ACCOUNT):
        control_plane.wait_for_service_account(account, NAMESPACE)
    return control_plane.kubeconfig_for_service_account(SERVICE_ACCOUNT, NAMESPACE, expiration_seconds=24 * 3600)


class Controller:
    """A controller process with the permissions that it has in production.

    Args:
        kubeconfig: Of its service account, as returned by `install`.
        log: Its log, appended.
        settings: Settings by name, such as ``workers``, beside those that this class makes.
        program: Arguments of the Python interpreter that run it; by default the command line's.
    """

    def __init__(
        self,
        kubeconfig: Path,
        log: Path,
        settings: Mapping[str, object] | None = None,
        program: tuple[str, ...] = (*_COMMAND, "controller"),
    ) -> None:
        self._kubeconfig = kubeconfig
        self._program = program
        self._settings = dict(settings or {})
        self.log = log
        self.port = 0
        self.child: Child | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it is alive."""
        (port,) = free_ports(1)
        self.port = port
        # Alone, unless a test says otherwise: nobody has to wait for the Lease of one that was killed.
        alone = {"namespace": NAMESPACE, "health_host": HOST, "health_port": port, "leader_election": False}
        environment = operator_environment(alone | self._settings)
        self.child = _run("controller", self._program, self.log, environment | {"KUBECONFIG": str(self._kubeconfig)})
        if wait:
            self.child.wait_until_ready(lambda: _answers(port, "/healthz"), timeout=START_TIMEOUT)

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        """Stop it with SIGKILL."""
        if self.child is not None:
            self.child.kill()

    def metrics(self) -> dict[str, float]:
        """What it tells Prometheus, by name and labels as they are written."""
        return read_metrics(HOST, self.port)


def read_metrics(host: str, port: int) -> dict[str, float]:
    """What a process tells Prometheus, by name and labels as they are written.

    Raises:
        OSError: It does not answer.
    """
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


class Webhook:
    """A webhook process with a certificate of the cluster's CA, and the permissions that it has in production.

    Args:
        control_plane: Issues the certificate, and calls the webhook; `install` has made its service account.
        log: Its log, appended.
    """

    def __init__(self, control_plane: ControlPlane, log: Path) -> None:
        self._control_plane = control_plane
        self.log = log
        self._pair = control_plane.authority.issue_server("webhook")
        (self._port,) = free_ports(1)
        self._child: Child | None = None

    def start(self) -> None:
        """Start it and wait until it is ready: it knows the stores."""
        account = self._control_plane.kubeconfig_for_service_account(
            WEBHOOK_ACCOUNT, NAMESPACE, expiration_seconds=24 * 3600
        )
        settings = {
            "health_host": HOST,
            "webhook_host": HOST,
            "webhook_port": self._port,
            "webhook_health_port": free_ports(1)[0],
            "webhook_farewell_seconds": 0,
            "webhook_certificate": self._pair.certificate,
            "webhook_key": self._pair.key,
        }
        tls = ssl.create_default_context(cafile=str(self._control_plane.authority.pair.certificate))
        environment = operator_environment(settings) | {"KUBECONFIG": str(account)}
        self._child = _run("webhook", (*_COMMAND, "webhook"), self.log, environment)
        self._child.wait_until_ready(lambda: _answers(self._port, "/readyz", tls), timeout=START_TIMEOUT)

    def register(self) -> None:
        """Tell the API server to call it for labelled pods, and for all pods of namespaces that have opted in."""
        ca = self._control_plane.authority.pair.certificate.read_bytes()
        self._control_plane.apply(webhook_configuration(f"https://{HOST}:{self._port}", ca))

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        if self._child is not None:
            self._child.stop()


@contextmanager
def operating(control_plane: ControlPlane, logs: Path) -> Iterator[Controller]:
    """Run controller and webhook, registered with the API server."""
    controller = Controller(install(control_plane), logs / "controller.log")
    webhook = Webhook(control_plane, logs / "webhook.log")
    try:
        webhook.start()
        webhook.register()
        controller.start()
        yield controller
    finally:
        controller.stop()
        control_plane.kubectl("delete", "mutatingwebhookconfiguration", "locus-operator", "--ignore-not-found")
        webhook.stop()


def webhook_configuration(url: str, ca: bytes) -> dict[str, Any]:
    """The configuration of a webhook outside of the cluster's network."""
    common = {
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "IfNeeded",
        "timeoutSeconds": 5,
    }
    bundle = base64.b64encode(ca).decode()
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "locus-operator"},
        "webhooks": [
            {
                "name": "pods.memory.locus.dev",
                "clientConfig": {"url": f"{url}/mutate", "caBundle": bundle},
                "objectSelector": {"matchExpressions": [{"key": LABEL, "operator": "Exists"}]},
                **common,
            },
            {
                "name": "selected.memory.locus.dev",
                "clientConfig": {"url": f"{url}/mutate/selected", "caBundle": bundle},
                "namespaceSelector": {"matchLabels": {INJECTION_LABEL: "enabled"}},
                **common,
            },
        ],
    }


def store_manifest(namespace: str, name: str, spec: Mapping[str, Any], **annotations: str) -> dict[str, Any]:
    """A `CheckpointStore`; annotations without their prefix."""
    return {
        "apiVersion": "memory.locus.dev/v1alpha1",
        "kind": "CheckpointStore",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "annotations": {f"memory.locus.dev/{key}": value for key, value in annotations.items()},
        },
        "spec": dict(spec),
    }


def operator_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Environment of a process of the operator, with settings by name."""
    variables = {f"LOCUS_OPERATOR_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, "PYTHONUNBUFFERED": "1", **variables}


def _run(name: str, program: tuple[str, ...], log: Path, environment: dict[str, str]) -> Child:
    return Child(name, [sys.executable, *program], log=log, environment=environment, cwd=REPOSITORY)


def _answers(port: int, path: str, tls: ssl.SSLContext | None = None) -> bool:
    connection: http.client.HTTPConnection
    if tls is None:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
    else:
        connection = http.client.HTTPSConnection(HOST, port, timeout=5, context=tls)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass(frozen=True)
class Stores:
    """The stores of one namespace, as a user sees them."""

    control_plane: ControlPlane
    namespace: str

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace."""
        return self.control_plane.kubectl(*arguments, f"--namespace={self.namespace}")

    def create_secret(self, name: str, **entries: str) -> None:
        """Create or replace a Secret."""
        metadata = {"namespace": self.namespace, "name": name}
        self.control_plane.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": entries})

    def apply(self, name: str, spec: Mapping[str, Any], **annotations: str) -> None:
        """Create or change a store."""
        self.control_plane.apply(store_manifest(self.namespace, name, spec, **annotations))

    def get(self, name: str) -> dict[str, Any]:
        """Read a store."""
        return self.control_plane.get("cps", name, self.namespace)

    def wait(self, name: str, condition: str = "Ready", timeout: float = 30) -> None:
        """Wait for a condition, such as ``Ready`` or ``Ready=false``."""
        self.kubectl("wait", f"cps/{name}", f"--for=condition={condition}", f"--timeout={timeout:g}s")

    def conditions(self, name: str) -> dict[str, dict[str, Any]]:
        """Conditions of a store by type."""
        found = self.get(name).get("status", {}).get("conditions", [])
        return {condition["type"]: condition for condition in found}

    def wait_until_gone(self, name: str, timeout: float = 30) -> None:
        """Wait until a store that is being deleted exists no more."""
        wait_for(
            lambda: not self.kubectl("get", f"cps/{name}", "--ignore-not-found"), timeout=timeout, what=f"{name} gone"
        )

    def wait_for_reason(self, name: str, reason: str, type_: str = "Ready", timeout: float = 30) -> dict[str, Any]:
        """Wait until a condition has a reason; returns the condition."""
        wait_for(
            lambda: self.conditions(name).get(type_, {}).get("reason") == reason,
            timeout=timeout,
            what=f"{type_} of {self.namespace}/{name} with reason {reason}",
        )
        return self.conditions(name)[type_]

    def binding(self, name: str) -> dict[str, str]:
        """Decoded binding of a store."""
        secret = self.control_plane.get("secret", self.get(name)["status"]["binding"]["name"], self.namespace)
        return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reasons and messages of the Events about a store, in their order."""
        selector = f"--field-selector=involvedObject.name={name}"
        items = json.loads(self.kubectl("get", "events", selector, "--output=json"))["items"]
        # Kubernetes' own components write Events of the old kind, whose `eventTime` is null.
        items.sort(key=lambda item: item["eventTime"] or item["firstTimestamp"] or "")
        return [(item["reason"], item["message"]) for item in items]

    def wait_for_event(self, name: str, reason: str) -> str:
        """Wait for an Event; returns its message."""
        what = f"Event {reason} of {self.namespace}/{name}"
        wait_for(lambda: any(found == reason for found, _ in self.events(name)), timeout=10, what=what)
        return next(message for found, message in self.events(name) if found == reason)
