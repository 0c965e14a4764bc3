"""The port between the engine and the backends: what a provisioner is given, and what it must do.

A provisioner observes one backend, decides with a pure function what to do, and applies it action by action.
Each action is idempotent, so a run that was killed between any two of them is completed by the next.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from locus_memory.connection import Connection
from locus_memory.opening import open_checkpointer
from locus_operator.api.store import CheckpointStoreSpec
from locus_operator.binding import PasswordPolicy
from locus_operator.connections import Connections
from locus_operator.volumes import VolumeClaims

RETENTION_SECONDS: Final = 20.0
"""How long one run of `Provisioner.enforce_retention` may go on."""

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

    @property
    def store(self) -> str:
        """Namespace and name, as people write them: `team-a/support`."""
        return f"{self.namespace}/{self.name}"

    def claim(self) -> str:
        """Return the claim as text, for comments, tags and keys."""
        document = {"cluster": self.cluster, "uid": self.uid, "store": self.store}
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
        return f"{self.store} (uid {self.uid}, cluster {self.cluster})"


@dataclass(frozen=True, slots=True)
class Request(Generic[BackendT]):
    """Everything a provisioner needs to know; it asks Kubernetes nothing.

    Attributes:
        owner: The store.
        spec: Its validated spec, with the class's defaults merged in.
        backend: The one member of the backend union that is set.
        secrets: Decoded Secrets that the backend member refers to, by the path of the referring field below the
            member: `adminSecretRef`, `ca`, `auth.operator.secretRef`.
        password: Password that the application's login shall have.
        connections: Where the administrator's connection comes from.
        volumes: The store's PersistentVolumeClaims, for the backend `file`; None where there is no place for them.
        adopt: Take over objects that nobody alive has claimed.
    """

    owner: Owner
    spec: CheckpointStoreSpec
    backend: BackendT
    secrets: Mapping[str, Mapping[str, str]] = field(repr=False)
    password: str = field(repr=False)
    connections: Connections = field(repr=False)
    volumes: VolumeClaims | None = field(default=None, repr=False)
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


@dataclass(frozen=True, slots=True)
class Report:
    """What people are told of a store that is as desired, beside that it is.

    Tenants of a class read it, too: no names of administrators, of their Secrets, or of other stores.

    Attributes:
        note: What they should know about the backend.
        no_login: Why the binding holds no login, where it holds none.
        warnings: What will give trouble; each becomes a Warning Event once.
        iam_statements: Statements that somebody else has to add, because the operator may not.
        retention: The retention rules that are enforced (`maxAge`, `maxCheckpointsPerThread`, `archiveAfter`), each
            with how: "a lifecycle rule of the bucket deletes older objects".
    """

    note: str = ""
    no_login: str = "this backend needs no login"
    warnings: tuple[str, ...] = ()
    iam_statements: tuple[str, ...] = ()
    retention: Mapping[str, str] = field(default_factory=dict)


class Provisioner(ABC, Generic[BackendT, ObservedT]):
    """Provisions one store on one backend; an asynchronous context manager that holds the admin connection.

    All methods raise only `RefusedError` and `UnavailableError`, whose messages name the object, the privilege or
    the setting that is in the way, and never a secret.

    Attributes:
        passwords: What passwords the backend takes.
    """

    passwords: ClassVar[PasswordPolicy] = PasswordPolicy()

    def __init__(self, request: Request[BackendT]) -> None:
        self.request = request
        self._session = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect as administrator."""
        async with AsyncExitStack() as session:
            await self.open(session)
            self._session = session.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._session.__aexit__(kind, error, trace)

    async def open(self, session: AsyncExitStack) -> None:
        """Borrow what `observe` and `apply` need; the session gives it back, also when this fails halfway."""

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

    def files(self) -> Mapping[str, str]:
        """Return further entries of the binding Secret, by the names of the files that they become."""
        return {}

    async def capabilities(self) -> tuple[str, ...]:
        """Return the names of what checkpointers can do here, sorted; the library's own backend knows."""
        document = self.connection()
        checkpointer = open_checkpointer(_Known(document.store or "", document))
        return tuple(sorted(name for name, there in asdict(checkpointer.capabilities).items() if there))

    def report(self) -> Report:
        """Say what people should know, once the backend was observed and is as desired."""
        return Report()

    async def enforce_retention(self) -> int:
        """Delete what retention no longer allows, in batches, for at most `RETENTION_SECONDS`.

        What is left is deleted by the next run. Nothing younger than the policy goes.

        Returns:
            How many checkpoints it has deleted; 0 where the backend does it by itself.
        """
        return 0


@dataclass(frozen=True, slots=True)
class _Known:
    """A binding whose document is at hand."""

    name: str
    document: Connection = field(repr=False)

    def connection(self) -> Connection:
        return self.document
