"""Where the webhook's certificate comes from: the controller, or cert-manager, and from the one to the other."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from cryptography import x509

from tests.chart.helm import CHART, NAMESPACE, RELEASE, HelmError
from tests.e2e.chart.cert_manager import CertManager
from tests.e2e.chart.release import AGENTS, PER_POD, Release
from tests.e2e.chart.service import Service
from tests.e2e.chart.test_validation import FOREIGN, foreign_crd
from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import read_metrics
from tests.e2e.pods import INJECTED, Pods, agent, stores_of
from tests.servers.processes import wait_for
from tests.servers.tls import CertificateAuthority

OWN_SECRET = f"{RELEASE}-webhook-tls"
AUTHORITY, CERTIFICATE = f"{RELEASE}-webhook-ca", f"{RELEASE}-webhook"
CERT_MANAGERS_SECRET = f"{RELEASE}-webhook-cert-manager-tls"
SERVED_UNTIL = "locus_operator_webhook_served_certificate_expiry_timestamp_seconds"
READY = "ok: the webhook pods.memory.locus.dev is ready"


@pytest.fixture
def pods(cluster: ControlPlane) -> Pods:
    return Pods(cluster, AGENTS)


@pytest.fixture
def cert_manager(cluster: ControlPlane) -> CertManager:
    cluster.apply(*(foreign_crd("cert-manager.io/v1", kind) for kind in FOREIGN["cert-manager.io/v1"]))
    cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
    return CertManager(cluster, NAMESPACE)


@contextmanager
def releasing(cluster: ControlPlane, service: Service, source: str) -> Iterator[Release]:
    """A release that is yet to be installed, and is removed with all that it leaves behind."""
    webhook = {"clientConfig": {"url": service.url}, "certificate": {"source": source}, "extraEnv": PER_POD}
    release = Release(cluster, {"webhook": webhook})
    try:
        yield release
    finally:
        release.uninstall("--no-hooks", "--ignore-not-found")
        secrets = (OWN_SECRET, CERT_MANAGERS_SECRET, AUTHORITY)
        cluster.kubectl("delete", "secret", *secrets, f"--namespace={NAMESPACE}", "--ignore-not-found")


def test_the_controller_makes_it_and_an_upgrade_keeps_it(cluster: ControlPlane, service: Service, pods: Pods) -> None:
    with releasing(cluster, service, "selfManaged") as release:
        release.install()
        wait_for(lambda: all(bundles(cluster)), timeout=30, what="caBundle written")
        before, secret = bundles(cluster), entries(cluster, OWN_SECRET)
        assert READY in release.test()
        assert served_until(release) == {expiry(secret)}
        pods.wait_until_called()
        release.upgrade("logs.level=DEBUG")
        assert bundles(cluster) == before
        assert entries(cluster, OWN_SECRET) == secret
        assert INJECTED in pods.admitted(agent("after", "store"))["metadata"]["annotations"]


def test_cert_manager_makes_it_and_no_admission_fails_when_certificate_or_ca_is_renewed(
    cluster: ControlPlane, service: Service, cert_manager: CertManager, pods: Pods
) -> None:
    with releasing(cluster, service, "certManager") as release:
        release.install(wait=False)
        with pytest.raises(HelmError, match="nobody has written it yet"):
            release.test()
        obtain_certificate(cluster, cert_manager)
        assert READY in release.test()
        pods.wait_until_called()

        earlier = cert_manager.secret(AUTHORITY)["tls.crt"]
        cert_manager.issue(AUTHORITY)
        later = cert_manager.secret(AUTHORITY)["tls.crt"]
        assert earlier != later
        # What the earlier CA has signed is served, and the API server trusts the later one.
        assert_called_when_trusting(later, cert_manager, pods)
        # What the later CA has signed is served, and the API server trusts the earlier one: an upgrade keeps that.
        cert_manager.trust(RELEASE, earlier)
        cert_manager.issue(CERTIFICATE)
        release.upgrade("webhook.podAnnotations.certificate=renewed")
        assert bundles(cluster) == [earlier.decode()] * 2
        assert_called_when_trusting(earlier, cert_manager, pods)


def test_from_the_controller_to_cert_manager_and_back(
    cluster: ControlPlane, service: Service, cert_manager: CertManager, pods: Pods
) -> None:
    with releasing(cluster, service, "selfManaged") as release:
        release.install()
        wait_for(lambda: all(bundles(cluster)), timeout=30, what="caBundle written")
        pods.wait_until_called()
        own, trusted = entries(cluster, OWN_SECRET), bundles(cluster)

        change_source(release, "certManager")
        # New pods wait for cert-manager's Secret, and the old ones serve on.
        assert INJECTED in pods.admitted(agent("meanwhile", "store"))["metadata"]["annotations"]
        obtain_certificate(cluster, cert_manager)
        pods.wait_until_called()
        theirs = entries(cluster, CERT_MANAGERS_SECRET)
        assert READY in release.test()
        assert bundles(cluster) == [base64.b64decode(theirs["ca.crt"]).decode()] * 2
        assert entries(cluster, OWN_SECRET) == own

        change_source(release, "selfManaged", "--wait", "--timeout=120s")
        wait_for(lambda: bundles(cluster) == trusted, timeout=30, what="the controller's CA is trusted again")
        pods.wait_until_called()
        assert READY in release.test()
        assert entries(cluster, OWN_SECRET) == own
        assert entries(cluster, CERT_MANAGERS_SECRET) == theirs
        assert not cluster.kubectl("get", "certificates,issuers", f"--namespace={NAMESPACE}", "--output=name")


def test_from_cert_manager_to_a_controller_that_has_never_made_one(
    cluster: ControlPlane, service: Service, cert_manager: CertManager, pods: Pods
) -> None:
    with releasing(cluster, service, "certManager") as release:
        release.install(wait=False)
        obtain_certificate(cluster, cert_manager)
        pods.wait_until_called()
        theirs = entries(cluster, CERT_MANAGERS_SECRET)

        change_source(release, "selfManaged", "--wait", "--timeout=120s")
        wait_for(lambda: bool(cert_manager.secret(OWN_SECRET)), timeout=30, what="the controller has made its own")
        own = base64.b64decode(entries(cluster, OWN_SECRET)["ca.crt"]).decode()
        wait_for(lambda: bundles(cluster) == [own] * 2, timeout=30, what="only its CA is trusted")
        pods.wait_until_called()
        assert READY in release.test()
        assert entries(cluster, CERT_MANAGERS_SECRET) == theirs


def change_source(release: Release, source: str, *flags: str) -> None:
    """What docs/webhook-certificates.md says."""
    change = f"--set=webhook.certificate.source={source}"
    release.helm("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", change, *flags)


def obtain_certificate(cluster: ControlPlane, cert_manager: CertManager) -> None:
    """Let cert-manager do its part, and wait until the webhook's pods are there."""
    cert_manager.issue(AUTHORITY)
    cert_manager.issue(CERTIFICATE)
    cert_manager.inject(RELEASE)
    place = (f"deployment/{RELEASE}-webhook", f"--namespace={NAMESPACE}")
    cluster.kubectl("rollout", "status", *place, "--timeout=60s")


def assert_called_when_trusting(authority: bytes, cert_manager: CertManager, pods: Pods) -> None:
    """See that pods are injected when the API server trusts a CA, and that it has noticed."""
    cert_manager.trust(RELEASE, CertificateAuthority("nobody's CA").certificate)
    pods.wait_until(agent("probe", "probe"), lambda pod: not stores_of(pod), "the API server trusts nobody we know")
    cert_manager.trust(RELEASE, authority)
    pods.wait_until_called()


def served_until(release: Release) -> set[float]:
    """What the webhook's pods tell Prometheus."""
    return {read_metrics(pod["status"]["podIP"], 8081)[SERVED_UNTIL] for pod in release.pods("webhook")}


def expiry(secret: Mapping[str, str]) -> float:
    """When the certificate in a Secret ends."""
    certificate = x509.load_pem_x509_certificate(base64.b64decode(secret["tls.crt"]))
    return certificate.not_valid_after_utc.timestamp()


def bundles(cluster: ControlPlane) -> list[str]:
    """The certificates that the API server trusts."""
    found = json.loads(cluster.kubectl("get", "mutatingwebhookconfiguration", RELEASE, "--output=json"))
    return [base64.b64decode(each["clientConfig"].get("caBundle", "")).decode() for each in found["webhooks"]]


def entries(cluster: ControlPlane, secret: str) -> dict[str, str]:
    """What a Secret holds, in base64."""
    found: dict[str, str] = cluster.get("secret", secret, NAMESPACE)["data"]
    return found
