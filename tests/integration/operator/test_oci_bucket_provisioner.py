"""What only OCI buckets have: settings, lifecycle rules and replication; their drift, and what is left as it is."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import oci  # type: ignore[import-untyped]
import pytest

from locus_operator import engine
from locus_operator.connections import Connections
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.errors import RefusedError, UnavailableError
from tests.integration.operator.oci_stores import BucketStore, identity_client, policies
from tests.servers.oci import COMPARTMENT, NAMESPACE, ObjectStorageServer
from tests.servers.processes import free_port

models = oci.object_storage.models
RETENTION = {"retention": {"maxAge": "30d", "archiveAfter": "10d"}}
KEY = "ocid1.key.oc1.eu-frankfurt-1.vault.key"
REPLICATION = {"destinationRegion": "eu-amsterdam-1", "destinationBucket": "copy"}


@pytest.fixture
def client(oci_server: ObjectStorageServer) -> Iterator[Any]:
    """Somebody with all rights, who does not know of the operator."""
    found = oci_server.client()
    yield found
    found.base_client.session.close()


@pytest.fixture
def full_store(oci_bucket_store: BucketStore) -> BucketStore:
    """A store that has everything which can drift."""
    oci_bucket_store.change(versioning="Enabled", kmsKeyId=KEY, replication=REPLICATION)
    oci_bucket_store.spec = RETENTION
    return oci_bucket_store


def rules(client: Any, bucket: str) -> dict[str, Any]:
    try:
        items = client.get_object_lifecycle_policy(NAMESPACE, bucket).data.items
    except oci.exceptions.ServiceError as error:
        if error.code != "LifecyclePolicyNotFound":
            raise
        return {}
    return {rule.name: rule for rule in items}


def put_rules(client: Any, bucket: str, items: list[Any]) -> None:
    details = models.PutObjectLifecyclePolicyDetails(items=items)
    client.put_object_lifecycle_policy(NAMESPACE, bucket, details)


def foreign_rule(name: str = "theirs", days: int = 3, **names: list[str]) -> Any:
    return models.ObjectLifecycleRule(
        name=name,
        action="DELETE",
        time_amount=days,
        time_unit="DAYS",
        is_enabled=True,
        target="objects",
        object_name_filter=models.ObjectNameFilter(**(names or {"inclusion_prefixes": ["other/"]})),
    )


def message(done: engine.Reconciled, kind: ConditionType) -> str:
    return next(each.message for each in done.conditions if each.type is kind)


async def test_a_bucket_is_private_and_as_the_spec_says(full_store: BucketStore, client: Any) -> None:
    done = await full_store.reconcile()
    bucket = client.get_bucket(NAMESPACE, full_store.bucket).data
    assert bucket.public_access_type == "NoPublicAccess"
    assert (bucket.versioning, bucket.storage_tier, bucket.kms_key_id) == ("Enabled", "Standard", KEY)
    claim = {"cluster": "test-cluster", "uid": "uid-1", "store": f"agents/{full_store.name}"}
    assert json.loads(bucket.freeform_tags["locus-memory"]) == claim
    assert (done.claims.bucket, done.claims.prefix) == (full_store.bucket, None)
    assert sorted(rules(client, full_store.bucket)) == [
        "locus-memory-archive",
        "locus-memory-checkpoints",
        "locus-memory-parts",
        "locus-memory-uploads",
        "locus-memory-versions",
    ]
    [replication] = client.list_replication_policies(NAMESPACE, full_store.bucket).data
    assert (replication.destination_region_name, replication.destination_bucket_name) == ("eu-amsterdam-1", "copy")


# --- drift ---

Sabotage = Callable[[Any, BucketStore], Any]


def setting(**changes: Any) -> Sabotage:
    return lambda client, store: client.update_bucket(NAMESPACE, store.bucket, models.UpdateBucketDetails(**changes))


def edit_rule(name: str, **changes: Any) -> Sabotage:
    def sabotage(client: Any, store: BucketStore) -> None:
        there = rules(client, store.bucket)
        for key, value in changes.items():
            setattr(there[f"locus-memory-{name}"], key, value)
        put_rules(client, store.bucket, list(there.values()))

    return sabotage


def drop_rule(name: str) -> Sabotage:
    def sabotage(client: Any, store: BucketStore) -> None:
        there = rules(client, store.bucket)
        del there[f"locus-memory-{name}"]
        put_rules(client, store.bucket, list(there.values()))

    return sabotage


def drop_replication(client: Any, store: BucketStore) -> None:
    [found] = client.list_replication_policies(NAMESPACE, store.bucket).data
    client.delete_replication_policy(NAMESPACE, store.bucket, found.id)


def edit_replication(client: Any, store: BucketStore) -> None:
    drop_replication(client, store)
    details = models.CreateReplicationPolicyDetails(
        name="locus-memory", destination_region_name="us-ashburn-1", destination_bucket_name="elsewhere"
    )
    client.create_replication_policy(NAMESPACE, store.bucket, details)


def edit_policy(**changes: Any) -> Sabotage:
    def sabotage(client: Any, store: BucketStore) -> None:
        [found] = policies(store.server)
        details = oci.identity.models.UpdatePolicyDetails(**changes)
        identity_client(store.server).update_policy(found.id, details)

    return sabotage


def drop_policy(client: Any, store: BucketStore) -> None:
    [found] = policies(store.server)
    identity_client(store.server).delete_policy(found.id)


FILTER = models.ObjectNameFilter
DRIFTS: dict[str, tuple[Sabotage, str]] = {
    "tag removed": (setting(freeform_tags={}), "alter bucket {bucket}: differs: tag"),
    "tag edited": (setting(freeform_tags={"locus-memory": "mine"}), "differs: tag"),
    "metadata removed": (setting(metadata={}), "differs: metadata"),
    "made public": (setting(public_access_type="ObjectRead"), "differs: public access"),
    "versioning suspended": (setting(versioning="Suspended"), "differs: versioning"),
    "key removed": (setting(kms_key_id=""), "differs: KMS key"),
    "another key": (setting(kms_key_id=f"{KEY}2"), "differs: KMS key"),
    "all of it": (
        setting(public_access_type="ObjectRead", freeform_tags={}, kms_key_id=""),
        "differs: tag, public access, KMS key",
    ),
    "rule older": (edit_rule("checkpoints", time_amount=31), "locus-memory-checkpoints differs: age"),
    "rule in years": (edit_rule("checkpoints", time_unit="YEARS"), "locus-memory-checkpoints differs: age"),
    "rule disabled": (edit_rule("parts", is_enabled=False), "locus-memory-parts differs: disabled"),
    "rule widened": (
        edit_rule("archive", object_name_filter=FILTER(inclusion_patterns=["*"])),
        "locus-memory-archive differs: objects covered",
    ),
    "rule of another action": (edit_rule("archive", action="INFREQUENT_ACCESS"), "locus-memory-archive differs: act"),
    "rule dropped": (drop_rule("versions"), "locus-memory-versions is missing"),
    "rules dropped": (
        lambda c, s: c.delete_object_lifecycle_policy(NAMESPACE, s.bucket),
        "set lifecycle rules {bucket}: locus-memory-archive is missing; locus-memory-checkpoints is missing",
    ),
    "replication dropped": (drop_replication, "create replication policy to copy in eu-amsterdam-1: missing"),
    "replication edited": (edit_replication, "alter replication policy to copy in eu-amsterdam-1: differs: it re"),
    "policy dropped": (drop_policy, "create IAM policy {policy}: missing"),
    "statements edited": (
        edit_policy(statements=[f"Allow any-user to read objects in compartment id {COMPARTMENT}"]),
        "alter IAM policy {policy}: differs: statements",
    ),
    "policy's tag removed": (edit_policy(freeform_tags={"locus-memory": "no"}), "differs: tag"),
}


@pytest.mark.parametrize("drift", DRIFTS)
async def test_drift_is_named_and_corrected(full_store: BucketStore, client: Any, drift: str) -> None:
    sabotage, named = DRIFTS[drift]
    await full_store.reconcile()
    [policy] = policies(full_store.server)
    sabotage(client, full_store)
    corrected = await full_store.reconcile()
    assert named.format(bucket=full_store.bucket, policy=policy.name) in str(corrected.plan)
    assert not (await full_store.reconcile()).plan
    async with full_store.checkpointer() as checkpointer:
        await checkpointer.save({"works": True}, "thread")


async def test_settings_of_others_stay(full_store: BucketStore, client: Any) -> None:
    await full_store.reconcile()
    tags = client.get_bucket(NAMESPACE, full_store.bucket).data.freeform_tags
    defined = {"Operations": {"CostCenter": "42"}}
    setting(
        freeform_tags={**tags, "team": "agents"},
        defined_tags=defined,
        metadata={"theirs": "kept", "locus-memory": "edited"},
        object_events_enabled=True,
    )(client, full_store)
    await full_store.reconcile()
    bucket = client.get_bucket(NAMESPACE, full_store.bucket).data
    assert (bucket.freeform_tags["team"], bucket.defined_tags, bucket.metadata["theirs"]) == ("agents", defined, "kept")
    assert bucket.object_events_enabled


# --- lifecycle rules of others ---


@pytest.mark.parametrize("kind", ["oci_bucket_store", "oci_prefix_store"])
async def test_rules_of_others_stay_as_they_are(kind: str, request: pytest.FixtureRequest, client: Any) -> None:
    store: BucketStore = request.getfixturevalue(kind)
    await store.reconcile()
    store.server.admin("PUT", "settings", {"lifecycle_authorized": True})
    put_rules(client, store.bucket, [foreign_rule(), foreign_rule("disabled", 1, exclusion_patterns=["a*", "b*"])])
    before = rules(client, store.bucket)
    store.spec = RETENTION
    await store.reconcile()
    store.spec = {}
    assert len(rules(client, store.bucket)) > 4
    await store.reconcile()
    assert rules(client, store.bucket) == before
    store.spec = RETENTION
    await store.reconcile()
    await store.release()
    assert rules(client, store.bucket) == before


async def test_an_editor_at_the_same_moment_loses_nothing(oci_bucket_store: BucketStore, client: Any) -> None:
    store = oci_bucket_store
    await store.reconcile()
    store.spec = RETENTION
    server = store.server
    server.admin("DELETE", "requests")
    server.admin("PUT", "settings", {"lifecycle_authorized": True})
    # The operator has read the rules when somebody writes some; it is told so when it writes, and reads again.
    server.admin("POST", "faults", {"effect": "delay", "kinds": ["PutObjectLifecyclePolicy"], "seconds": 0.5})

    async def edit_meanwhile() -> None:
        async with asyncio.timeout(10):
            while not server.admin("GET", "requests").get("PutObjectLifecyclePolicy"):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        await asyncio.to_thread(put_rules, client, store.bucket, [foreign_rule()])

    await asyncio.gather(store.reconcile(), edit_meanwhile())
    assert {"theirs", "locus-memory-checkpoints"} <= rules(client, store.bucket).keys()


async def test_a_rule_of_others_that_breaks_the_promise_is_a_warning(
    oci_prefix_store: BucketStore, client: Any
) -> None:
    store = oci_prefix_store
    await store.reconcile()
    store.server.admin("PUT", "settings", {"lifecycle_authorized": True})
    put_rules(client, store.bucket, [foreign_rule("all", 3, inclusion_patterns=["agents/*"]), foreign_rule("far", 3)])
    store.spec = {"retention": {"maxAge": "30d"}}
    done = await store.reconcile()
    [warning] = done.warnings
    assert "'all', which is not the operator's, may delete objects of the store after 3 days" in warning
    put_rules(client, store.bucket, [foreign_rule("all", 3, exclusion_patterns=[f"{store.prefix}*"])])
    assert not (await store.reconcile()).warnings


# --- what cannot be, and what is explained ---


async def test_a_tier_that_cannot_be_changed_is_refused(oci_bucket_store: BucketStore, client: Any) -> None:
    details = models.CreateBucketDetails(name="archive", compartment_id=COMPARTMENT, storage_tier="Archive")
    client.create_bucket(NAMESPACE, details)
    oci_bucket_store.change(bucketName="archive")
    oci_bucket_store.adopt = True
    with pytest.raises(RefusedError, match=r"storage tier Archive, which no request can change.*another bucketName"):
        await oci_bucket_store.reconcile()


async def test_infrequent_access_is_a_rule_that_can_be_dropped_again(
    oci_bucket_store: BucketStore, client: Any
) -> None:
    store = oci_bucket_store
    store.change(storageTier="InfrequentAccess")
    await store.reconcile()
    assert rules(client, store.bucket)["locus-memory-infrequent-access"].action == "INFREQUENT_ACCESS"
    store.change(storageTier="Standard")
    dropped = await store.reconcile()
    assert "locus-memory-infrequent-access is not wanted" in str(dropped.plan)
    assert rules(client, store.bucket) == {}


async def test_versioning_that_is_turned_off_is_suspended(oci_bucket_store: BucketStore, client: Any) -> None:
    store = oci_bucket_store
    store.change(versioning="Enabled")
    await store.reconcile()
    store.change(versioning="Disabled")
    assert "differs: versioning" in str((await store.reconcile()).plan)
    assert client.get_bucket(NAMESPACE, store.bucket).data.versioning == "Suspended"
    assert not (await store.reconcile()).plan


async def test_a_vault_key_that_the_service_may_not_use_is_explained(oci_bucket_store: BucketStore) -> None:
    oci_bucket_store.server.admin("PUT", "settings", {"kms_keys": []})
    oci_bucket_store.change(kmsKeyId=KEY)
    with pytest.raises(RefusedError, match=rf"objectstorage-eu-frankfurt-1 to use keys in tenancy.*'{KEY}'") as caught:
        await oci_bucket_store.reconcile()
    assert caught.value.reason is ConditionReason.BACKEND_REFUSED


async def test_a_compartment_that_is_missing_or_hidden_is_explained_before_any_change(
    oci_bucket_store: BucketStore,
) -> None:
    store = oci_bucket_store
    store.server.admin("PUT", "settings", {"compartments": []})
    store.server.admin("DELETE", "requests")
    with pytest.raises(
        RefusedError, match=r"does not exist and for what the caller may not see.*compartmentId.*Allow <"
    ):
        await store.reconcile()
    assert not store.server.admin("GET", "requests").get("CreateBucket")


@pytest.mark.parametrize("kind", ["oci_bucket_store", "oci_prefix_store"])
async def test_missing_permissions_are_listed_with_their_statements(kind: str, request: pytest.FixtureRequest) -> None:
    store: BucketStore = request.getfixturevalue(kind)
    store.server.admin("PUT", "principals", {"name": "ocid1.user.oc1..operator", "subjects": []})
    with pytest.raises(RefusedError) as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    for text in ("inspect buckets", "manage buckets", "manage objects", COMPARTMENT, store.bucket):
        assert text in str(caught.value)


async def test_a_service_that_is_down_is_unavailable(oci_bucket_store: BucketStore) -> None:
    port = free_port()
    oci_bucket_store.change(endpoint=f"http://127.0.0.1:{port}")
    with pytest.raises(UnavailableError, match=str(port)):
        await oci_bucket_store.reconcile()


async def test_throttling_passes(oci_bucket_store: BucketStore) -> None:
    fault = {"effect": "status", "status": 429, "code": "TooManyRequests", "kinds": ["CreateBucket"]}
    oci_bucket_store.server.admin("POST", "faults", fault)
    with pytest.raises(UnavailableError, match="TooManyRequests"):
        await oci_bucket_store.reconcile()
    assert (await oci_bucket_store.reconcile()).plan


async def test_one_connection_serves_many_runs(oci_bucket_store: BucketStore) -> None:
    connections = Connections()
    oci_bucket_store.server.admin("DELETE", "requests")
    for _ in range(3):
        await engine.reconcile(replace(oci_bucket_store.request(), connections=connections))
    assert oci_bucket_store.server.admin("GET", "requests")["GetNamespace"] == 1
    await connections.close()
