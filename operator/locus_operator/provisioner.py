"""The port between the engine and the backends: what a provisioner is given, and what it must do.

A provisioner observes one backend, decides with a pure function what to do, and applies it action by action.
Each action is idempotent, so a run that was killed between any two of them is completed by the next.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from locus_memory.connection import Connection
from locus_operator.api.store import CheckpointStoreSpec

ObservedT = TypeVar("ObservedT")
BackendT = TypeVar("BackendT")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns the objects of a store on its backend; written on each of them as the claim.

    Attributes:
        cluster: UID of the cluster (of its kube-system namespace), or a name given on the command line.
        uid: UID of the `CheckpointStore`.
        namespace: Its namespace.
        name: Its name.
        released: The store is gone, its data was retained: another store may adopt it.
    """

    cluster: str
    uid: str
    namespace: str
    name: str
    released: bool = False

    def claim(self) -> str:
        """Return the claim as text, for comments, tags and keys."""
        document = {"cluster": self.cluster, "uid": self.uid, "store": f"{self.namespace}/{self.name}"}
        return json.dumps({"locus-memory": document | ({"released": True} if self.released else {})})

    @classmethod
    def from_claim(cls, text: str | None) -> Owner | None:
        """Read a claim back; None when the text is no claim, which means that nobody has claimed the object."""
        try:
            document = json.loads(text or "")["locus-memory"]
            namespace, _, name = document["store"].partition("/")
            return cls(document["cluster"], document["uid"], namespace, name, bool(document.get("released")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def owns(self, other: Owner | None) -> bool:
        """Tell whether a claim is this owner's own and living one."""
        return other is not None and not other.released and (other.cluster, other.uid) == (self.cluster, self.uid)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name} (uid {self.uid}, cluster {self.cluster})"


@dataclass(frozen=True, slots=True)
class Request(Generic[BackendT]):
    """Everything a provisioner needs to know; it asks Kubernetes nothing.

    Attributes:
        owner: The store.
        spec: Its validated spec, with the class's defaults merged in.
        backend: The one member of the backend union that is set.
        secrets: Decoded Secrets that the backend member refers to, by the name of the referring field:
            `adminSecretRef` and `ca`.
        password: Password that the application's login shall have.
        adopt: Take over objects that nobody alive has claimed.
    """

    owner: Owner
    spec: CheckpointStoreSpec
    backend: BackendT
    secrets: Mapping[str, Mapping[str, str]] = field(repr=False)
    password: str = field(repr=False)
    adopt: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One idempotent step; backends subclass it with what they execute (secrets never in its repr).

    Attributes:
        verb: `create`, `alter`, `grant`, `revoke`, `claim`, `set`, `drop`, …
        kind: Kind of the object: `schema`, `table`, `role`, `ACL user`, …
        name: Its name on the backend.
        reason: Why, in a few words: `missing`, `differs: …`, `store deleted`.
        destructive: Data may be lost.
    """

    verb: str
    kind: str
    name: str
    reason: str
    destructive: bool = False

    def __str__(self) -> str:
        mark = " (destructive)" if self.destructive else ""
        return f"{self.verb} {self.kind} {self.name}: {self.reason}{mark}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in order; empty when the backend is as desired."""

    actions: tuple[Action, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.actions)

    def __str__(self) -> str:
        return "\n".join(f"{number:>3}. {action}" for number, action in enumerate(self.actions, 1)) or "  nothing to do"


class Provisioner(ABC, Generic[BackendT, ObservedT]):
    """Provisions one store on one backend; an asynchronous context manager that holds the admin connection.

    All methods raise only `RefusedError` and `UnavailableError`, whose messages name the object, the privilege or
    the setting that is in the way, and never a secret.
    """

    def __init__(self, request: Request[BackendT]) -> None:
        self.request = request

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Connect as administrator."""

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""

    @abstractmethod
    async def observe(self) -> ObservedT:
        """Look at every object of the store on the backend, changing nothing."""

    @abstractmethod
    def plan(self, observed: ObservedT) -> Plan:
        """Decide what makes the backend as desired. Pure; raises all of what stands in the way at once.

        Raises:
            RefusedError: Missing admin privileges (all of them listed), or an object that is somebody else's.
        """

    @abstractmethod
    def plan_release(self, observed: ObservedT) -> Plan:
        """Decide what the deletion of the store does, by `spec.deletion_policy`. Pure; what is gone is done.

        Objects that are claimed by somebody else are left alone, without an error.
        """

    @abstractmethod
    async def apply(self, action: Action) -> None:
        """Carry out one action of `plan` or `plan_release`."""

    @abstractmethod
    def connection(self) -> Connection:
        """Return the binding document of the application's login."""

    @abstractmethod
    def claims(self) -> dict[str, Any]:
        """Return what exists on the backend for this store, for `status.claims`; no secrets."""

    @property
    def note(self) -> str:
        """What a person should know about the backend, once it was observed; may be empty."""
        return ""
