"""Who gets in: the statements that the operator writes or prints, tried on what they must not open."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import oci  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives import serialization

from locus_memory.connection import OCIBucketConnection
from locus_operator import engine
from locus_operator.backends.oci_bucket_claims import claim_object
from locus_operator.connections import Connections
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.errors import RefusedError
from tests.integration.operator.oci_stores import (
    POLICY_STATEMENT,
    BucketStore,
    add_policy,
    bucket_backend,
    identity_client,
    policies,
)
from tests.servers.oci import COMPARTMENT, NAMESPACE, REGION, ObjectStorageServer

models = oci.object_storage.models
BOTH = ["oci_bucket_store", "oci_prefix_store"]
SERVICE = f"Allow service objectstorage-{REGION} to manage object-family in compartment id {COMPARTMENT} where target.b"


@pytest.fixture(params=BOTH)
def each_store(request: pytest.FixtureRequest) -> BucketStore:
    found: BucketStore = request.getfixturevalue(request.param)
    return found


Attempt = Callable[[Any, BucketStore, BucketStore], Any]


def on_object(method: str, name: str, *arguments: Any) -> Attempt:
    """Try something on the object of another store."""

    def attempt(client: Any, own: BucketStore, other: BucketStore) -> Any:
        return getattr(client, method)(NAMESPACE, other.bucket, f"{other.prefix}{name}", *arguments)

    return attempt


FORBIDDEN: dict[str, Attempt] = {
    "read a head": on_object("get_object", "threads/t"),
    "look at a head": on_object("head_object", "threads/t"),
    "replace a head": on_object("put_object", "threads/t", b""),
    "write beside it": on_object("put_object", "threads/mine", b""),
    "write elsewhere": on_object("put_object", "mine", b""),
    "delete a head": on_object("delete_object", "threads/t"),
    "read the bucket": lambda client, _, other: client.get_bucket(NAMESPACE, other.bucket),
    "read its own bucket": lambda client, own, _: client.get_bucket(NAMESPACE, own.bucket),
    "change its own bucket": lambda client, own, _: client.update_bucket(
        NAMESPACE, own.bucket, models.UpdateBucketDetails(public_access_type="ObjectRead")
    ),
    "delete its own bucket": lambda client, own, _: client.delete_bucket(NAMESPACE, own.bucket),
    "drop its own rules": lambda client, own, _: client.delete_object_lifecycle_policy(NAMESPACE, own.bucket),
    "read old versions": lambda client, own, _: client.delete_object(NAMESPACE, own.bucket, "x", version_id="v"),
    "replicate": lambda client, own, _: client.create_replication_policy(
        NAMESPACE,
        own.bucket,
        models.CreateReplicationPolicyDetails(
            name="n", destination_region_name="us-ashburn-1", destination_bucket_name="b"
        ),
    ),
    "create a bucket": lambda client, *_: client.create_bucket(
        NAMESPACE, models.CreateBucketDetails(name="mine", compartment_id=COMPARTMENT)
    ),
    "list buckets": lambda client, *_: client.list_buckets(NAMESPACE, COMPARTMENT),
}


async def test_agents_reach_their_own_objects_and_nothing_else(each_store: BucketStore) -> None:
    own, other = each_store, each_store.sibling()
    for store in (own, other):
        await store.reconcile()
        async with store.checkpointer() as checkpointer:
            await checkpointer.save({"of": store.name}, "t")
    client = own.agents_client()
    for name, attempt in FORBIDDEN.items():
        with pytest.raises(oci.exceptions.ServiceError) as caught:
            attempt(client, own, other)
        assert (name, caught.value.status) == (name, 404)
    async with other.checkpointer() as checkpointer:
        assert await checkpointer.load("t") == {"of": other.name}


async def test_agents_in_a_shared_bucket_reach_no_claim_and_list_names(oci_prefix_store: BucketStore) -> None:
    store = oci_prefix_store
    await store.reconcile()
    client, name = store.agents_client(), claim_object(store.prefix)
    for method, arguments in (("get_object", ()), ("put_object", (b"",)), ("delete_object", ())):
        with pytest.raises(oci.exceptions.ServiceError, match="404"):
            getattr(client, method)(NAMESPACE, "shared", name, *arguments)
    with pytest.raises(oci.exceptions.ServiceError, match="404"):
        client.put_object(NAMESPACE, "shared", f"{store.prefix}other", b"")
    # The policy language cannot limit a listing to a prefix: docs/provision/oci-bucket.md says so.
    assert [each.name for each in client.list_objects(NAMESPACE, "shared").data.objects] == [name]


async def test_agents_cannot_write_policies(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    await store.reconcile()
    data = store.sources["agents"]
    client = identity_client(store.server)
    client.base_client.signer = oci.signer.Signer(
        data["tenancy"], data["user"], data["fingerprint"], None, private_key_content=data["privateKey"]
    )
    details = oci.identity.models.CreatePolicyDetails(
        compartment_id=COMPARTMENT, name="mine", description="mine", statements=[POLICY_STATEMENT]
    )
    with pytest.raises(oci.exceptions.ServiceError, match="NotAuthorizedOrNotFound"):
        client.create_policy(details)


# --- who writes the statements ---


async def test_statements_are_written_where_the_operator_may(each_store: BucketStore) -> None:
    done = await each_store.reconcile()
    assert done.iam_statements == ()
    [policy] = policies(each_store.server)
    user = each_store.sources["agents"]["user"]
    assert all(f"request.user.id='{user}'" in statement for statement in policy.statements)
    assert all(f"target.bucket.name='{each_store.bucket}'" in statement for statement in policy.statements)


async def test_statements_are_printed_where_the_operator_may_not(oci_server: ObjectStorageServer) -> None:
    store = bucket_backend(oci_server, policies=False)
    done = await engine.reconcile(store.request())
    store.binding = done.binding.data
    assert not any(action.kind == "IAM policy" for action in done.plan.actions)
    [statement] = done.iam_statements
    assert statement.startswith("Allow any-user to {OBJECT_INSPECT, OBJECT_READ, OBJECT_CREATE, OBJECT_OVERWRITE, OB")
    provisioned = next(each.message for each in done.conditions if each.type is ConditionType.PROVISIONED)
    assert "status.iamStatements" in provisioned
    assert "may not read policies" in provisioned
    client = store.agents_client()
    with pytest.raises(oci.exceptions.ServiceError):
        client.list_objects(NAMESPACE, store.bucket)
    add_policy(oci_server, done.iam_statements)
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_an_operator_that_may_only_read_policies_tries_once_and_sees_what_others_add(
    oci_server: ObjectStorageServer,
) -> None:
    store, connections = bucket_backend(oci_server, policies=False), Connections()
    add_policy(oci_server, [POLICY_STATEMENT.replace("manage", "inspect")])

    async def run() -> engine.Reconciled:
        return await engine.reconcile(replace(store.request(), connections=connections))

    first = await run()
    assert "create IAM policy" in str(first.plan)
    assert len(first.iam_statements) == 1
    second = await run()
    assert not second.plan
    assert second.iam_statements == first.iam_statements
    # Somebody who writes it by hand does not write it letter by letter.
    add_policy(oci_server, [f"  {first.iam_statements[0].replace(', ', ',').replace('Allow', 'ALLOW')}"])
    third = await run()
    assert (third.plan.actions, third.iam_statements) == ((), ())
    await connections.close()


async def test_rules_that_the_service_may_not_enforce_are_refused_with_the_statement(
    oci_server: ObjectStorageServer,
) -> None:
    store = bucket_backend(oci_server, policies=False)
    store.spec = {"retention": {"maxAge": "30d"}}
    with pytest.raises(RefusedError, match=SERVICE) as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    add_policy(oci_server, [f"{SERVICE}ucket.name='{store.bucket}'"])
    done = await store.reconcile()
    assert [action.kind for action in done.plan.actions] == ["lifecycle rules"]


@pytest.mark.parametrize(
    ("agents", "gap"),
    [
        ({"type": "workloadIdentity"}, "auth.agents.clusterId"),
        ({"type": "instancePrincipal"}, "auth.agents.dynamicGroup"),
        ({"type": "resourcePrincipal"}, "auth.agents.dynamicGroup"),
    ],
)
async def test_agents_that_nobody_can_name_are_not_let_in_and_the_field_is_named(
    oci_bucket_store: BucketStore, agents: dict[str, Any], gap: str
) -> None:
    store = oci_bucket_store
    store.change(auth={"operator": store.backend["ociBucket"]["auth"]["operator"], "agents": agents})
    done = await engine.reconcile(store.request())
    assert policies(store.server) == []
    assert any(gap in warning for warning in done.warnings)
    assert "<" in done.iam_statements[0]
    document = OCIBucketConnection.model_validate_json(done.binding.data["connection.json"])
    assert (document.private_key, document.user, done.login) == (None, None, None)
    assert not any("PRIVATE" in value for value in done.binding.data.values())


async def test_a_user_that_would_write_statements_of_his_own_is_refused(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    evil = "ocid1.user.oc1..x', request.user.id='y"
    store.sources = {**store.sources, "agents": {**store.sources["agents"], "user": evil}}
    with pytest.raises(RefusedError, match="OCID of a user") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.SECRET_INVALID


# --- Secrets ---


@pytest.mark.parametrize("side", ["operator", "agents"])
async def test_a_secret_that_lacks_keys_is_named_with_all_of_them(oci_bucket_store: BucketStore, side: str) -> None:
    store = oci_bucket_store
    store.sources = {**store.sources, side: {"user": store.sources[side]["user"], "key.pem": "hidden-value"}}
    pattern = rf"Secret '{side}' \(spec\.backend\.ociBucket\.auth\.{side}\.secretRef\) has no tenancy, no fingerprint"
    with pytest.raises(RefusedError, match=pattern) as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.SECRET_INVALID
    assert "hidden-value" not in str(caught.value)


async def test_a_revoked_operator_key_names_the_secret(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    data = store.sources["operator"]
    store.server.admin("DELETE", "keys", {"id": f"{data['tenancy']}/{data['user']}/{data['fingerprint']}"})
    with pytest.raises(RefusedError, match="Secret 'operator'") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.AUTHENTICATION_FAILED


async def test_a_key_that_is_none_is_explained_without_showing_it(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    store.sources = {**store.sources, "operator": {**store.sources["operator"], "privateKey": "hidden-value"}}
    with pytest.raises(RefusedError, match="Secret 'operator'") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.AUTHENTICATION_FAILED
    assert "hidden-value" not in str(caught.value)


async def test_an_encrypted_key_is_carried_with_its_pass_phrase(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    for side in ("operator", "agents"):
        key = serialization.load_pem_private_key(store.sources[side]["privateKey"].encode(), None)
        encrypted = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pass phrase"),
        )
        fields = {"privateKey": encrypted.decode(), "passphrase": "pass phrase"}
        store.sources = {**store.sources, side: {**store.sources[side], **fields}}
    done = await store.reconcile()
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")
    assert "pass phrase" not in f"{done!r} {done.conditions} {store.request()!r}"


async def test_a_replaced_agents_key_reaches_the_binding(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    first = await store.reconcile()
    key = store.server.create_key(store.sources["agents"]["user"], {})
    fields = {"fingerprint": key.fingerprint, "privateKey": key.private_key}
    store.sources = {**store.sources, "agents": {**store.sources["agents"], **fields}}
    second = await store.reconcile()
    assert not second.plan
    assert second.binding.digest != first.binding.digest
    assert store.sources["operator"]["privateKey"] not in str(second.binding.data)
