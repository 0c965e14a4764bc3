"""What happens on a stage, from its first server to the last one that is taken down."""

import signal
import time
from collections.abc import Callable

from hack.demo.screen import Screen
from hack.demo.stage import Stage


def perform(stage: Stage, screen: Screen, play: Callable[[], None], explain: Callable[[], None]) -> int:
    """Start the stage, play on it and take it down, whatever happens.

    Args:
        stage: Not started yet.
        screen: Where errors are told.
        play: What is done on it.
        explain: Called after a failure, while the servers still run.

    Returns:
        The exit status.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell that starts us in the background has them ignored.
        signal.signal(number, signal.default_int_handler)
    begin = time.monotonic()
    status = _play(stage, screen, play, explain)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever is impatient now would leave half of it running.
        signal.signal(number, signal.SIG_IGN)
    screen.heading("The end")
    try:
        stage.stop()
    except Exception as error:  # noqa: BLE001 - as below
        screen.error(f"{error}")
        status = status or 1
    if status == 0:
        stage.discard()
        screen.note(f"Done in {time.monotonic() - begin:.0f} s.")
    elif stage.logs.exists():
        screen.note(f"The logs are in {stage.logs}")
    return status


def _play(stage: Stage, screen: Screen, play: Callable[[], None], explain: Callable[[], None]) -> int:
    try:
        stage.start()
        play()
    except KeyboardInterrupt:
        screen.error("interrupted")
        return 130
    except Exception as error:  # noqa: BLE001 - whatever it is, people want to read what failed and why
        screen.error(f"{screen.failed_step or 'cannot start'}: {error}")
        explain()
        return 1
    return 0
