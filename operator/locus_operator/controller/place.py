"""A store stays where it was made: elsewhere every conversation would be forgotten without an error.

CEL refuses such a change on current API servers; on older ones the status, which says where the store is, tells.
"""

from __future__ import annotations

from collections.abc import Iterator

from locus_operator.api import CheckpointStoreSpec, CheckpointStoreStatus, InvalidSpecError
from locus_operator.api.rules import FieldError
from locus_operator.api.status import Claims
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError


def check_place(spec: CheckpointStoreSpec, status: CheckpointStoreStatus) -> None:
    """Compare the effective spec with where the store is.

    Raises:
        InvalidSpecError: It names another place, or another class.
        RefusedError: Its class names another place by now.
    """
    if status.class_name is not None and spec.class_name != status.class_name:
        advice = f"the store belongs to the class {status.class_name!r}: put that back, or create another store"
        raise InvalidSpecError((FieldError("spec.className", advice),))
    errors = tuple(_moved(spec, status))
    if errors and spec.class_name is not None:
        message = f"CheckpointStoreClass {spec.class_name!r} has moved: {InvalidSpecError(errors)}"
        raise RefusedError(ConditionReason.CLASS_NOT_READY, message)
    if errors:
        raise InvalidSpecError(errors)


def _moved(spec: CheckpointStoreSpec, status: CheckpointStoreStatus) -> Iterator[FieldError]:
    if spec.backend is None or status.backend is None:
        return
    if spec.backend.kind != status.backend:
        advice = f"the store is on {status.backend}: put that back, or create another store"
        yield FieldError(f"spec.backend.{spec.backend.kind}", advice)
        return
    member = spec.backend.member
    for name, field in Claims.model_fields.items():
        # Claims and members call the same thing by the same name.
        claim, wanted = getattr(status.claims, name, None), getattr(member, name, None)
        if claim is not None and wanted is not None and str(wanted) != str(claim):
            path = f"spec.backend.{spec.backend.kind}.{field.alias or name}"
            yield FieldError(path, f"the store is in {claim!r}: put that back, or create another store")
