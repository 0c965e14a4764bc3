"""The application: routes, errors, the OpenAPI document."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import Request

from locus_memory._version import __version__
from locus_memory.adapter import StorageBackendAdapter
from locus_memory.errors import BackendUnavailableError, CheckpointError
from locus_memory.server import basic, history, models, operations
from locus_memory.server.answers import errors, json_answer
from locus_memory.server.gate import Gate
from locus_memory.server.operations import Store
from locus_memory.server.settings import Limits
from locus_memory.server.store import ServedStore
from locus_memory.server.tokens import Tokens
from locus_memory.wire import HISTORY, PROBLEM_TYPE, PROTOCOL, TRANSFERS, problem, problem_of

_RETRY_AFTER_SECONDS = "1"


def create_app(checkpointer: StorageBackendAdapter, *, tokens: Tokens | None, limits: Limits | None = None) -> Gate:
    """Make the ASGI application that serves a store; the checkpointer is closed at its end.

    Args:
        checkpointer: The store; its own deadline should not exceed `limits.request_timeout`.
        tokens: Who may use it. None lets everybody in.
        limits: Bounds of requests.
    """
    limits = limits or Limits()
    return Gate(_routes(), ServedStore(checkpointer, limits.request_timeout), limits, tokens)


@functools.cache
def _routes() -> FastAPI:
    # Made once: it costs more than many requests. What is served, the gate tells with each request.
    # The pages /docs and /redoc would load scripts from elsewhere.
    app = FastAPI(title="Locus Memory", version=__version__, docs_url=None, redoc_url=None)
    # For the OpenAPI document; the gate has judged the token before.
    bearer = [Security(HTTPBearer(auto_error=False, description="A token of the server's token file."))]
    for routes in (operations.router, history.router, basic.router):
        app.include_router(routes, dependencies=bearer)
    app.add_api_route(
        "/capabilities",
        _capabilities,
        response_model=models.Capabilities,
        responses=errors(),
        dependencies=bearer,
        tags=["service"],
    )
    for path in ("/readyz", "/health"):
        app.add_api_route(path, _ready, response_model=models.Health, responses=errors(), tags=["service"])
    app.add_api_route("/healthz", _alive, response_model=models.Health, tags=["service"])
    _add_error_handlers(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # as FastAPI's documentation has it
    return app


async def _capabilities(request: Request, store: Store) -> Response:
    """Say what the service can do."""
    await store.run(store.storage.discover)
    return json_answer(
        {
            "protocols": [PROTOCOL],
            "server": f"locus-memory/{__version__}",
            "capabilities": asdict(store.checkpointer.capabilities),
            HISTORY: store.storage.keeps_history,
            TRANSFERS: store.storage.transfers,
            "deletes_single_checkpoints": store.checkpointer.deletes_single_checkpoints,
            "limits": {"max_body_bytes": request.state.limits.max_body_bytes},
        }
    )


async def _alive() -> Response:
    """Say that the process works."""
    return json_answer({"status": "ok"})


async def _ready(store: Store) -> Response:
    """Say whether the backend can be reached. Why not, is in the log: this route needs no token."""
    if await store.is_reachable():
        return json_answer({"status": "ok"})
    return _problem_answer(problem_of(BackendUnavailableError("the backend cannot be reached")))


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(CheckpointError)
    async def _(request: Request, error: CheckpointError) -> Response:
        return _problem_answer(problem_of(error))

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        # Without the values: they may be conversations.
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return _problem_answer(problem(422, "invalid_argument", found))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:
            # What FastAPI says of a body that is no text.
            return _problem_answer(problem(422, "invalid_argument", str(error.detail)))
        code = {404: "unknown_route", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        return _problem_answer(problem(error.status_code, code, str(error.detail)), **(error.headers or {}))

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        # Logged by the server, with its traceback.
        return _problem_answer(problem(500, "internal", "the server failed; its log says why"))


def _problem_answer(data: dict[str, Any], **headers: str) -> Response:
    if data["status"] == 503:
        headers["retry-after"] = _RETRY_AFTER_SECONDS
    return json_answer(data, data["status"], PROBLEM_TYPE, **headers)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for model in (models.Problem, models.CheckpointHead, models.WritesHead):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            document["components"]["schemas"].update(schema.pop("$defs", {}))
            document["components"]["schemas"][model.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema
