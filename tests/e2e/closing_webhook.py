"""Runs the webhook so that it closes each connection after its answer: each call of the API server is a new handshake.

Usage: ``python -m tests.e2e.closing_webhook``. An API server keeps connections open, and a connection that is open does
not notice that a certificate has ended, or that nobody trusts it any more.
"""

from typing import Any

from aiohttp import web

from locus_operator.webhook.command import run

_Application = web.Application


async def _close(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Connection"] = "close"
    response.force_close()


def _closing(**options: Any) -> web.Application:
    app = _Application(**options)
    app.on_response_prepare.append(_close)
    return app


def main() -> None:
    """Run the webhook."""
    web.Application = _closing  # type: ignore[assignment, misc]
    run()


if __name__ == "__main__":
    main()
