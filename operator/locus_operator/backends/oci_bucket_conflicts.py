"""What stands in the way of a store in OCI: somebody else's claims, missing permissions, unfit buckets. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from locus_operator.backends.oci_bucket_access import operator_statements
from locus_operator.backends.oci_bucket_claims import TAG, owner_of
from locus_operator.constants import ANNOTATION_ADOPT, ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Owner

if TYPE_CHECKING:
    from locus_operator.backends.oci_bucket_observe import Bucket, Observed
    from locus_operator.backends.oci_bucket_plan import Target

HIDDEN: Final = (
    "OCI gives the same answer for what does not exist and for what the caller may not see, so either it is not there "
    "or a permission is missing"
)


def check(observed: Observed, target: Target, *, adopt: bool) -> None:
    """Refuse what must not be done.

    Raises:
        RefusedError: All that stands in the way, of one kind.
    """
    _check_permissions(observed, target)
    if unfit := list(_unfit(observed, target)):
        raise RefusedError(ConditionReason.BACKEND_REFUSED, f"{'; '.join(unfit)}. Nothing was changed")
    if taken := list(_taken(observed, target, adopt=adopt)):
        raise RefusedError(
            ConditionReason.CONFLICT,
            f"{'; '.join(taken)}. Nothing was changed. Choose another bucketName, prefix or store name; or annotate "
            f'the store with {ANNOTATION_ADOPT}="true" to take over what no living store owns',
        )


def claim_of(observed: Observed, target: Target) -> Owner | None:
    """Return the claim on the bucket or prefix; where one of a bucket's two is lost, the other."""
    if not target.own_bucket:
        return Owner.from_claim(observed.claim.text) if observed.claim else None
    if observed.bucket is None:
        return None
    return _bucket_claim(observed.bucket)


def permissions_text(target: Target) -> str:
    """Say which statements give the operator what it needs."""
    needed = "; ".join(operator_statements(target.place))
    return f"Let an administrator add these statements, with <operator> replaced by {target.who}'s group: {needed}"


def _check_permissions(observed: Observed, target: Target) -> None:
    place = target.place
    if observed.bucket is None and not observed.compartment_visible:
        raise RefusedError(
            ConditionReason.MISSING_PRIVILEGES,
            f"compartment {place.compartment}: {target.who} sees no buckets in it. {HIDDEN}. Nothing was changed. "
            f"Correct spec.backend.ociBucket.compartmentId, or: {permissions_text(target)}",
        )
    if observed.bucket is None and not target.own_bucket:
        raise RefusedError(
            ConditionReason.MISSING_PRIVILEGES,
            f"bucket {place.bucket!r} in namespace {observed.namespace!r}: {HIDDEN}. A bucket that stores share "
            "(spec.backend.ociBucket.prefix is set) is not created by the operator: create it, or remove prefix. "
            f"Otherwise: {permissions_text(target)}",
        )
    if observed.unreadable:
        raise RefusedError(
            ConditionReason.MISSING_PRIVILEGES,
            f"bucket {place.bucket!r}: {target.who} may not read {', '.join(observed.unreadable)}. Nothing was "
            f"changed. {permissions_text(target)}",
        )


def _unfit(observed: Observed, target: Target) -> Iterator[str]:
    bucket, place = observed.bucket, target.place
    if bucket is None:
        return
    if bucket.compartment != place.compartment:
        yield (
            f"bucket {place.bucket!r} is in compartment {bucket.compartment}, and the statements that let agents in "
            f"would be about {place.compartment}: write the former into spec.backend.ociBucket.compartmentId"
        )
    if bucket.tier != "Standard":
        yield (
            f"bucket {place.bucket!r} has the storage tier {bucket.tier}, which no request can change, and whose "
            "objects cannot be read before somebody restores them: choose another bucketName"
        )


def _taken(observed: Observed, target: Target, *, adopt: bool) -> Iterator[str]:
    yield from _around(observed, target, adopt=adopt)
    name = f"bucket {target.place.bucket!r}" if target.own_bucket else f"prefix {target.place.prefix!r}"
    if observed.bucket is not None:
        yield from _claimed(name, claim_of(observed, target), target, observed, adopt=adopt)
    policy = next((each for each in observed.policies or () if each.name == target.policy), None)
    if policy is not None:
        claim = owner_of(policy.tags)
        if claim is not None and not claim.released and not target.owner.owns(claim):
            yield f"IAM policy {policy.name!r} belongs to the store {claim}"
        elif claim is None and not adopt and not target.owner.owns(claim_of(observed, target)):
            yield f"IAM policy {policy.name!r} exists, and belongs to no store"


def _claimed(name: str, claim: Owner | None, target: Target, observed: Observed, *, adopt: bool) -> Iterator[str]:
    if target.owner.owns(claim) or (claim is None and _proves_ownership(observed, target)):
        return
    if claim is not None and not claim.released:
        yield f"{name} belongs to the store {claim}"
    elif claim is not None and not adopt:
        yield f"{name} was left by the store {claim}"
    elif claim is None and not adopt and (target.own_bucket or observed.has_data or observed.claim is not None):
        yield f"{name} {'exists and' if target.own_bucket else 'holds objects and'} belongs to no store"


def _around(observed: Observed, target: Target, *, adopt: bool) -> Iterator[str]:
    """Yield stores whose place overlaps with this one, and what stores have left there."""
    settled = adopt or target.owner.owns(claim_of(observed, target))
    if not target.own_bucket and observed.bucket is not None:
        whole = _bucket_claim(observed.bucket)
        if whole is not None and not whole.released:
            yield f"bucket {target.place.bucket!r} belongs as a whole to the store {whole}"
    for prefix, text in observed.claims.items():
        claim = Owner.from_claim(text)
        if claim is None or (claim.released and settled):
            continue
        if claim.released:
            yield f"prefix {prefix!r} in the same place was left by the store {claim}"
        elif target.place.prefix.startswith(prefix):
            yield f"prefix {target.place.prefix!r} lies inside {prefix!r}, which belongs to the store {claim}"
        else:
            yield f"prefix {prefix!r} in the same place belongs to the store {claim}"


def _bucket_claim(bucket: Bucket) -> Owner | None:
    return owner_of(bucket.tags) or owner_of(bucket.metadata)


def _proves_ownership(observed: Observed, target: Target) -> bool:
    """Tell whether only the claim was lost: the policy about this very place is the store's own."""
    return any(
        policy.name == target.policy and TAG in policy.tags and target.owner.owns(owner_of(policy.tags))
        for policy in observed.policies or ()
    )
