"""Which stores a pod asks for: its label and annotations, read with care, because people write them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from locus_operator.constants import (
    ANNOTATION_BINDING_SECRET,
    ANNOTATION_STORE,
    BINDING_SUFFIX,
    LABEL_STORE,
)

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_FORM: Final = "lower-case letters, digits, '-' and '.'"
_LONGEST_STORE: Final = 63  # a label's value is no longer
_LONGEST_SECRET: Final = 253

_LONGEST_VOLUME: Final = 63
_HASH_LENGTH: Final = 10


@dataclass(frozen=True, slots=True)
class Binding:
    """One store that the pod asks for, and the Secret with its binding."""

    store: str
    secret: str

    @property
    def volume(self) -> str:
        """Name of the pod's volume: a DNS label that no other store's volume has.

        Names that had to be changed get a hash and another prefix, so they never equal an unchanged one.
        """
        plain = f"locus-binding-{self.store}"
        if "." not in plain and len(plain) <= _LONGEST_VOLUME:
            return plain
        digest = hashlib.sha256(self.store.encode()).hexdigest()[:_HASH_LENGTH]
        readable = f"locus-bound-{self.store}".replace(".", "-")[: _LONGEST_VOLUME - _HASH_LENGTH - 1]
        return f"{readable}-{digest}"


@dataclass(frozen=True, slots=True)
class OptIn:
    """What a pod asks for.

    Attributes:
        bindings: The stores to mount, the default one first; those with unusable names are left out.
        warnings: What is wrong with label and annotations, and what to write instead.
    """

    bindings: tuple[Binding, ...] = ()
    warnings: tuple[str, ...] = ()


def read_opt_in(metadata: Mapping[str, Any]) -> OptIn:
    """Read label and annotations of a pod's `metadata`."""
    labels: Mapping[str, str] = metadata.get("labels") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    stores, warnings = _stores(labels.get(LABEL_STORE), annotations.get(ANNOTATION_STORE))
    secrets, more = _secrets(annotations.get(ANNOTATION_BINDING_SECRET), stores)
    bindings = tuple(Binding(store, secrets[store]) for store in stores if store in secrets)
    return OptIn(bindings, (*warnings, *more))


def _stores(label: str | None, annotation: str | None) -> tuple[list[str], list[str]]:
    """The annotation decides where there is one, because only it can hold several names."""
    names = _split(annotation) or _split(label)
    source = "annotation" if _split(annotation) else "label"
    warnings = [
        f"{source} {LABEL_STORE}: {name!r} is no name of a CheckpointStore and is ignored: "
        f"write {_NAME_FORM}, at most {_LONGEST_STORE} characters"
        for name in names
        if not _is_name(name, _LONGEST_STORE)
    ]
    if label is not None and not names:
        warnings.append(f"label {LABEL_STORE} is empty: write the name of a CheckpointStore")
    if label and label not in names:
        warnings.append(
            f"label {LABEL_STORE}={label} is ignored, because the annotation of the same key names other "
            f"stores: write the name there too, or leave the label empty"
        )
    return [name for name in names if _is_name(name, _LONGEST_STORE)], warnings


def _secrets(annotation: str | None, stores: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The Secret of each store; a store whose Secret is named in an unusable way has none.

    Guessing instead would leave the pod waiting for a Secret that never comes.
    """
    entries = _split(annotation)
    if len(entries) == len(stores) == 1 and "=" not in entries[0]:
        entries = [f"{stores[0]}={entries[0]}"]
    key = f"annotation {ANNOTATION_BINDING_SECRET}"
    if unclear := [entry for entry in entries if "=" not in entry]:
        advice = "nothing is injected: write store=secret for each store"
        return {}, [f"{key}: {unclear[0]!r} names no store, {advice}"]
    pairs = (entry.partition("=") for entry in entries)
    named = {store.strip(): secret.strip() for store, _, secret in pairs}
    warnings = [f"{key}: the pod asks for no store {store!r}" for store in named if store not in stores]
    secrets = {store: named.get(store, store + BINDING_SUFFIX) for store in stores}
    for store, secret in list(secrets.items()):
        if not _is_name(secret, _LONGEST_SECRET):
            del secrets[store]
            warnings.append(
                f"{key}: {secret!r} is no name of a Secret, so store {store} is not injected: write {_NAME_FORM}"
            )
    return secrets, warnings


def _split(text: str | None) -> list[str]:
    """Comma-separated names without blanks, empty ones and repetitions."""
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def _is_name(text: str, longest: int) -> bool:
    return len(text) <= longest and _NAME.fullmatch(text) is not None
