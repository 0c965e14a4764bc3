"""Asks the controller or webhook of the same container whether it is alive: the image's health check.

Kubernetes asks the port itself; Docker and Podman have a command to run: `python -m locus_operator.health_check`.
"""

from __future__ import annotations

import http.client
import sys
from http import HTTPStatus

from locus_operator.settings import Settings

_TIMEOUT_SECONDS = 4
_ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not listened on


def is_alive(settings: Settings) -> bool:
    """Ask `/healthz` on both ports: a container runs one of the two processes, and nothing says which."""
    host = "127.0.0.1" if settings.health_host in _ANYWHERE else settings.health_host
    return any(_answers(host, port) for port in (settings.health_port, settings.webhook_health_port))


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(Settings()) else 1)
