"""Whose a bucket or a prefix is: conflicts, adoption, and what deletion takes and leaves."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import oci  # type: ignore[import-untyped]
import pytest

from locus_memory.errors import AuthenticationError
from locus_operator import engine
from locus_operator.backends.oci_bucket_claims import claim_object
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from tests.integration.operator.oci_stores import BucketStore, policies
from tests.servers.oci import COMPARTMENT, NAMESPACE, ObjectStorageServer

models = oci.object_storage.models
BOTH = ["oci_bucket_store", "oci_prefix_store"]


@pytest.fixture
def client(oci_server: ObjectStorageServer) -> Iterator[Any]:
    found = oci_server.client()
    yield found
    found.base_client.session.close()


@pytest.fixture(params=BOTH)
def each_store(request: pytest.FixtureRequest) -> BucketStore:
    found: BucketStore = request.getfixturevalue(request.param)
    return found


async def fill(store: BucketStore, threads: int = 3) -> None:
    async with store.checkpointer() as checkpointer:
        await asyncio.gather(*(checkpointer.save({"n": n}, f"t{n}") for n in range(threads)))


def claim(client: Any, prefix: str) -> dict[str, Any]:
    """Read the claim object of a prefix in the shared bucket."""
    found: dict[str, Any] = json.loads(client.get_object(NAMESPACE, "shared", claim_object(prefix)).data.content)
    return found["locus-memory"]  # type: ignore[no-any-return]


# --- conflicts and adoption ---


async def test_a_bucket_that_nobody_claimed_is_a_conflict_until_it_is_adopted(
    oci_bucket_store: BucketStore, client: Any
) -> None:
    store = oci_bucket_store
    details = models.CreateBucketDetails(
        name=store.bucket, compartment_id=COMPARTMENT, freeform_tags={"team": "x"}, public_access_type="ObjectRead"
    )
    client.create_bucket(NAMESPACE, details)
    with pytest.raises(RefusedError, match=r"exists and belongs to no store.*adopt") as caught:
        await store.reconcile()
    assert caught.value.reason is ConditionReason.CONFLICT
    assert client.get_bucket(NAMESPACE, store.bucket).data.public_access_type == "ObjectRead"
    store.adopt = True
    await store.reconcile()
    store.adopt = False
    assert not (await store.reconcile()).plan
    bucket = client.get_bucket(NAMESPACE, store.bucket).data
    assert (bucket.freeform_tags["team"], bucket.public_access_type) == ("x", "NoPublicAccess")


async def test_objects_below_a_prefix_that_nobody_claimed_are_a_conflict_until_they_are_adopted(
    oci_prefix_store: BucketStore, client: Any
) -> None:
    store = oci_prefix_store
    client.put_object(NAMESPACE, "shared", f"{store.prefix}report.pdf", b"")
    with pytest.raises(RefusedError, match=r"holds objects and belongs to no store.*adopt"):
        await store.reconcile()
    store.adopt = True
    await store.reconcile()
    store.adopt = False
    assert not (await store.reconcile()).plan


async def test_the_settings_of_a_shared_bucket_are_its_owners(oci_prefix_store: BucketStore, client: Any) -> None:
    store = oci_prefix_store
    before = client.get_bucket(NAMESPACE, "shared").data
    store.change(versioning="Enabled", kmsKeyId="ocid1.key.oc1.eu.v.k", storageTier="InfrequentAccess")
    store.spec = {"retention": {"maxAge": "30d"}}
    done = await store.reconcile()
    [warning] = done.warnings
    assert "versioning, kmsKeyId, storageTier: not acted on" in warning
    assert client.get_bucket(NAMESPACE, "shared").data == before
    names = {rule.name for rule in client.get_object_lifecycle_policy(NAMESPACE, "shared").data.items}
    assert len(names) == 2
    for rule in client.get_object_lifecycle_policy(NAMESPACE, "shared").data.items:
        assert all(pattern.startswith(store.prefix) for pattern in rule.object_name_filter.inclusion_patterns)


async def test_a_shared_bucket_that_is_missing_is_not_created(oci_prefix_store: BucketStore) -> None:
    oci_prefix_store.change(bucketName="nowhere")
    with pytest.raises(RefusedError, match=r"'nowhere'.*does not exist and for what.*not created by the operator"):
        await oci_prefix_store.reconcile()


@pytest.mark.parametrize(("one", "other"), [("app/", "app/nested/deep/"), ("app/nested/deep/", "app/")])
async def test_prefixes_of_two_stores_may_not_overlap(oci_prefix_store: BucketStore, one: str, other: str) -> None:
    first, second, third = oci_prefix_store, oci_prefix_store.sibling(), oci_prefix_store.sibling()
    first.change(prefix=one)
    second.change(prefix=other)
    third.change(prefix="application/")
    await first.reconcile()
    await third.reconcile()
    for second.adopt in (False, True):
        with pytest.raises(RefusedError, match="belongs to the store agents/") as caught:
            await second.reconcile()
        assert caught.value.reason is ConditionReason.CONFLICT
    await first.release()
    second.adopt = True
    await second.reconcile()
    second.adopt = False
    assert not (await second.reconcile()).plan


async def test_a_prefix_in_a_stores_own_bucket_and_the_reverse_are_conflicts(
    oci_bucket_store: BucketStore, client: Any
) -> None:
    whole, part = oci_bucket_store, oci_bucket_store.sibling()
    await whole.reconcile()
    part.change(bucketName=whole.bucket, prefix="part/")
    with pytest.raises(RefusedError, match="belongs as a whole to the store"):
        await part.reconcile()
    client.create_bucket(NAMESPACE, models.CreateBucketDetails(name="shared", compartment_id=COMPARTMENT))
    part.change(bucketName="shared")
    await part.reconcile()
    other = oci_bucket_store.sibling()
    other.change(bucketName="shared")
    other.adopt = True
    with pytest.raises(RefusedError, match=r"prefix 'part/' in the same place belongs to the store"):
        await other.reconcile()


async def test_a_lost_claim_is_written_again_where_the_policy_proves_it(
    oci_prefix_store: BucketStore, client: Any
) -> None:
    store = oci_prefix_store
    await store.reconcile()
    await fill(store)
    client.delete_object(NAMESPACE, "shared", claim_object(store.prefix))
    corrected = await store.reconcile()
    assert f"claim prefix shared/{store.prefix}: missing" in str(corrected.plan)
    assert claim(client, store.prefix)["uid"] == "uid-1"


async def test_two_operators_that_claim_at_once_do_not_both_win(oci_prefix_store: BucketStore) -> None:
    one, other = oci_prefix_store, oci_prefix_store.sibling()
    other.change(prefix=one.prefix)
    other.uid = "uid-2"
    one.server.admin("POST", "faults", {"effect": "delay", "kinds": ["PutObject"], "count": 2, "seconds": 0.2})
    results = await asyncio.gather(one.reconcile(), other.reconcile(), return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["Reconciled", "UnavailableError"]
    winner, loser = (one, other) if not isinstance(results[0], Exception) else (other, one)
    with pytest.raises(RefusedError, match=f"belongs to the store agents/{winner.name}"):
        await loser.reconcile()


async def test_a_class_gives_each_store_a_prefix_of_its_own(oci_prefix_store: BucketStore) -> None:
    request = oci_prefix_store.request()
    done = await engine.reconcile(replace(request, spec=request.spec.model_copy(update={"class_name": "bucket"})))
    assert done.claims.prefix == f"{oci_prefix_store.prefix}agents/{oci_prefix_store.name}/"


# --- deletion ---


async def test_retain_keeps_objects_and_takes_agents_and_rules(each_store: BucketStore, client: Any) -> None:
    store = each_store
    store.spec = {"retention": {"maxAge": "30d"}}
    await store.reconcile()
    await fill(store)
    agents = store.checkpointer()
    before = store.server.objects(store.bucket, store.prefix)
    await store.release("Retain")
    assert store.server.objects(store.bucket, store.prefix) == before
    assert policies(store.server) == []
    with pytest.raises(oci.exceptions.ServiceError, match="LifecyclePolicyNotFound"):
        client.get_object_lifecycle_policy(NAMESPACE, store.bucket)
    async with agents:
        with pytest.raises(AuthenticationError):
            await agents.load("t0")
    if store.prefix:
        assert claim(client, store.prefix)["released"]
    else:
        tags = client.get_bucket(NAMESPACE, store.bucket).data.freeform_tags
        assert json.loads(tags["locus-memory"])["released"]


async def test_delete_takes_versions_and_uploads_and_the_bucket(oci_bucket_store: BucketStore, client: Any) -> None:
    store = oci_bucket_store
    store.change(versioning="Enabled", replication={"destinationRegion": "eu-amsterdam-1", "destinationBucket": "c"})
    store.spec = {"retention": {"maxAge": "30d"}}
    await store.reconcile()
    await fill(store, threads=30)
    await fill(store, threads=30)
    details = models.CreateMultipartUploadDetails(object="half")
    client.create_multipart_upload(NAMESPACE, store.bucket, details)
    await store.release("Delete")
    with pytest.raises(oci.exceptions.ServiceError, match="BucketNotFound"):
        client.get_bucket(NAMESPACE, store.bucket)
    assert policies(store.server) == []


async def test_delete_takes_more_than_a_page(oci_bucket_store: BucketStore) -> None:
    store = oci_bucket_store
    await store.reconcile()
    await fill(store, threads=1)
    names = [f"threads/x{number:04}" for number in range(1500)]
    store.server.admin("POST", "fill", {"bucket": store.bucket, "object": "threads/t0", "names": names})
    assert (await store.release("Delete")).plan
    assert not (await store.release("Delete")).plan


async def test_delete_below_a_prefix_takes_nothing_else(oci_prefix_store: BucketStore, client: Any) -> None:
    store, sibling = oci_prefix_store, oci_prefix_store.sibling()
    for each in (store, sibling):
        await each.reconcile()
        await fill(each)
    client.put_object(NAMESPACE, "shared", "report.pdf", b"")
    upload = models.CreateMultipartUploadDetails
    for name in ("theirs", f"{store.prefix}ours"):
        client.create_multipart_upload(NAMESPACE, "shared", upload(object=name))
    await store.release("Delete")
    assert store.server.objects("shared", store.prefix) == []
    left = store.server.objects("shared")
    assert {"report.pdf", claim_object(sibling.prefix)} <= set(left)
    assert claim_object(store.prefix) not in left
    [still] = client.list_multipart_uploads(NAMESPACE, "shared").data
    assert still.object == "theirs"
    async with sibling.checkpointer() as checkpointer:
        assert await checkpointer.load("t1") == {"n": 1}


@pytest.mark.parametrize("kind", ["DeleteObject", "DeleteBucket", "DeletePolicy", "ListObjects"])
async def test_a_service_that_goes_away_during_deletion_is_met_again(oci_bucket_store: BucketStore, kind: str) -> None:
    store = oci_bucket_store
    await store.reconcile()
    await fill(store)
    store.server.admin("POST", "faults", {"effect": "drop-before", "kinds": [kind], "skip": kind == "ListObjects"})
    with pytest.raises(UnavailableError):
        await store.release("Delete")
    assert (await store.release("Delete")).plan
    assert not (await store.release("Delete")).plan


async def test_what_is_deleted_meanwhile_is_done(each_store: BucketStore) -> None:
    await each_store.reconcile()
    await fill(each_store)
    # Each deletion is carried out twice, and answered as the second one.
    fault = {"effect": "twice", "count": 100, "kinds": ["DeleteObject", "DeleteBucket", "DeletePolicy"]}
    each_store.server.admin("POST", "faults", fault)
    await each_store.release("Delete")
    assert not (await each_store.release("Delete")).plan


async def test_a_bucket_that_another_store_has_claimed_meanwhile_is_left_alone(
    oci_bucket_store: BucketStore, client: Any
) -> None:
    store = oci_bucket_store
    await store.reconcile()
    tag = json.dumps({"cluster": "other", "uid": "uid-9", "store": "x/y"})
    details = models.UpdateBucketDetails(freeform_tags={"locus-memory": tag})
    client.update_bucket(NAMESPACE, store.bucket, details)
    released = await store.release("Delete")
    assert [action.kind for action in released.plan.actions] == ["IAM policy"]
    assert client.get_bucket(NAMESPACE, store.bucket).status == 200


async def test_a_run_out_of_time_says_so_and_the_next_goes_on(
    oci_bucket_store: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = oci_bucket_store
    await store.reconcile()
    await fill(store)
    monkeypatch.setattr("locus_operator.backends.oci_bucket_actions._EMPTYING_SECONDS", -1)
    with pytest.raises(UnavailableError, match="is being emptied: 6 objects"):
        await store.release("Delete")
    monkeypatch.undo()
    await store.release("Delete")
    assert not (await store.release("Delete")).plan
