"""The ways in which provisioning fails, each visible in a condition.

One more is `locus_operator.api.InvalidSpecError`: the spec is wrong, and nothing is tried before it changes.
"""

from __future__ import annotations

from locus_operator.constants import ConditionReason


class ProvisioningError(Exception):
    """Base: carries the condition reason; the message is written for the platform engineer who reads it."""

    def __init__(self, reason: ConditionReason, message: str) -> None:
        self.reason = reason
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
