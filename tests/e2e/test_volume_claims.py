"""Stores of files on the API server, with the permissions that the operator has in production."""

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_kube_config

from locus_memory.connection import FileConnection
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.engine import Reconciled
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.kube_volumes import KubernetesVolumeClaims
from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import install
from tests.integration.operator.stores import Store
from tests.servers.processes import free_port, wait_for

Object = dict[str, Any]
GROWS, WAITS = "test-grows", "test-waits"


@pytest.fixture(scope="module")
def kubeconfig(control_plane: ControlPlane) -> Path:
    """Of the operator's service account; with it come two StorageClasses that nobody provisions."""
    for name, mode, grows in ((GROWS, "Immediate", True), (WAITS, "WaitForFirstConsumer", False)):
        control_plane.apply(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": name},
                "provisioner": "nobody.example/nothing",
                "volumeBindingMode": mode,
                "allowVolumeExpansion": grows,
            }
        )
    return install(control_plane)


async def client_of(kubeconfig: Path) -> ApiClient:
    configuration = Configuration()
    await load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    return ApiClient(configuration)


@dataclass
class Claims:
    """The claims of one namespace: as the operator, and as an administrator."""

    control_plane: ControlPlane
    client: ApiClient
    namespace: str

    def store(self, storage_class: str = WAITS, *, known: str | None = None, **file: Any) -> Store:
        backend = file or {"size": "1Gi", "storageClassName": storage_class}
        volumes = KubernetesVolumeClaims(self.client, self.namespace, known)
        return Store({"file": backend}, {}, name=f"s{secrets.token_hex(3)}", volumes=volumes)

    def kubectl(self, *arguments: str) -> str:
        return self.control_plane.kubectl(*arguments, f"--namespace={self.namespace}")

    def get(self, name: str) -> Object:
        return self.control_plane.get("pvc", name, self.namespace)

    def create(self, kind: str, name: str, spec: Object, **metadata: Any) -> None:
        metadata = {"name": name, "namespace": self.namespace, **metadata}
        self.control_plane.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})

    def create_claim(self, name: str) -> None:
        """Make a claim as a user does."""
        resources = {"requests": {"storage": "1Gi"}}
        self.create(
            "PersistentVolumeClaim",
            name,
            {"accessModes": ["ReadWriteOnce"], "storageClassName": WAITS, "resources": resources},
        )

    def create_pod(self, name: str, claim: str, node: str) -> None:
        volume = {"name": "files", "persistentVolumeClaim": {"claimName": claim}}
        container = {"name": "agent", "image": "none"}
        self.create("Pod", name, {"nodeName": node, "volumes": [volume], "containers": [container]})

    def bind(self, claim: str) -> None:
        """Give a claim a volume, and wait until it has it."""
        found = self.get(claim)
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": found["spec"]["storageClassName"],
            "hostPath": {"path": "/nowhere"},
            # With the UID the claim is bound at once, without it with the next of the controller's rounds.
            "claimRef": {"namespace": self.namespace, "name": claim, "uid": found["metadata"]["uid"]},
        }
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "spec": spec}
        self.control_plane.apply(volume | {"metadata": {"name": f"{self.namespace}-{claim}"}})
        wait_for(lambda: self.get(claim)["status"]["phase"] == "Bound", timeout=30, what="a bound claim")


@pytest.fixture
async def claims(control_plane: ControlPlane, kubeconfig: Path, namespace: str) -> AsyncIterator[Claims]:
    client = await client_of(kubeconfig)
    async with client:
        yield Claims(control_plane, client, namespace)


def message(done: Reconciled, type_: ConditionType = ConditionType.PROVISIONED) -> str:
    return next(each.message for each in done.conditions if each.type is type_)


async def test_a_claim_is_made_with_its_mark_and_without_an_owner(claims: Claims) -> None:
    store = claims.store()
    done = await store.reconcile()
    claim = claims.get(f"{store.name}-checkpoints")
    assert done.claims.volume_claim == claim["metadata"]["name"]
    assert "ownerReferences" not in claim["metadata"], "garbage collection would delete what Retain keeps"
    assert claim["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "locus-operator",
        "memory.locus.dev/checkpoint-store": store.name,
        "memory.locus.dev/store-uid": "uid-1",
    }
    mark = json.loads(claim["metadata"]["annotations"]["memory.locus.dev/claim"])
    assert mark["locus-memory"] == {"cluster": "test-cluster", "uid": "uid-1", "store": f"agents/{store.name}"}
    assert (claim["spec"]["accessModes"], claim["spec"]["storageClassName"]) == (["ReadWriteOnce"], WAITS)
    assert claim["spec"]["resources"]["requests"] == {"storage": "1Gi"}
    assert "makes one for the first pod that mounts it" in message(done)
    assert not (await store.reconcile()).plan
    connection = store.connection()
    assert isinstance(connection, FileConnection)
    assert connection.directory == f"/var/lib/locus/{store.name}"


@pytest.mark.parametrize(
    "change",
    [
        ("annotate", "memory.locus.dev/claim-"),
        ("annotate", "--overwrite", "memory.locus.dev/claim=edited"),
        ("label", "memory.locus.dev/store-uid-"),
    ],
)
async def test_a_mark_that_somebody_changed_is_written_again(claims: Claims, change: tuple[str, ...]) -> None:
    store = claims.store()
    await store.reconcile()
    before = claims.get(f"{store.name}-checkpoints")["metadata"]
    claims.kubectl(change[0], f"pvc/{store.name}-checkpoints", *change[1:])
    (action,) = (await store.reconcile()).plan.actions
    assert str(action) == f"claim volume claim {store.name}-checkpoints: its mark was changed"
    after = claims.get(f"{store.name}-checkpoints")["metadata"]
    assert (after["annotations"], after["labels"]) == (before["annotations"], before["labels"])


async def test_a_claim_that_was_deleted_is_made_anew_and_told_as_lost(claims: Claims) -> None:
    store = claims.store()
    await store.reconcile()
    claims.kubectl("delete", f"pvc/{store.name}-checkpoints", "--timeout=30s")
    store.volumes = KubernetesVolumeClaims(claims.client, claims.namespace, known=f"{store.name}-checkpoints")
    (action,) = (await store.reconcile()).plan.actions
    assert "it was deleted, and the checkpoints went with its volume" in str(action)


async def test_a_claim_that_is_being_deleted_names_the_pods_that_hold_it(claims: Claims) -> None:
    store = claims.store()
    await store.reconcile()
    claims.create_pod("agent", f"{store.name}-checkpoints", "n1")
    claims.kubectl("delete", f"pvc/{store.name}-checkpoints", "--wait=false")
    with pytest.raises(RefusedError, match=r"is being deleted.*\(agent\)"):
        await store.reconcile()
    assert not (await store.release("Delete")).plan, "it is going already"


async def test_somebody_elses_claim_is_a_conflict_until_it_is_adopted(claims: Claims) -> None:
    store = claims.store()
    claims.create_claim(f"{store.name}-checkpoints")
    with pytest.raises(RefusedError, match="belongs to no store") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    store.adopt = True
    await store.reconcile()
    successor = store.successor()
    successor.adopt = True
    with pytest.raises(RefusedError, match=r"belongs to the store .*uid-1"):
        await successor.reconcile()
    await store.release("Delete")
    assert "memory.locus.dev/claim" not in claims.get(f"{store.name}-checkpoints")["metadata"]["annotations"]


async def test_retain_keeps_the_claim_for_who_adopts_it(claims: Claims) -> None:
    store = claims.store()
    await store.reconcile()
    uid = claims.get(f"{store.name}-checkpoints")["metadata"]["uid"]
    await store.release("Retain")
    assert not (await store.release("Retain")).plan
    successor = store.successor()
    with pytest.raises(RefusedError, match="was left by the store"):
        await successor.reconcile()
    successor.adopt = True
    await successor.reconcile()
    assert claims.get(f"{store.name}-checkpoints")["metadata"]["uid"] == uid
    assert not (await store.release("Delete")).plan, "it is the successor's now"


async def test_delete_deletes_the_claim(claims: Claims) -> None:
    store = claims.store()
    await store.reconcile()
    await store.release("Delete")
    wait_for(lambda: not claims.kubectl("get", "pvc", "--output=name"), timeout=20, what="no claim")
    assert not (await store.release("Delete")).plan


async def test_an_existing_claim_is_used_and_given_back(claims: Claims) -> None:
    store = claims.store(existingClaim="mine")
    with pytest.raises(RefusedError, match="no PersistentVolumeClaim 'mine'"):
        await store.reconcile()
    claims.create_claim("mine")
    done = await store.reconcile()
    assert done.claims.volume_claim == "mine"
    assert "will never delete it" in message(done)
    await store.release("Delete")
    metadata = claims.get("mine")["metadata"]
    assert not {each for each in (*metadata["annotations"], *metadata.get("labels", {})) if "memory.locus.dev" in each}


async def test_a_bound_claim_grows_where_its_class_allows_it(claims: Claims) -> None:
    store = claims.store(GROWS)
    await store.reconcile()
    name = f"{store.name}-checkpoints"
    claims.bind(name)
    store.backend = {"file": {"size": "3Gi", "storageClassName": GROWS}}
    done = await store.reconcile()
    assert [str(action) for action in done.plan.actions] == [f"alter volume claim {name}: differs: size 1Gi, not 3Gi"]
    assert claims.get(name)["spec"]["resources"]["requests"]["storage"] == "3Gi"
    assert "is growing from 1Gi to 3Gi" in message(done)
    assert not (await store.reconcile()).plan
    store.backend = {"file": {"size": "2Gi", "storageClassName": GROWS}}
    with pytest.raises(RefusedError, match="volumes do not shrink: write 3Gi"):
        await store.reconcile()


async def test_a_mark_and_a_size_are_corrected_in_one_run(claims: Claims) -> None:
    store = claims.store(GROWS)
    await store.reconcile()
    name = f"{store.name}-checkpoints"
    claims.bind(name)
    claims.kubectl("annotate", f"pvc/{name}", "memory.locus.dev/claim-")
    store.backend = {"file": {"size": "3Gi", "storageClassName": GROWS}}
    assert [action.verb for action in (await store.reconcile()).plan.actions] == ["claim", "alter"]
    assert not (await store.reconcile()).plan


async def test_a_class_that_does_not_grow_is_explained_before_anything_is_changed(claims: Claims) -> None:
    store = claims.store()
    await store.reconcile()
    name = f"{store.name}-checkpoints"
    claims.kubectl("annotate", f"pvc/{name}", "memory.locus.dev/claim-")
    claims.create_pod("agent", name, "n1")
    claims.kubectl("annotate", f"pvc/{name}", "volume.kubernetes.io/selected-node=n1")
    claims.bind(name)
    store.backend = {"file": {"size": "3Gi", "storageClassName": WAITS}}
    with pytest.raises(RefusedError, match="does not have allowVolumeExpansion: true"):
        await store.reconcile()
    assert "memory.locus.dev/claim" not in claims.get(name)["metadata"]["annotations"]


async def test_pods_that_share_a_claim_are_warned_of(claims: Claims) -> None:
    store = claims.store()
    name = f"{store.name}-checkpoints"
    await store.reconcile()
    claims.create_pod("one", name, "n1")
    assert (await store.reconcile()).warnings == ()
    claims.create_pod("two", name, "n2")
    claims.create_pod("stranger", "another", "n3")
    done = await store.reconcile()
    (warning,) = done.warnings
    assert "2 pods (one, two)" in warning
    assert "on the nodes n1, n2: only those of one node can start" in warning
    assert warning in message(done)


async def test_what_admission_refuses_is_passed_on(claims: Claims) -> None:
    claims.create("ResourceQuota", "no-claims", {"hard": {"persistentvolumeclaims": "0"}})
    wait_for(
        lambda: "hard" in claims.control_plane.get("quota", "no-claims", claims.namespace).get("status", {}),
        timeout=20,
        what="a quota that counts",
    )
    with pytest.raises(RefusedError, match="exceeded quota: no-claims") as caught:
        await claims.store().reconcile()
    assert caught.value.reason is ConditionReason.BACKEND_REFUSED


async def test_a_claim_that_changed_meanwhile_is_left_for_the_next_run(claims: Claims) -> None:
    store = claims.store()
    await store.reconcile()
    volumes = store.volumes
    assert volumes is not None
    claim = await volumes.find(f"{store.name}-checkpoints")
    assert claim is not None
    claims.kubectl("label", f"pvc/{claim.name}", "somebody=else")
    for change in (volumes.mark(claim, None), volumes.delete(claim)):
        with pytest.raises(UnavailableError, match="409"):
            await change


async def test_a_missing_permission_is_named(claims: Claims, control_plane: ControlPlane) -> None:
    kubeconfig = control_plane.kubeconfig_for_user("nobody")
    async with await client_of(kubeconfig) as client:
        store = claims.store()
        store.volumes = KubernetesVolumeClaims(client, claims.namespace, known=None)
        with pytest.raises(RefusedError, match="may not get PersistentVolumeClaim") as caught:
            await store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES


async def test_an_api_server_that_is_away_is_unavailable(claims: Claims) -> None:
    configuration = Configuration(host=f"https://127.0.0.1:{free_port()}")
    async with ApiClient(configuration) as client:
        store = claims.store()
        store.volumes = KubernetesVolumeClaims(client, claims.namespace, known=None)
        with pytest.raises(UnavailableError, match="did not answer"):
            await store.reconcile()
