"""Carrying out what was planned in OCI, one request at a time, each on the condition that nothing has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from locus_memory.backends.oci_bucket_workers import sdk
from locus_operator.backends.oci_bucket_claims import TAG, claim_object, tag_of
from locus_operator.backends.oci_bucket_client import AT_ONCE, Service, service_error
from locus_operator.backends.oci_bucket_observe import Policy, Where, read_lifecycle
from locus_operator.backends.oci_bucket_plan import PRIVATE, REPLICATION, Target
from locus_operator.backends.oci_bucket_rules import Rule, merged
from locus_operator.errors import UnavailableError

_EMPTYING_SECONDS: Final = 40.0
"""How long one run deletes objects; the next one goes on."""

_RULE_ATTEMPTS: Final = 5
_GONE: Final = 404
_CHANGED: Final = 412


class Changes:
    """Changes what belongs to one store.

    Args:
        service: The clients.
        where: The store's place.
        target: What is desired.
    """

    def __init__(self, service: Service, where: Where, target: Target) -> None:
        self._service = service
        self._where = where
        self._target = target

    @property
    def _place(self) -> tuple[str, str]:
        return self._where.namespace, self._where.bucket

    async def create_bucket(self) -> None:
        """Create the bucket with its claim; a request that was sent twice finds it there."""
        target, tag = self._target, {TAG: tag_of(self._target.owner)}

        def request(client: Any) -> None:
            details = sdk().object_storage.models.CreateBucketDetails(
                name=self._where.bucket,
                compartment_id=self._where.compartment,
                public_access_type=PRIVATE,
                storage_tier="Standard",
                versioning=target.backend.versioning.value,
                kms_key_id=target.backend.kms_key_id,
                freeform_tags=tag,
                metadata=tag,
            )
            client.create_bucket(self._where.namespace, details)

        await self._service.objects(request)

    async def update_bucket(self, etag: str, changes: Iterable[tuple[str, object]]) -> None:
        """Change fields of the bucket."""

        def request(client: Any) -> None:
            details = sdk().object_storage.models.UpdateBucketDetails(**dict(changes))
            client.update_bucket(*self._place, details, if_match=etag)

        await self._service.objects(request)

    async def write_claim(self, etag: str | None, text: str | None) -> None:
        """Write the object with the prefix's claim, or delete it."""
        name = claim_object(self._where.prefix)
        condition = {"if_match": etag} if etag else {"if_none_match": "*"}

        def request(client: Any) -> None:
            if text is not None:
                client.put_object(*self._place, name, text.encode(), content_type="application/json", **condition)
                return
            try:
                client.delete_object(*self._place, name, **({"if_match": etag} if etag else {}))
            except service_error() as error:
                _pass(error, _GONE)

        await self._service.objects(request)

    async def write_policy(self, found: Policy | None, statements: tuple[str, ...]) -> None:
        """Create the policy of IAM, or replace its statements; tags of others stay."""
        tag, owner = tag_of(self._target.owner), self._target.owner

        def request(client: Any) -> None:
            models = sdk().identity.models
            if found is None:
                details = models.CreatePolicyDetails(
                    compartment_id=self._where.compartment,
                    name=self._where.policy,
                    description=f"Agents of the CheckpointStore {owner.store} (locus-operator)",
                    statements=list(statements),
                    freeform_tags={TAG: tag},
                )
                client.create_policy(details)
                return
            details = models.UpdatePolicyDetails(statements=list(statements), freeform_tags={**found.tags, TAG: tag})
            client.update_policy(found.id, details, **({"if_match": found.etag} if found.etag else {}))

        await self._service.identity(request)

    async def drop_policy(self, found: Policy) -> None:
        """Delete the policy of IAM."""
        await self._service.identity(_tolerating(_GONE, lambda client: client.delete_policy(found.id)))

    async def set_rules(self, rules: tuple[Rule, ...]) -> None:
        """Replace the store's lifecycle rules, and leave those of others as they are by then."""
        for _ in range(_RULE_ATTEMPTS):
            current = await read_lifecycle(self._service, self._where)
            wanted = merged(current.rules, rules, self._where.prefix)
            if await self._service.objects(_unless_changed(lambda client: self._put(client, current.etag, wanted))):  # noqa: B023
                return
        raise UnavailableError(f"bucket {self._where.bucket!r}: somebody else keeps changing its lifecycle rules")

    def _put(self, client: Any, etag: str | None, rules: tuple[Rule, ...]) -> None:
        if not rules:
            if etag is not None:
                client.delete_object_lifecycle_policy(*self._place, if_match=etag)
            return
        items = [_model(rule) for rule in rules]
        details = sdk().object_storage.models.PutObjectLifecyclePolicyDetails(items=items)
        condition = {"if_match": etag} if etag else {"if_none_match": "*"}
        client.put_object_lifecycle_policy(*self._place, details, **condition)

    async def replicate(self, instead: str | None) -> None:
        """Create the replication policy."""
        wanted = self._target.backend.replication
        assert wanted is not None  # noqa: S101 - it was planned
        if instead is not None:
            await self.end_replication(instead)

        def request(client: Any) -> None:
            details = sdk().object_storage.models.CreateReplicationPolicyDetails(
                name=REPLICATION,
                destination_region_name=wanted.destination_region,
                destination_bucket_name=wanted.destination_bucket,
            )
            client.create_replication_policy(*self._place, details)

        await self._service.objects(request)

    async def end_replication(self, policy: str) -> None:
        """Delete a replication policy."""
        await self._service.objects(
            _tolerating(_GONE, lambda client: client.delete_replication_policy(*self._place, policy))
        )

    async def drop_objects(self, *, versions: bool) -> None:
        """Delete objects with their versions and unfinished uploads, for a while.

        Raises:
            UnavailableError: There are more; the next run goes on.
        """
        end, deleted = time.monotonic() + _EMPTYING_SECONDS, 0
        for kind in (self._uploads, self._versions if versions else self._objects):
            while found := await self._service.objects(kind):
                # What is deleted is on the first page, so there is no need to turn pages.
                for start in range(0, len(found), AT_ONCE):
                    await asyncio.gather(
                        *(self._service.objects(_tolerating(_GONE, each)) for each in _cut(found, start))
                    )
                deleted += len(found)
                if time.monotonic() > end:
                    raise UnavailableError(
                        f"bucket {self._where.bucket!r} is being emptied: {deleted:,} objects and versions are deleted "
                        "in this run, the next one goes on"
                    )

    async def drop_bucket(self) -> None:
        """Delete the empty bucket."""
        await self._service.objects(_tolerating(_GONE, lambda client: client.delete_bucket(*self._place)))

    def _objects(self, client: Any) -> list[Callable[[Any], Any]]:
        found = client.list_objects(*self._place, prefix=self._where.prefix).data.objects
        return [self._deletion(each.name) for each in found]

    def _versions(self, client: Any) -> list[Callable[[Any], Any]]:
        found = client.list_object_versions(*self._place, prefix=self._where.prefix).data.items
        return [self._deletion(each.name, version_id=each.version_id) for each in found]

    def _uploads(self, client: Any) -> list[Callable[[Any], Any]]:
        found = client.list_multipart_uploads(*self._place).data
        ours = (each for each in found if each.object.startswith(self._where.prefix))
        return [self._abortion(each.object, each.upload_id) for each in ours]

    def _deletion(self, name: str, **version: str) -> Callable[[Any], Any]:
        return lambda client: client.delete_object(*self._place, name, **version)

    def _abortion(self, name: str, upload: str) -> Callable[[Any], Any]:
        return lambda client: client.abort_multipart_upload(*self._place, name, upload)


def _cut(found: list[Callable[[Any], Any]], start: int) -> Iterator[Callable[[Any], Any]]:
    return iter(found[start : start + AT_ONCE])


def _tolerating(status: int, request: Callable[[Any], Any]) -> Callable[[Any], None]:
    def call(client: Any) -> None:
        try:
            request(client)
        except service_error() as error:
            _pass(error, status)

    return call


def _unless_changed(request: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Return a request that tells whether the condition held which it was sent with."""

    def call(client: Any) -> bool:
        try:
            request(client)
        except service_error() as error:
            _pass(error, _CHANGED)
            return False
        return True

    return call


def _pass(error: Exception, status: int) -> None:
    if getattr(error, "status", None) != status:
        raise error


def _model(rule: Rule) -> Any:
    models = sdk().object_storage.models
    names = {
        "inclusion_prefixes": list(rule.prefixes) or None,
        "inclusion_patterns": list(rule.patterns) or None,
        "exclusion_patterns": list(rule.exclusions) or None,
    }
    return models.ObjectLifecycleRule(
        name=rule.name,
        action=rule.action,
        time_amount=rule.amount,
        time_unit=rule.unit,
        is_enabled=rule.enabled,
        target=rule.target,
        object_name_filter=models.ObjectNameFilter(**names) if any(names.values()) else None,
    )
