"""Which stores a pod gets: its label and annotations, read with care, because people write them, and selectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from locus_operator.constants import ANNOTATION_BINDING_SECRET, ANNOTATION_STORE, LABEL_STORE
from locus_operator.injection.known_stores import KnownStore, StoresByName

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_FORM: Final = "lower-case letters, digits, '-' and '.'"
_LONGEST_STORE: Final = 63  # a label's value is no longer
_LONGEST_SECRET: Final = 253
_SECRETS: Final = f"annotation {ANNOTATION_BINDING_SECRET}"

_LONGEST_VOLUME: Final = 63
_HASH_LENGTH: Final = 10


@dataclass(frozen=True, slots=True)
class OptIn:
    """What a pod gets.

    Attributes:
        stores: Those to mount, the default one first: what the pod asks for in its own order, then what selects it
            in the order of names. Each with the Secret that is to be mounted.
        left_out: Why it does not get something that it asks for, and what to write instead.
        warnings: What else is wrong with label and annotations.
    """

    stores: tuple[KnownStore, ...] = ()
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def binding_volume(store: str) -> str:
    """Name of the pod's volume with the binding: a DNS label that no other store's volume has."""
    return _volume("binding", "bound", store)


def files_volume(store: str) -> str:
    """Name of the pod's volume with the files of a `file` store: a DNS label that no other store's volume has."""
    return _volume("files", "filed", store)


def _volume(what: str, what_if_changed: str, store: str) -> str:
    """Names that had to be changed get a hash and another prefix, so they never equal an unchanged one."""
    plain = f"locus-{what}-{store}"
    if "." not in plain and len(plain) <= _LONGEST_VOLUME:
        return plain
    digest = hashlib.sha256(store.encode()).hexdigest()[:_HASH_LENGTH]
    readable = f"locus-{what_if_changed}-{store}".replace(".", "-")[: _LONGEST_VOLUME - _HASH_LENGTH - 1]
    return f"{readable}-{digest}"


def read_opt_in(metadata: Mapping[str, Any], known: StoresByName, *, selects: bool) -> OptIn:
    """Read label and annotations of a pod's `metadata`, and the selectors of its namespace's stores.

    Args:
        metadata: The pod's.
        known: The stores of its namespace; one that is not there is taken for one that will be created.
        selects: The namespace has opted in, so pods are selected without asking.
    """
    labels: Mapping[str, str] = metadata.get("labels") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    asked, left_out, warnings = _asked(labels.get(LABEL_STORE), annotations.get(ANNOTATION_STORE))
    secret_names = annotations.get(ANNOTATION_BINDING_SECRET)
    selecting: list[str] = []
    if selects or secret_names:  # labelled pods of other namespaces do not pay for selectors
        selecting = sorted(name for name, store in known.items() if name not in asked and store.selects(labels))
    names = [*asked, *(selecting if selects else ())]
    try:
        secrets = _secrets(secret_names, asked or selecting)
    except _UnclearError as error:
        return OptIn((), (*left_out, str(error)), tuple(warnings))
    warnings += [f"{_SECRETS}: the pod asks for no store {name!r}" for name in secrets if name not in asked + selecting]
    stores = []
    for name in names:
        store = known.get(name) or KnownStore.unknown(name)
        secret = secrets.get(name, store.secret)
        if _is_name(secret, _LONGEST_SECRET):
            stores.append(replace(store, secret=secret))
        else:
            left_out.append(
                f"{_SECRETS}: {secret!r} is no name of a Secret, so store {name} is not injected: write {_NAME_FORM}"
            )
    return OptIn(tuple(stores), tuple(left_out), tuple(warnings))


def _asked(label: str | None, annotation: str | None) -> tuple[list[str], list[str], list[str]]:
    """Names, what is left out, warnings: the annotation decides where there is one, it can hold several names."""
    names = _split(annotation) or _split(label)
    source = "annotation" if _split(annotation) else "label"
    left_out = [
        f"{source} {LABEL_STORE}: {name!r} is no name of a CheckpointStore and is ignored: "
        f"write {_NAME_FORM}, at most {_LONGEST_STORE} characters"
        for name in names
        if not _is_name(name, _LONGEST_STORE)
    ]
    if label is not None and not names:
        left_out.append(f"label {LABEL_STORE} is empty: write the name of a CheckpointStore")
    warnings = []
    if label and label not in names:
        warnings.append(
            f"label {LABEL_STORE}={label} is ignored, because the annotation of the same key names other "
            f"stores: write the name there too, or leave the label empty"
        )
    return [name for name in names if _is_name(name, _LONGEST_STORE)], left_out, warnings


class _UnclearError(ValueError):
    """It cannot be told which Secret is whose. Guessing would leave the pod waiting for one that never comes."""


def _secrets(annotation: str | None, stores: Sequence[str]) -> dict[str, str]:
    """The Secrets that the pod names, by store.

    Args:
        annotation: `name`, or `store=name,other=name`.
        stores: The stores that a name alone may be meant for.
    """
    entries = _split(annotation)
    if len(entries) == len(stores) == 1 and "=" not in entries[0]:
        return {stores[0]: entries[0]}
    if unclear := [entry for entry in entries if "=" not in entry]:
        raise _UnclearError(
            f"{_SECRETS}: {unclear[0]!r} names no store, nothing is injected: write store=secret for each store"
        )
    pairs = (entry.partition("=") for entry in entries)
    return {store.strip(): secret.strip() for store, _, secret in pairs}


def _split(text: str | None) -> list[str]:
    """Comma-separated names without blanks, empty ones and repetitions."""
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def _is_name(text: str, longest: int) -> bool:
    return len(text) <= longest and _NAME.fullmatch(text) is not None
