"""What injection needs to know about a `CheckpointStore`, and nothing else: the webhook keeps it of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from locus_operator.api.references import LabelSelector
from locus_operator.api.rules import broken_rules
from locus_operator.constants import BINDING_SUFFIX
from locus_operator.names import volume_claim_name


@dataclass(frozen=True, slots=True)
class KnownStore:
    """One store.

    Attributes:
        name: Its name.
        secret: Name of its binding Secret.
        selector: Which pods it selects beside those that ask for it; None selects none.
        containers: Names of the containers that get the binding; None for all.
        claim: The PersistentVolumeClaim with its files; None for stores on other backends.
        is_undecided: Its class has not said yet whether it keeps files.
    """

    name: str
    secret: str
    selector: LabelSelector | None = None
    containers: frozenset[str] | None = None
    claim: str | None = None
    is_undecided: bool = False

    @classmethod
    def unknown(cls, name: str) -> KnownStore:
        """Return what is assumed of a store that does not exist yet."""
        return cls(name, name + BINDING_SUFFIX)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Tell whether pods with these labels get the binding unasked."""
        return self.selector is not None and self.selector.matches(dict(labels))


StoresByName = Mapping[str, KnownStore]
"""The stores of one namespace."""
Snapshot = Mapping[str, StoresByName]
"""All stores by namespace."""


def read_store(body: Mapping[str, Any]) -> KnownStore:
    """Read a store as the API server holds it; what is invalid counts as not written."""
    name: str = body["metadata"]["name"]
    spec, status = body.get("spec") or {}, body.get("status") or {}
    pods = spec.get("pods") or {}
    containers = pods.get("containers")
    # The binding of a store that is being deleted is about to go: nobody shall wait for it who did not ask.
    leaving = "deletionTimestamp" in body["metadata"]
    claim = _claim(name, spec, status)
    return KnownStore(
        name=name,
        secret=spec.get("bindingSecretName") or name + BINDING_SUFFIX,
        selector=None if leaving else _selector(pods.get("selector")),
        containers=frozenset(containers) if containers else None,
        claim=claim,
        is_undecided=not spec.get("backend") and claim is None and status.get("backend") in (None, "file"),
    )


def _selector(selector: Any) -> LabelSelector | None:
    if selector is None:
        return None
    try:
        found = LabelSelector.model_validate(selector)
    except ValidationError:
        return None
    # Servers without CEL let it through; the controller reports InvalidSpec.
    return None if any(broken_rules(found, "selector")) else found


def _claim(name: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> str | None:
    """The claim: as reported, or else as it will be; only the report tells for a store of a class."""
    backend = spec.get("backend") or {}
    claimed: str | None = (status.get("claims") or {}).get("volumeClaim")
    if claimed or "file" not in backend:
        return claimed
    return (backend["file"] or {}).get("existingClaim") or volume_claim_name(name)
