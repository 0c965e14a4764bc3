"""What the webhook makes of what it knows about the stores of a pod's namespace."""

from typing import Any

import pytest

from locus_operator.injection.known_stores import read_store
from locus_operator.injection.pod import inject
from tests.unit.operator.pods import (
    INJECTED,
    LABEL,
    SECRET,
    answer,
    environment,
    injected,
    make_pod,
    make_store,
    mounts,
)


def mark(pod: dict[str, Any]) -> str:
    return str(pod["metadata"].get("annotations", {}).get(INJECTED, ""))


def secrets(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["secret"]["secretName"] for each in pod["spec"]["volumes"] if "secret" in each}


# spec.bindingSecretName


def test_the_secret_that_the_store_names_is_mounted_without_the_pods_saying_so() -> None:
    pod = injected(make_pod("support"), make_store("support", bindingSecretName="database"))

    assert secrets(pod) == {"locus-binding-support": "database"}


def test_the_pods_own_annotation_overrides_it() -> None:
    store = make_store("support", bindingSecretName="database")

    pod = injected(make_pod("support", annotations={SECRET: "custom"}), store)

    assert secrets(pod) == {"locus-binding-support": "custom"}


def test_a_secret_that_was_renamed_since_an_earlier_call_is_no_conflict() -> None:
    pod = injected(make_pod("support"), make_store("support"))

    again, warnings = answer(pod, make_store("support", bindingSecretName="database"))

    assert (again, warnings) == (pod, [])


def test_stores_of_other_namespaces_do_not_count() -> None:
    other = make_pod("support")

    assert secrets(injected(other)) == {"locus-binding-support": "support-binding"}


# spec.pods.containers


def test_only_the_containers_that_the_store_names_get_it() -> None:
    pod = make_pod("support", initContainers=[{"name": "migrate"}])
    pod["spec"]["containers"].append({"name": "proxy"})

    patched = injected(pod, make_store("support", containers=["agent", "migrate"]))

    agent, proxy = patched["spec"]["containers"]
    assert (
        mounts(agent) == mounts(patched["spec"]["initContainers"][0]) == {"/bindings/support": "locus-binding-support"}
    )
    assert proxy == {"name": "proxy"}


def test_several_stores_go_to_their_own_containers_each_with_its_own_default() -> None:
    pod = make_pod("", annotations={LABEL: "b,a"})
    pod["spec"]["containers"] = [{"name": "one"}, {"name": "two"}, {"name": "both"}]
    stores = make_store("a", containers=["one", "both"]), make_store("b", containers=["two", "both"])

    one, two, both = injected(pod, *stores)["spec"]["containers"]

    assert [set(mounts(each)) for each in (one, two, both)] == [
        {"/bindings/a"},
        {"/bindings/b"},
        {"/bindings/a", "/bindings/b"},
    ]
    assert [environment(each)["LOCUS_CHECKPOINT_STORE"] for each in (one, two, both)] == ["a", "b", "b"]


def test_a_pod_without_such_a_container_is_left_alone_with_a_warning() -> None:
    pod = make_pod("support")

    patched, (warning,) = answer(pod, make_store("support", containers=["worker", "api"]))

    assert patched == pod
    assert "its spec.pods.containers names api, worker, and the pod has no such container" in warning


# spec.pods.selector


def test_a_pod_without_label_is_selected_where_the_namespace_has_opted_in() -> None:
    pod = injected(make_pod(None), make_store("support", {"app": "agent"}), selects=True)

    assert mark(pod) == "support"
    assert environment(pod["spec"]["containers"][0])["LOCUS_CHECKPOINT_STORE"] == "support"


def test_nowhere_else() -> None:
    pod = make_pod(None)

    assert injected(pod, make_store("support", {"app": "agent"})) == pod


@pytest.mark.parametrize("store", [make_store("support", {"app": "other"}), make_store("support")], ids=["no", "none"])
def test_a_pod_that_does_not_match_is_not_selected(store: Any) -> None:
    assert injected(make_pod(None), store, selects=True) == make_pod(None)


def test_an_empty_selector_matches_all_pods() -> None:
    pod = make_pod(None)
    del pod["metadata"]["labels"]

    assert mark(injected(pod, make_store("support", {}), selects=True)) == "support"


def test_stores_that_select_come_in_the_order_of_their_names_after_those_that_are_asked_for() -> None:
    stores = [make_store(name, {}) for name in ("d", "b", "c")]

    pod = injected(make_pod("c"), *stores, selects=True)

    assert mark(pod) == "c,b,d"
    assert environment(pod["spec"]["containers"][0])["LOCUS_CHECKPOINT_STORE"] == "c"
    assert environment(injected(make_pod(None), *stores, selects=True)["spec"]["containers"][0]) == {
        "SERVICE_BINDING_ROOT": "/bindings",
        "LOCUS_CHECKPOINT_STORE": "b",
    }


def test_a_store_that_selects_a_pod_that_asks_for_it_is_injected_once() -> None:
    pod = injected(injected(make_pod("a"), make_store("a", {})), make_store("a", {}), selects=True)

    assert mark(pod) == "a"
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["locus-binding-a"]
    assert inject(make_pod("a"), {"a": make_store("a", {})}, selects=True).stores == ("a",)


def test_a_secret_without_its_store_is_meant_for_the_only_one_that_selects_the_pod() -> None:
    pod = make_pod(None, annotations={SECRET: "custom"})

    assert secrets(injected(pod, make_store("a", {}), selects=True)) == {"locus-binding-a": "custom"}


def test_the_mark_of_the_call_for_selected_pods_survives_the_one_for_labelled_pods() -> None:
    stores = make_store("a"), make_store("b", {})

    pod = injected(injected(make_pod("a"), *stores, selects=True), *stores)

    assert mark(pod) == "a,b"


def test_a_secret_named_for_a_store_that_may_select_the_pod_is_no_mistake() -> None:
    pod = make_pod("a", annotations={SECRET: "b=custom"})

    assert secrets(injected(pod, make_store("b", {}), selects=True))["locus-binding-b"] == "custom"
    assert mark(injected(pod, make_store("b", {}))) == "a"


def test_a_store_that_is_being_deleted_selects_no_more() -> None:
    body = {"metadata": {"name": "a", "deletionTimestamp": "now"}, "spec": {"pods": {"selector": {}}}}

    assert injected(make_pod(None), read_store(body), selects=True) == make_pod(None)


def test_the_image_of_a_static_pod_is_left_alone_since_it_may_not_mount_secrets() -> None:
    pod = make_pod("a", annotations={"kubernetes.io/config.mirror": "x"})

    assert injected(pod, make_store("b", {}), selects=True) == pod


# File stores


def file_store(**member: Any) -> Any:
    return make_store("support", backend={"file": member})


def test_the_volume_of_a_file_store_is_mounted_beside_its_binding() -> None:
    pod = injected(make_pod("support"), file_store(size="1Gi"))

    assert mounts(pod["spec"]["containers"][0]) == {
        "/bindings/support": "locus-binding-support",
        "/var/lib/locus/support": "locus-files-support",
    }
    assert pod["spec"]["volumes"][1] == {
        "name": "locus-files-support",
        "persistentVolumeClaim": {"claimName": "support-checkpoints"},
    }
    (mount,) = [each for each in pod["spec"]["containers"][0]["volumeMounts"] if each["name"] == "locus-files-support"]
    assert "readOnly" not in mount, "it is written to"


def test_its_directory_does_not_depend_on_the_root_of_the_bindings() -> None:
    root = {"name": "SERVICE_BINDING_ROOT", "value": "/opt"}

    pod = injected(make_pod("support", container={"env": [root]}), file_store(size="1Gi"))

    assert set(mounts(pod["spec"]["containers"][0])) == {"/opt/support", "/var/lib/locus/support"}


def test_only_the_stores_own_containers_get_the_volume() -> None:
    pod = make_pod("support")
    pod["spec"]["containers"].append({"name": "proxy"})

    store = make_store("support", containers=["agent"], backend={"file": {"size": "1Gi"}})

    assert injected(pod, store)["spec"]["containers"][1] == {"name": "proxy"}


@pytest.mark.parametrize(
    ("spec", "status", "claim", "is_undecided"),
    [
        ({"backend": {"file": {"size": "1Gi"}}}, {}, "s-checkpoints", False),
        ({"backend": {"file": {"existingClaim": "mine"}}}, {}, "mine", False),
        ({"backend": {"file": {"size": "1Gi"}}}, {"claims": {"volumeClaim": "real"}}, "real", False),
        ({"backend": {"redis": {}}}, {}, None, False),
        ({"className": "shared"}, {}, None, True),
        ({}, {}, None, True),
        ({"className": "shared"}, {"backend": "file"}, None, True),
        ({"className": "shared"}, {"backend": "redis"}, None, False),
        ({"className": "shared"}, {"backend": "file", "claims": {"volumeClaim": "real"}}, "real", False),
    ],
)
def test_where_the_claim_comes_from(spec: Any, status: Any, claim: str | None, is_undecided: bool) -> None:
    store = read_store({"metadata": {"name": "s"}, "spec": spec, "status": status})

    assert (store.claim, store.is_undecided) == (claim, is_undecided)


def test_a_store_whose_class_may_keep_files_is_injected_with_a_warning() -> None:
    store = read_store({"metadata": {"name": "support"}, "spec": {"className": "shared"}})

    patched, (warning,) = answer(make_pod("support"), store)

    assert mark(patched) == "support"
    assert "create the pod again when the store is Ready" in warning


def test_an_own_volume_under_the_name_of_the_files_is_left_alone_and_the_binding_mounted() -> None:
    pod = make_pod("support", volumes=[{"name": "locus-files-support", "emptyDir": {}}])

    patched, (warning,) = answer(pod, file_store(size="1Gi"))

    assert set(mounts(patched["spec"]["containers"][0])) == {"/bindings/support"}
    assert "so the files of store support are not mounted: rename the volume" in warning


def test_an_own_mount_at_the_files_is_left_alone_with_a_warning() -> None:
    own = {"name": "mine", "mountPath": "/var/lib/locus/support"}
    pod = make_pod("support", container={"volumeMounts": [own]}, volumes=[{"name": "mine", "emptyDir": {}}])

    patched, (warning,) = answer(pod, file_store(size="1Gi"))

    assert [volume["name"] for volume in patched["spec"]["volumes"]] == ["mine", "locus-binding-support"]
    assert "its own mount at /var/lib/locus/support is left alone" in warning


# What is known of a store that nobody checked


@pytest.mark.parametrize("selector", [{"matchExpressions": [{"key": "a", "operator": "In"}]}, {"matchLabels": []}, 7])
def test_a_selector_that_is_none_selects_nothing(selector: Any) -> None:
    store = read_store({"metadata": {"name": "s"}, "spec": {"pods": {"selector": selector}}})

    assert store.selector is None


# What the controller learns from it


def test_a_pod_that_was_missed_is_told_from_one_that_was_not() -> None:
    known = {"a": make_store("a"), "b": make_store("b")}
    missed = make_pod("", annotations={LABEL: "a,b"})
    half = inject(make_pod("a"), known).pod
    half["metadata"]["annotations"][LABEL] = "a,b"

    assert inject(missed, known).added == ("a", "b")
    assert inject(half, known).added == ("b",)
    assert inject(inject(missed, known).pod, known).added == ()


def test_a_pod_without_its_files_was_missed() -> None:
    pod = inject(make_pod("support")).pod

    assert inject(pod, {"support": file_store(size="1Gi")}).added == ("support",)


def test_what_the_user_prepared_was_not_missed() -> None:
    own = {"name": "mine", "mountPath": "/bindings/support"}
    pod = make_pod("support", container={"volumeMounts": [own]}, volumes=[{"name": "mine", "emptyDir": {}}])

    injection = inject(pod)

    assert (injection.added, injection.left_out) == ((), ())


@pytest.mark.parametrize(
    "pod",
    [
        make_pod("My_Store"),
        make_pod(""),
        make_pod("a", annotations={SECRET: "a=No_Name"}),
        make_pod("a", volumes=[{"name": "locus-binding-a", "emptyDir": {}}]),
    ],
)
def test_what_cannot_be_injected_is_told_from_what_was_missed(pod: Any) -> None:
    injection = inject(pod)

    assert injection.added == ()
    assert injection.left_out == injection.warnings != ()
