"""What the webhook does to a pod, stated on the pod that results."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locus_operator.injection.opt_in import binding_volume, files_volume
from tests.unit.operator.pods import INJECTED, LABEL, SECRET, answer, environment, injected, make_pod


def test_the_binding_secret_becomes_a_volume() -> None:
    (volume,) = injected(make_pod("support"))["spec"]["volumes"]

    assert volume == {"name": "locus-binding-support", "secret": {"secretName": "support-binding"}}


def test_the_volume_is_mounted_read_only_below_the_binding_root() -> None:
    (container,) = injected(make_pod("support"))["spec"]["containers"]

    assert container["volumeMounts"] == [
        {"name": "locus-binding-support", "mountPath": "/bindings/support", "readOnly": True}
    ]
    assert environment(container) == {
        "SERVICE_BINDING_ROOT": "/bindings",
        "LOCUS_CHECKPOINT_STORE": "support",
    }


def test_every_container_gets_it_init_containers_included() -> None:
    pod = make_pod("support", initContainers=[{"name": "migrate"}])
    pod["spec"]["containers"].append({"name": "sidecar"})

    spec = injected(pod)["spec"]

    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["volumeMounts"][0]["mountPath"] == "/bindings/support"
        assert environment(container)["LOCUS_CHECKPOINT_STORE"] == "support"


def test_an_annotation_tells_what_was_injected() -> None:
    assert injected(make_pod("support"))["metadata"]["annotations"] == {INJECTED: "support"}


def test_everything_else_stays_as_it_was() -> None:
    pod = make_pod(
        "support",
        annotations={"team": "a/b~c"},
        container={"env": [{"name": "A", "value": "1"}], "volumeMounts": [{"name": "x", "mountPath": "/x"}]},
        volumes=[{"name": "x", "emptyDir": {}}],
    )

    patched = injected(pod)

    assert patched["metadata"]["annotations"]["team"] == "a/b~c"
    assert patched["spec"]["volumes"][0] == {"name": "x", "emptyDir": {}}
    assert patched["spec"]["containers"][0]["env"][0] == {"name": "A", "value": "1"}
    assert patched["spec"]["containers"][0]["volumeMounts"][0] == {"name": "x", "mountPath": "/x"}


@pytest.mark.parametrize("nothing", ["null", "[]"])
def test_null_and_empty_lists_are_filled(nothing: str) -> None:
    pod = make_pod(
        "support",
        container={"env": json.loads(nothing), "volumeMounts": json.loads(nothing)},
        volumes=json.loads(nothing),
    )

    (volume,) = injected(pod)["spec"]["volumes"]

    assert volume["name"] == "locus-binding-support"


def test_a_pod_without_label_is_left_alone() -> None:
    pod = make_pod(None)

    assert injected(pod) == pod


# Several stores


def test_the_annotation_of_the_same_key_names_several_stores_the_first_one_is_the_default() -> None:
    patched = injected(make_pod("", annotations={LABEL: "support, shared"}))

    (container,) = patched["spec"]["containers"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/bindings/support", "/bindings/shared"]
    assert environment(container)["LOCUS_CHECKPOINT_STORE"] == "support"
    assert patched["metadata"]["annotations"][INJECTED] == "support,shared"


def test_a_label_that_the_annotation_contradicts_is_reported() -> None:
    patched, (warning,) = answer(make_pod("other", annotations={LABEL: "support,shared"}))

    assert patched["metadata"]["annotations"][INJECTED] == "support,shared"
    assert f"label {LABEL}=other is ignored" in warning


def test_a_store_that_is_named_twice_is_mounted_once() -> None:
    spec = injected(make_pod("a", annotations={LABEL: "a,b,a"}))["spec"]

    assert [volume["name"] for volume in spec["volumes"]] == ["locus-binding-a", "locus-binding-b"]


# The Secret's name


@pytest.mark.parametrize("annotation", ["custom", "support=custom", " support = custom "])
def test_an_annotation_names_the_secret_of_a_store_with_a_binding_secret_name(annotation: str) -> None:
    (volume,) = injected(make_pod("support", annotations={SECRET: annotation}))["spec"]["volumes"]

    assert volume["secret"]["secretName"] == "custom"


def test_the_secrets_of_several_stores_are_named_by_store() -> None:
    spec = injected(make_pod("a", annotations={LABEL: "a,b,c", SECRET: "a=x,c=y"}))["spec"]

    assert [volume["secret"]["secretName"] for volume in spec["volumes"]] == ["x", "b-binding", "y"]


def test_one_secret_for_several_stores_is_unclear_so_nothing_is_injected() -> None:
    pod = make_pod("a", annotations={LABEL: "a,b", SECRET: "custom"})

    patched, (warning,) = answer(pod)

    assert patched == pod
    assert "write store=secret for each store" in warning


def test_a_secret_with_an_impossible_name_leaves_out_its_store() -> None:
    patched, (warning,) = answer(make_pod("a", annotations={LABEL: "a,b", SECRET: "a=Bad_Name"}))

    assert patched["metadata"]["annotations"][INJECTED] == "b"
    assert "'Bad_Name' is no name of a Secret, so store a is not injected" in warning


def test_a_secret_of_a_store_that_the_pod_does_not_ask_for_is_reported() -> None:
    patched, (warning,) = answer(make_pod("a", annotations={SECRET: "b=custom"}))

    assert patched["metadata"]["annotations"][INJECTED] == "a"
    assert "the pod asks for no store 'b'" in warning


# Names


@pytest.mark.parametrize("name", ["Support", "my_store", "-a", "a.", "a..b", "s" * 64])
def test_a_bad_store_name_is_a_warning_that_says_what_to_write(name: str) -> None:
    pod = make_pod(name)

    patched, (warning,) = answer(pod)

    assert patched == pod
    assert f"label {LABEL}: {name!r} is no name of a CheckpointStore" in warning
    assert "write lower-case letters, digits, '-' and '.', at most 63 characters" in warning


def test_an_empty_label_is_a_warning() -> None:
    _, (warning,) = answer(make_pod(""))

    assert f"label {LABEL} is empty: write the name of a CheckpointStore" in warning


def test_bad_names_do_not_keep_good_ones_out() -> None:
    patched, (warning,) = answer(make_pod("", annotations={LABEL: "good,Bad"}))

    assert patched["metadata"]["annotations"][INJECTED] == "good"
    assert "'Bad'" in warning


LABEL_NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", fullmatch=True)


@given(st.sets(LABEL_NAMES, min_size=2, max_size=2))
def test_volumes_are_dns_labels_and_differ_between_stores(names: set[str]) -> None:
    volumes = [make(name) for name in names for make in (binding_volume, files_volume)]

    assert len(set(volumes)) == 4
    for volume in volumes:
        assert len(volume) <= 63
        assert volume.strip("abcdefghijklmnopqrstuvwxyz0123456789-") == ""
        assert volume[0] != "-" != volume[-1]


def test_no_changed_volume_name_equals_an_unchanged_one() -> None:
    changed = binding_volume("a.b")

    unchanged = binding_volume(changed.removeprefix("locus-bound-"))

    assert changed != unchanged


# What the user wrote


def test_an_existing_binding_root_is_honoured() -> None:
    root = {"name": "SERVICE_BINDING_ROOT", "value": "/opt/services"}

    (container,) = injected(make_pod("support", container={"env": [root]}))["spec"]["containers"]

    assert container["volumeMounts"][0]["mountPath"] == "/opt/services/support"
    assert container["env"].count(root) == 1
    assert [each["name"] for each in container["env"]] == ["SERVICE_BINDING_ROOT", "LOCUS_CHECKPOINT_STORE"]


@pytest.mark.parametrize(
    "variable",
    [
        {"valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}},
        {"value": "$(HOME)/bindings"},
        {"value": "relative"},
        {"value": "/with:colon"},
        {"value": ""},
    ],
)
def test_a_binding_root_that_only_the_kubelet_knows_leaves_the_container_alone(variable: dict[str, Any]) -> None:
    pod = make_pod("support", container={"env": [{"name": "SERVICE_BINDING_ROOT"} | variable]})

    patched, (warning,) = answer(pod)

    assert patched == pod
    assert "container agent: SERVICE_BINDING_ROOT has no value that is known" in warning


@pytest.mark.parametrize("path", ["/bindings/support", "/bindings/support/", "/bindings//support"])
def test_an_own_mount_is_left_alone_with_a_warning(path: str) -> None:
    own = {"name": "mine", "mountPath": path}
    pod = make_pod("support", container={"volumeMounts": [own]}, volumes=[{"name": "mine", "emptyDir": {}}])

    patched, (warning,) = answer(pod)

    assert patched["spec"]["containers"][0]["volumeMounts"] == [own]
    assert patched["spec"]["volumes"] == [{"name": "mine", "emptyDir": {}}]
    assert INJECTED not in patched["metadata"].get("annotations", {})
    assert "container agent: its own mount at /bindings/support is left alone" in warning


def test_an_own_variable_is_left_alone_with_a_warning() -> None:
    own = {"name": "LOCUS_CHECKPOINT_STORE", "value": "other"}

    patched, (warning,) = answer(make_pod("support", container={"env": [own]}))

    assert own in patched["spec"]["containers"][0]["env"]
    assert [each["name"] for each in patched["spec"]["containers"][0]["env"]].count(own["name"]) == 1
    assert "container agent: its own LOCUS_CHECKPOINT_STORE is left alone" in warning


def test_an_own_variable_with_the_same_value_is_no_conflict() -> None:
    own = {"name": "LOCUS_CHECKPOINT_STORE", "value": "support"}

    assert own in injected(make_pod("support", container={"env": [own]}))["spec"]["containers"][0]["env"]


@pytest.mark.parametrize("source", [{"emptyDir": {}}, {"secret": {"secretName": "another"}}])
def test_an_own_volume_of_our_name_is_left_alone_with_a_warning(source: dict[str, Any]) -> None:
    pod = make_pod("support", volumes=[{"name": "locus-binding-support"} | source])

    patched, (warning,) = answer(pod)

    assert patched == pod
    assert "volume locus-binding-support is left alone, so store support is not injected" in warning


# Calling again


def test_a_second_call_changes_nothing_although_the_api_server_added_defaults() -> None:
    pod = injected(make_pod("support"))
    pod["spec"]["volumes"][0]["secret"]["defaultMode"] = 420

    assert injected(pod) == pod


def test_a_container_that_came_later_is_injected_by_the_second_call() -> None:
    pod = injected(make_pod("support"))
    pod["spec"]["containers"].append({"name": "sidecar"})

    patched = injected(pod)

    assert patched["spec"]["containers"][1]["volumeMounts"][0]["mountPath"] == "/bindings/support"
    assert len(patched["spec"]["volumes"]) == 1
