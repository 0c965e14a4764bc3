"""`spec.backend.memory`."""

from locus_operator.api.rules import SpecModel


class MemoryBackend(SpecModel):
    """Checkpoints in the memory of each agent process: nothing is provisioned, nothing survives.

    It has no fields.
    """
