"""`status` of both kinds: what the operator found and did."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from locus_operator.api.rules import ApiModel
from locus_operator.api.shapes import Text, Whole

# API servers compare bounds as 64-bit floats: 2**63 - 1 would round up, and overflow.
_LARGEST_EXACT: Final = 2**53 - 1

UNSEEN: Final = -1
"""`observedGeneration` of an object that no operator has looked at; kstatus takes one without status for ready."""


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of the object's state, as metav1.Condition."""

    type: Annotated[
        str,
        Text(
            "write a condition type such as Ready",
            r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
            max_length=316,
        ),
    ] = Field(description="What it is about: Ready, Provisioned, CredentialsReady, …")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    observed_generation: Annotated[int, Whole(0, _LARGEST_EXACT)] = Field(
        0, description="metadata.generation that this condition was found for."
    )
    last_transition_time: datetime = Field(description="When status changed last.")
    reason: Annotated[
        str,
        Text("write a reason in CamelCase", "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024),
    ] = Field(description="Why, in one CamelCase word for programs.")
    message: Annotated[str, Text("write a message of at most 32768 characters", max_length=32_768, min_length=0)] = (
        Field(description="Why, and what to do about it, for people.")
    )


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


def _name(description: str) -> str | None:
    found: str | None = Field(None, max_length=1024, description=description)
    return found


class Binding(ApiModel):
    """Where the connection is: makes the store a Provisioned Service of the Service Binding specification."""

    name: Annotated[str, Field(max_length=253)] = Field(
        description="Name of the binding Secret, in the store's namespace."
    )


class Claims(ApiModel):
    """What exists on the backend for this store."""

    database: str | None = _name("PostgreSQL database, or number of the Redis database.")
    schema_name: str | None = Field(None, alias="schema", max_length=1024, description="PostgreSQL schema.")
    owner: str | None = _name("Role or schema that owns the tables.")
    key_prefix: str | None = _name("Start of every Redis key.")
    bucket: str | None = _name("OCI bucket.")
    prefix: str | None = _name("Start of the name of every object in the bucket.")
    index_prefix: str | None = _name("Start of the name of every OpenSearch index.")
    volume_claim: str | None = _name("PersistentVolumeClaim.")
    long_term_memory: str | None = _name("What holds the items of long-term memory, such as a table.")
    roles: Annotated[tuple[Annotated[str, Field(max_length=256)], ...], Field(max_length=16)] = Field(
        (), description="Roles that cannot log in."
    )
    logins: Annotated[tuple[Annotated[str, Field(max_length=256)], ...], Field(max_length=16)] = Field(
        (), description="Logins of the application; rotation alternates them."
    )


class CredentialsStatus(ApiModel):
    """State of the application's login."""

    active: str | None = _name("The login that the binding holds.")
    rotated_at: datetime | None = Field(None, description="When this login was issued.")
    next_rotation_at: datetime | None = Field(None, description="When the next one will be.")
    retire_at: datetime | None = Field(
        None, description="When the login before it will be disabled; empty when that has happened."
    )
    rotate_request: str | None = _name("Value of the annotation memory.locus.dev/rotate that was acted on last.")


class RetentionStatus(ApiModel):
    """What retention has done."""

    last_run_at: datetime | None = Field(None, description="When old checkpoints were looked for last.")
    deleted_total: Annotated[int, Whole(0, _LARGEST_EXACT)] = Field(
        0, description="Checkpoints that retention has deleted so far."
    )


class CommonStatus(ApiModel):
    """What stores and classes report alike."""

    observed_generation: Annotated[int, Whole(UNSEEN, _LARGEST_EXACT)] = Field(
        UNSEEN, description=f"metadata.generation that this status is about; {UNSEEN}: the operator has yet to look."
    )
    conditions: Conditions = Field((), description="What is well and what is not. `kubectl wait` waits for Ready.")
    backend: str | None = _name("Kind of the backend, such as postgresql.")
    last_reconcile_time: datetime | None = Field(None, description="When the operator looked at it last.")

    def condition(self, type_: str) -> Condition | None:
        """The condition of a type, if there is one."""
        return next((each for each in self.conditions if each.type == type_), None)


class CheckpointStoreStatus(CommonStatus):
    """What the operator found and did for a store. Written by the operator only."""

    class_name: str | None = _name("The class that it was provisioned with.")
    binding: Binding | None = Field(None, description="The Secret with the connection.")
    claims: Claims | None = Field(None, description="What exists on the backend for this store.")
    capabilities: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=32)] = Field(
        (), description="What checkpointers on this backend can do, such as search or ttl."
    )
    credentials: CredentialsStatus | None = Field(None, description="State of the application's login.")
    retention: RetentionStatus | None = Field(None, description="What retention has done.")
    iam_statements: Annotated[tuple[Annotated[str, Field(max_length=2048)], ...], Field(max_length=16)] = Field(
        (),
        description="ociBucket: IAM statements that a tenancy administrator has to add, because the operator may not.",
    )


class CheckpointStoreClassStatus(CommonStatus):
    """What the operator found for a class. Written by the operator only."""

    bound_stores: Annotated[int, Whole(0, 2**31 - 1)] = Field(
        0,
        description="Stores that were provisioned with this class. It cannot be deleted before there are none.",
    )
