"""Whether processes of the tests are to meet the Oracle emulator. Few imports: twenty processes start at once."""

import os

VARIABLE = "LOCUS_TEST_ORACLE_EMULATOR"


def install_if_asked() -> None:
    """Install the emulator where the environment says so."""
    if os.environ.get(VARIABLE):
        from tests.emulators.oracle import install

        install()
