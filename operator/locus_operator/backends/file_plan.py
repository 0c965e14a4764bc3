"""What to do about the PersistentVolumeClaim of a `file` store: pure functions from what was observed to a plan.

All refusals are about the store's own namespace, so its owner may read them whoever's class it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from locus_operator.constants import ANNOTATION_ADOPT, ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Action, Owner, Plan
from locus_operator.volumes import Mark, MountingPod, NewClaim, Phase, StorageClass, VolumeClaim, bytes_of

KIND: Final = "volume claim"
READ_WRITE_MANY: Final = "ReadWriteMany"
READ_WRITE_ONCE_POD: Final = "ReadWriteOncePod"
_NAMED_PODS: Final = 3


@dataclass(frozen=True, slots=True)
class Target:
    """What is desired.

    Attributes:
        owner: The store.
        name: Name of the claim.
        new: The claim as it is made; None for one that exists.
        adopt: Take over a claim that no living store owns.
        known: The store had this claim when it was ready last.
    """

    owner: Owner
    name: str
    new: NewClaim | None
    adopt: bool
    known: bool

    @property
    def mark(self) -> Mark:
        """The mark of the living store."""
        return Mark(self.owner.claim(), self.owner.name, self.owner.uid)

    @property
    def field(self) -> str:
        """The field of the spec that the claim comes from."""
        return f"spec.backend.file.{'size' if self.new else 'existingClaim'}"


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there.

    Attributes:
        claim: The claim, whoever owns it; None if there is none.
        storage_class: The claim's StorageClass, or the one that a new claim would have, if it exists.
        pods: Pods that mount the claim.
    """

    claim: VolumeClaim | None
    storage_class: StorageClass | None = None
    pods: tuple[MountingPod, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateClaim(Action):
    """Make the claim."""

    new: NewClaim
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkClaim(Action):
    """Write the mark, or remove it (None)."""

    mark: Mark | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowClaim(Action):
    """Ask for a larger volume."""

    size: str


@dataclass(frozen=True, slots=True)
class DropClaim(Action):
    """Delete the claim, and with it what is in the volume."""


def plan(observed: Observed, target: Target) -> Plan:
    """Decide what makes the claim as desired.

    Raises:
        RefusedError: The claim is somebody else's, is lost or being deleted, or cannot have the size.
    """
    claim = observed.claim
    if claim is None:
        return Plan((_creation(target),))
    _check_owner(claim, target)
    _check_usable(claim, observed.pods)
    return Plan(tuple(_corrections(claim, observed.storage_class, target)))


def plan_release(observed: Observed, target: Target, *, delete: bool) -> Plan:
    """Decide what the deletion of the store does; what is somebody else's, or is going already, is left alone."""
    claim = observed.claim
    if claim is None or claim.ending or not _is_own(claim, target.owner):
        return Plan()
    if delete and claim.ours:
        reason = "store deleted, deletionPolicy: Delete"
        return Plan((DropClaim("drop", KIND, claim.name, reason, destructive=True),))
    if not claim.ours:
        reason = "store deleted; the operator did not make it, so it and what is in it stay"
        return Plan((MarkClaim("release", KIND, claim.name, reason, mark=None),))
    owner = target.owner
    released = Owner(owner.cluster, owner.uid, owner.namespace, owner.name, released=True)
    mark = Mark(released.claim(), owner.name, "")
    return Plan((MarkClaim("release", KIND, claim.name, "store deleted, data kept", mark=mark),))


def note(observed: Observed, target: Target) -> str:
    """Say what a person should know of the claim as it is after a plan was carried out."""
    claim = observed.claim
    if claim is None:
        return ""
    return ". ".join(_notes(claim, observed.storage_class, target))


def sharing_warning(observed: Observed) -> str | None:
    """Say what becomes of several pods that mount one claim which is not made for it."""
    claim, pods = observed.claim, observed.pods
    if claim is None or len(pods) < 2 or READ_WRITE_MANY in claim.access_modes:
        return None
    where = f"{len(pods)} pods ({_names(pods)}) mount the claim {claim.name}, whose access mode is "
    advice = (
        "run one replica with strategy: {type: Recreate}, or use a store on a server, or one with accessModes: "
        "[ReadWriteMany]"
    )
    if set(claim.access_modes) == {READ_WRITE_ONCE_POD}:
        return f"{where}ReadWriteOncePod: only one of them can run at a time; {advice}"
    nodes = sorted({pod.node for pod in pods if pod.node})
    if len(nodes) > 1:
        return f"{where}ReadWriteOnce, on the nodes {', '.join(nodes)}: only those of one node can start; {advice}"
    return f"{where}ReadWriteOnce: they can run on one node only, and nothing keeps them on it; {advice}"


def _creation(target: Target) -> Action:
    if target.new is None:
        raise RefusedError(
            ConditionReason.VOLUME_CLAIM_NOT_FOUND,
            f"there is no PersistentVolumeClaim {target.name!r} in the namespace {target.owner.namespace} "
            "(spec.backend.file.existingClaim): create it, or create a store with size, which makes one",
            for_tenants=True,
        )
    reason = "missing"
    if target.known:
        reason = "it was deleted, and the checkpoints went with its volume: a new one is empty"
    return CreateClaim("create", KIND, target.name, reason, new=target.new, mark=target.mark)


def _check_owner(claim: VolumeClaim, target: Target) -> None:
    if _is_own(claim, target.owner):
        return
    holder = Owner.from_claim(claim.mark)
    where = f"PersistentVolumeClaim {claim.name!r}"
    if holder is not None and not holder.released:
        raise _conflict(f"{where} belongs to the store {holder}", target)
    if target.adopt:
        return
    if holder is not None:
        raise _conflict(f"{where} was left by the store {holder}", target)
    if target.new is not None:
        raise _conflict(f"{where} exists and belongs to no store", target)
    # Naming a claim that no store has ever had is consent enough.


def _conflict(what: str, target: Target) -> RefusedError:
    return RefusedError(
        ConditionReason.CONFLICT,
        f"{what} ({target.field}). Nothing was changed. Choose another name; or annotate the store with "
        f'{ANNOTATION_ADOPT}="true" to take over what no living store owns',
        for_tenants=True,
    )


def _is_own(claim: VolumeClaim, owner: Owner) -> bool:
    holder = Owner.from_claim(claim.mark)
    if holder is None:
        # Somebody removed the annotation: the label still says whose it is.
        return claim.ours and claim.marked_uid == owner.uid
    return owner.owns(holder)


def _check_usable(claim: VolumeClaim, pods: tuple[MountingPod, ...]) -> None:
    where = f"PersistentVolumeClaim {claim.name!r}"
    if claim.ending:
        until = f"it goes when the pods that mount it end ({_names(pods)})" if pods else "it goes in a moment"
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED,
            f"{where} is being deleted, which nothing can stop: {until}, and its checkpoints with it. Save them first "
            "(locus-memory export, in one of these pods); afterwards a new and empty claim is made",
            for_tenants=True,
        )
    if claim.phase is Phase.LOST:
        raise RefusedError(
            ConditionReason.BACKEND_REFUSED,
            f"{where} has lost its PersistentVolume, and its checkpoints with it: bring the volume back, or delete the "
            "claim to begin with an empty one",
            for_tenants=True,
        )


def _corrections(claim: VolumeClaim, storage_class: StorageClass | None, target: Target) -> Iterator[Action]:
    if claim.mark != target.mark.text or claim.marked_uid != target.owner.uid:
        own = _is_own(claim, target.owner)
        reason = "its mark was changed" if own else "not claimed by this store"
        yield MarkClaim("claim", KIND, claim.name, reason, mark=target.mark)
    if target.new is None or claim.size is None:
        return
    wanted, there = bytes_of(target.new.size), bytes_of(claim.size)
    if wanted < there:
        raise RefusedError(
            ConditionReason.INVALID_SPEC,
            f"spec.backend.file.size: {target.new.size} is less than the {claim.size} of the PersistentVolumeClaim "
            f"{claim.name!r}, and volumes do not shrink: write {claim.size}",
            for_tenants=True,
        )
    # The API server changes the size of bound claims only.
    if wanted > there and claim.phase is Phase.BOUND:
        _check_growth(claim, storage_class, target.new.size)
        reason = f"differs: size {claim.size}, not {target.new.size}"
        yield GrowClaim("alter", KIND, claim.name, reason, size=target.new.size)


def _check_growth(claim: VolumeClaim, storage_class: StorageClass | None, size: str) -> None:
    if storage_class is not None and storage_class.grows:
        return
    why = (
        f"its StorageClass {storage_class.name!r} does not have allowVolumeExpansion: true"
        if storage_class is not None
        else f"its StorageClass {claim.storage_class!r} does not exist"
    )
    raise RefusedError(
        ConditionReason.BACKEND_REFUSED,
        f"PersistentVolumeClaim {claim.name!r} cannot grow from {claim.size} to {size}: {why}. Write size: "
        f"{claim.size}, or have the class changed, or move the threads to a larger store (locus-memory migrate)",
        for_tenants=True,
    )


def _notes(claim: VolumeClaim, storage_class: StorageClass | None, target: Target) -> Iterator[str]:
    if claim.phase is Phase.PENDING:
        yield f"the claim {claim.name} has no volume yet: {_why_pending(claim, storage_class)}"
    elif claim.size and claim.capacity and bytes_of(claim.capacity) < bytes_of(claim.size):
        yield f"the volume of the claim {claim.name} is growing from {claim.capacity} to {claim.size}"
    if not claim.ours:
        yield f"the claim {claim.name} was not made by the operator, which will never delete it"
    if target.new is None:
        return
    if target.new.storage_class not in (None, claim.storage_class):
        yield (
            f"the claim {claim.name} keeps its StorageClass {claim.storage_class}: that of a claim never changes, so "
            f"{target.new.storage_class} is not acted on"
        )
    if set(target.new.access_modes) != set(claim.access_modes) and claim.access_modes:
        yield f"the claim {claim.name} keeps its access modes {', '.join(claim.access_modes)}, which never change"


def _why_pending(claim: VolumeClaim, storage_class: StorageClass | None) -> str:
    if storage_class is not None and storage_class.waits:
        return f"its StorageClass {storage_class.name} makes one for the first pod that mounts it"
    if storage_class is not None:
        return (
            f"the provisioner of its StorageClass {storage_class.name} has not made one; if that lasts, `kubectl "
            f"describe pvc {claim.name}` says why"
        )
    if claim.storage_class:
        return (
            f"there is no StorageClass {claim.storage_class}, so somebody has to make a PersistentVolume of this class"
        )
    return "the cluster has no default StorageClass: somebody has to make a PersistentVolume, or a class the default"


def _names(pods: tuple[MountingPod, ...]) -> str:
    more = f" and {len(pods) - _NAMED_PODS} more" if len(pods) > _NAMED_PODS else ""
    return ", ".join(pod.name for pod in pods[:_NAMED_PODS]) + more
