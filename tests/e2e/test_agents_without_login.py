"""A conversation of two days on backends without a login: files in a volume, and a checkpoint service.

The YAML is that of the documentation, with the addresses of the tests.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from locus.core.messages import Role

from hack.demo.stage import AGENT_IMAGE, agent_image
from locus_memory.backends import FileCheckpointer
from tests.e2e.control_plane import REPOSITORY, ControlPlane
from tests.e2e.conversations import ASKED, THREAD, TOLD, Day, assert_remembered, play_both_days
from tests.e2e.operator_process import Controller, Stores
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.checkpoint import CheckpointServer
from tests.servers.processes import wait_for
from tests.servers.report import ServerReport
from tests.servers.tls import CertificateAuthority

Object = dict[str, Any]
Days = tuple[Day, Day]
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def documented(page: str) -> list[Object]:
    """The objects in the YAML of a page of the documentation."""
    text = (REPOSITORY / "docs" / "provision" / page).read_text()
    return [each for block in _BLOCK.findall(text) for each in yaml.safe_load_all(block)]


def apply(control_plane: ControlPlane, namespace: str, *objects: Object) -> None:
    for each in objects:
        each["metadata"]["namespace"] = namespace
    control_plane.apply(*objects)


def asked_in(directory: Path) -> list[str]:
    """What the user has said in the conversation, as it is on the disk."""

    async def read() -> Any:
        async with FileCheckpointer(directory) as checkpointer:
            return await checkpointer.load(THREAD)

    return [each.content for each in asyncio.run(read()).messages if each.role is Role.USER]


@pytest.fixture(scope="module")
def stores(
    control_plane: ControlPlane, test_node: NodeProcess, operator: Controller, agents_namespace: str
) -> Iterator[Stores]:
    test_node.add_images({AGENT_IMAGE: agent_image()})
    yield Stores(control_plane, agents_namespace)
    # While the operator is there to clean up.
    control_plane.kubectl("delete", "cps", "--all", f"--namespace={agents_namespace}", "--timeout=30s")


@pytest.fixture(scope="module")
def service(server_report: ServerReport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckpointServer]:
    """`locus-memory serve` with TLS, on files."""
    directory = tmp_path_factory.mktemp("service")
    authority = CertificateAuthority()
    authority.write(directory)
    pair = authority.issue_server().write(directory, "server")
    with CheckpointServer(f"file://{directory}/threads", directory=directory, tls=pair) as server:
        server_report.started("service", server.product, server.version)
        yield server


@pytest.fixture(scope="module")
def on_files(control_plane: ControlPlane, stores: Stores) -> Days:
    """Both days on files."""
    apply(control_plane, stores.namespace, *documented("file.md"))
    stores.wait("notes")
    return play_both_days(control_plane, stores.namespace, "agent-notes")


@pytest.fixture(scope="module")
def at_the_service(control_plane: ControlPlane, stores: Stores, service: CheckpointServer) -> Iterator[Days]:
    """Both days at the service, which its agent leaves before it ends."""
    (store,) = documented("http.md")
    store["spec"]["backend"]["http"]["baseUrl"] = service.base_url
    stores.create_secret("service-headers", Authorization=f"Bearer {service.password}")
    stores.kubectl("create", "configmap", "service-ca", f"--from-file={service.directory / 'ca.crt'}")
    deployment = json.loads(json.dumps(documented("file.md")[1]).replace("notes", "shared"))
    apply(control_plane, stores.namespace, store, deployment)
    stores.wait("shared")
    yield play_both_days(control_plane, stores.namespace, "agent-shared")
    stores.kubectl("delete", "deployment/agent-shared", "--cascade=foreground", "--timeout=30s")


class TestFiles:
    def test_another_pod_answers_from_what_the_first_was_told(self, on_files: Days) -> None:
        assert_remembered(on_files)

    def test_the_pods_have_the_volume_and_no_other_way_to_it(self, on_files: Days) -> None:
        for day in on_files:
            volumes = {each["name"]: each for each in day.pod["spec"]["volumes"]}
            mounts = {each["mountPath"]: each for each in day.container["volumeMounts"]}
            files = mounts["/var/lib/locus/notes"]
            assert volumes[files["name"]]["persistentVolumeClaim"]["claimName"] == "notes-checkpoints"
            assert not files.get("readOnly")
            assert mounts["/bindings/notes"]["readOnly"] is True

    def test_both_days_are_in_the_volume(self, control_plane: ControlPlane, stores: Stores, on_files: Days) -> None:
        claim = control_plane.get("pvc", "notes-checkpoints", stores.namespace)
        volume = control_plane.get("pv", claim["spec"]["volumeName"])
        assert asked_in(Path(volume["spec"]["hostPath"]["path"])) == [TOLD, ASKED]

    def test_the_status_names_the_claim_and_what_it_can_do(self, stores: Stores, on_files: Days) -> None:
        status = stores.get("notes")["status"]
        assert (status["backend"], status["claims"]) == ("file", {"volumeClaim": "notes-checkpoints"})
        assert "search" in status["capabilities"]
        assert "files need no login" in stores.conditions("notes")["CredentialsReady"]["message"]
        assert "create volume claim notes-checkpoints" in stores.wait_for_event("notes", "Provisioned")
        assert set(stores.binding("notes")) == {"type", "provider", "uri", "connection.json"}


class TestClaim:
    """What becomes of a claim with its store; no pod mounts it."""

    def test_a_lost_claim_is_made_anew_and_told_as_lost_data(self, stores: Stores) -> None:
        stores.apply("lost", {"backend": {"file": {"size": "1Gi"}}})
        stores.wait("lost")
        stores.kubectl("delete", "pvc/lost-checkpoints", "--timeout=30s")
        stores.kubectl("annotate", "cps/lost", "somebody=looks-again")
        told = stores.wait_for_event("lost", "DriftCorrected")
        assert "it was deleted, and the checkpoints went with its volume: a new one is empty" in told
        assert "lost-checkpoints" in stores.kubectl("get", "pvc", "--output=name")

    @pytest.mark.parametrize(("policy", "stays"), [("Retain", True), ("Delete", False)])
    def test_the_claim_goes_with_its_store_as_the_policy_says(self, stores: Stores, policy: str, stays: bool) -> None:
        name = f"goes-{policy.lower()}"
        stores.apply(name, {"backend": {"file": {"size": "1Gi"}}, "deletionPolicy": policy})
        stores.wait(name)
        stores.kubectl("delete", f"cps/{name}", "--timeout=30s")
        stores.wait_for_event(name, "Released")

        def is_there() -> bool:
            return f"{name}-checkpoints" in stores.kubectl("get", "pvc", "--output=name")

        wait_for(lambda: is_there() is stays, timeout=20, what=f"the claim of a store with {policy}")


class TestService:
    def test_another_pod_answers_from_what_the_first_was_told(self, at_the_service: Days) -> None:
        assert_remembered(at_the_service)

    def test_both_days_are_at_the_service(self, service: CheckpointServer, at_the_service: Days) -> None:
        assert asked_in(service.directory / "threads") == [TOLD, ASKED]

    def test_the_store_has_no_finalizer_and_its_status_is_what_the_service_says(
        self, stores: Stores, at_the_service: Days
    ) -> None:
        store = stores.get("shared")
        assert "finalizers" not in store["metadata"]
        assert {"search", "vacuum", "list_threads"} <= set(store["status"]["capabilities"])
        assert "calls itself 'locus-memory" in stores.conditions("shared")["Provisioned"]["message"]
        assert stores.conditions("shared")["RetentionEnforced"]["reason"] == "RetentionApplied"

    def test_the_token_is_in_the_binding_and_nowhere_else(
        self, stores: Stores, service: CheckpointServer, operator: Controller, at_the_service: Days
    ) -> None:
        assert service.password in stores.binding("shared")["connection.json"]
        shown = operator.log.read_text() + json.dumps([stores.get("shared"), stores.events("shared")])
        assert service.password not in shown


def test_the_memory_page_works(control_plane: ControlPlane, stores: Stores) -> None:
    apply(control_plane, stores.namespace, *documented("memory.md"))
    stores.wait("scratch")
    assert stores.binding("scratch")["type"] == "memory"
    assert "finalizers" not in stores.get("scratch")["metadata"]
