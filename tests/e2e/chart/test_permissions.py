"""What the chart's accounts use, as the API server's audit log has it, against what they are granted."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chart.helm import NAMESPACE, RELEASE, render
from tests.chart.test_security import granted
from tests.e2e.chart.release import AGENTS, PER_POD, WEBHOOK_SELECTOR, Release
from tests.e2e.chart.service import Service
from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import Stores
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer

Object = dict[str, Any]
Permission = tuple[str, str, str, str, str]
TLS_SECRET = f"{RELEASE}-webhook-tls"
NEVER_ASKED_FOR = ("memory.locus.dev", "checkpointstores/finalizers", "", "update")
"""Admission asks for it on clusters that guard owner references, which is no request."""
ACCOUNTS = ("controller", "webhook", "uninstall-guard", "test")


@dataclass(frozen=True)
class Played:
    """What was asked for.

    Attributes:
        while_installed: Before `helm uninstall` took the permissions of pods that were still running.
        events: All; a watch is put down when it ends.
        grants: By account.
    """

    while_installed: list[Object]
    events: list[Object]
    grants: dict[str, set[Permission]]


@pytest.fixture(scope="module", params=[[], [AGENTS]], ids=["all namespaces", "one namespace"])
def played(
    request: pytest.FixtureRequest, cluster: ControlPlane, node: NodeProcess, redis_server: RedisServer
) -> Iterator[Played]:
    """Every kind of work that the operator has, played once."""
    redis_server.reset()
    with Service(cluster, NAMESPACE, WEBHOOK_SELECTOR, target_port=9443) as service:
        values: Object = {
            "watchNamespaces": request.param,
            "webhook": {"clientConfig": {"url": service.url}, "extraEnv": PER_POD},
            "controller": {"extraEnv": PER_POD[:1], "settings": {"driftIntervalSeconds": 2}},
        }
        begin = len(requests(cluster))
        release = Release(cluster, values)
        made_by_us = (f"lease/{RELEASE}", f"secret/{TLS_SECRET}")
        cluster.kubectl("delete", *made_by_us, f"--namespace={NAMESPACE}", "--ignore-not-found")
        try:
            release.install()
            play(release, Stores(cluster, AGENTS), redis_server)
            end = len(requests(cluster))
        finally:
            release.uninstall("--ignore-not-found")
        grants = {name: granted(render(values), f"{RELEASE}-{name}") for name in ACCOUNTS}
        events = requests(cluster)[begin:]
        yield Played(events[: end - begin], events, grants)


def test_nothing_was_refused(played: Played) -> None:
    guard = [each for each in played.events if each["user"]["username"] == user("uninstall-guard")]
    refused = [each for each in (*played.while_installed, *guard) if each["responseStatus"]["code"] == 403]
    assert [(each["user"]["username"], each["verb"], each["requestURI"]) for each in refused] == []


@pytest.mark.parametrize("account", ACCOUNTS)
def test_nothing_was_granted_in_vain(played: Played, account: str) -> None:
    events = [each for each in played.events if each["user"]["username"] == user(account)]
    used = [permission_of(each) for each in events if "objectRef" in each and each["responseStatus"]["code"] != 403]
    vain = {grant for grant in played.grants[account] if not any(covers(grant, each) for each in used)}
    assert {grant for grant in vain if grant[1:] != NEVER_ASKED_FOR} == set()


def user(account: str) -> str:
    return f"system:serviceaccount:{NAMESPACE}:{RELEASE}-{account}"


def play(release: Release, stores: Stores, server: RedisServer) -> None:
    """Have the operator do everything that it can do, once."""
    cluster = release.cluster
    wait_for(
        lambda: bool(cluster.kubectl("get", f"secret/{TLS_SECRET}", f"--namespace={NAMESPACE}")), timeout=10, what="TLS"
    )
    release.test()
    # A spoilt certificate is replaced.
    spoilt = json.dumps({"data": {"tls.crt": "c3BvaWx0"}})
    cluster.kubectl("patch", f"secret/{TLS_SECRET}", f"--namespace={NAMESPACE}", f"--patch={spoilt}")
    offer_class(cluster, server)
    inherited: Object = {"pods": {"selector": {"matchLabels": {"app": "none"}}}, "deletionPolicy": "Delete"}
    stores.apply("inherited", inherited)
    stores.wait("inherited", timeout=60)
    # Drift of a binding is corrected.
    stores.kubectl("patch", "secret/inherited-binding", f"--patch={json.dumps({'data': {'password': 'eA=='}})}")
    wait_for(lambda: stores.binding("inherited")["password"] != "x", timeout=30, what="the binding corrected")
    # A renamed binding is not left behind under its old name.
    stores.apply("inherited", inherited | {"bindingSecretName": "renamed"})
    old = ("get", "secret/inherited-binding", "--ignore-not-found", "--output=name")
    wait_for(lambda: not stores.kubectl(*old), timeout=30, what="the old binding gone")
    trusted = {"configMapKeyRef": {"name": "authority", "key": "ca.crt"}}
    stores.apply("elsewhere", {"backend": {"http": {"baseUrl": "https://127.0.0.1:1", "ca": trusted}}})
    stores.wait_for_reason("elsewhere", "SecretNotFound")
    play_files(cluster, stores)
    # A class in use is not deleted, and an Event tells.
    cluster.kubectl("delete", "cpsclass/shared", "--wait=false")
    stores.kubectl("delete", "cps", "--all", "--timeout=60s")
    wait_for(lambda: "shared" not in cluster.kubectl("get", "cpsclass"), timeout=60, what="the class gone")
    cluster.kubectl("delete", "cpsclass/distant")
    wait_for(lambda: unspoilt(cluster), timeout=60, what="another certificate")


def play_files(cluster: ControlPlane, stores: Stores) -> None:
    cluster.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "grows"},
            "provisioner": "nobody.example/nothing",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": True,
        }
    )
    file = {"size": "1Gi", "storageClassName": "grows"}
    stores.apply("files", {"backend": {"file": file}, "deletionPolicy": "Delete"})
    wait_for(lambda: bool(stores.kubectl("get", "pvc", "--output=name")), timeout=30, what="a claim")
    stores.apply("retained", {"backend": {"file": file}})
    wait_for(lambda: len(stores.kubectl("get", "pvc", "--output=name").split()) == 2, timeout=30, what="two claims")
    # What stays is marked as released.
    stores.kubectl("delete", "cps", "files", "retained", "--timeout=60s")
    stores.kubectl("delete", "pvc", "--all", "--timeout=30s")


def offer_class(cluster: ControlPlane, server: RedisServer) -> None:
    login = {"username": "default", "password": server.password}
    redis = {"addresses": [f"{server.host}:{server.port}"], "adminSecretRef": {"name": "redis-admin"}}
    trusted = {"configMapKeyRef": {"name": "authority", "key": "ca.crt"}}
    distant = {"baseUrl": "https://127.0.0.1:1", "ca": trusted}
    secret = {"metadata": {"name": "redis-admin", "namespace": NAMESPACE}, "stringData": login}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Secret"} | secret,
        store_class("shared", {"redis": redis}, {"memory.locus.dev/is-default-class": "true"}),
        store_class("distant", {"http": distant}),
    )
    cluster.kubectl("wait", "cpsclass/shared", "--for=condition=Ready", "--timeout=30s")


def store_class(name: str, backend: Object, annotations: Object | None = None) -> Object:
    return {
        "apiVersion": "memory.locus.dev/v1alpha1",
        "kind": "CheckpointStoreClass",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"backend": backend, "allowedNamespaces": {"from": "All"}},
    }


def unspoilt(cluster: ControlPlane) -> bool:
    return bool(cluster.get("secret", TLS_SECRET, NAMESPACE)["data"]["tls.crt"] != "c3BvaWx0")


def requests(cluster: ControlPlane) -> list[Object]:
    """Requests of the operator's accounts so far."""
    if not cluster.audit_log.exists():
        return []
    return [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]


def permission_of(event: Object) -> Permission:
    """What a request needed, in the terms of `granted`."""
    target = event["objectRef"]
    subresource = f"/{target['subresource']}" if "subresource" in target else ""
    # The API server authorizes a request for a namespace within that namespace.
    namespace, name = target.get("namespace", ""), target.get("name", "")
    return namespace, target.get("apiGroup", ""), target["resource"] + subresource, name, event["verb"]


def covers(grant: Permission, used: Permission) -> bool:
    """Whether a request needed a grant, or one like it."""
    namespace, group, resource, name, verb = grant
    return (
        namespace in ("", used[0]) and (group, resource, verb) == (used[1], used[2], used[4]) and name in ("", used[3])
    )
