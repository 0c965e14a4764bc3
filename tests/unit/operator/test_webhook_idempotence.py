"""Whatever people and other webhooks have written: what was injected once is not injected again, in either order."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from locus_operator.injection.known_stores import KnownStore
from locus_operator.injection.pod import inject
from tests.unit.operator.pods import INJECTED, LABEL, SECRET, answer, make_pod, make_store

VARIABLES = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["SERVICE_BINDING_ROOT", "LOCUS_CHECKPOINT_STORE", "PATH"])},
        optional={"value": st.sampled_from(["", "/bindings", "/opt", "a", "$(X)"])},
    ),
    max_size=3,
)
MOUNTS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        name=st.sampled_from(["own", "locus-binding-a", "locus-files-a"]),
        mountPath=st.sampled_from(["/bindings/a", "/opt/a", "/var/lib/locus/a", "/x"]),
    ),
    max_size=2,
)
CONTAINERS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(dict, name=st.sampled_from("cd"), env=VARIABLES | st.none(), volumeMounts=MOUNTS | st.none()),
    min_size=1,
    max_size=2,
)
VOLUMES = st.lists(
    st.sampled_from(
        [
            {"name": "own", "emptyDir": {}},
            {"name": "locus-binding-a", "emptyDir": {}},
            {"name": "locus-binding-b", "secret": {"secretName": "b-binding"}},
            {"name": "locus-files-a", "emptyDir": {}},
        ]
    ),
    max_size=2,
    unique_by=lambda volume: str(volume["name"]),
)
STORES = st.lists(
    st.builds(
        make_store,
        st.sampled_from(["a", "b", "c.d", "e"]),
        selector=st.sampled_from([None, {}, {"app": "agent"}, {"app": "other"}]),
        containers=st.sampled_from([None, ["c"], ["d"], ["nowhere"]]),
        bindingSecretName=st.sampled_from([None, "elsewhere"]),
        backend=st.sampled_from([{"memory": {}}, {"file": {"size": "1Gi"}}]),
    ),
    max_size=4,
    unique_by=lambda store: store.name,
)
PODS = st.builds(
    lambda asked, secret, containers, init, volumes, mark: (
        make_pod(
            "a",
            annotations={LABEL: ",".join(asked)}
            | ({SECRET: secret} if secret else {})
            | ({INJECTED: mark} if mark else {}),
            container={},
            initContainers=init,
            volumes=volumes,
        )
        | {"spec": {"containers": containers, "initContainers": init, "volumes": volumes}}
    ),
    asked=st.lists(st.sampled_from(["a", "b", "c.d", "Bad"]), max_size=3),
    secret=st.sampled_from([None, "custom", "a=custom", "b=Bad_Name"]),
    containers=CONTAINERS,
    init=CONTAINERS | st.none(),
    volumes=VOLUMES | st.none(),
    mark=st.sampled_from([None, "a", "b,invented"]),
)


@given(pod=PODS, stores=STORES, selects=st.booleans())
def test_injection_is_idempotent(pod: Any, stores: list[KnownStore], selects: bool) -> None:
    once, warnings = answer(pod, *stores, selects=selects)
    twice, more = answer(once, *stores, selects=selects)

    assert twice == once
    # A volume or mount that the user prepared under our own name may be taken as ours by the second call.
    assert set(more) <= set(warnings)
    assert inject(once, {store.name: store for store in stores}, selects=selects).added == ()


@given(pod=PODS, stores=STORES)
def test_a_labelled_pod_of_an_enabled_namespace_comes_out_alike_whichever_webhook_is_called_first(
    pod: Any, stores: list[KnownStore]
) -> None:
    asked_first, _ = answer(answer(pod, *stores)[0], *stores, selects=True)
    selected_first, _ = answer(answer(pod, *stores, selects=True)[0], *stores)

    assert outcome(asked_first) == outcome(selected_first)
    assert answer(asked_first, *stores)[0] == asked_first


def outcome(pod: Any) -> Any:
    """The pod without the order of what has none."""
    pod = copy.deepcopy(pod)
    for container in [*(pod["spec"]["initContainers"] or []), *pod["spec"]["containers"]]:
        container["volumeMounts"] = sorted(container.get("volumeMounts") or [], key=json.dumps)
        container["env"] = container.get("env") or []
    pod["spec"]["volumes"] = sorted(pod["spec"]["volumes"] or [], key=json.dumps)
    mark = pod["metadata"]["annotations"].pop(INJECTED, "")
    return pod, set(mark.split(","))


@given(pod=PODS, stores=STORES, selects=st.booleans())
def test_nothing_that_was_there_is_changed_or_lost(pod: Any, stores: list[KnownStore], selects: bool) -> None:
    patched, _ = answer(pod, *stores, selects=selects)

    pairs = list(
        zip(
            [*(pod["spec"]["initContainers"] or []), *pod["spec"]["containers"], pod["spec"]],
            [*(patched["spec"]["initContainers"] or []), *patched["spec"]["containers"], patched["spec"]],
            strict=True,
        )
    )
    for before, after in pairs:
        for key in ("env", "volumeMounts", "volumes"):
            there = before.get(key) or []
            assert (after.get(key) or [])[: len(there)] == there
    names = [volume["name"] for volume in patched["spec"]["volumes"] or []]
    assert len(names) == len(set(names)), "the API server refuses two volumes of one name"
    for before, after in pairs[:-1]:
        own, mounted = paths(before), paths(after)
        assert len(set(mounted[len(own) :]) - set(own)) == len(mounted) - len(own), "and two mounts at one path"


def paths(container: Any) -> list[str]:
    return [mount["mountPath"] for mount in container["volumeMounts"] or []]
