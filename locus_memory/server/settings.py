"""What can be set, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost the server; all times in seconds.

    Attributes:
        max_body_bytes: Largest request. A checkpoint travels compressed, and has to fit.
        request_timeout: For the backend's work on one request. Shorter than the deadline of clients (10 by default),
            so that they get an answer and not a silence.
        transfer_timeout: For the whole of a request to come in, and for each piece of an answer to go out.
        head_timeout: For the request line and the headers.
        keep_alive: How long a connection may be idle; longer than the clients' own 30.
        max_connections: Open at once; more are answered 503.
        shutdown_timeout: For the requests under way when the server is told to end.
    """

    max_body_bytes: int = 128 * 1024 * 1024
    request_timeout: float = 8.0
    transfer_timeout: float = 60.0
    head_timeout: float = 10.0
    keep_alive: int = 75
    max_connections: int = 1000
    shutdown_timeout: int = 25
