"""Provisions files: a PersistentVolumeClaim, which the webhook mounts into the store's pods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from locus_memory.connection import FileConnection
from locus_operator.api.backends import AccessMode, FileBackend
from locus_operator.api.store import DeletionPolicy
from locus_operator.backends import file_plan
from locus_operator.backends.file_plan import CreateClaim, DropClaim, GrowClaim, MarkClaim, Observed, Target
from locus_operator.binding import retention_of
from locus_operator.constants import ConditionReason
from locus_operator.errors import UnsupportedError
from locus_operator.names import volume_claim_name
from locus_operator.provisioner import Action, Plan, Provisioner, Report, Request
from locus_operator.volumes import NewClaim, VolumeClaim, VolumeClaims

CONNECTION_TYPE: Final = "file"

_DEFAULT_MODES: Final = (AccessMode.READ_WRITE_ONCE,)


class FileProvisioner(Provisioner[FileBackend, Observed]):
    """Provisions one store in one PersistentVolumeClaim of its namespace."""

    def __init__(self, request: Request[FileBackend]) -> None:
        super().__init__(request)
        if request.volumes is None:
            raise UnsupportedError(
                ConditionReason.NOT_SUPPORTED,
                "spec.backend.file: there are no PersistentVolumeClaims without a cluster; name a directory in their "
                "place with --volume-dir",
            )
        self._volumes: VolumeClaims = request.volumes
        self._target = _target(request, self._volumes.known)
        self._observed = Observed(None)

    async def observe(self) -> Observed:
        """Read the claim, its StorageClass, and which pods mount it."""
        claim = await self._volumes.find(self._target.name)
        self._observed = await self._looked_up(claim)
        if claim is not None:
            pods = await self._volumes.mounting(claim.name)
            self._observed = replace(self._observed, pods=pods)
        return self._observed

    def plan(self, observed: Observed) -> Plan:
        """Decide what is missing or different."""
        return file_plan.plan(observed, self._target)

    def plan_release(self, observed: Observed) -> Plan:
        """Decide what the deletion does."""
        delete = self.request.spec.deletion_policy is DeletionPolicy.DELETE
        return file_plan.plan_release(observed, self._target, delete=delete)

    async def apply(self, action: Action) -> None:
        """Carry out one action on the claim as it is after the ones before."""
        match action:
            case CreateClaim():
                self._observed = await self._looked_up(await self._volumes.create(action.new, action.mark))
            case MarkClaim():
                marked = await self._volumes.mark(self._claim(), action.mark)
                self._observed = replace(self._observed, claim=marked)
            case GrowClaim():
                grown = await self._volumes.grow(self._claim(), action.size)
                self._observed = replace(self._observed, claim=grown)
            case DropClaim():
                await self._volumes.delete(self._claim())
            case _:
                raise TypeError(f"no action of this backend: {action}")

    def connection(self) -> FileConnection:
        """Return the binding document: where the webhook mounts the claim."""
        owner = self.request.owner
        return FileConnection(
            store=owner.store,
            tables="provisioned",
            retention=retention_of(self.request.spec),
            directory=self._volumes.directory(owner.name, self._target.name),
        )

    def claims(self) -> dict[str, Any]:
        """Return the claim's name."""
        return {"volumeClaim": self._target.name}

    def report(self) -> Report:
        """Say what the claim is waiting for, and who shares it."""
        warning = file_plan.sharing_warning(self._observed)
        count = self.request.spec.retention.max_checkpoints_per_thread
        kept = f"the library keeps the newest {count} checkpoints of a thread with each save"
        return Report(
            note=file_plan.note(self._observed, self._target),
            no_login=f"files need no login: every pod that mounts the claim {self._target.name} reads and writes them",
            warnings=(warning,) if warning else (),
            retention={"maxCheckpointsPerThread": kept} if count is not None else {},
        )

    async def _looked_up(self, claim: VolumeClaim | None) -> Observed:
        name = claim.storage_class if claim is not None else None
        return Observed(claim, await self._volumes.storage_class(name) if name else None)

    def _claim(self) -> VolumeClaim:
        claim = self._observed.claim
        assert claim is not None  # noqa: S101 - no plan changes a claim that is not there
        return claim


def _target(request: Request[FileBackend], known: str | None) -> Target:
    backend = request.backend
    name = backend.existing_claim or volume_claim_name(request.owner.name)
    new = None
    if backend.size is not None:
        modes = backend.access_modes or _DEFAULT_MODES
        new = NewClaim(name, backend.size, backend.storage_class_name, tuple(map(str, modes)))
    return Target(request.owner, name, new, adopt=request.adopt, known=known == name)


PROVISIONER: Final = FileProvisioner
