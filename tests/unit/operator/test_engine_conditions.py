"""From results and errors to conditions; and what the engine decides before it touches a server."""

import subprocess
import sys
from typing import Any

import pytest

from locus_memory.connection import PostgreSQLConnection
from locus_operator.api import InvalidSpecError, parse_store, parse_store_class
from locus_operator.api.rules import FieldError
from locus_operator.api.status import ConditionStatus
from locus_operator.binding import PasswordPolicy, binding_of, password_for
from locus_operator.conditions import Retry, deletion_blocked, failure, retention_enforced, success
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.engine import (
    StoreRequest,
    UnsupportedError,
    effective_spec,
    needs_release,
    reconcile,
    release,
    required_secrets,
)
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.provisioner import Owner, Report

POSTGRESQL = {"adminSecretRef": {"name": "admin"}, "host": "db.example.com", "database": "app"}
LOGINS = ("locus_a_b_a", "locus_a_b_b")


def store(**spec: Any) -> Any:
    return parse_store(
        {
            "apiVersion": "memory.locus.dev/v1alpha1",
            "kind": "CheckpointStore",
            "metadata": {"namespace": "a", "name": "b"},
            "spec": spec or {"backend": {"memory": {}}},
        }
    )


def store_class(**defaults: Any) -> Any:
    return parse_store_class(
        {
            "apiVersion": "memory.locus.dev/v1alpha1",
            "kind": "CheckpointStoreClass",
            "metadata": {"name": "standard"},
            "spec": {"backend": {"postgresql": POSTGRESQL}, "defaults": defaults},
        }
    )


# --- what an error means ---


@pytest.mark.parametrize(
    ("error", "retry", "reason", "provisioned"),
    [
        (UnavailableError("away"), Retry.SOON, ConditionReason.BACKEND_UNAVAILABLE, ConditionStatus.UNKNOWN),
        (RefusedError(ConditionReason.CONFLICT, "no"), Retry.SLOWLY, ConditionReason.CONFLICT, ConditionStatus.FALSE),
        (
            UnsupportedError(ConditionReason.NOT_SUPPORTED, "not yet"),
            Retry.ON_CHANGE,
            ConditionReason.NOT_SUPPORTED,
            ConditionStatus.FALSE,
        ),
        (
            InvalidSpecError((FieldError("spec.x", "write y"),)),
            Retry.ON_CHANGE,
            ConditionReason.INVALID_SPEC,
            ConditionStatus.FALSE,
        ),
    ],
)
def test_each_kind_of_error_has_its_retry_and_conditions(
    error: Exception, retry: Retry, reason: ConditionReason, provisioned: ConditionStatus
) -> None:
    found = failure(error)
    assert (found.retry, found.reason) == (retry, reason)
    assert [(each.type, each.status, each.reason) for each in found.conditions] == [
        (ConditionType.READY, ConditionStatus.FALSE, reason),
        (ConditionType.PROVISIONED, provisioned, reason),
    ]
    assert str(error) in found.message


def test_an_unexpected_error_shows_its_kind_and_not_its_text() -> None:
    found = failure(KeyError("s3cret"))
    assert found.reason is ConditionReason.INTERNAL_ERROR
    assert "KeyError" in found.message
    assert "s3cret" not in found.message


def test_a_blocked_deletion_names_the_cause_and_the_way_out() -> None:
    condition = deletion_blocked(UnavailableError("PostgreSQL is away"))
    assert condition.status is ConditionStatus.TRUE
    assert "PostgreSQL is away" in condition.message
    assert "memory.locus.dev/abandon" in condition.message


# --- conditions of a store that is well ---


def test_all_conditions_of_a_plain_store_are_true() -> None:
    conditions = success(store().spec, Report(), login=None)
    assert {each.status for each in conditions} == {ConditionStatus.TRUE}
    assert {each.type for each in conditions} == set(ConditionType) - {ConditionType.DELETION_BLOCKED}


def test_retention_that_nothing_enforces_is_said_in_ready_as_well() -> None:
    spec = store(backend={"postgresql": POSTGRESQL}, retention={"maxAge": "90d"}).spec
    by_type = {each.type: each for each in success(spec, Report(), login="l")}
    retention = by_type[ConditionType.RETENTION_ENFORCED]
    assert (retention.status, retention.reason) == (ConditionStatus.FALSE, ConditionReason.NOT_SUPPORTED)
    assert "spec.retention.maxAge (90d) is not enforced" in retention.message
    assert retention.message in by_type[ConditionType.READY].message


def test_retention_is_enforced_when_each_of_its_rules_is() -> None:
    spec = store(retention={"maxAge": "1d", "maxCheckpointsPerThread": 3}, backend={"memory": {}}).spec
    found = retention_enforced(spec, {"maxAge": "threads expire"})
    assert found.status is ConditionStatus.FALSE
    assert "maxCheckpointsPerThread (3) is not" in found.message
    assert "maxAge" not in found.message
    both = {"maxAge": "threads expire", "maxCheckpointsPerThread": "the sweep deletes"}
    found = retention_enforced(spec, both)
    assert (found.status, found.message) == (ConditionStatus.TRUE, "threads expire; the sweep deletes")
    by_age = store(retention={"maxAge": "1d"}, backend={"memory": {}}).spec
    assert retention_enforced(by_age, both).message == "threads expire"
    nothing_asked = store(backend={"memory": {}}).spec
    assert retention_enforced(nothing_asked, {"maxAge": "threads expire"}).message == "threads expire"


def test_rotation_that_nobody_does_is_said() -> None:
    spec = store(backend={"memory": {}}, credentials={"rotationPeriod": "30d"}).spec
    messages = [each.message for each in success(spec, Report(), login="l")]
    assert any("rotationPeriod (30d) is not acted on" in message for message in messages)


def test_a_note_about_the_backend_is_in_provisioned() -> None:
    conditions = success(store().spec, Report(note="No aclfile", warnings=("Full soon.",)), login=None)
    assert "No aclfile. Full soon." in conditions[1].message


# --- classes, sources ---


def test_a_store_without_class_is_as_it_is() -> None:
    assert effective_spec(store()) == store().spec


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(RefusedError, match="no CheckpointStoreClass 'gone'") as caught:
        effective_spec(store(className="gone"))
    assert caught.value.reason is ConditionReason.CLASS_NOT_FOUND


def test_the_class_gives_the_backend_and_what_the_store_does_not_say() -> None:
    defaults = {
        "retention": {"maxAge": "30d", "maxCheckpointsPerThread": 9},
        "deletionPolicy": "Delete",
        "credentials": {"rotationPeriod": "7d"},
    }
    spec = effective_spec(store(className="standard", retention={"maxAge": "1d"}), store_class(**defaults))
    assert spec.backend is not None
    assert spec.backend.kind == "postgresql"
    assert str(spec.retention.max_age) == "1d"
    assert spec.retention.max_checkpoints_per_thread == 9
    assert spec.deletion_policy == "Delete"
    assert str(spec.credentials.rotation_period) == "7d"


def test_all_references_of_a_backend_are_required() -> None:
    ca = {"configMapKeyRef": {"name": "bundle", "key": "ca.pem"}}
    spec = store(backend={"postgresql": {**POSTGRESQL, "sslMode": "verify-full", "ca": ca}}).spec
    assert [(each.kind, each.name, each.path) for each in required_secrets(spec)] == [
        ("Secret", "admin", "spec.backend.postgresql.adminSecretRef"),
        ("ConfigMap", "bundle", "spec.backend.postgresql.ca.configMapKeyRef"),
    ]


def test_only_backends_with_something_on_them_need_a_release() -> None:
    assert not needs_release(store().spec)
    assert needs_release(store(backend={"postgresql": POSTGRESQL}).spec)


async def test_the_memory_backend_has_a_binding_and_nothing_to_do() -> None:
    request = StoreRequest(Owner("c", "u", "a", "b"), store().spec, {})
    done = await reconcile(request)
    assert not done.plan
    assert done.binding.data["type"] == "memory"
    assert done.login is None
    assert done.capabilities
    assert not (await release(request)).plan


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [("oracle", "oracledb", "oracle"), ("ociBucket", "oci", "oci"), ("http", "httpx", "http")],
)
def test_an_operator_without_a_driver_says_which_image_has_it(kind: str, module: str, extra: str) -> None:
    members = {
        "oracle": {"adminSecretRef": {"name": "a"}, "dsn": "db:1521/x"},
        "ociBucket": {"compartmentId": "ocid1.compartment.oc1..a", "region": "eu-frankfurt-1", "namespace": "n"},
        "http": {"baseUrl": "https://memory.example.com"},
    }
    # In a process of its own: this one has imported it long ago.
    program = f"""
import asyncio, sys
sys.modules[{module!r}] = None
from locus_operator import engine
from locus_operator.api import parse_store
from locus_operator.provisioner import Owner
manifest = {{"apiVersion": "memory.locus.dev/v1alpha1", "kind": "CheckpointStore", "metadata": {{"name": "s"}},
            "spec": {{"backend": {{{kind!r}: {members[kind]!r}}}}}}}
spec = engine.effective_spec(parse_store(manifest))
sources = {{source: {{"username": "u", "password": "p"}} for source in engine.required_secrets(spec)}}
try:
    asyncio.run(engine.plan(engine.StoreRequest(Owner("c", "u", "a", "b"), spec, sources)))
except engine.UnsupportedError as error:
    print(error.reason, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"NotSupported spec.backend.{kind}: this installation" in done.stdout, done.stderr
    assert f"EXTRAS=operator,{extra}" in done.stdout


# --- the binding ---


def test_the_same_content_has_the_same_digest() -> None:
    one, same = (binding_of(PostgreSQLConnection(host="h", username="u", password="p")) for _ in range(2))
    other = binding_of(PostgreSQLConnection(host="h", username="u", password="q"))
    assert one.digest == same.digest != other.digest
    assert "'p'" not in repr(one)


def test_the_uri_is_percent_encoded() -> None:
    connection = PostgreSQLConnection(host="::1", username="u@x", password="p/:ö", database="my db")
    data = binding_of(connection).data
    assert data["uri"] == "postgresql://u%40x:p%2F%3A%C3%B6@[::1]:5432/my%20db?sslmode=prefer"
    assert data["database"] == "my db"


def test_passwords_are_long_and_random() -> None:
    one, other = (password_for(LOGINS, "postgresql", None) for _ in range(2))
    assert one != other
    assert len(one) >= 32


def existing(**changes: str) -> dict[str, str]:
    return {"type": "postgresql", "username": LOGINS[0], "password": "x" * 43} | changes


def test_a_binding_of_this_login_keeps_its_password() -> None:
    assert password_for(LOGINS, "postgresql", existing()) == "x" * 43


@pytest.mark.parametrize(
    "changes",
    [{"type": "redis"}, {"username": "someone"}, {"password": "short"}, {"password": "x" * 43 + "'"}],
)
def test_any_other_binding_does_not(changes: dict[str, str]) -> None:
    assert password_for(LOGINS, "postgresql", existing(**changes)) not in ("x" * 43, changes.get("password"))


def test_a_password_is_what_the_backend_takes() -> None:
    policy = PasswordPolicy(length=30, of_each_kind=2)
    password = password_for(LOGINS, "oracle", None, policy)
    assert len(password) == 30
    kinds = (str.islower, str.isupper, str.isdigit, lambda character: character in "-_")
    assert all(sum(map(kind, password)) >= 2 for kind in kinds)
    for refused in (password + "x", "aA1-" * 7 + "é_", "aaA11--" + "a" * 23):
        assert not policy.accepts(refused)
