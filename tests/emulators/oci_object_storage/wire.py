"""A request of the service's API after its checks, and an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.emulators.oci_object_storage.errors import ServiceError


@dataclass(frozen=True)
class Call:
    """What is asked, by whom.

    Attributes:
        headers: names in lower case.
    """

    user: str
    namespace: str
    region: str
    bucket: str
    name: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as an object; an empty one where there is none."""
        if self.bucket and self.name:
            return {}  # the body of an object
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        if not isinstance(found, dict):
            raise ServiceError(400, "InvalidJSON", "The body must be a JSON object")
        return found


@dataclass(frozen=True)
class Answer:
    """Status, body and headers; or a dropped connection."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    dropped: bool = False


def json_answer(document: Any, headers: dict[str, str] | None = None) -> Answer:
    """Answer with a JSON document."""
    return Answer(200, json.dumps(document).encode(), {"content-type": "application/json"} | (headers or {}))


def timestamp(seconds: float) -> str:
    """Write a time as the service does."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
