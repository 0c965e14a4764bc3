"""Long lists from the Kubernetes API, page by page and as plain JSON: models of all pods would fill the memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

PAGE_SIZE: Final = 100
"""Objects of one answer: some hundred kilobytes, parsed in milliseconds, so that nobody else waits for long."""
PAGE_SECONDS: Final = 30.0
"""Longest that one answer may take."""

API_FAILURES: Final = (ApiException, aiohttp.ClientError, TimeoutError, OSError)
"""What requests fail with when nothing is wrong with the program."""

Object = dict[str, Any]
Call = Callable[..., Awaitable[Any]]
"""A `list_…_without_preload_content` of a generated client, with its place bound."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        items: Objects.
        version: The list's `resourceVersion`, the same on all pages: a watch goes on from it.
    """

    items: list[Object]
    version: str


async def pages(call: Call, **arguments: Any) -> AsyncIterator[Page]:
    """Yield a consistent list; at least one page.

    Args:
        call: The request.
        arguments: Further arguments of it, such as `label_selector`.

    Raises:
        Exception: One of `API_FAILURES`.
    """
    token: str | None = None
    while True:
        async with asyncio.timeout(PAGE_SECONDS):
            response = await call(limit=PAGE_SIZE, _continue=token, **arguments)
            body = await response.read()
        check(response)
        found = json.loads(body)
        metadata = found["metadata"]
        yield Page(found["items"], metadata["resourceVersion"])
        token = metadata.get("continue")
        if not token:
            return


def check(response: Any) -> None:
    """Raise `ApiException` for an answer that is none of success; raw answers are not judged by the client."""
    if response.status >= 400:
        raise ApiException(status=response.status, reason=response.reason)


def reason_of(error: BaseException) -> str:
    """Say what one of `API_FAILURES` means, without the body of an answer."""
    if isinstance(error, ApiException):
        return f"the API server answers {error.status} {error.reason}"
    return f"the API server does not answer ({type(error).__name__})"
