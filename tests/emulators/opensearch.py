"""A front for osmem-server that has what that one lacks of a real OpenSearch: a script, started as a process.

osmem shows writes to searches at once, takes any login and keywords of any length. The front

* answers searches from a copy of each index, brought up to date only by a refresh; nothing refreshes by itself, which
  is the longest that a real server may take;
* checks logins (HTTP Basic) and what their roles permit, and has the plugins for that and for the management of
  indexes, each of which can be taken out;
* refuses keywords over 32,766 bytes, strings over 50,000,000 and names over 50,000 characters, requests over 100 MiB,
  and hits beyond 10,000;
* keeps a log of requests, closes connections, and fails requests on demand, below `/_front/`.

It can be killed and paused without a loss, since the documents are in osmem and users and policies in a file; what else
is in here is made anew.
"""

import argparse
import asyncio
import json
import re
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic_core import from_json, to_json

from tests.emulators.opensearch_actions import item_needs, needs, security_exception
from tests.emulators.opensearch_controls import Controls
from tests.emulators.opensearch_ism import StateManagement
from tests.emulators.opensearch_security import Security

MAX_CONTENT_BYTES = 100 * 1024 * 1024
MAX_KEYWORD_BYTES = 32_766
MAX_RESULT_WINDOW = 10_000
TOO_LONG_STRING = re.compile(rb'"[^"\\]{50000001,}')
TOO_LONG_NAME = re.compile(rb'"[^"\\]{50001,}"\s*:')
SEARCHABLE = "--searchable"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error(status: int, kind: str, reason: str) -> web.Response:
    cause = {"type": kind, "reason": reason}
    return web.json_response({"error": {"root_cause": [cause], **cause}, "status": status}, status=status)


class Front:
    """Everything that one front knows.

    Args:
        store: URL of osmem-server.
        password: Of the user ``admin``.
        state: File for users and policies.
    """

    def __init__(self, store: str, password: str, state: Path) -> None:
        self.store = store
        self.state = state
        self.security = Security(password, self.save_state)
        self.ism = StateManagement(self.save_state, self.security.permits)
        if state.exists():
            kept = json.loads(state.read_text())
            self.security.load(kept["security"])
            self.ism.load(kept["ism"])
        self.changed: dict[str, dict[str, str | None]] = defaultdict(dict)
        self.keywords: dict[str, set[str]] = {}
        self.controls = Controls()
        self.refreshing = asyncio.Lock()

    async def run_session(self, application: web.Application) -> Any:
        self.session = aiohttp.ClientSession(self.store, timeout=aiohttp.ClientTimeout(total=None))
        await self.copy_everything()
        yield
        await self.session.close()

    def save_state(self) -> None:
        self.state.write_text(json.dumps({"security": self.security.dump(), "ism": self.ism.dump()}))

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = body if isinstance(body, bytes) or body is None else to_json(body)
        headers = {"Content-Type": "application/json"}
        async with self.session.request(method, path, data=data, headers=headers) as response:
            return from_json(await response.read() or b"{}")

    # What every request goes through

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        self.controls.remember(transport)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413)
        refusal = await self.check_permissions(request)
        if refusal is not None:
            return refusal
        if request.path.startswith("/_front/"):
            return await handler(request)
        fault = self.controls.take_fault(request)
        if fault and fault["action"] == "answer":
            return web.json_response(fault["body"], status=fault["status"])
        if fault and fault["action"] == "drop_before":
            transport.abort()
            return web.Response(status=500)
        response = await handler(request)
        self.controls.write_down(request, response, len(body))
        if fault and fault["action"] == "drop_after":
            transport.abort()
        return response

    async def check_permissions(self, request: web.Request) -> web.Response | None:
        missing = [
            prefix
            for prefix, plugin in (("/_plugins/_security/", self.security), ("/_plugins/_ism/", self.ism))
            if request.path.startswith(prefix) and not plugin.enabled
        ]
        if missing:
            text = f"no handler found for uri [{request.path_qs}] and method [{request.method}]"
            return web.json_response({"error": text}, status=400)
        if not self.security.enabled:
            return None
        user = self.security.user_of(request)
        if user is None:
            # A real server's answer is plain text.
            return web.Response(status=401, text="Unauthorized", headers={"WWW-Authenticate": "Basic"})
        request["user"] = user
        wildcard = re.match(r"/(_|[^/]*[*,])", request.path)
        indexes = await self.index_names() if wildcard else ()
        action = self.security.refused(user, needs(request.method, request.path, indexes))
        if action is None:
            return self.security.api_refusal(request, user)
        return web.json_response({"error": security_exception(action, user), "status": 403}, status=403)

    async def index_names(self) -> list[str]:
        return [name for name in await self.ask("GET", "/_mapping") if not name.endswith(SEARCHABLE)]

    # Indexes

    async def forward(self, request: web.Request) -> web.Response:
        """Hand a request on as it is."""
        headers = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        body = await request.read()
        async with self.session.request(request.method, request.path_qs, data=body, headers=headers) as response:
            return web.Response(status=response.status, body=await response.read(), content_type="application/json")

    async def create_index(self, request: web.Request) -> web.Response:
        name = request.match_info["index"]
        response = await self.forward(request)
        if response.status == 200:
            # As it came out: a template may have added to the request.
            made = (await self.ask("GET", f"/{name}/_mapping"))[name]["mappings"]
            await self.ask("PUT", f"/{name}{SEARCHABLE}", {"mappings": made})
            self.ism.index_created(name)
        return response

    async def change_mapping(self, request: web.Request) -> web.Response:
        name = request.match_info["index"]
        self.keywords.pop(name, None)
        response = await self.forward(request)
        if response.status == 200:
            await self.ask("PUT", f"/{name}{SEARCHABLE}/_mapping", await request.read())
        return response

    async def delete_index(self, request: web.Request) -> web.Response:
        name = request.match_info["index"]
        self.changed.pop(name, None)
        self.keywords.pop(name, None)
        self.ism.index_deleted(name)
        await self.ask("DELETE", f"/{name}{SEARCHABLE}")
        return await self.forward(request)

    async def bulk(self, request: web.Request) -> web.Response:
        index, body = request.match_info["index"], await request.read()
        if len(body) > MAX_RESULT_WINDOW and TOO_LONG_STRING.search(body):
            return error(400, "x_content_parse_exception", "String length exceeds the maximum allowed (50000000)")
        if len(body) > MAX_RESULT_WINDOW and TOO_LONG_NAME.search(body):
            return error(400, "x_content_parse_exception", "Name length exceeds the maximum allowed (50000)")
        items = list(_bulk_items(body))
        refused = {number: await self.refusal(request, index, item) for number, item in enumerate(items)}
        lines = [line for number, item in enumerate(items) if refused[number] is None for line in item[2]]
        answers: list[Any] = []
        if lines:
            answer = await self.ask("POST", f"/{index}/_bulk", b"".join(line + b"\n" for line in lines))
            if "items" not in answer:
                return web.json_response(answer, status=answer["status"])
            answers = answer["items"]
        forwarded = iter(answers)
        outcomes = []
        for number, (action, _, _) in enumerate(items):
            [(verb, target)] = action.items()
            failure = refused[number]
            if failure is not None:
                status = 403 if failure["type"] == "security_exception" else 400
                outcomes.append({verb: {"_index": index, "_id": target["_id"], "status": status, "error": failure}})
                continue
            outcome = next(forwarded)
            outcomes.append(outcome)
            if "error" not in outcome[verb]:
                self.changed[index][target["_id"]] = target.get("routing")
        failed = any("error" in next(iter(each.values())) for each in outcomes)
        if request.query.get("refresh", "false") != "false":
            await self.refresh_index(index)
        return web.json_response({"took": 1, "errors": failed, "items": outcomes})

    async def refusal(self, request: web.Request, index: str, item: Any) -> dict[str, Any] | None:
        [(verb, target)] = item[0].items()
        if self.security.enabled:
            user = request["user"]
            if action := self.security.refused(user, item_needs(verb, target.get("_index", index))):
                return security_exception(action, user)
        document = item[1]
        fields = (document.get("doc", document) if isinstance(document, dict) else {}).items()
        for name, value in fields:
            values = value if isinstance(value, list) else [value]
            longest = max((len(each.encode()) for each in values if isinstance(each, str)), default=0)
            if longest > MAX_KEYWORD_BYTES and name in await self.keyword_fields(index):
                reason = f'Document contains at least one immense term in field="{name}"'
                return {"type": "illegal_argument_exception", "reason": reason}
        return None

    async def multi_get(self, request: web.Request) -> web.Response:
        index, docs = request.match_info.get("index"), (await request.json())["docs"]
        wanted = [(each.get("_index", index), each) for each in docs]
        if self.security.enabled:
            user = request["user"]
            actions = [self.security.refused(user, item_needs("mget", name)) for name, _ in wanted]
        else:
            actions = [None] * len(wanted)
        permitted = [each for each, action in zip(docs, actions, strict=True) if action is None]
        answer = await self.ask("POST", request.path, {"docs": permitted}) if permitted else {"docs": []}
        if "docs" not in answer:
            return web.json_response(answer, status=answer["status"])
        found = iter(answer["docs"])
        shown = [
            next(found)
            if action is None
            else {"_index": name, "_id": each["_id"], "error": security_exception(action, user)}
            for (name, each), action in zip(wanted, actions, strict=True)
        ]
        return web.json_response({"docs": shown})

    async def keyword_fields(self, index: str) -> set[str]:
        if index not in self.keywords:
            mapping = await self.ask("GET", f"/{index}/_mapping")
            properties = mapping.get(index, {}).get("mappings", {}).get("properties", {})
            self.keywords[index] = {
                name
                for name, field in properties.items()
                if field.get("type") == "keyword" and (field.get("index", True) or field.get("doc_values", True))
            }
        return self.keywords[index]

    # Searches, and when they see what

    async def refresh(self, request: web.Request) -> web.Response:
        await self.refresh_index(request.match_info["index"])
        return await self.forward(request)

    async def refresh_index(self, index: str) -> None:
        async with self.refreshing:
            changed = self.changed.pop(index, {})
            if changed:
                docs = [{"_id": name, "routing": routing} for name, routing in changed.items()]
                answer = await self.ask("POST", f"/{index}/_mget", {"docs": docs})
                await self.copy(index, {each["_id"]: each for each in answer["docs"]}, changed)

    async def copy(self, index: str, found: dict[str, Any], names: dict[str, str | None]) -> None:
        lines = []
        for name, routing in names.items():
            target = {"_id": name, "routing": routing} if routing else {"_id": name}
            if found.get(name, {}).get("found"):
                lines += [to_json({"index": target}), to_json(found[name]["_source"])]
            else:
                lines.append(to_json({"delete": target}))
        answer = await self.ask("POST", f"/{index}{SEARCHABLE}/_bulk", b"".join(line + b"\n" for line in lines))
        failed = [each for item in answer["items"] for each in item.values() if each["status"] >= 400]
        assert [each for each in failed if each["status"] != 404] == [], failed[:3]

    async def copy_everything(self) -> None:
        """Refresh all indexes: what had changed before this process began is not known."""
        for index in await self.ask("GET", "/_mapping"):
            if index.endswith(SEARCHABLE):
                continue
            everything = {"query": {"match_all": {}}, "size": MAX_RESULT_WINDOW}
            real = (await self.ask("POST", f"/{index}/_search", everything))["hits"]["hits"]
            old = (await self.ask("POST", f"/{index}{SEARCHABLE}/_search", everything))["hits"]["hits"]
            assert max(len(real), len(old)) < MAX_RESULT_WINDOW
            names = {hit["_id"]: hit.get("_routing") for hit in (*old, *real)}
            if names:
                await self.copy(index, {hit["_id"]: {**hit, "found": True} for hit in real}, names)

    async def search(self, request: web.Request) -> web.Response:
        index, body = request.match_info["index"], from_json(await request.read() or b"{}")
        if body.get("from", 0) + body.get("size", 10) > MAX_RESULT_WINDOW:
            return error(400, "illegal_argument_exception", "Result window is too large")
        query = {name: value for name, value in request.query.items() if name != "search_type"}
        async with self.session.post(f"/{index}{SEARCHABLE}/_search", json=body, params=query) as response:
            answer = await response.text()
            content = answer.replace(f"{index}{SEARCHABLE}", index)
            return web.Response(status=response.status, text=content, content_type="application/json")

    async def unsupported(self, request: web.Request) -> web.Response:
        return error(501, "unsupported_operation_exception", f"the front has no {request.method} {request.path}")

    # Plugins

    async def set_plugins(self, request: web.Request) -> web.Response:
        there = await request.json()
        self.security.enabled, self.ism.enabled = there["security"], there["ism"]
        self.save_state()
        return web.json_response({})

    async def forget_users(self, request: web.Request) -> web.Response:
        self.security.reset()
        self.ism.reset()
        self.save_state()
        return web.json_response({})

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_CONTENT_BYTES, middlewares=[self.guard])
        application.cleanup_ctx.append(self.run_session)
        index = r"/{index:[^_/][^/]*}"
        application.add_routes(
            [
                *self.controls.routes(),
                web.put("/_front/plugins", self.set_plugins),
                web.post("/_front/forget_users", self.forget_users),
                *self.security.routes(),
                *self.ism.routes(),
                web.put("/_index_template/{name}", self.forward),
                web.delete("/_index_template/{name}", self.forward),
                web.put(f"{index}/_mapping", self.change_mapping),
                web.put(f"{index}/_settings", self.forward),
                web.post("/_mget", self.multi_get),
                web.put(index, self.create_index),
                web.delete(index, self.delete_index),
                web.post(f"{index}/_bulk", self.bulk),
                web.post(f"{index}/_refresh", self.refresh),
                web.post(f"{index}/_search", self.search),
                web.post(f"{index}/_mget", self.multi_get),
                web.get("/{path:.*}", self.forward),
                web.route("*", "/{path:.*}", self.unsupported),
            ]
        )
        return application


def _bulk_items(body: bytes) -> Any:
    """Yield action, document and lines of each item."""
    lines = iter(body.rstrip(b"\n").split(b"\n"))
    for line in lines:
        action = from_json(line)
        if "delete" in action:
            yield action, None, [line]
        else:
            document = next(lines)
            yield action, from_json(document), [line, document]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", required=True, help="URL of osmem-server")
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--state-file", type=Path, required=True, help="for users and policies")
    parser.add_argument("--certificate", type=Path, help="with its key beside it; plain HTTP by default")
    arguments = parser.parse_args()
    context = None
    if arguments.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certificate, arguments.certificate.with_suffix(".key"))
    front = Front(arguments.store, arguments.password_file.read_text(), arguments.state_file)
    web.run_app(
        front.application(),
        host=arguments.host,
        port=arguments.port,
        ssl_context=context,
        access_log=None,
        print=lambda *_: None,
        shutdown_timeout=1,
    )


if __name__ == "__main__":
    main()
