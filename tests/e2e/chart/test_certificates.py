"""Where the webhook's certificate comes from: the controller, or cert-manager, whose work a test does by hand."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.helm import NAMESPACE, RELEASE, HelmError
from tests.e2e.chart.release import AGENTS, PER_POD, WEBHOOK_SELECTOR, Release, create_tls_secret
from tests.e2e.chart.service import Service
from tests.e2e.chart.test_validation import FOREIGN, foreign_crd
from tests.e2e.control_plane import ControlPlane
from tests.e2e.pods import INJECTED, Pods, agent
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.processes import wait_for

TLS_SECRET = f"{RELEASE}-webhook-tls"


@pytest.fixture
def service(cluster: ControlPlane, node: NodeProcess) -> Iterator[Service]:
    """What stands before the webhook's pods."""
    with Service(cluster, NAMESPACE, WEBHOOK_SELECTOR, target_port=9443) as running:
        yield running


@pytest.fixture
def pods(cluster: ControlPlane) -> Pods:
    return Pods(cluster, AGENTS)


def release_with(cluster: ControlPlane, service: Service, source: str) -> Release:
    webhook: dict[str, Any] = {"clientConfig": {"url": service.url}, "certificate": {"source": source}}
    return Release(cluster, {"webhook": webhook | {"extraEnv": PER_POD}})


def bundles(cluster: ControlPlane) -> list[str]:
    """The certificates that the API server trusts."""
    found = json.loads(cluster.kubectl("get", "mutatingwebhookconfiguration", RELEASE, "--output=json"))
    return [base64.b64decode(each["clientConfig"].get("caBundle", "")).decode() for each in found["webhooks"]]


def test_the_controller_makes_it_and_an_upgrade_keeps_it(cluster: ControlPlane, service: Service, pods: Pods) -> None:
    release = release_with(cluster, service, "selfManaged")
    try:
        release.install()
        wait_for(lambda: all(bundles(cluster)), timeout=30, what="caBundle written")
        before, secret = bundles(cluster), cluster.get("secret", TLS_SECRET, NAMESPACE)
        assert "ok: the webhook pods.memory.locus.dev is ready" in release.test()
        pods.wait_until_called()
        release.upgrade("logs.level=DEBUG")
        assert bundles(cluster) == before
        assert cluster.get("secret", TLS_SECRET, NAMESPACE)["data"] == secret["data"]
        assert INJECTED in pods.admitted(agent("after", "store"))["metadata"]["annotations"]
    finally:
        release.uninstall("--ignore-not-found")
        cluster.kubectl("delete", "secret", TLS_SECRET, f"--namespace={NAMESPACE}", "--ignore-not-found")


def test_cert_manager_makes_it_and_an_upgrade_keeps_it(cluster: ControlPlane, service: Service, pods: Pods) -> None:
    cluster.apply(*(foreign_crd("cert-manager.io/v1", kind) for kind in FOREIGN["cert-manager.io/v1"]))
    cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
    release = release_with(cluster, service, "certManager")
    try:
        release.install(wait=False)
        certificate = cluster.get("certificates.cert-manager.io", f"{RELEASE}-webhook", NAMESPACE)
        assert certificate["spec"]["ipAddresses"] == ["127.0.0.1"]
        with pytest.raises(HelmError, match="nobody has written it yet"):
            release.test()
        authority = cluster.authority.pair.certificate.read_bytes()
        pair = cluster.authority.issue_server("cert-manager")
        create_tls_secret(cluster, certificate["spec"]["secretName"], pair, **{"ca.crt": authority})
        inject_authority(cluster, authority)
        cluster.kubectl(
            "rollout", "status", f"deployment/{RELEASE}-webhook", f"--namespace={NAMESPACE}", "--timeout=60s"
        )
        assert "ok: the webhook pods.memory.locus.dev is ready" in release.test()
        pods.wait_until_called()
        release.upgrade("logs.level=DEBUG")
        assert bundles(cluster) == [authority.decode()] * 2
        assert INJECTED in pods.admitted(agent("after", "store"))["metadata"]["annotations"]
    finally:
        release.uninstall("--ignore-not-found")
        cluster.kubectl("delete", "secret", TLS_SECRET, f"--namespace={NAMESPACE}", "--ignore-not-found")


def inject_authority(cluster: ControlPlane, authority: bytes) -> None:
    """Do what cert-manager's cainjector does where the annotation asks for it."""
    found = json.loads(cluster.kubectl("get", "mutatingwebhookconfiguration", RELEASE, "--output=json"))
    assert found["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == f"{NAMESPACE}/{RELEASE}-webhook"
    bundle = base64.b64encode(authority).decode()
    patch = [
        {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle}
        for index in range(len(found["webhooks"]))
    ]
    cluster.kubectl("patch", "mutatingwebhookconfiguration", RELEASE, "--type=json", f"--patch={json.dumps(patch)}")
