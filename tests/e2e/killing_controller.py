"""Runs the controller until it has carried out so many actions on a backend, then kills it as a crash would.

Usage: ``python -m tests.e2e.killing_controller INDEX``, the index of the last action.
"""

import os
import signal
import sys

from locus_operator.controller.command import run
from locus_operator.provisioner import Action


def main() -> None:
    """Run the controller with a progress hook that ends the process."""
    last = int(sys.argv[1])

    def kill(index: int, action: Action) -> None:
        if index == last:
            print(f"killed after {index}: {action}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    run(progress=kill)


if __name__ == "__main__":
    main()
