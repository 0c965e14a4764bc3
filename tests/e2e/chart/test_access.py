"""What others may do with our kinds, asked of the API server: tenants, and controllers that follow Service Binding."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.helm import RELEASE
from tests.e2e.chart.release import AGENTS, Release
from tests.e2e.control_plane import ControlPlane, KubectlError
from tests.servers.processes import wait_for

Object = dict[str, Any]
BINDER = "system:serviceaccount:agents:binder"
STORES, CLASSES = ("memory.locus.dev", "checkpointstores"), ("memory.locus.dev", "checkpointstoreclasses")
SECRETS = ("", "secrets")
READ = {"get", "list", "watch"}
WRITE = {"create", "update", "patch", "delete", "deletecollection"}
PATH = f"/apis/memory.locus.dev/v1alpha1/namespaces/{AGENTS}/checkpointstores/bound"


@pytest.fixture(scope="module")
def granted(cluster: ControlPlane) -> Iterator[ControlPlane]:
    """The chart's roles, without a pod, and people who have the cluster's own roles in one namespace."""
    release = Release(cluster, {"controller": {"replicas": 0}, "webhook": {"enabled": False}})
    bound: list[Object] = [
        *(binding("RoleBinding", role, f"{role}or", AGENTS) for role in ("view", "edit", "admin")),
        binding("ClusterRoleBinding", "admin", "platform"),
        # What a controller of the specification has, by the specification: everything that has the label.
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "binder"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"servicebinding.io/controller": "true"}}]},
        },
        binding("ClusterRoleBinding", "binder", BINDER),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "binder", "namespace": AGENTS}},
    ]
    try:
        release.install(wait=False)
        cluster.apply(*bound)
        wait_for(lambda: verbs(cluster, BINDER, STORES) == READ, timeout=20, what="roles aggregated")
        wait_for(lambda: verbs(cluster, "editor", STORES, AGENTS) > WRITE, timeout=20, what="roles aggregated")
        yield cluster
    finally:
        release.uninstall("--no-hooks", "--ignore-not-found")
        for each in bound:
            namespace = each["metadata"].get("namespace", "default")
            cluster.kubectl("delete", each["kind"], each["metadata"]["name"], f"--namespace={namespace}")


def binding(kind: str, role: str, user: str, namespace: str = "") -> Object:
    place = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": f"test-{role}", **place},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


def verbs(cluster: ControlPlane, user: str, resource: tuple[str, str], namespace: str = "") -> set[str]:
    """Ask the API server what somebody may do."""
    name, _, subresource = resource[1].partition("/")
    target = {"group": resource[0], "resource": name, "subresource": subresource, "namespace": namespace}
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": target | {"verb": verb}},
        }
        for verb in READ | WRITE
    ]
    answer = "--output=jsonpath={.spec.resourceAttributes.verb} {.status.allowed} "
    words = cluster.kubectl("create", "--filename=-", answer, input=yaml.safe_dump_all(reviews)).split()
    decided = dict(zip(words[::2], words[1::2], strict=True))
    assert decided.keys() == READ | WRITE
    return {verb for verb, allowed in decided.items() if allowed == "true"}


class TestTenants:
    def test_who_views_reads_stores_and_no_secret(self, granted: ControlPlane) -> None:
        assert verbs(granted, "viewor", STORES, AGENTS) == READ
        assert verbs(granted, "viewor", SECRETS, AGENTS) == set()

    @pytest.mark.parametrize("user", ["editor", "adminor"])
    def test_who_edits_writes_stores_and_not_what_the_operator_says_of_them(
        self, granted: ControlPlane, user: str
    ) -> None:
        assert verbs(granted, user, STORES, AGENTS) == READ | WRITE
        # A status of one's own would name any Secret as the binding.
        for subresource in ("status", "finalizers"):
            assert verbs(granted, user, (STORES[0], f"{STORES[1]}/{subresource}"), AGENTS) == set()

    @pytest.mark.parametrize("user", ["viewor", "editor", "adminor"])
    def test_what_somebody_has_in_one_namespace_ends_there(self, granted: ControlPlane, user: str) -> None:
        assert verbs(granted, user, STORES, "default") == set()
        assert verbs(granted, user, STORES) == set()
        assert verbs(granted, user, CLASSES) == set()

    def test_who_edits_gains_nothing_that_was_not_theirs_before(self, granted: ControlPlane) -> None:
        # A store has the operator read a Secret, and send it to a server, and write one: edit does so by itself.
        assert verbs(granted, "editor", SECRETS, AGENTS) == READ | WRITE

    def test_classes_are_for_those_who_administer_the_cluster(self, granted: ControlPlane) -> None:
        assert verbs(granted, "platform", CLASSES) == READ | WRITE
        assert verbs(granted, "platform", (CLASSES[0], f"{CLASSES[1]}/status")) == set()


class TestServiceBinding:
    def test_a_controller_finds_the_binding_of_a_store(self, granted: ControlPlane) -> None:
        store: Object = {
            "apiVersion": "memory.locus.dev/v1alpha1",
            "kind": "CheckpointStore",
            "metadata": {"name": "bound", "namespace": AGENTS},
            "spec": {"backend": {"memory": {}}},
        }
        granted.apply(store)
        try:
            written = json.loads(granted.kubectl("get", "--raw", PATH)) | {
                "status": {"binding": {"name": "the-secret"}}
            }
            granted.kubectl("replace", f"--raw={PATH}/status", "--filename=-", input=json.dumps(written))
            query = ("get", "cps", "bound", f"--namespace={AGENTS}", f"--as={BINDER}")
            assert granted.kubectl(*query, "--output=jsonpath={.status.binding.name}") == "the-secret"
            assert "bound" in granted.kubectl("get", "cps", "--all-namespaces", f"--as={BINDER}")
            with pytest.raises(KubectlError, match="cannot delete resource"):
                granted.kubectl("delete", "cps", "bound", f"--namespace={AGENTS}", f"--as={BINDER}")
        finally:
            granted.kubectl("delete", "cps", "bound", f"--namespace={AGENTS}")

    def test_it_reads_stores_and_nothing_else(self, granted: ControlPlane) -> None:
        assert verbs(granted, BINDER, STORES) == READ
        for resource in (SECRETS, CLASSES, (STORES[0], f"{STORES[1]}/status")):
            assert verbs(granted, BINDER, resource) == set()

    def test_the_role_is_the_charts(self, granted: ControlPlane) -> None:
        role = granted.get("clusterrole", f"{RELEASE}-service-binding")
        assert granted.get("clusterrole", "binder")["rules"] == role["rules"]
