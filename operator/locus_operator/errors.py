"""The ways in which provisioning fails, each visible in a condition.

One more is `locus_operator.api.InvalidSpecError`: the spec is wrong, and nothing is tried before it changes.
"""

from __future__ import annotations

from collections.abc import Iterable

from locus_operator.api.rules import FieldError
from locus_operator.constants import ConditionReason


class ProvisioningError(Exception):
    """Base: carries the condition reason; the message is written for the platform engineer who reads it.

    Attributes:
        reason: Reason of the conditions.
        for_tenants: The message is about nothing but what the store's owner wrote; the platform team's credentials,
            hosts and other tenants are not in it, so the owner may read it whoever owns the backend.
    """

    def __init__(self, reason: ConditionReason, message: str, *, for_tenants: bool = False) -> None:
        self.reason = reason
        self.for_tenants = for_tenants
        super().__init__(message)


class RefusedError(ProvisioningError):
    """The backend refuses, or something that the spec names is missing: a person has to act.

    Tried again slowly, because the person acts outside of Kubernetes.
    """


class UnavailableError(ProvisioningError):
    """The backend is away: tried again with exponential back-off; bindings and agents stay as they are."""

    def __init__(self, message: str) -> None:
        super().__init__(ConditionReason.BACKEND_UNAVAILABLE, message)


class UnsupportedError(ProvisioningError):
    """This version of the operator cannot do what the spec asks for: nothing is tried before the spec changes."""


class LimitExceededError(ProvisioningError):
    """The store asks for more than its class allows: nothing is tried before one of the two changes."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        super().__init__(ConditionReason.LIMIT_EXCEEDED, "; ".join(map(str, errors)), for_tenants=True)
