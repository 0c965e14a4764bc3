"""`spec.backend.file`: files on a PersistentVolumeClaim."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from locus_operator.api.rules import SpecModel, fixed_at_creation, rule
from locus_operator.api.shapes import AsSet, ObjectName, Text


class AccessMode(StrEnum):
    """Who may mount the volume; a store is written to, so ReadOnlyMany is none of them."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"
    READ_WRITE_MANY = "ReadWriteMany"


class FileBackend(SpecModel):
    """A PersistentVolumeClaim: a new one of some size, or one that exists."""

    size: (
        Annotated[
            str,
            Text(
                "write a quantity such as 10Gi or 500Mi",
                r"^[1-9][0-9]{0,8}(\.[0-9]{1,3})?(Mi|Gi|Ti|M|G|T)$",
                max_length=15,
            ),
        ]
        | None
    ) = Field(None, description="Size of a new claim, such as 10Gi. Exactly one of size and existingClaim.")
    storage_class_name: ObjectName | None = Field(
        None,
        description="StorageClass of the new claim. Default: the cluster's default class. Fixed at creation.",
    )
    access_modes: Annotated[tuple[AccessMode, ...], Field(min_length=1, max_length=3), AsSet()] | None = Field(
        None,
        description="Access modes of the new claim. Default: ReadWriteOnce, for agents on one node. Fixed at creation.",
    )
    existing_claim: ObjectName | None = Field(
        None, description="Name of a claim in the store's namespace to use instead. Fixed at creation."
    )

    @rule(
        cel="has(self.size) != has(self.existingClaim)",
        message="write exactly one of size (for a new claim) and existingClaim",
    )
    def _one_claim(self) -> bool:
        return (self.size is None) != (self.existing_claim is None)

    @rule(
        cel="!has(self.existingClaim) || !(has(self.storageClassName) || has(self.accessModes))",
        message="an existing claim has its own storageClassName and accessModes: remove these, or existingClaim",
        field="existingClaim",
    )
    def _existing_claim_is_as_it_is(self) -> bool:
        return self.existing_claim is None or (self.storage_class_name is None and self.access_modes is None)

    _class_is_fixed = fixed_at_creation("storage_class_name", "storageClassName", "create another store")
    _modes_are_fixed = fixed_at_creation("access_modes", "accessModes", "create another store")
    _claim_is_fixed = fixed_at_creation("existing_claim", "existingClaim", "create another store")
