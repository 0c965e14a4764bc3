"""Answers of OCI, in the operator's terms: what was refused, what is missing, what lets it go on."""

from __future__ import annotations

from typing import Any, Final

from locus_operator.backends.oci_bucket_access import key_statement, service_statements
from locus_operator.backends.oci_bucket_client import Access
from locus_operator.backends.oci_bucket_conflicts import HIDDEN, permissions_text
from locus_operator.backends.oci_bucket_plan import Target
from locus_operator.constants import ConditionReason
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError

_HIDDEN_STATUS: Final = (403, 404)
_PASSING_STATUS: Final = (408, 429)


def is_hidden(error: Any) -> bool:
    """Tell whether something is missing, or hidden from the operator: OCI does not say which."""
    return error.status in _HIDDEN_STATUS


def explained(error: Any, purpose: str, target: Target, access: Access, *, has_policy: bool) -> ProvisioningError:
    """Turn an answer into an error for a person.

    Args:
        error: The SDK's `ServiceError`.
        purpose: What was tried, as in "cannot …".
        target: What was desired.
        access: The operator's way to OCI.
        has_policy: The operator has written the store's statements itself, so they may not have taken effect yet.
    """
    text = f"{error.status} {error.code}: {error.message} (opc-request-id {error.request_id})"
    where = f"{access.endpoint}: cannot {purpose}"
    match error:
        case _ if error.status == 401:
            return RefusedError(
                ConditionReason.AUTHENTICATION_FAILED,
                f"{access.endpoint}: OCI rejects {access.who}: {text}. Correct spec.backend.ociBucket.auth.operator or "
                "its Secret, and the clock of the operator's node",
            )
        case _ if error.code == "InsufficientServicePermissions":
            return _service_refused(where, text, target, has_policy=has_policy)
        case _ if is_hidden(error):
            return RefusedError(
                ConditionReason.MISSING_PRIVILEGES, f"{where}: {text}. {HIDDEN}. {permissions_text(target)}"
            )
        case _ if error.code in ("BucketAlreadyExists", "PolicyAlreadyExists"):
            return RefusedError(
                ConditionReason.CONFLICT,
                f"{where}: {text}. It is in a compartment or a tenancy where {access.who} does not see it: choose "
                "another name, or write the compartment that it is in",
            )
        case _ if error.status == 412:
            return UnavailableError(f"{where}: somebody else has changed it at the same moment: {text}")
        case _ if error.status >= 500 or error.status in _PASSING_STATUS:
            return UnavailableError(f"{where}: {text}")
        case _:
            key = target.backend.kms_key_id
            hint = (
                f". Object Storage itself must be let at the Vault key: {key_statement(target.place, key)}"
                if key
                else ""
            )
            return RefusedError(ConditionReason.BACKEND_REFUSED, f"{where}: {text}{hint}")


def _service_refused(where: str, text: str, target: Target, *, has_policy: bool) -> ProvisioningError:
    if has_policy:
        return UnavailableError(f"{where}: the store's policy has not taken effect yet: {text}")
    needed = "; ".join(service_statements(target.place))
    return RefusedError(
        ConditionReason.MISSING_PRIVILEGES,
        f"{where}: Object Storage itself may not act on the bucket: {text}. Let an administrator of the compartment "
        f"add this statement, or let the operator manage policies there: {needed}",
    )
