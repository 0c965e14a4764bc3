"""What to do in OCI for a store: pure functions from what was observed to a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from locus_operator.api.backends import OCIBucketBackend
from locus_operator.api.store import Retention
from locus_operator.backends import oci_bucket_conflicts as conflicts
from locus_operator.backends.oci_bucket_access import Place, Principal, agent_statements, canonical, service_statements
from locus_operator.backends.oci_bucket_claims import TAG, owner_of, tag_of
from locus_operator.backends.oci_bucket_observe import Bucket, Observed, Policy
from locus_operator.backends.oci_bucket_rules import Rule, Wanted, desired_rules, differences
from locus_operator.provisioner import Action, Owner, Plan

PRIVATE = "NoPublicAccess"
REPLICATION = "locus-memory"
"""Name of the operator's replication policy; a bucket has one at most."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is desired.

    Attributes:
        place: Compartment, region, bucket and prefix; without prefix the bucket is the store's own.
        agents: Who they are to IAM.
        policy: Name of the policy with the store's statements.
        who: The operator's login, for messages.
    """

    owner: Owner
    place: Place
    backend: OCIBucketBackend
    retention: Retention
    agents: Principal
    policy: str
    who: str

    @property
    def own_bucket(self) -> bool:
        """Whether the bucket is the store's own."""
        return not self.place.prefix

    @property
    def infrequent_access(self) -> bool:
        """Whether objects move to that tier."""
        return self.backend.storage_tier.value == "InfrequentAccess"

    def rules(self, bucket: Bucket | None) -> tuple[Rule, ...]:
        """Return the lifecycle rules that are desired in a bucket."""
        versions = bucket is not None and bucket.versioning != "Disabled"
        if self.own_bucket:
            versions = versions or self.backend.versioning.value == "Enabled"
        tier = self.infrequent_access and self.own_bucket
        return desired_rules(Wanted(self.place.prefix, self.retention, versions, tier))

    def statements(self, bucket: Bucket | None) -> tuple[str, ...]:
        """Return the statements that the agents, and the service, need."""
        replicates = self.own_bucket and self.backend.replication is not None
        service = service_statements(self.place) if replicates or self.rules(bucket) else ()
        return (*agent_statements(self.agents, self.place), *service)


@dataclass(frozen=True, slots=True)
class CreateBucket(Action):
    """Create the bucket, with its claim."""


@dataclass(frozen=True, slots=True)
class UpdateBucket(Action):
    """Change the bucket, provided that it is still as observed.

    Attributes:
        etag: As observed.
        changes: Fields of the SDK's `UpdateBucketDetails`.
    """

    etag: str = ""
    changes: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class WriteClaim(Action):
    """Write the claim of a prefix, provided that it is still as observed.

    Attributes:
        etag: As observed; None where there was none.
        text: What to write; None deletes it.
    """

    etag: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class WritePolicy(Action):
    """Create or replace the policy with the store's statements.

    Attributes:
        found: As observed; None where there was none.
        statements: What it shall say.
    """

    found: Policy | None = None
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DropPolicy(Action):
    """Delete the policy."""

    found: Policy | None = None


@dataclass(frozen=True, slots=True)
class SetRules(Action):
    """Replace the store's lifecycle rules among those that are there by then.

    Attributes:
        rules: The store's; none to remove them.
    """

    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Replicate(Action):
    """Create the replication policy.

    Attributes:
        instead: Id of the one to delete first.
    """

    instead: str | None = None


@dataclass(frozen=True, slots=True)
class EndReplication(Action):
    """Delete the replication policy."""

    id: str = ""


@dataclass(frozen=True, slots=True)
class DropObjects(Action):
    """Delete all objects of the bucket, or below the prefix, with all their versions and unfinished uploads.

    Attributes:
        versions: There may be previous ones.
    """

    versions: bool = False


@dataclass(frozen=True, slots=True)
class DropBucket(Action):
    """Delete the empty bucket."""


def plan(observed: Observed, target: Target, *, adopt: bool, may_write_policies: bool) -> Plan:
    """Decide what makes OCI as desired.

    Raises:
        RefusedError: A conflict, or permissions that the operator lacks: all of them at once.
    """
    conflicts.check(observed, target, adopt=adopt)
    return Plan(tuple(_actions(observed, target, may_write_policies=may_write_policies)))


def plan_release(observed: Observed, target: Target, *, delete: bool) -> Plan:
    """Decide what the deletion of the store does; what is somebody else's is left alone."""
    return Plan(tuple(_release(observed, target, delete=delete)))


def own_policy(observed: Observed, target: Target) -> Policy | None:
    """Return the policy of the store's name, whosever it is."""
    return next((each for each in observed.policies or () if each.name == target.policy), None)


def missing_statements(observed: Observed, target: Target) -> tuple[str, ...]:
    """Return the desired statements that no policy which the operator may see has."""
    there = {canonical(text) for policy in observed.policies or () for text in policy.statements}
    return tuple(text for text in target.statements(observed.bucket) if canonical(text) not in there)


def _actions(observed: Observed, target: Target, *, may_write_policies: bool) -> Iterator[Action]:
    yield from _claim_and_settings(observed, target)
    if may_write_policies and observed.policies is not None and not target.agents.gap:
        yield from _policy(observed, target)
    prefix, rules = target.place.prefix, target.rules(observed.bucket)
    if changes := differences(observed.lifecycle.rules, rules, prefix):
        yield SetRules("set", "lifecycle rules", target.place.bucket, "; ".join(changes), rules=rules)
    if target.own_bucket:
        yield from _replication(observed, target)


def _claim_and_settings(observed: Observed, target: Target) -> Iterator[Action]:
    bucket, name = observed.bucket, target.place.bucket
    if not target.own_bucket:
        wanted, found = target.owner.claim(), observed.claim
        if found is None or found.text != wanted:
            reason = "missing" if found is None else "not claimed by this store"
            etag = found.etag if found else None
            yield WriteClaim("claim", "prefix", f"{name}/{target.place.prefix}", reason, etag=etag, text=wanted)
    elif bucket is None:
        yield CreateBucket("create", "bucket", name, "missing")
    elif changes := dict(_settings(bucket, target)):
        fields = tuple((key, value) for change in changes.values() for key, value in change.items())
        yield UpdateBucket("alter", "bucket", name, f"differs: {', '.join(changes)}", etag=bucket.etag, changes=fields)


def _settings(bucket: Bucket, target: Target) -> Iterator[tuple[str, dict[str, object]]]:
    claim, key = tag_of(target.owner), target.backend.kms_key_id
    if bucket.tags.get(TAG) != claim:
        yield "tag", {"freeform_tags": {**bucket.tags, TAG: claim}}
    if bucket.metadata.get(TAG) != claim:
        yield "metadata", {"metadata": {**bucket.metadata, TAG: claim}}
    if bucket.public_access != PRIVATE:
        yield "public access", {"public_access_type": PRIVATE}
    versioned = target.backend.versioning.value == "Enabled"
    if versioned != (bucket.versioning == "Enabled"):
        # A bucket that has had versions cannot be as if it never had.
        yield "versioning", {"versioning": "Enabled" if versioned else "Suspended"}
    if bucket.key != key:
        yield "KMS key", {"kms_key_id": key or ""}


def _policy(observed: Observed, target: Target) -> Iterator[Action]:
    found, statements = own_policy(observed, target), target.statements(observed.bucket)
    if found is None:
        if missing_statements(observed, target):
            yield WritePolicy("create", "IAM policy", target.policy, "missing", statements=statements)
        return
    differing = []
    if {canonical(text) for text in found.statements} != {canonical(text) for text in statements}:
        differing.append("statements")
    if found.tags.get(TAG) != tag_of(target.owner):
        differing.append("tag")
    if differing:
        reason = f"differs: {', '.join(differing)}"
        yield WritePolicy("alter", "IAM policy", target.policy, reason, found=found, statements=statements)


def _replication(observed: Observed, target: Target) -> Iterator[Action]:
    wanted = target.backend.replication
    found = next((each for each in observed.replications if each.name == REPLICATION), None)
    if wanted is None:
        if found is not None:
            yield EndReplication("drop", "replication policy", found.name, "not wanted", id=found.id)
        return
    name = f"to {wanted.destination_bucket} in {wanted.destination_region}"
    if found is None:
        yield Replicate("create", "replication policy", name, "missing")
    elif (found.region, found.bucket) != (wanted.destination_region, wanted.destination_bucket):
        reason = f"differs: it replicates to {found.bucket} in {found.region}"
        yield Replicate("alter", "replication policy", name, reason, instead=found.id)


def _release(observed: Observed, target: Target, *, delete: bool) -> Iterator[Action]:
    policy = own_policy(observed, target)
    if policy is not None and _is_ours(owner_of(policy.tags), target):
        yield DropPolicy("drop", "IAM policy", policy.name, "store deleted", found=policy)
    claim = conflicts.claim_of(observed, target)
    if observed.bucket is None or claim is None or not _is_ours(claim, target):
        return
    if observed.lifecycle.rules and (rules := differences(observed.lifecycle.rules, (), target.place.prefix)):
        yield SetRules("drop", "lifecycle rules", target.place.bucket, f"store deleted: {'; '.join(rules)}")
    if delete:
        yield from _drop_data(observed, target)
    elif not claim.released:
        yield _released(observed.bucket, observed, target, replace(claim, released=True))


def _drop_data(observed: Observed, target: Target) -> Iterator[Action]:
    bucket, reason = observed.bucket, "store deleted, deletionPolicy: Delete"
    assert bucket is not None  # noqa: S101 - the caller has one
    name, versions = target.place.bucket, bucket.versioning != "Disabled"
    if not target.own_bucket:
        prefix = f"{name}/{target.place.prefix}"
        yield DropObjects("drop", "objects", f"{prefix}*", reason, destructive=True, versions=versions)
        # Last: as long as it is there, the next run goes on deleting.
        etag = observed.claim.etag if observed.claim else None
        yield WriteClaim("drop", "claim of prefix", prefix, "store deleted", etag=etag)
        return
    for each in observed.replications:
        yield EndReplication("drop", "replication policy", each.name, reason, id=each.id)
    yield DropObjects("drop", "objects", f"{name}/*", reason, destructive=True, versions=versions)
    yield DropBucket("drop", "bucket", name, reason, destructive=True)


def _released(bucket: Bucket, observed: Observed, target: Target, claim: Owner) -> Action:
    name, reason = target.place.bucket, "store deleted, data kept"
    if not target.own_bucket:
        etag = observed.claim.etag if observed.claim else None
        return WriteClaim("release", "prefix", f"{name}/{target.place.prefix}", reason, etag=etag, text=claim.claim())
    text = tag_of(claim)
    changes = (("freeform_tags", {**bucket.tags, TAG: text}), ("metadata", {**bucket.metadata, TAG: text}))
    return UpdateBucket("release", "bucket", name, reason, etag=bucket.etag, changes=changes)


def _is_ours(claim: Owner | None, target: Target) -> bool:
    return claim is not None and (claim.cluster, claim.uid) == (target.owner.cluster, target.owner.uid)
