"""`CheckpointStore`: what an application team asks for."""

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field

from locus_operator.api.backends import Backend
from locus_operator.api.duration import Duration, cel_seconds
from locus_operator.api.metadata import ObjectMeta
from locus_operator.api.references import LabelSelector
from locus_operator.api.rules import ApiModel, SpecModel, cel_absent, rule, transition_rule
from locus_operator.api.shapes import AsSet, ContainerName, ObjectName, StoreName, Whole
from locus_operator.api.status import CheckpointStoreStatus
from locus_operator.constants import API_VERSION, BINDING_SUFFIX, STORE_KIND

_DEFAULT_OVERLAP: Final = 3_600
_WITH_STORE: Final = ("postgresql", "redis", "oracle", "memory")
"""Backends that `locus_memory.store` has a cross-thread store for."""


class DeletionPolicy(StrEnum):
    """What the deletion of a store does to its data; its logins go in any case."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Retention(SpecModel):
    """How long checkpoints are kept. Nothing set keeps them for ever."""

    max_age: Duration | None = Field(
        None,
        description="Delete checkpoints older than this, such as 90d, 12h or 30m. The newest checkpoint of "
        "a thread "
        "falls with the rest: this is a promise about deletion.",
    )
    max_checkpoints_per_thread: Annotated[int, Whole(1, 1_000_000)] | None = Field(
        None, description="Keep at most this many checkpoints of each thread, the newest ones."
    )
    archive_after: Duration | None = Field(
        None,
        description="ociBucket only: move checkpoints to the archive tier after this many days, such as 30d. "
        "Archived ones have to be restored before they can be loaded.",
    )

    @rule(
        cel="!has(self.archiveAfter) || self.archiveAfter.endsWith('d')",
        message="write archiveAfter in days, such as 30d: the lifecycle rules of OCI count in days",
        field="archiveAfter",
    )
    def _archive_after_days(self) -> bool:
        return self.archive_after is None or self.archive_after.text.endswith("d")

    @rule(
        cel="!has(self.archiveAfter) || !has(self.maxAge) || "
        f"{cel_seconds('self.archiveAfter')} < {cel_seconds('self.maxAge')}",
        message="write an archiveAfter shorter than maxAge: what is deleted cannot be archived any more",
        field="archiveAfter",
    )
    def _archive_before_deletion(self) -> bool:
        return self.archive_after is None or self.max_age is None or self.archive_after < self.max_age


class Credentials(SpecModel):
    """When the application's login is replaced."""

    rotation_period: Duration | None = Field(
        None,
        description="Issue a new login this often, such as 30d. Default: only when the annotation "
        "memory.locus.dev/rotate asks for it.",
    )
    overlap: Duration | None = Field(
        None,
        description="The old login stays valid for this long; mounted Secrets need a minute or two to "
        "follow. "
        "Shorter than rotationPeriod. Default: 1h, or half of a rotationPeriod shorter than 2h.",
    )

    @property
    def overlap_seconds(self) -> int:
        """Seconds, at least 1, that the old login stays valid, with the default applied."""
        if self.overlap is not None:
            return self.overlap.seconds
        if self.rotation_period is None:
            return _DEFAULT_OVERLAP
        return max(1, min(_DEFAULT_OVERLAP, self.rotation_period.seconds // 2))

    @rule(
        cel="!has(self.overlap) || !has(self.rotationPeriod) || "
        f"{cel_seconds('self.overlap')} < {cel_seconds('self.rotationPeriod')}",
        message="write an overlap shorter than rotationPeriod: there are two logins, and both would be in use",
        field="overlap",
    )
    def _overlap_ends_before_next_rotation(self) -> bool:
        return self.overlap is None or self.rotation_period is None or self.overlap < self.rotation_period


class LongTermMemory(SpecModel):
    """The key-value store across threads that `locus_memory.store()` opens."""

    enabled: bool = Field(True, description="Provision it. false leaves an existing one as it is.")
    embedding_dimension: Annotated[int, Whole(1, 16_000)] | None = Field(
        None,
        description="Length of the vectors of the embedding model, such as 1024, where the backend has "
        "vector "
        "columns. Default: no vectors.",
    )


class Pods(SpecModel):
    """Which pods of the store's namespace get the binding."""

    selector: LabelSelector | None = Field(
        None,
        description="Inject into pods that match, even without the label "
        "memory.locus.dev/checkpoint-store. The "
        "namespace must be labelled memory.locus.dev/injection: enabled. An empty selector matches all pods.",
    )
    containers: Annotated[tuple[ContainerName, ...], Field(min_length=1, max_length=64), AsSet()] | None = Field(
        None,
        description="Inject only into containers of these names. Default: all, init containers included.",
    )


class CheckpointStoreSpec(SpecModel):
    """What a store is to be. At most one of className and backend; with neither it gets the default class."""

    class_name: ObjectName | None = Field(
        None,
        description="Name of a CheckpointStoreClass, where the platform team keeps connection and credentials. "
        "Without it and without backend the operator writes the name of the default class here. Fixed once it is set.",
    )
    backend: Backend | None = Field(None, description="The backend, written out here. Its kind is fixed at creation.")
    retention: Retention = Field(
        Retention(), description="How long checkpoints are kept. What is not set comes from the class."
    )
    deletion_policy: DeletionPolicy | None = Field(
        None,
        description="What `kubectl delete` does to the data: Retain keeps it, Delete deletes it; logins go "
        "in any "
        "case. Default: the class's, or else Retain.",
    )
    credentials: Credentials = Field(
        Credentials(),
        description="Rotation of the application's login. What is not set comes from the class.",
    )
    long_term_memory: LongTermMemory | None = Field(
        None, description="Also provision memory across threads. Default: not."
    )
    pods: Pods = Field(Pods(), description="Which pods get the binding beside those that carry the label.")
    binding_secret_name: ObjectName | None = Field(
        None, description="Name of the Secret with the connection. Default: <name>-binding."
    )
    suspend: bool = Field(
        False,
        description="Stop reconciling and keep everything as it is, deletion included, until this is false.",
    )

    @rule(
        cel="!has(self.className) || !has(self.backend)",
        message="write at most one of className (the name of a CheckpointStoreClass) and backend",
    )
    def _class_or_backend(self) -> bool:
        return self.class_name is None or self.backend is None

    @transition_rule(
        cel="!has(oldSelf.className) || (has(self.className) && self.className == oldSelf.className)",
        message="className is fixed when the store is created: put back the old one, or create another store",
        field="className",
    )
    def _same_class(self, old: Self) -> bool:
        return old.class_name is None or self.class_name == old.class_name

    @transition_rule(
        cel="!has(oldSelf.backend) || has(self.backend)",
        message="backend cannot be removed: put it back, or create another store",
        field="backend",
    )
    def _backend_stays(self, old: Self) -> bool:
        return old.backend is None or self.backend is not None

    @rule(
        cel=f"!has(self.backend) || {cel_absent('retention.archiveAfter')} || has(self.backend.ociBucket)",
        message="only the backend ociBucket has an archive tier: remove archiveAfter",
        field="retention.archiveAfter",
    )
    def _archive_needs_bucket(self) -> bool:
        return self.backend is None or self.retention.archive_after is None or bool(self.backend.oci_bucket)

    @rule(
        cel=f"{cel_absent('backend.redis.ttl.onWrite')} || {cel_absent('retention.maxAge')} || "
        f"{cel_seconds('self.backend.redis.ttl.onWrite')} <= "
        f"{cel_seconds('self.retention.maxAge')}",
        message="write a ttl.onWrite no longer than retention.maxAge, or remove it: it is maxAge by default",
        field="backend.redis.ttl.onWrite",
    )
    def _ttl_keeps_retention(self) -> bool:
        redis = self.backend.redis if self.backend else None
        if redis is None or redis.ttl.on_write is None or self.retention.max_age is None:
            return True
        return redis.ttl.on_write <= self.retention.max_age

    @rule(
        cel="!has(self.backend) || !has(self.longTermMemory) || !self.longTermMemory.enabled || "
        + " || ".join(f"has(self.backend.{kind})" for kind in _WITH_STORE),
        message=f"this backend has no long-term memory: write one of {', '.join(_WITH_STORE)}, "
        "or remove longTermMemory",
        field="longTermMemory",
    )
    def _backend_has_long_term_memory(self) -> bool:
        if self.backend is None or self.long_term_memory is None or not self.long_term_memory.enabled:
            return True
        return any(getattr(self.backend, kind) is not None for kind in _WITH_STORE)


class CheckpointStore(ApiModel):
    """A place for the checkpoints of one application's agents."""

    api_version: Literal["memory.locus.dev/v1alpha1"] = API_VERSION
    kind: Literal["CheckpointStore"] = STORE_KIND
    metadata: ObjectMeta[StoreName]
    spec: CheckpointStoreSpec
    status: CheckpointStoreStatus = CheckpointStoreStatus()

    @property
    def binding_secret_name(self) -> str:
        """Name of the binding Secret, with the default applied."""
        return self.spec.binding_secret_name or self.metadata.name + BINDING_SUFFIX
