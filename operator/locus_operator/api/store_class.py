"""`CheckpointStoreClass`: what a platform team offers."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from locus_operator.api.backends import Backend, BackendKind
from locus_operator.api.duration import Duration, cel_seconds
from locus_operator.api.metadata import ObjectMeta
from locus_operator.api.references import LabelSelector
from locus_operator.api.rules import ApiModel, SpecModel, cel_absent, rule
from locus_operator.api.shapes import ObjectName, Whole
from locus_operator.api.status import CheckpointStoreClassStatus
from locus_operator.api.store import Credentials, DeletionPolicy, Retention
from locus_operator.constants import API_VERSION, CLASS_KIND

# Names that belong to one store: a class that fixed one would give all its stores the same place.
_OF_ONE_STORE: Final[dict[BackendKind, tuple[str, str]]] = {
    "postgresql": ("schema", "schema_name"),
    "redis": ("keyPrefix", "key_prefix"),
    "oracle": ("owner", "owner"),
    "ociBucket": ("prefix", "prefix"),
    "opensearch": ("indexPrefix", "index_prefix"),
    "file": ("existingClaim", "existing_claim"),
}


class NamespacesFrom(StrEnum):
    """How a class chooses namespaces."""

    NONE = "None"
    ALL = "All"
    SELECTOR = "Selector"


class AllowedNamespaces(SpecModel):
    """Namespaces whose stores may use the class."""

    from_: NamespacesFrom = Field(
        NamespacesFrom.NONE,
        alias="from",
        description="None (nobody), All, or Selector: those whose labels match selector.",
    )
    selector: LabelSelector | None = Field(None, description="Labels of the namespaces, for from: Selector.")

    @rule(
        cel="self.from != 'Selector' || has(self.selector)",
        message="from: Selector needs selector: write the labels of the namespaces, or from: All",
        field="selector",
    )
    def _selector_is_there(self) -> bool:
        return self.from_ is not NamespacesFrom.SELECTOR or self.selector is not None

    @rule(
        cel="self.from == 'Selector' || !has(self.selector)",
        message="only from: Selector reads selector: write from: Selector, or remove selector",
        field="from",
    )
    def _selector_is_used(self) -> bool:
        return self.from_ is NamespacesFrom.SELECTOR or self.selector is None

    def allow(self, namespace_labels: dict[str, str]) -> bool:
        """Whether a store in a namespace with these labels may use the class."""
        match self.from_:
            case NamespacesFrom.NONE:
                return False
            case NamespacesFrom.ALL:
                return True
            case NamespacesFrom.SELECTOR:
                return self.selector is not None and self.selector.matches(namespace_labels)


class ClassDefaults(SpecModel):
    """What a store of the class gets that does not say it itself, field by field."""

    retention: Retention = Field(Retention(), description="Retention of stores that set none.")
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN, description="Retain or Delete, for stores that do not say."
    )
    credentials: Credentials = Field(Credentials(), description="Rotation for stores that set none.")


class ClassLimits(SpecModel):
    """Upper bounds that stores of the class may not exceed."""

    max_retention: Duration | None = Field(
        None,
        description="Longest retention.maxAge. A store that sets none gets the class's default, or else this one.",
    )
    max_checkpoints_per_thread: Annotated[int, Whole(1, 1_000_000)] | None = Field(
        None,
        description="Highest retention.maxCheckpointsPerThread; applies likewise to stores that set none.",
    )
    max_rotation_period: Duration | None = Field(
        None, description="Longest credentials.rotationPeriod; applies likewise to stores that set none."
    )


class CheckpointStoreClassSpec(SpecModel):
    """A backend with credentials of the platform team, and who may use it how."""

    backend: Backend = Field(
        description="The backend. Secrets and ConfigMaps that it names are in the operator's namespace. "
        "Its kind is fixed at creation."
    )
    allowed_namespaces: AllowedNamespaces = Field(
        AllowedNamespaces(), description="Namespaces whose stores may use the class. Default: none."
    )
    defaults: ClassDefaults = Field(
        ClassDefaults(), description="What a store of the class gets that does not say it itself."
    )
    limits: ClassLimits = Field(ClassLimits(), description="Upper bounds that stores may not exceed.")

    @rule(
        cel=" && ".join(
            f"(!has(self.backend.{kind}) || !has(self.backend.{kind}.{field}))"
            for kind, (field, _) in _OF_ONE_STORE.items()
        ),
        message="remove what belongs to one store alone: schema, keyPrefix, owner, prefix, indexPrefix and "
        "existingClaim are derived for each store of a class",
        field="backend",
    )
    def _nothing_of_one_store(self) -> bool:
        members = ((self.backend.get(kind), attribute) for kind, (_, attribute) in _OF_ONE_STORE.items())
        return all(member is None or getattr(member, attribute) is None for member, attribute in members)

    @rule(
        cel=f"{cel_absent('defaults.retention.archiveAfter')} || has(self.backend.ociBucket)",
        message="only the backend ociBucket has an archive tier: remove archiveAfter",
        field="defaults.retention.archiveAfter",
    )
    def _archive_needs_bucket(self) -> bool:
        return self.defaults.retention.archive_after is None or self.backend.oci_bucket is not None

    @rule(
        cel=f"{cel_absent('defaults.retention.maxAge')} || {cel_absent('limits.maxRetention')} || "
        f"{cel_seconds('self.defaults.retention.maxAge')} <= {cel_seconds('self.limits.maxRetention')}",
        message="write a default maxAge no longer than limits.maxRetention",
        field="defaults.retention.maxAge",
    )
    def _default_age_within_limit(self) -> bool:
        default, limit = self.defaults.retention.max_age, self.limits.max_retention
        return default is None or limit is None or default <= limit

    @rule(
        cel=f"{cel_absent('defaults.retention.maxCheckpointsPerThread')} || "
        f"{cel_absent('limits.maxCheckpointsPerThread')} || "
        "self.defaults.retention.maxCheckpointsPerThread <= self.limits.maxCheckpointsPerThread",
        message="write a default maxCheckpointsPerThread no higher than limits.maxCheckpointsPerThread",
        field="defaults.retention.maxCheckpointsPerThread",
    )
    def _default_count_within_limit(self) -> bool:
        default = self.defaults.retention.max_checkpoints_per_thread
        limit = self.limits.max_checkpoints_per_thread
        return default is None or limit is None or default <= limit

    @rule(
        cel=f"{cel_absent('defaults.credentials.rotationPeriod')} || "
        f"{cel_absent('limits.maxRotationPeriod')} || "
        f"{cel_seconds('self.defaults.credentials.rotationPeriod')} <= "
        f"{cel_seconds('self.limits.maxRotationPeriod')}",
        message="write a default rotationPeriod no longer than limits.maxRotationPeriod",
        field="defaults.credentials.rotationPeriod",
    )
    def _default_rotation_within_limit(self) -> bool:
        default, limit = self.defaults.credentials.rotation_period, self.limits.max_rotation_period
        return default is None or limit is None or default <= limit


class CheckpointStoreClass(ApiModel):
    """A backend that the platform team offers to the namespaces it chooses."""

    api_version: Literal["memory.locus.dev/v1alpha1"] = API_VERSION
    kind: Literal["CheckpointStoreClass"] = CLASS_KIND
    metadata: ObjectMeta[ObjectName]
    spec: CheckpointStoreClassSpec
    status: CheckpointStoreClassStatus = CheckpointStoreClassStatus()
