"""What a tenant may read of a failure.

The rule, in this one place: a store that brings its own backend is told everything, since it brought the credentials
as well. A store of a class is told what is wrong with what the tenant wrote, in the text of an error that is marked
`for_tenants`. Of everything else it is told what kind of trouble it is and who can help: texts of a backend, of the
API server or about a Secret name administrators, hosts, the operator's Secrets and stores of other tenants. The
platform team reads these in the controller's log and in the Events of the class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from locus_operator.api import InvalidSpecError
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError
from locus_operator.provisioner import Action

_KINDS: Final[Mapping[ConditionReason, str]] = {
    ConditionReason.CLASS_NOT_READY: "the class is not as it should be",
    ConditionReason.SECRET_NOT_FOUND: "credentials of the class are missing",
    ConditionReason.SECRET_INVALID: "credentials of the class are incomplete",
    ConditionReason.AUTHENTICATION_FAILED: "the backend rejects the credentials of the class",
    ConditionReason.MISSING_PRIVILEGES: "the operator lacks privileges",
    ConditionReason.CONFLICT: "the place of this store on the backend belongs to another store or to nobody, or "
    "cannot be repaired without losing data",
    ConditionReason.BACKEND_REFUSED: "the backend refuses",
    ConditionReason.BACKEND_UNAVAILABLE: "the backend does not answer; it is tried again",
    ConditionReason.NOT_SUPPORTED: "this version of the operator cannot do what the store asks for on this class",
}
_OTHER: Final = "something went wrong in the operator"


def for_tenants(error: Exception, reason: ConditionReason, message: str, class_name: str | None) -> str:
    """Return what people who may read the store, and nothing else, are told of an error.

    Args:
        error: What went wrong.
        reason: Its reason, which is told in any case.
        message: Its full text.
        class_name: The store's class; None for a store that brings its own backend.
    """
    if class_name is None or is_about_the_store(error):
        return message
    kind = _KINDS.get(reason, _OTHER)
    return f"{kind}. Ask the platform team: the Events of CheckpointStoreClass {class_name!r} say more"


def is_about_the_store(error: Exception) -> bool:
    """Tell whether the text of an error speaks of nothing but what the tenant wrote."""
    return isinstance(error, InvalidSpecError) or (isinstance(error, ProvisioningError) and error.for_tenants)


def name_of(action: Action, class_name: str | None) -> str:
    """Return what is told of an action: why it was needed may name others' roles, so tenants of a class are not told.

    Args:
        action: What was done.
        class_name: The store's class; None for a store that brings its own backend.
    """
    return str(action) if class_name is None else f"{action.verb} {action.kind} {action.name}"
