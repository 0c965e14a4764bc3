"""What pods and accounts of the chart may do: the restricted Pod Security Standard, and least privilege."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hack import chart
from tests.chart.helm import COMBINATIONS, NAMESPACE, named, of_kind, pod_templates, render

Object = dict[str, Any]
POD = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
WATCHED = {"watchNamespaces": ["agents", "support"]}


@pytest.mark.parametrize("values", COMBINATIONS, ids=lambda path: path.stem)
class TestPods:
    def test_they_meet_the_restricted_standard(self, values: Path) -> None:
        for name, spec in pod_templates(render(values)).items():
            assert spec["securityContext"] == POD, name
            assert [each["securityContext"] for each in spec["containers"]] == [CONTAINER], name
            assert not {"hostPID", "hostIPC", "initContainers"} & spec.keys(), name
            assert not [each for each in spec["volumes"] if "hostPath" in each], name

    def test_they_have_a_tmp_of_their_own_and_bounds(self, values: Path) -> None:
        for name, spec in pod_templates(render(values)).items():
            (container,) = spec["containers"]
            mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
            assert {"name": mounts["/tmp"], "emptyDir": {}} in spec["volumes"], name
            assert container["resources"]["requests"], name
            assert "memory" in container["resources"]["limits"], name

    def test_servers_are_probed(self, values: Path) -> None:
        for each in of_kind(render(values), "Deployment"):
            (container,) = each["spec"]["template"]["spec"]["containers"]
            paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
            assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}

    def test_services_become_no_variables_that_look_like_settings(self, values: Path) -> None:
        for name, spec in pod_templates(render(values)).items():
            assert spec["enableServiceLinks"] is False, name

    def test_no_secret_is_an_argument_or_a_variable(self, values: Path) -> None:
        for spec in pod_templates(render(values)).values():
            (container,) = spec["containers"]
            assert not [each for each in container.get("env", []) if "secretKeyRef" in each.get("valueFrom", {})]


class TestPermissions:
    def test_the_webhook_may_list_and_watch_stores_and_nothing_else(self) -> None:
        assert granted(render(), "locus-operator-webhook") == {
            ("", "memory.locus.dev", "checkpointstores", "", verb) for verb in ("list", "watch")
        }

    def test_nobody_may_do_everything(self) -> None:
        for role in of_kind(render(), "Role", "ClusterRole"):
            for rule in role["rules"]:
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]

    def test_nobody_may_become_somebody_else(self) -> None:
        for role in of_kind([*render(), *render(WATCHED)], "Role", "ClusterRole"):
            for rule in role["rules"]:
                assert not {"bind", "escalate", "impersonate"} & set(rule["verbs"])
                # Who makes pods, tokens or roles has what they have; who runs commands in pods has theirs.
                groups = {"rbac.authorization.k8s.io", "apps", "batch", "certificates.k8s.io", "policy"}
                assert not groups & set(rule["apiGroups"])
                resources = {name.partition("/")[0] for name in rule["resources"]}
                assert not {"serviceaccounts", "users", "groups", "nodes"} & resources
                assert "pods" not in resources or set(rule["verbs"]) == {"list", "watch"}

    def test_secrets_are_never_listed_or_watched(self) -> None:
        for role in of_kind([*render(), *render(WATCHED)], "Role", "ClusterRole"):
            for rule in role["rules"]:
                assert "secrets" not in rule["resources"] or not {"list", "watch"} & set(rule["verbs"])

    def test_the_example_grants_the_same(self) -> None:
        example = list(yaml.safe_load_all(chart.RBAC_EXAMPLE.read_text()))
        for account in ("locus-operator-controller", "locus-operator-webhook"):
            assert granted(example, account) == granted(render(), account)
            assert granted(example, account)

    def test_the_operators_of_some_namespaces_keep_what_they_need_of_the_cluster(self) -> None:
        cluster = {each[1:] for each in granted(render(WATCHED), "locus-operator-controller") if each[0] == ""}
        classes = {"get", "list", "watch", "patch"}
        assert cluster == {
            *(("memory.locus.dev", "checkpointstoreclasses", "", verb) for verb in classes),
            ("memory.locus.dev", "checkpointstoreclasses/status", "", "patch"),
            ("memory.locus.dev", "checkpointstores", "", "list"),
            ("storage.k8s.io", "storageclasses", "", "get"),
            *(("", "namespaces", name, "get") for name in ("agents", "kube-system", "support")),
            *(
                ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", f"{NAMESPACE}-locus-operator", verb)
                for verb in ("get", "patch")
            ),
        }

    @pytest.mark.parametrize("namespace", WATCHED["watchNamespaces"])
    def test_the_operators_of_some_namespaces_may_do_there_what_others_may_everywhere(self, namespace: str) -> None:
        everywhere = {each[1:] for each in granted(render(), "locus-operator-controller") if each[0] == ""}
        here = {each[1:] for each in granted(render(WATCHED), "locus-operator-controller") if each[0] == namespace}
        without_namespace = {
            "checkpointstoreclasses",
            "checkpointstoreclasses/status",
            "storageclasses",
            "namespaces",
            "mutatingwebhookconfigurations",
        }
        assert here == {each for each in everywhere if each[1] not in without_namespace}

    def test_the_webhook_of_some_namespaces_has_nothing_of_the_cluster(self) -> None:
        assert {each[0] for each in granted(render(WATCHED), "locus-operator-webhook")} == {"agents", "support"}

    def test_without_a_certificate_of_its_own_the_controller_may_not_touch_webhooks(self) -> None:
        objects = render({"webhook": {"certificate": {"source": "certManager"}}})
        assert not [each for each in granted(objects, "locus-operator-controller") if "admission" in each[1]]

    def test_users_get_our_kinds_with_the_clusters_own_roles(self) -> None:
        objects = render()
        label = "rbac.authorization.k8s.io/aggregate-to-"
        may: dict[str, set[tuple[str, str]]] = {}
        for role in of_kind(objects, "ClusterRole"):
            for each in ("view", "edit", "admin"):
                if role["metadata"]["labels"].get(label + each) == "true":
                    rules = {
                        (name, verb) for rule in role["rules"] for name in rule["resources"] for verb in rule["verbs"]
                    }
                    may[each] = may.get(each, set()) | rules
        assert {verb for _, verb in may["view"]} == {"get", "list", "watch"}
        assert may["view"] < may["edit"] < may["admin"]
        assert ("checkpointstores", "create") in may["edit"]
        assert not [name for name, _ in may["edit"] if name == "checkpointstoreclasses"]
        assert ("checkpointstoreclasses", "create") in may["admin"]

    def test_service_binding_controllers_may_read_stores(self) -> None:
        role = named(render(), "ClusterRole", "locus-operator-service-binding")
        assert role["metadata"]["labels"]["servicebinding.io/controller"] == "true"
        assert [(each["resources"], each["verbs"]) for each in role["rules"]] == [
            (["checkpointstores"], ["get", "list", "watch"])
        ]


def granted(objects: list[Object], account: str) -> set[tuple[str, str, str, str, str]]:
    """What an account may do: namespace (empty for all), API group, resource, name (empty for all), verb."""
    roles = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each["rules"]
        for each in of_kind(objects, "Role", "ClusterRole")
    }
    found = set()
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        if account not in [each["name"] for each in binding["subjects"]]:
            continue
        namespace = binding["metadata"].get("namespace", "")
        for rule in roles[binding["roleRef"]["kind"], namespace, binding["roleRef"]["name"]]:
            found |= {
                (namespace, group, resource, name, verb)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for name in rule.get("resourceNames", [""])
                for verb in rule["verbs"]
            }
    return found
