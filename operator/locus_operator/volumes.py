"""The port to PersistentVolumeClaims, for the backend `file`: the provisioners know no Kubernetes.

`locus_operator.kube_volumes` implements it on a cluster, `locus_operator.volume_directories` without one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

_QUANTITY: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([A-Za-z]*|[eE][+-]?[0-9]+)")
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL: Final = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


class Phase(StrEnum):
    """Phases of a PersistentVolumeClaim."""

    PENDING = "Pending"
    BOUND = "Bound"
    LOST = "Lost"


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose a PersistentVolumeClaim is.

    Attributes:
        text: The owner's claim, as `Owner.claim` writes it.
        store: Name of the store.
        uid: UID of the store; empty once it is released.
    """

    text: str
    store: str
    uid: str


@dataclass(frozen=True, slots=True)
class VolumeClaim:
    """A PersistentVolumeClaim as it is.

    Attributes:
        name: Its name.
        version: Changes with each change of it: what was decided by this version is refused by another one.
        mark: Text of the mark; None when it has none.
        marked_uid: UID of the store in the mark's second place, by which a lost text is noticed; may be empty.
        ours: The operator made it.
        phase: Pending, Bound or Lost.
        ending: It is being deleted, and goes when no pod mounts it any more.
        size: What it asks for, such as `10Gi`; None where volumes have no size.
        capacity: What its volume has; None before there is one.
        storage_class: Name of its StorageClass; None for none, or for the cluster's default.
        access_modes: Such as `ReadWriteOnce`.
    """

    name: str
    version: str
    mark: str | None = None
    marked_uid: str = ""
    ours: bool = False
    phase: Phase = Phase.BOUND
    ending: bool = False
    size: str | None = None
    capacity: str | None = None
    storage_class: str | None = None
    access_modes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewClaim:
    """A PersistentVolumeClaim to be made.

    Attributes:
        name: Its name.
        size: Such as `10Gi`.
        storage_class: None for the cluster's default.
        access_modes: At least one.
    """

    name: str
    size: str
    storage_class: str | None
    access_modes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StorageClass:
    """What a claim can expect of its StorageClass.

    Attributes:
        name: Its name.
        grows: Its volumes can be made larger.
        waits: A volume is made for the first pod that mounts the claim, and not before.
    """

    name: str
    grows: bool
    waits: bool


@dataclass(frozen=True, slots=True)
class MountingPod:
    """A living pod that mounts a claim.

    Attributes:
        name: Its name.
        node: Where it runs; None while it waits for a node.
    """

    name: str
    node: str | None


class VolumeClaims(Protocol):
    """PersistentVolumeClaims in the namespace of one store.

    All methods raise only `RefusedError` and `UnavailableError`.
    """

    @property
    def known(self) -> str | None:
        """The claim that the store had when it was ready last; None if it never was."""

    def directory(self, store: str, claim: str) -> str:
        """Return where agents find the files of a store's claim."""

    async def find(self, name: str) -> VolumeClaim | None:
        """Return a claim, whoever owns it."""

    async def storage_class(self, name: str) -> StorageClass | None:
        """Return a StorageClass."""

    async def mounting(self, name: str) -> tuple[MountingPod, ...]:
        """Return the pods that mount a claim and have not ended, in the order of their names."""

    async def create(self, new: NewClaim, mark: Mark) -> VolumeClaim:
        """Make a claim, marked from the beginning; returns it as it is then."""

    async def mark(self, claim: VolumeClaim, mark: Mark | None) -> VolumeClaim:
        """Write the mark, or remove it, provided that the claim is as it was found; returns it as it is then."""

    async def grow(self, claim: VolumeClaim, size: str) -> VolumeClaim:
        """Ask for a larger volume, provided that the claim is as it was found; returns it as it is then."""

    async def delete(self, claim: VolumeClaim) -> None:
        """Delete the claim, provided that it is as it was found; one that is gone is done."""


def bytes_of(quantity: str) -> Decimal:
    """Return the bytes of a Kubernetes quantity, such as `10Gi`, `500M` or `1e9`.

    Raises:
        ValueError: It is none.
    """
    found = _QUANTITY.fullmatch(quantity)
    if found is None:
        raise ValueError(f"{quantity!r} is no quantity")
    number, suffix = Decimal(found[1]), found[2]
    if suffix in _BINARY:
        return number * Decimal(1024 ** _BINARY[suffix])
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    if re.fullmatch("[eE][+-]?[0-9]+", suffix):
        return number.scaleb(int(suffix[1:]))
    raise ValueError(f"{quantity!r} is no quantity")
