"""What exists in OCI for a store: its bucket or its prefix in one, claims, rules, replication, policies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from locus_memory.backends.oci_bucket_layout import Layout
from locus_operator.backends.oci_bucket_claims import CLAIMS, above, claim_object, claimed_prefix
from locus_operator.backends.oci_bucket_client import Service, service_error
from locus_operator.backends.oci_bucket_rules import Lifecycle, Rule

T = TypeVar("T")

_HIDDEN: Final = (403, 404)
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket as it is.

    Attributes:
        versioning: `Enabled`, `Suspended` or `Disabled`.
        tags: Freeform ones.
    """

    etag: str
    compartment: str
    public_access: str
    versioning: str
    tier: str
    key: str | None
    tags: Mapping[str, str]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClaimText:
    """The object with a claim."""

    text: str
    etag: str


@dataclass(frozen=True, slots=True)
class Replication:
    """A replication policy."""

    id: str
    name: str
    region: str
    bucket: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of IAM; without ETag where it was not read by itself."""

    id: str
    name: str
    statements: tuple[str, ...]
    tags: Mapping[str, str]
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a plan is made from.

    Attributes:
        namespace: Object Storage namespace.
        bucket: None where there is none, or none that the operator may see.
        compartment_visible: The operator may list buckets in the compartment.
        has_data: Objects are in the bucket, or below the prefix.
        claim: Of the prefix.
        claims: Other claims above and below the prefix, by prefix.
        policies: Of the compartment; None where the operator may not list them.
        unreadable: What the operator may not read of the bucket, with the permission that lets it.
    """

    namespace: str
    bucket: Bucket | None = None
    compartment_visible: bool = True
    has_data: bool = False
    claim: ClaimText | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    replications: tuple[Replication, ...] = ()
    policies: tuple[Policy, ...] | None = None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Where:
    """What to look at."""

    namespace: str
    compartment: str
    bucket: str
    prefix: str
    policy: str


async def observe(service: Service, where: Where) -> Observed:
    """Look at all of it; what the operator may not read is reported in `unreadable`."""
    bucket, policies = await asyncio.gather(_bucket(service, where), _policies(service, where))
    if bucket is None:
        visible = await _unless_hidden(_visible(service, where))
        return Observed(where.namespace, compartment_visible=visible is not None, policies=policies)
    lifecycle, replications, claim, others, has_data = await asyncio.gather(
        _unless_hidden(read_lifecycle(service, where)),
        _unless_hidden(_replications(service, where)),
        _unless_hidden(_claim(service, where)),
        _unless_hidden(_claims(service, where)),
        _unless_hidden(_has_data(service, where)),
    )
    hidden = {
        "its lifecycle rules (BUCKET_READ)": lifecycle is None,
        "its replication policies (BUCKET_READ)": replications is None,
        "its objects (OBJECT_INSPECT)": others is None or has_data is None,
        f"the object {claim_object(where.prefix)!r} (OBJECT_READ)": claim is None,
    }
    return Observed(
        where.namespace,
        bucket,
        has_data=bool(has_data),
        claim=claim[0] if claim else None,
        claims=others or {},
        lifecycle=lifecycle or Lifecycle(),
        replications=replications or (),
        policies=policies,
        unreadable=tuple(name for name, is_hidden in hidden.items() if is_hidden),
    )


async def read_lifecycle(service: Service, where: Where) -> Lifecycle:
    """Read the lifecycle policy; an empty one where there is none."""

    def request(client: Any) -> Lifecycle:
        try:
            response = client.get_object_lifecycle_policy(where.namespace, where.bucket)
        except service_error() as error:
            if getattr(error, "code", None) == "LifecyclePolicyNotFound":
                return Lifecycle()
            raise
        return Lifecycle(response.headers["etag"], tuple(_rule(each) for each in response.data.items))

    return await service.objects(request)


async def read_claim(service: Service, where: Where, prefix: str) -> ClaimText | None:
    """Read the claim of a prefix."""
    name = claim_object(prefix)

    def request(client: Any) -> ClaimText | None:
        try:
            response = client.get_object(where.namespace, where.bucket, name)
        except service_error() as error:
            if getattr(error, "code", None) == "ObjectNotFound":
                return None
            raise
        return ClaimText(response.data.content.decode(errors="replace"), response.headers["etag"])

    return await service.objects(request)


async def _bucket(service: Service, where: Where) -> Bucket | None:
    def request(client: Any) -> Bucket:
        response = client.get_bucket(where.namespace, where.bucket)
        found = response.data
        return Bucket(
            response.headers["etag"],
            found.compartment_id,
            found.public_access_type,
            found.versioning or "Disabled",
            found.storage_tier,
            found.kms_key_id or None,
            found.freeform_tags or {},
            found.metadata or {},
        )

    return await _unless_hidden(service.objects(request))


async def _visible(service: Service, where: Where) -> bool:
    await service.objects(lambda client: client.list_buckets(where.namespace, where.compartment, limit=1))
    return True


async def _replications(service: Service, where: Where) -> tuple[Replication, ...]:
    found = await service.objects(lambda client: client.list_replication_policies(where.namespace, where.bucket).data)
    return tuple(
        Replication(each.id, each.name, each.destination_region_name, each.destination_bucket_name) for each in found
    )


async def _claim(service: Service, where: Where) -> tuple[ClaimText | None]:
    return (await read_claim(service, where, where.prefix) if where.prefix else None,)


async def _claims(service: Service, where: Where) -> dict[str, str]:
    """Read the claims of the prefixes that this one lies in, and of those that lie in this one."""
    begin = CLAIMS + where.prefix
    names = await service.objects(
        lambda client: client.list_objects(where.namespace, where.bucket, prefix=begin, limit=_PAGE).data.objects
    )
    below = (claimed_prefix(each.name) for each in names)
    prefixes = [*above(where.prefix), *(each for each in below if each != where.prefix)]
    claims = await asyncio.gather(*(read_claim(service, where, each) for each in prefixes))
    return {prefix: claim.text for prefix, claim in zip(prefixes, claims, strict=True) if claim is not None}


async def _has_data(service: Service, where: Where) -> bool:
    prefix = Layout(where.prefix).prefix
    found = await service.objects(
        lambda client: client.list_objects(where.namespace, where.bucket, prefix=prefix, limit=1).data.objects
    )
    return bool(found)


async def _policies(service: Service, where: Where) -> tuple[Policy, ...] | None:
    def request(client: Any) -> tuple[Policy, ...]:
        found, page = [], None
        while True:
            response = client.list_policies(where.compartment, **({"page": page} if page else {}))
            found += response.data
            page = response.headers.get("opc-next-page")
            if page is None:
                break
        return tuple(_policy(client, each, where) for each in found)

    return await _unless_hidden(service.identity(request))


def _policy(client: Any, found: Any, where: Where) -> Policy:
    etag = client.get_policy(found.id).headers["etag"] if found.name == where.policy else None
    return Policy(found.id, found.name, tuple(found.statements), found.freeform_tags or {}, etag)


def _rule(found: Any) -> Rule:
    names = found.object_name_filter
    return Rule(
        found.name,
        found.action,
        found.time_amount,
        found.target or "objects",
        found.time_unit,
        bool(found.is_enabled),
        tuple((names and names.inclusion_prefixes) or ()),
        tuple((names and names.inclusion_patterns) or ()),
        tuple((names and names.exclusion_patterns) or ()),
    )


async def _unless_hidden(request: Awaitable[T]) -> T | None:
    """Return an answer, or None where OCI says that there is nothing, or nothing for the operator to see."""
    try:
        return await request
    except service_error() as error:
        if getattr(error, "status", None) in _HIDDEN:
            return None
        raise
