"""Bad input: what the user is told, what the backend sees of it, and how it is mended."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from psycopg import sql

from tests.e2e.control_plane import ControlPlane, KubectlError
from tests.e2e.controller.samples import WINDOW, Admin, Spec
from tests.e2e.operator_process import CEL_SINCE, Controller, Stores


class CountingListener:
    """A server that hangs up on everybody, and counts."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@dataclass(frozen=True)
class Bad:
    """A bad input and what the user is told."""

    spec: Callable[[Admin, CountingListener], Spec]
    reason: str
    message: tuple[str, ...]
    event: str = "ProvisioningFailed"
    tries: range = range(1)
    """How often the backend may have seen us within the window."""
    rule: bool = False
    """A CEL rule says the same: servers that know CEL refuse the store at once."""


BAD = {
    "two-backends": Bad(
        lambda admin, _: {"backend": {**admin.spec()["backend"], "memory": {}}},
        "InvalidSpec",
        ("spec.backend: write exactly one backend out of postgresql, redis",),
        event="InvalidSpec",
        rule=True,
    ),
    "class-and-backend": Bad(
        lambda admin, _: admin.spec() | {"className": "shared"},
        "InvalidSpec",
        ("spec: write at most one of className", "and backend"),
        event="InvalidSpec",
        rule=True,
    ),
    "unknown-class": Bad(
        lambda *_: {"className": "nowhere"},
        "ClassNotFound",
        ("there is no CheckpointStoreClass 'nowhere'", "kubectl get cpsclass"),
    ),
    "no-secret": Bad(
        lambda admin, _: admin.spec(adminSecretRef={"name": "absent"}),
        "SecretNotFound",
        ("Secret 'absent' (spec.backend.postgresql.adminSecretRef) does not exist: create it",),
    ),
    "secret-lacks-a-key": Bad(
        lambda admin, _: admin.spec(adminSecretRef={"name": "incomplete"}),
        "SecretInvalid",
        ("Secret 'incomplete'", "has no password (key 'password')", "it has username"),
    ),
    "wrong-password": Bad(
        lambda admin, _: admin.spec(adminSecretRef={"name": "wrong"}),
        "AuthenticationFailed",
        ("password",),
        tries=range(1, 2),
    ),
    "server-down": Bad(
        lambda admin, listener: admin.spec(port=listener.port),
        "BackendUnavailable",
        ("127.0.0.1",),
        tries=range(2, 13),
    ),
    "schema-of-another": Bad(
        lambda admin, _: admin.spec(schema="taken"),
        "Conflict",
        ("taken", "memory.locus.dev/adopt"),
        event="Conflict",
    ),
    "bad-duration": Bad(
        lambda admin, _: admin.spec() | {"credentials": {"rotationPeriod": "1h", "overlap": "2h"}},
        "InvalidSpec",
        ("spec.credentials.overlap: write an overlap shorter than rotationPeriod",),
        event="InvalidSpec",
        rule=True,
    ),
}


@pytest.fixture(scope="module")
def bad_stores(
    control_plane: ControlPlane, controller: Controller, admin: Admin
) -> Iterator[tuple[Stores, dict[str, int]]]:
    """One store of each kind of bad input in a namespace of theirs, and how often its backend was tried."""
    control_plane.kubectl("create", "namespace", "bad-input")
    stores, listener = Stores(control_plane, "bad-input"), CountingListener()
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.create_secret("incomplete", username=admin.name)
    stores.create_secret("wrong", username=admin.name, password="wrong")
    admin.database.execute(sql.SQL("CREATE SCHEMA taken"))
    log_start = admin.database.server.log.stat().st_size
    for name, bad in BAD.items():
        if not (bad.rule and control_plane.version >= CEL_SINCE):
            stores.apply(name, bad.spec(admin, listener))
            stores.wait_for_reason(name, bad.reason)
    time.sleep(WINDOW)
    with admin.database.server.log.open() as log:
        log.seek(log_start)
        refused = log.read().count(f'password authentication failed for user "{admin.name}"')
    yield stores, {"wrong-password": refused, "server-down": listener.connections}
    listener.close()
    admin.database.execute(sql.SQL("DROP SCHEMA taken CASCADE"))
    control_plane.kubectl("delete", "namespace", "bad-input", "--timeout=60s")


@pytest.mark.parametrize("name", BAD)
def test_bad_input_says_what_to_do_and_is_not_tried_hotly(
    bad_stores: tuple[Stores, dict[str, int]], admin: Admin, name: str
) -> None:
    (stores, tries), bad = bad_stores, BAD[name]
    if bad.rule and stores.control_plane.version >= CEL_SINCE:
        with pytest.raises(KubectlError, match=re.escape(bad.message[0].partition(": ")[2])):
            stores.apply(name, bad.spec(admin, CountingListener()))
        return

    ready = stores.conditions(name)["Ready"]

    assert (ready["status"], ready["reason"]) == ("False", bad.reason)
    for part in bad.message:
        assert part in ready["message"]
    assert tries.get(name, 0) in bad.tries
    assert [reason for reason, _ in stores.events(name)] == [bad.event], "one Event, however many tries"
    assert admin.objects(f"bad-input-{name}") == set(), "nothing half created"
    assert "binding" not in stores.get(name)["status"]
    assert admin.password not in json.dumps([stores.get(name), stores.events(name)])


def test_a_bad_duration_is_refused_by_the_api_server(stores: Stores, admin: Admin) -> None:
    with pytest.raises(KubectlError, match=r"spec\.retention\.maxAge.*ninety days"):
        stores.apply("support", admin.spec() | {"retention": {"maxAge": "ninety days"}})


def test_a_corrected_spec_is_acted_on_at_once(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.create_secret("wrong", username=admin.name, password="wrong")
    stores.apply("support", admin.spec(adminSecretRef={"name": "wrong"}))
    stores.wait_for_reason("support", "AuthenticationFailed")

    stores.apply("support", admin.spec())

    # The next try by itself would be in 30 seconds.
    stores.wait("support", timeout=10)


def test_a_secret_that_comes_later_makes_the_store_ready(stores: Stores, admin: Admin) -> None:
    stores.apply("support", admin.spec())
    stores.wait_for_reason("support", "SecretNotFound")

    stores.create_secret("admin", username=admin.name, password=admin.password)

    stores.wait("support", timeout=10)
    stores.wait_for_event("support", "ProvisioningFailed")
    stores.wait_for_event("support", "Provisioned")


def test_a_store_that_never_came_to_anything_can_be_deleted(stores: Stores, admin: Admin) -> None:
    stores.apply("support", admin.spec(adminSecretRef={"name": "absent"}))
    stores.wait_for_reason("support", "SecretNotFound")

    stores.kubectl("delete", "cps/support", "--timeout=10s")


def test_a_secret_of_somebody_else_at_the_bindings_place_is_not_overwritten(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.create_secret("support-binding", precious="yes")
    stores.apply("support", admin.spec())

    condition = stores.wait_for_reason("support", "Conflict")

    assert "Secret 'support-binding' exists and does not belong to this store" in condition["message"]
    assert admin.objects(stores.namespace) == set()
    assert set(stores.control_plane.get("secret", "support-binding", stores.namespace)["data"]) == {"precious"}


def test_a_store_does_not_move(stores: Stores, admin: Admin) -> None:
    stores.create_secret("admin", username=admin.name, password=admin.password)
    stores.apply("support", admin.spec())
    stores.wait("support")
    before = admin.objects(stores.namespace)

    try:
        stores.apply("support", admin.spec(schema="elsewhere"))
    except KubectlError as error:
        assert "schema is fixed when the object is created" in str(error)  # noqa: PT017 - servers with CEL
    else:
        condition = stores.wait_for_reason("support", "InvalidSpec")
        assert "spec.backend.postgresql.schema: the store is in" in condition["message"]

    assert admin.objects(stores.namespace) == before
    assert admin.objects("elsewhere") == set()
