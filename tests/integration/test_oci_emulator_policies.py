"""How the emulator judges policy statements, and keeps versions: what it gets wrong, tests would prove wrongly."""

from collections.abc import Iterator
from typing import Any

import oci  # type: ignore[import-untyped]
import pytest

from tests.emulators.oci_object_storage.errors import ServiceError
from tests.emulators.oci_object_storage.statements import Principal, parse
from tests.servers.oci import NAMESPACE, ObjectStorageServer

models = oci.object_storage.models
USER = Principal({"request.user.id": "u"}, frozenset({"group admins"}))
TARGET = {"target.bucket.name": "Bucket", "target.object.name": "a/b/c"}
C = "ocid1.compartment.oc1..c"


@pytest.fixture
def client(oci_server: ObjectStorageServer) -> Iterator[Any]:
    found = oci_server.client()
    yield found
    found.base_client.session.close()


@pytest.mark.parametrize(
    ("statement", "granted"),
    [
        ("Allow any-user to read objects in tenancy", True),
        (f"Allow group admins to manage object-family in compartment id {C}", True),
        ("allow group ADMINS to use objects in tenancy", True),
        ("Allow group others to manage objects in tenancy", False),
        ("Allow any-user to inspect objects in tenancy", False),
        ("Allow any-user to manage buckets in tenancy", False),
        ("Allow any-user to manage objects in compartment id ocid1.compartment.oc1..other", False),
        ("Allow any-user to {OBJECT_READ} in tenancy where target.bucket.name='bucket'", True),
        ("Allow any-user to {OBJECT_READ} in tenancy where target.bucket.name != 'bucket'", False),
        ("Allow any-user to {OBJECT_READ} in tenancy where target.unknown != 'bucket'", False),
        ("Allow any-user to {OBJECT_CREATE} in tenancy", False),
        ("Allow any-user to {OBJECT_READ} in tenancy where target.object.name='a/*'", True),
        ("Allow any-user to {OBJECT_READ} in tenancy where target.object.name='a'", False),
        ("Allow any-user to {OBJECT_READ} in tenancy where all {request.user.id='u', target.bucket.name='x'}", False),
        ("Allow any-user to {OBJECT_READ} in tenancy where any {request.user.id='u', target.bucket.name='x'}", True),
        (
            "Allow any-user to read objects in tenancy where all {any {target.object.name='x/*', "  # noqa: ISC004
            "target.object.name='a/*'}, target.bucket.name='bucket', request.permission='OBJECT_READ'}",
            True,
        ),
    ],
)
def test_what_statements_grant(statement: str, granted: bool) -> None:
    assert parse(statement).grants(USER, "OBJECT_READ", C, TARGET) == granted


@pytest.mark.parametrize(
    "statement",
    [
        "Allow any-user to read objects",
        "Allow somebody to read objects in tenancy",
        "Allow any-user to own objects in tenancy",
        "Allow any-user to read unicorns in tenancy",
        "Allow any-user to read objects in tenancy where all {a='b'",
        "Allow any-user to read objects in tenancy where a=b",
        "Allow any-user to read objects in tenancy where all {a='b',}",
        "Deny any-user to read objects in tenancy",
    ],
)
def test_what_is_no_statement_is_refused(statement: str) -> None:
    with pytest.raises(ServiceError):
        parse(statement)


def test_a_listing_has_no_object() -> None:
    statement = parse("Allow any-user to {OBJECT_INSPECT} in tenancy where target.object.name='*'")
    assert not statement.grants(USER, "OBJECT_INSPECT", C, {"target.bucket.name": "bucket"})


def test_versions_are_kept_listed_and_deleted(oci_bucket: str, client: Any) -> None:
    place = (NAMESPACE, oci_bucket)
    client.put_object(*place, "a", b"0")
    client.update_bucket(*place, models.UpdateBucketDetails(versioning="Enabled"))
    client.put_object(*place, "a", b"1")
    client.delete_object(*place, "a")
    versions = client.list_object_versions(*place).data.items
    assert [(each.name, each.is_delete_marker) for each in versions].count(("a", True)) == 1
    assert len(versions) == 3
    with pytest.raises(oci.exceptions.ServiceError, match="BucketNotEmpty"):
        client.delete_bucket(*place)
    first = client.list_object_versions(*place, limit=2)
    rest = client.list_object_versions(*place, limit=2, page=first.headers["opc-next-page"])
    assert (len(first.data.items), len(rest.data.items)) == (2, 1)
    for each in versions:
        client.delete_object(*place, each.name, version_id=each.version_id)
    client.delete_bucket(*place)


def test_tags_have_limits(oci_bucket: str, client: Any) -> None:
    for tags in ({"k": "v" * 257}, {"k" * 101: "v"}, {f"k{number}": "v" for number in range(11)}):
        with pytest.raises(oci.exceptions.ServiceError, match="freeformTags"):
            client.update_bucket(NAMESPACE, oci_bucket, models.UpdateBucketDetails(freeform_tags=tags))


def test_a_bucket_that_replicates_is_not_deleted(oci_bucket: str, client: Any) -> None:
    details = models.CreateReplicationPolicyDetails(
        name="n", destination_region_name="us-ashburn-1", destination_bucket_name="b"
    )
    policy = client.create_replication_policy(NAMESPACE, oci_bucket, details).data
    with pytest.raises(oci.exceptions.ServiceError, match="BucketNotEmpty"):
        client.delete_bucket(NAMESPACE, oci_bucket)
    client.delete_replication_policy(NAMESPACE, oci_bucket, policy.id)
    client.delete_bucket(NAMESPACE, oci_bucket)
