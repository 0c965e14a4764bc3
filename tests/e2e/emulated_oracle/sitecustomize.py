"""Puts the Oracle emulator in the driver's place in every process that has this directory on its PYTHONPATH.

Python imports a module of this name at its start. Nothing that is installed, nor an agent's own code, knows of it.
"""

from tests.emulators.oracle import install

install()
