"""The control plane that every other e2e test stands on."""

from pathlib import Path

import pytest

from tests.e2e.control_plane import ControlPlane, KubectlError
from tests.servers.processes import Child, ServerError, wait_for


def test_administrator_may_do_everything(control_plane: ControlPlane) -> None:
    assert control_plane.kubectl("auth", "can-i", "*", "*", "--all-namespaces").strip() == "yes"


def test_service_account_has_no_rights_of_its_own(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = control_plane.kubeconfig_for_service_account("default", namespace)
    with pytest.raises(KubectlError, match=rf"Forbidden.*system:serviceaccount:{namespace}:default"):
        control_plane.kubectl("get", "secrets", f"--namespace={namespace}", kubeconfig=kubeconfig)


def test_user_has_the_rights_that_a_binding_gives(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = control_plane.kubeconfig_for_user("jane", groups=["team"])
    control_plane.kubectl(
        "create", "rolebinding", "readers", "--clusterrole=view", "--group=team", f"--namespace={namespace}"
    )
    control_plane.kubectl("get", "pods", f"--namespace={namespace}", kubeconfig=kubeconfig)
    with pytest.raises(KubectlError, match=r'Forbidden.*"jane"'):
        control_plane.kubectl("get", "pods", "--namespace=kube-system", kubeconfig=kubeconfig)


def test_controllers_create_what_a_deployment_wants(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "deployment", "web", "--image=none", "--replicas=2", f"--namespace={namespace}")

    def pods() -> list[str]:
        return control_plane.kubectl("get", "pods", "--output=name", f"--namespace={namespace}").split()

    wait_for(lambda: len(pods()) == 2, timeout=10, what="two pods of the deployment")


def test_deleted_namespace_goes_away_with_its_objects(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "brief")
    control_plane.kubectl("create", "configmap", "some", "--namespace=brief")
    control_plane.kubectl("delete", "namespace", "brief", "--timeout=30s")
    with pytest.raises(KubectlError, match="NotFound"):
        control_plane.get("namespace", "brief")


def test_objects_survive_a_restart_of_the_api_server(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "configmap", "kept", f"--namespace={namespace}")
    control_plane.stop_server("kube-apiserver")
    control_plane.start_api_server()
    assert control_plane.get("configmap", "kept", namespace)["metadata"]["name"] == "kept"


def test_server_that_does_not_start_says_why_and_where_its_log_is(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server = Child("broken", ["sh", "-c", "echo no such flag; exit 3"], log=log)
    with pytest.raises(ServerError, match=rf"(?s)ended with code 3.*{log}.*no such flag"):
        server.wait_until_ready(lambda: False, timeout=10)
