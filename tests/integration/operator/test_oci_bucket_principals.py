"""Operators and agents without a key: each kind of principal signs with a token that OCI's own services give it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from locus_memory.errors import AuthenticationError
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from tests.emulators.oci_tokens import CLUSTER, INSTANCE, TokenServices, jwt, service_account_token
from tests.integration.operator.oci_stores import BucketStore, add_policy
from tests.servers.oci import COMPARTMENT, REGION, TENANCY, ObjectStorageServer

WORKLOAD = (
    "where all {request.principal.type='workload', request.principal.namespace='locus-system', "
    f"request.principal.service_account='locus-operator', request.principal.cluster_id='{CLUSTER}'}}"
)


@pytest.fixture
def tokens(oci_server: ObjectStorageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServices]:
    with TokenServices(oci_server, tmp_path) as services:
        for name, value in services.environment().items():
            monkeypatch.setenv(name, value)
        yield services


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pod that this process plays has the token of its service account."""
    path = tmp_path / "service-account-token"
    # The SDK has a fixed path, which is a pod's.
    monkeypatch.setattr("oci.auth.rpt_path_providers.OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", str(path))
    return path


def signing_as(store: BucketStore, operator: dict[str, Any], agents: dict[str, Any]) -> BucketStore:
    store.change(auth={"operator": operator, "agents": agents})
    store.sources = {}
    return store


def allow_operator(server: ObjectStorageServer, subject: str, condition: str = "") -> None:
    """Add what docs/provision/oci-bucket.md asks for."""
    for kind in ("buckets", "objects", "policies"):
        add_policy(server, [f"Allow {subject} to manage {kind} in compartment id {COMPARTMENT} {condition}"])


async def works(store: BucketStore) -> None:
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")
        assert await checkpointer.load("thread") == {"works": True}
        assert await checkpointer.list_threads() == ["thread"]


async def test_pods_on_oke_are_who_their_service_accounts_are(
    oci_bucket_store: BucketStore, tokens: TokenServices, account: Path
) -> None:
    agents = {"type": "workloadIdentity", "clusterId": CLUSTER, "serviceAccount": "agent"}
    store = signing_as(oci_bucket_store, {"type": "workloadIdentity"}, agents)
    account.write_text(service_account_token("locus-system", "somebody"))
    with pytest.raises(RefusedError) as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    account.write_text(service_account_token("locus-system", "locus-operator"))
    allow_operator(store.server, "any-user", WORKLOAD)
    done = await store.reconcile()
    assert (done.login, done.iam_statements) == (None, ())
    assert not any("PRIVATE" in value for value in done.binding.data.values())
    account.write_text(service_account_token("agents", "agent"))
    await works(store)
    for namespace, name in (("agents", "other"), ("other", "agent")):
        account.write_text(service_account_token(namespace, name))
        async with store.checkpointer() as checkpointer:
            with pytest.raises(AuthenticationError):
                await checkpointer.load("thread")


async def test_instances_are_in_dynamic_groups(oci_bucket_store: BucketStore, tokens: TokenServices) -> None:
    agents = {"type": "instancePrincipal", "dynamicGroup": "Default/agents"}
    store = signing_as(oci_bucket_store, {"type": "instancePrincipal"}, agents)
    allow_operator(store.server, "dynamic-group operators")
    subjects = ["dynamic-group operators"]
    store.server.admin("PUT", "principals", {"name": INSTANCE, "variables": {"a": "b"}, "subjects": subjects})
    done = await store.reconcile()
    assert done.iam_statements == ()
    subjects = ["dynamic-group 'default'/'agents'"]
    store.server.admin("PUT", "principals", {"name": INSTANCE, "variables": {"a": "b"}, "subjects": subjects})
    await works(store)
    store.server.admin("PUT", "principals", {"name": INSTANCE, "variables": {"a": "b"}, "subjects": []})
    async with store.checkpointer() as checkpointer:
        with pytest.raises(AuthenticationError):
            await checkpointer.load("thread")


async def test_resources_are_in_dynamic_groups(
    oci_prefix_store: BucketStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = {"type": "resourcePrincipal", "dynamicGroup": "agents"}
    store = signing_as(oci_prefix_store, {"type": "resourcePrincipal"}, agents)
    token, function = jwt(res_tenant=TENANCY), "ocid1.fnfunc.oc1..agent"
    (tmp_path / "rpst").write_text(token)
    (tmp_path / "key.pem").write_text(store.server.create_session(token, function))
    store.server.admin("PUT", "users", {"name": function, "buckets": {}})
    variables = {
        "VERSION": "2.2",
        "RPST": str(tmp_path / "rpst"),
        "PRIVATE_PEM": str(tmp_path / "key.pem"),
        "REGION": REGION,
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"OCI_RESOURCE_PRINCIPAL_{name}", value)
    allow_operator(store.server, "dynamic-group operators")
    subjects = ["dynamic-group operators"]
    store.server.admin("PUT", "principals", {"name": function, "variables": {"a": "b"}, "subjects": subjects})
    assert (await store.reconcile()).iam_statements == ()
    subjects = ["dynamic-group agents"]
    store.server.admin("PUT", "principals", {"name": function, "variables": {"a": "b"}, "subjects": subjects})
    await works(store)


@pytest.mark.parametrize("kind", ["workloadIdentity", "resourcePrincipal"])
async def test_an_operator_that_is_nobody_is_told_so(
    oci_bucket_store: BucketStore, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in ("OCI_RESOURCE_PRINCIPAL_VERSION", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    store = signing_as(oci_bucket_store, {"type": kind}, {"type": "resourcePrincipal", "dynamicGroup": "agents"})
    with pytest.raises(RefusedError, match=kind) as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.AUTHENTICATION_FAILED
