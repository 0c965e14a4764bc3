"""What doctor learns from a bucket, by principals that may see everything, something and nothing."""

from typing import Any

import oci  # type: ignore[import-untyped]
import pytest

from locus_memory.backends import OCIBucketBackend
from locus_memory.diagnosis import Diagnosis, Level
from locus_memory.errors import AuthenticationError
from tests.servers.oci import COMPARTMENT, NAMESPACE, REGION, ApiKey, ObjectStorageServer, new_key_pair


async def diagnose(
    server: ObjectStorageServer, bucket: str, key: ApiKey | None = None, **options: Any
) -> dict[str, Level]:
    fields: Any = {**(key or server.key).fields(), **options}
    async with OCIBucketBackend(
        bucket, NAMESPACE, prefix="prod/", region=REGION, service_endpoint=server.endpoint, **fields
    ) as checkpointer:
        found: Diagnosis = await checkpointer.storage.diagnose()
    assert "PRIVATE KEY" not in str(found)
    assert str(found.facts["bucket"]).startswith(bucket)
    return {finding.code: finding.level for finding in found.findings}


def rule(name: str, days: int, action: str = "DELETE", prefix: str | None = None, *, enabled: bool = True) -> Any:
    models = oci.object_storage.models
    return models.ObjectLifecycleRule(
        name=name,
        action=action,
        time_amount=days,
        time_unit="DAYS",
        is_enabled=enabled,
        target="objects",
        object_name_filter=None if prefix is None else models.ObjectNameFilter(inclusion_prefixes=[prefix]),
    )


def set_rules(server: ObjectStorageServer, bucket: str, *rules: Any) -> None:
    details = oci.object_storage.models.PutObjectLifecyclePolicyDetails(items=list(rules))
    server.client().put_object_lifecycle_policy(NAMESPACE, bucket, details)


async def test_a_sound_bucket_has_no_findings(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    assert await diagnose(oci_server, oci_bucket) == {}
    set_rules(oci_server, oci_bucket, rule("fits", 30, prefix="prod/"), rule("far", 1, prefix="other/"))
    assert await diagnose(oci_server, oci_bucket, retention_days=30) == {}


async def test_rules_that_do_not_fit_the_retention_are_found(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    error = {"oci-bucket-retention": Level.ERROR}
    for prefix in (None, "pro", "prod/", "prod/data/"):
        set_rules(oci_server, oci_bucket, rule("old", 30, prefix=prefix))
        assert await diagnose(oci_server, oci_bucket) == error
        assert await diagnose(oci_server, oci_bucket, retention_days=31) == error
        assert await diagnose(oci_server, oci_bucket, retention_days=30) == {}
    set_rules(oci_server, oci_bucket, rule("off", 1, enabled=False), rule("archive", 90, "ARCHIVE"))
    assert await diagnose(oci_server, oci_bucket) == {"oci-bucket-archived": Level.WARNING}


async def test_versions_and_public_access_are_found(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    details = oci.object_storage.models.UpdateBucketDetails(versioning="Enabled", public_access_type="ObjectRead")
    oci_server.client().update_bucket(NAMESPACE, oci_bucket, details)
    found = await diagnose(oci_server, oci_bucket)
    assert found == {"oci-bucket-versions": Level.WARNING, "oci-bucket-public": Level.ERROR}


async def test_a_bucket_that_is_missing_is_not_created(oci_server: ObjectStorageServer) -> None:
    for _ in range(2):
        assert await diagnose(oci_server, "nowhere", compartment_id=COMPARTMENT) == {"oci-bucket-created": Level.INFO}
        assert await diagnose(oci_server, "nowhere") == {"oci-bucket-missing": Level.ERROR}


async def test_a_principal_that_sees_objects_only_is_told_so(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    key = oci_server.create_key("ocid1.user.oc1..writer", {oci_bucket: "write"})
    assert await diagnose(oci_server, oci_bucket, key) == {"oci-bucket-unseen": Level.INFO}


async def test_a_rejected_login_is_an_error(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    unknown = ApiKey("ocid1.user.oc1..nobody", oci_server.key.fingerprint, new_key_pair()[0])
    with pytest.raises(AuthenticationError):
        await diagnose(oci_server, oci_bucket, unknown)
