"""References from a spec to Secrets, ConfigMaps and sets of labels."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from locus_operator.api.rules import SpecModel, rule
from locus_operator.api.shapes import LabelKey, LabelValue, ObjectName, SecretKey


class SecretKeys(SpecModel):
    """Keys of a Secret that does not use the well-known names of Service Binding.

    Write only those that differ: `username: POSTGRES_USER` reads the user name from `POSTGRES_USER`.
    """

    username: SecretKey = Field("username", description="Key of the user name.")
    password: SecretKey = Field("password", description="Key of the password.")
    uri: SecretKey = Field(
        "uri", description="Key of a connection URI. It is read when the user name's key is not there."
    )
    host: SecretKey = Field("host", description="Key of the host. The spec's own host wins.")
    port: SecretKey = Field("port", description="Key of the port. The spec's own port wins.")
    database: SecretKey = Field("database", description="Key of the database. The spec's own database wins.")
    certificates: SecretKey = Field("certificates", description="Key of a PEM bundle to trust. The spec's own ca wins.")


class AdminSecretRef(SpecModel):
    """The Secret with the credentials that the operator provisions with.

    A CheckpointStore names a Secret of its own namespace, a CheckpointStoreClass one of the operator's.
    """

    name: ObjectName = Field(description="Name of the Secret.")
    keys: SecretKeys = Field(
        SecretKeys(),
        description="Where the Secret keeps what. The defaults are the well-known keys of Service Binding.",
    )


class SecretRef(SpecModel):
    """A Secret in the namespace of the store, or in the operator's namespace for a class."""

    name: ObjectName = Field(description="Name of the Secret.")


class KeyRef(SpecModel):
    """One key of a Secret or a ConfigMap."""

    name: ObjectName = Field(description="Name of the Secret or ConfigMap.")
    key: SecretKey = Field("ca.crt", description="Key of its data.")


class CertificateAuthority(SpecModel):
    """PEM certificates to trust: from a Secret or from a ConfigMap."""

    secret_key_ref: KeyRef | None = Field(None, description="A key of a Secret with the PEM bundle.")
    config_map_key_ref: KeyRef | None = Field(None, description="A key of a ConfigMap with the PEM bundle.")

    @rule(
        cel="has(self.secretKeyRef) != has(self.configMapKeyRef)",
        message="write exactly one of secretKeyRef and configMapKeyRef",
    )
    def _one_source(self) -> bool:
        return (self.secret_key_ref is None) != (self.config_map_key_ref is None)


class LabelOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(SpecModel):
    """One condition on one label."""

    key: LabelKey = Field(description="The label's key.")
    operator: LabelOperator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64)] = Field(
        (), description="Values for In and NotIn; empty for Exists and DoesNotExist."
    )

    @rule(
        cel="!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
        message="write at least one value for the operators In and NotIn",
        field="values",
    )
    def _values_to_compare_with(self) -> bool:
        return self.operator not in (LabelOperator.IN, LabelOperator.NOT_IN) or bool(self.values)

    @rule(
        cel="!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0",
        message="remove values, which the operators Exists and DoesNotExist do not read, or write operator: In",
        field="values",
    )
    def _no_values_to_ignore(self) -> bool:
        return self.operator not in (LabelOperator.EXISTS, LabelOperator.DOES_NOT_EXIST) or not self.values


class LabelSelector(SpecModel):
    """A label selector as everywhere in Kubernetes: all conditions must hold, and none select everything."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=64)] = Field(
        {}, description="Labels that must be there with these values."
    )
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=32)] = Field(
        (), description="Further conditions on labels."
    )

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            _holds(requirement, labels.get(requirement.key)) for requirement in self.match_expressions
        )


def _holds(requirement: LabelRequirement, value: str | None) -> bool:
    match requirement.operator:
        case LabelOperator.IN:
            return value in requirement.values
        case LabelOperator.NOT_IN:
            # As in Kubernetes, a label that is not there is not in the list either.
            return value not in requirement.values
        case LabelOperator.EXISTS:
            return value is not None
        case LabelOperator.DOES_NOT_EXIST:
            return value is None
