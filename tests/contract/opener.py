"""Opens a checkpointer in a process that a crash test kills."""

import locus_memory
from locus_memory.checkpointer import BaseCheckpointer
from tests.emulators.oracle_switch import install_if_asked


def checkpointer() -> BaseCheckpointer:
    """Open what the environment names."""
    install_if_asked()
    return locus_memory.checkpointer()
