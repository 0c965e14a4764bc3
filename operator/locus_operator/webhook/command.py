"""`locus-operator webhook`."""

from __future__ import annotations

import asyncio
import signal

from locus_operator import logs
from locus_operator.settings import Settings
from locus_operator.webhook.server import serve


def run(settings: Settings | None = None) -> None:
    """Serve admission reviews until SIGTERM or SIGINT.

    Args:
        settings: By default those of the environment.
    """
    settings = settings or Settings()
    logs.configure(settings.log_format, settings.log_level)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(
        settings.webhook_host,
        settings.webhook_port,
        settings.webhook_certificate,
        settings.webhook_key,
        stop=stop,
    )
