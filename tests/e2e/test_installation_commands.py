"""`locus-operator guard-uninstall` and `check-installation` where they cannot say yes; the chart tests the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.control_plane import HOST, ControlPlane
from tests.e2e.operator_process import install, store_manifest, webhook_configuration
from tests.servers.processes import free_port


def run(kubeconfig: Path, *arguments: str) -> tuple[int, str]:
    """Run a command; returns its exit code, and what it printed on standard error."""
    command = [sys.executable, "-m", "locus_operator.cli", *arguments]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane) -> ControlPlane:
    install(control_plane)
    return control_plane


class TestGuard:
    def test_a_store_in_the_way_ends_it_with_3(self, installed: ControlPlane, namespace: str) -> None:
        spec = {"backend": {"memory": {}}, "deletionPolicy": "Delete"}
        installed.apply(store_manifest(namespace, "kept", spec))
        code, said = run(installed.kubeconfig, "guard-uninstall")
        assert (code, f"  {namespace}/kept\n" in said) == (3, True)

    def test_who_may_not_look_is_told_so(self, installed: ControlPlane, namespace: str) -> None:
        account = installed.kubeconfig_for_service_account("default", namespace)
        assert run(account, "guard-uninstall") == (3, "error: the API server answers 403 Forbidden\n")

    def test_without_an_api_server_it_ends_with_4(self, installed: ControlPlane, tmp_path: Path) -> None:
        nowhere = tmp_path / "kubeconfig"
        nowhere.write_text(installed.kubeconfig.read_text().replace(installed.server, f"https://{HOST}:{free_port()}"))
        code, said = run(nowhere, "guard-uninstall")
        assert (code, "does not answer" in said) == (4, True)

    def test_without_a_cluster_it_ends_with_4(self, tmp_path: Path) -> None:
        code, said = run(tmp_path / "none", "guard-uninstall")
        assert (code, "there is no cluster to ask" in said) == (4, True)


class TestCheck:
    def test_a_missing_webhook_configuration_is_told(self, installed: ControlPlane) -> None:
        code, said = run(installed.kubeconfig, "check-installation", "--webhook-configuration=none")
        assert code == 1
        assert "error: the MutatingWebhookConfiguration none cannot be read: the API server answers 404" in said

    def test_the_api_alone_can_be_asked_for(self, installed: ControlPlane, namespace: str) -> None:
        account = installed.kubeconfig_for_service_account("default", namespace)
        assert run(account, "check-installation") == (0, "")

    def test_a_webhook_that_is_away_is_told(self, installed: ControlPlane, namespace: str) -> None:
        url = f"https://{HOST}:{free_port()}"
        installed.apply(configuration(namespace, url, installed.authority.pair.certificate.read_bytes()))
        try:
            code, said = run(installed.kubeconfig, "check-installation", f"--webhook-configuration={namespace}")
        finally:
            installed.kubectl("delete", "mutatingwebhookconfiguration", namespace)
        assert (code, f"{url}/readyz does not answer" in said) == (1, True)


def configuration(name: str, url: str, ca: bytes) -> dict[str, object]:
    made = webhook_configuration(url, ca)
    made["metadata"]["name"] = name
    for webhook in made["webhooks"]:
        webhook["namespaceSelector"] = {"matchLabels": {"nobody": "has-this"}}
    return made
