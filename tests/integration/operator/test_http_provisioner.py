"""What only a checkpoint service has: it is checked, told to agents, and nothing is made."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from locus_memory.backends import MemoryCheckpointer
from locus_memory.connection import HTTPConnection
from locus_memory.errors import AuthenticationError
from locus_memory.server.tokens import Tokens
from locus_memory.storage import NewCheckpoint
from locus_operator import engine
from locus_operator.backends import http_probe
from locus_operator.conditions import ConditionState
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.engine import Reconciled
from locus_operator.errors import RefusedError, UnavailableError
from tests.emulators.checkpoint_service import CheckpointService
from tests.integration.operator.stores import CA, Store
from tests.integration.operator.web import Answer, Web
from tests.servers.hosting import TOKEN, Host
from tests.servers.processes import free_port
from tests.servers.tls import CertificateAuthority

HEADERS = {"headersSecretRef": {"name": "headers"}}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CAPABLE = {
    "protocols": [1],
    "capabilities": {"vacuum": True},
    "deletes_single_checkpoints": True,
    "limits": {"max_body_bytes": 1000},
}
MONTH = {"retention": {"maxAge": "30d"}}


@pytest.fixture
def behind() -> MemoryCheckpointer:
    """What the service keeps."""
    return MemoryCheckpointer(state_type=dict)


@pytest.fixture
def store(http_host: Host, behind: MemoryCheckpointer) -> Iterator[Store]:
    """A store at a service of its own, with the right token."""
    with http_host.serving(behind, Tokens(text=TOKEN)) as url:
        yield Store({"http": {"baseUrl": url, **HEADERS}}, {"headers": BEARER})


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server that has nothing but its health."""
    with Web({"/health": Answer()}).running() as web:
        yield web


def at(url: str, **more: Any) -> Store:
    """A store at a service that wants no token."""
    return Store({"http": {"baseUrl": url, **more}}, {})


def condition(done: Reconciled, type_: ConditionType) -> ConditionState:
    return next(each for each in done.conditions if each.type is type_)


async def refused(store: Store) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await store.reconcile()
    assert TOKEN not in str(caught.value)
    return caught.value


# --- what agents get ---


async def test_an_agent_works_at_the_service_with_the_headers_of_the_secret(store: Store) -> None:
    done = await store.reconcile()
    document = store.connection()
    assert isinstance(document, HTTPConnection)
    assert (document.store, document.tables) == (f"agents/{store.name}", "provisioned")
    assert done.binding.data["uri"] == document.base_url
    assert TOKEN not in "".join(value for name, value in done.binding.data.items() if name != "connection.json")
    async with store.checkpointer() as checkpointer:
        await checkpointer.save({"topic": "roses"}, "thread")
        assert await checkpointer.load("thread") == {"topic": "roses"}


async def test_the_status_says_what_the_service_can_do(store: Store, behind: MemoryCheckpointer) -> None:
    done = await store.reconcile()
    assert set(done.capabilities) == {name for name in done.capabilities if getattr(behind.capabilities, name)}
    assert {"search", "vacuum", "branching"} <= set(done.capabilities)
    assert "calls itself 'locus-memory" in condition(done, ConditionType.PROVISIONED).message
    assert "agents log in with the headers" in condition(done, ConditionType.CREDENTIALS_READY).message


async def test_what_the_service_can_do_is_asked_again_each_time(web: Web) -> None:
    store = at(web.url)
    web.answers["/capabilities"] = Answer(body=CAPABLE)
    assert (await store.reconcile()).capabilities == ("vacuum",)
    web.answers["/capabilities"] = Answer(body=CAPABLE | {"capabilities": {"search": True}})
    assert (await store.reconcile()).capabilities == ("search",)


async def test_nothing_is_made_and_nothing_has_to_be_cleaned_up(store: Store) -> None:
    done = await store.reconcile()
    assert not done.plan
    assert done.login is None
    assert not engine.needs_release(store.request().spec)
    assert not (await store.release("Delete")).plan


async def test_a_service_with_the_basic_routes_alone_is_one(web: Web) -> None:
    with CheckpointService().running() as service:
        service.token = BEARER["Authorization"]
        store = Store({"http": {"baseUrl": service.url, **HEADERS}}, {"headers": BEARER}, spec=dict(MONTH))
        done = await store.reconcile()
        assert done.capabilities == ()
        assert "six basic routes" in condition(done, ConditionType.PROVISIONED).message
        assert condition(done, ConditionType.RETENTION_ENFORCED).reason is ConditionReason.NOT_SUPPORTED
        async with store.checkpointer() as checkpointer:
            await checkpointer.save({"topic": "roses"}, "thread")
            assert await checkpointer.load("thread") == {"topic": "roses"}
        assert list(service.threads) == ["thread"], "the operator has left nothing there"


# --- what is in the way ---


async def test_a_wrong_token_names_the_secret(store: Store) -> None:
    store.sources = {"headers": {"Authorization": "Bearer another-token"}}
    error = await refused(store)
    assert error.reason is ConditionReason.AUTHENTICATION_FAILED
    assert "Secret 'headers' (spec.backend.http.headersSecretRef)" in str(error)
    assert "another-token" not in str(error)


async def test_a_missing_token_says_where_to_write_it(store: Store) -> None:
    store.backend = {"http": {"baseUrl": store.backend["http"]["baseUrl"]}}
    error = await refused(store)
    assert error.reason is ConditionReason.AUTHENTICATION_FAILED
    assert "into spec.backend.http.headersSecretRef" in str(error)


async def test_a_wrong_token_is_noticed_where_health_is_open_to_everyone(web: Web) -> None:
    web.answers["/threads/locus-operator-probe/checkpoints"] = Answer(403)
    assert (await refused(at(web.url))).reason is ConditionReason.AUTHENTICATION_FAILED


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "it is empty"),
        ({"Authorization": "Bearer hidden-value\n"}, "'Authorization' is no header that can be sent"),
        ({"X-Name": "hidden-välue"}, "'X-Name' is no header that can be sent"),
        ({"Host": "hidden-value"}, "Host cannot be set"),
        ({"X-Key": "hidden-value", "x-key": "hidden-value"}, "X-Key, x-key cannot be set, or is there twice"),
    ],
)
async def test_headers_that_cannot_be_sent_are_named_without_their_values(
    store: Store, headers: dict[str, str], message: str
) -> None:
    store.sources = {"headers": headers}
    error = await refused(store)
    assert error.reason is ConditionReason.SECRET_INVALID
    assert message in str(error)
    assert "Secret 'headers'" in str(error)
    assert "hidden" not in str(error)


@pytest.mark.parametrize(
    ("answers", "reason", "message"),
    [
        ({}, ConditionReason.BACKEND_REFUSED, "404 to GET /health: correct spec.backend.http.healthPath"),
        (
            {"/health": Answer(301, headers={"Location": "https://user:pw@elsewhere.example/login?token=hidden"})},
            ConditionReason.BACKEND_REFUSED,
            "redirects to https://elsewhere.example/login, which agents do not follow",
        ),
        ({"/health": Answer(401, body="your token is hidden")}, ConditionReason.AUTHENTICATION_FAILED, "401"),
        ({"/health": Answer(400)}, ConditionReason.BACKEND_REFUSED, "no checkpoint service answers so"),
        (
            {"/health": Answer(), "/capabilities": Answer(body="<html>", headers={"Content-Type": "text/html"})},
            ConditionReason.BACKEND_REFUSED,
            "text/html in place of JSON",
        ),
        (
            {"/health": Answer(), "/capabilities": Answer(body={"hello": "hidden"})},
            ConditionReason.BACKEND_REFUSED,
            "not what a checkpoint service answers",
        ),
        (
            {"/health": Answer(), "/capabilities": Answer(body=CAPABLE | {"protocols": [7]})},
            ConditionReason.BACKEND_REFUSED,
            "speaks versions [7] of the protocol",
        ),
    ],
)
async def test_what_is_no_checkpoint_service_is_explained(
    web: Web, answers: dict[str, Answer], reason: ConditionReason, message: str
) -> None:
    web.answers = answers
    error = await refused(at(web.url))
    assert error.reason is reason
    assert message in str(error)
    assert "hidden" not in str(error)
    assert "pw" not in str(error)


async def test_a_health_path_of_its_own_does_not_make_another_service_one(web: Web) -> None:
    web.answers = {"/ok": Answer()}
    assert "neither /capabilities nor /health" in str(await refused(at(web.url, healthPath="/ok")))


@pytest.mark.parametrize("status", [503, 500, 429])
async def test_a_service_that_is_not_well_is_unavailable(web: Web, status: int) -> None:
    web.answers["/health"] = Answer(status)
    with pytest.raises(UnavailableError, match=f"{status} to GET /health: the service is not well"):
        await at(web.url).reconcile()


async def test_a_service_that_is_away_is_unavailable() -> None:
    port = free_port()
    with pytest.raises(UnavailableError, match=str(port)):
        await at(f"http://127.0.0.1:{port}").reconcile()


async def test_a_service_that_hangs_holds_nobody(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_probe, "REQUEST_SECONDS", 0.3)
    web.hangs = True
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match=r"no answer to GET /health within 0\.3 seconds"):
        await at(web.url).reconcile()
    assert time.monotonic() - begun < 5


async def test_a_certificate_is_trusted_by_the_given_authority_only() -> None:
    authority, other = CertificateAuthority(), CertificateAuthority()
    answers = {"/health": Answer(), "/capabilities": Answer(body=CAPABLE)}
    with Web(answers, authority).running() as web:
        store = Store(
            {"http": {"baseUrl": web.url, "ca": CA}}, {"server-ca": {"ca.crt": authority.certificate.decode()}}
        )
        done = await store.reconcile()
        assert done.binding.data["certificates"] == authority.certificate.decode()
        for ca in (other.certificate.decode(), None):
            untrusting = Store(
                {"http": {"baseUrl": web.url, **({"ca": CA} if ca else {})}}, {"server-ca": {"ca.crt": ca or ""}}
            )
            assert "no trusted TLS connection. Correct spec.backend.http.ca" in str(await refused(untrusting))


async def test_no_secret_is_in_a_repr_or_message(store: Store) -> None:
    done = await store.reconcile()
    assert TOKEN not in f"{done!r} {store.request()!r} {done.conditions}"


# --- retention ---


async def put(behind: MemoryCheckpointer, thread: str, age: timedelta) -> None:
    checkpoint = NewCheckpoint(thread, "c", b"\x01{}", {}, created_at=datetime.now(UTC) - age)
    await behind._storage.put(checkpoint)


async def sweep(store: Store) -> Reconciled:
    done = await engine.reconcile(replace(store.request(), enforce_retention=True))
    store.binding = done.binding.data
    return done


async def test_the_service_deletes_what_is_too_old_and_nothing_younger(
    store: Store, behind: MemoryCheckpointer
) -> None:
    store.spec = dict(MONTH)
    month, moment = timedelta(days=30), timedelta(minutes=1)
    await put(behind, "old", month + moment)
    await put(behind, "young", month - moment)
    await store.reconcile()
    async with store.checkpointer() as checkpointer:
        saving = asyncio.gather(*(checkpointer.save({"n": n}, f"new-{n}") for n in range(20)))
        done = await sweep(store)
        await saving
        assert await checkpointer.list_threads(limit=100) == sorted([*(f"new-{n}" for n in range(20)), "young"])
    assert done.expired == 1
    retention = condition(done, ConditionType.RETENTION_ENFORCED)
    assert retention.reason is ConditionReason.RETENTION_APPLIED
    assert "whoever saved them" in retention.message


async def test_a_clock_that_is_ahead_deletes_nothing_too_early(web: Web) -> None:
    there = datetime.now(UTC) - timedelta(hours=3)
    web.answers["/capabilities"] = Answer(body=CAPABLE, headers={"Date": format_datetime(there, usegmt=True)})
    web.answers["/v1/vacuum"] = Answer(body={"deleted": 0})
    store = at(web.url)
    store.spec = dict(MONTH)
    await sweep(store)
    [(path, body)] = web.bodies
    assert path == "/v1/vacuum"
    assert datetime.fromisoformat(body["before"]) == there.replace(microsecond=0) - timedelta(days=30)


async def test_a_service_that_does_not_tell_the_time_deletes_by_ours(web: Web) -> None:
    web.answers["/capabilities"] = Answer(body=CAPABLE)
    web.answers["/v1/vacuum"] = Answer(body={"deleted": 3})
    store = at(web.url)
    store.spec = dict(MONTH)
    begun = datetime.now(UTC)
    assert (await sweep(store)).expired == 3
    [(_, body)] = web.bodies
    assert begun <= datetime.fromisoformat(body["before"]) + timedelta(days=30) <= datetime.now(UTC)


async def test_retention_of_a_class_reaches_no_other_stores_checkpoints(web: Web) -> None:
    web.answers["/capabilities"] = Answer(body=CAPABLE)
    store = at(web.url)
    store.spec = dict(MONTH)
    request = store.request()
    of_class = replace(request, spec=request.spec.model_copy(update={"class_name": "shared"}), enforce_retention=True)
    done = await engine.reconcile(of_class)
    assert web.bodies == []
    assert condition(done, ConditionType.RETENTION_ENFORCED).reason is ConditionReason.NOT_SUPPORTED
    assert "not enforced at the service of a class" in condition(done, ConditionType.PROVISIONED).message


async def test_a_service_that_fails_to_delete_keeps_its_agents(web: Web) -> None:
    web.answers["/capabilities"] = Answer(body=CAPABLE)
    web.answers["/v1/vacuum"] = Answer(503)
    store = at(web.url)
    store.spec = dict(MONTH)
    done = await sweep(store)
    assert condition(done, ConditionType.READY).status == "True"
    assert condition(done, ConditionType.RETENTION_ENFORCED).status == "False"
    assert re.search("Retention was not enforced: .*cannot delete", condition(done, ConditionType.PROVISIONED).message)


async def test_what_cannot_vacuum_says_that_nothing_is_enforced(web: Web) -> None:
    web.answers["/capabilities"] = Answer(body=CAPABLE | {"capabilities": {}})
    store = at(web.url)
    store.spec = {"retention": {"maxAge": "30d", "maxCheckpointsPerThread": 3}}
    done = await sweep(store)
    message = condition(done, ConditionType.RETENTION_ENFORCED).message
    assert "maxAge (30d) and spec.retention.maxCheckpointsPerThread (3) are not enforced" in message


async def test_a_changed_token_reaches_the_binding_and_the_old_one_is_refused(
    http_host: Host, behind: MemoryCheckpointer
) -> None:
    new = "the-next-token-of-the-tests"
    with http_host.serving(behind, Tokens(text=f"{TOKEN} {new}")) as url:
        store = Store({"http": {"baseUrl": url, **HEADERS}}, {"headers": BEARER})
        before = await store.reconcile()
        store.sources = {"headers": {"Authorization": f"Bearer {new}"}}
        after = await store.reconcile()
        assert after.binding.digest != before.binding.digest
        assert new in after.binding.data["connection.json"]


async def test_agents_of_another_service_are_refused_with_the_issued_headers(store: Store, http_host: Host) -> None:
    await store.reconcile()
    with http_host.serving(MemoryCheckpointer(), Tokens(text="another-token-altogether")) as elsewhere:
        stranger = Store({"http": {"baseUrl": elsewhere}}, {})
        document = store.connection().model_copy(update={"base_url": elsewhere})
        stranger.binding = {"connection.json": json.dumps(document.document())}
        async with stranger.checkpointer() as checkpointer:
            with pytest.raises(AuthenticationError):
                await checkpointer.load("thread")
