"""The memory backend: nothing to provision, but a binding like any other."""

from __future__ import annotations

from typing import Any, Final

from locus_memory.connection import LongTermMemory, MemoryConnection
from locus_operator.api.backends import MemoryBackend
from locus_operator.binding import retention_of
from locus_operator.provisioner import Action, Plan, Provisioner, Report

CONNECTION_TYPE: Final = "memory"


class MemoryProvisioner(Provisioner[MemoryBackend, None]):
    """Has nothing to do."""

    async def observe(self) -> None:
        """See nothing."""

    def plan(self, observed: None) -> Plan:
        """Plan nothing."""
        return Plan()

    def plan_release(self, observed: None) -> Plan:
        """Plan nothing."""
        return Plan()

    async def apply(self, action: Action) -> None:
        """Refuse: no plan of this backend has an action."""
        raise TypeError(f"no action of this backend: {action}")

    def connection(self) -> MemoryConnection:
        """Return the binding document."""
        owner, memory = self.request.owner, self.request.spec.long_term_memory
        return MemoryConnection(
            store=owner.store,
            tables="provisioned",
            retention=retention_of(self.request.spec),
            long_term_memory=(
                LongTermMemory(embedding_dimension=memory.embedding_dimension) if memory and memory.enabled else None
            ),
        )

    def claims(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def report(self) -> Report:
        """Say how long it lasts."""
        return Report(note="checkpoints are in the memory of each agent process, and end with it")


PROVISIONER: Final = MemoryProvisioner
