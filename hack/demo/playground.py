"""The demo's servers, to try things out on: ``python -m hack.demo.playground``, or ``make playground``."""

import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path

from hack.demo.performance import perform
from hack.demo.screen import Screen
from hack.demo.stage import Addresses, Stage
from tests.e2e.control_plane import REPOSITORY

DIRECTORY = REPOSITORY / ".playground"
ADDRESSES = Addresses(postgresql=15433, redis=16380, named_in="docs/tutorial.md")


def main() -> int:
    """Run everything until Ctrl-C; return the exit status."""
    screen = Screen()
    stage = Stage(DIRECTORY, screen, ADDRESSES)

    def play() -> None:
        environment = write_environment(stage).relative_to(REPOSITORY)
        screen.note(f"\nReady. In another terminal, in this directory:  . {environment}\nCtrl-C ends it all.")
        with suppress(KeyboardInterrupt):
            signal.pause()

    return perform(stage, screen, play, explain=lambda: None)


def write_environment(stage: Stage) -> Path:
    """Write what a shell has to source in order to find ``kubectl`` and the API server; return the file."""
    programs = stage.directory / "bin"
    programs.mkdir()
    kubectl = programs / "kubectl"
    # A cache of its own: nothing is left in the home directory.
    kubectl.write_text(f'#!/bin/sh\nexec {shlex.join(stage.control_plane.kubectl_command())} "$@"\n')
    kubectl.chmod(0o755)
    path = stage.directory / "environment"
    path.write_text(
        f"export PATH={shlex.quote(f'{programs}:{Path(sys.executable).parent}')}:$PATH\n"
        f"export KUBECONFIG={shlex.quote(str(stage.control_plane.kubeconfig))}\n"
    )
    return path


if __name__ == "__main__":
    sys.exit(main())
