"""Plans on PostgreSQL from observed states; no server."""

from dataclasses import replace
from typing import Any

import pytest

from locus_memory.backends.postgresql_schema import ddl, privileges
from locus_operator.backends.postgresql_actions import Target
from locus_operator.backends.postgresql_definitions import Definitions, FoundColumn, FoundConstraint, FoundRelation
from locus_operator.backends.postgresql_observe import (
    Admin,
    Membership,
    Observed,
    Owned,
    Privilege,
    Role,
)
from locus_operator.backends.postgresql_plan import plan, plan_release
from locus_operator.backends.postgresql_tables import Tables
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.names import RoleNames
from locus_operator.provisioner import Owner, Plan

OWNER = Owner("c", "uid-1", "agents", "support")
NAMES = RoleNames.of("agents", "support")
SCHEMA = NAMES.base
ADMIN = Admin("admin", False, True, False, False, False, True, False, True, False)
TABLES = Tables.of(SCHEMA, long_term_memory=False)
DEFINITIONS = Definitions.of(
    [
        FoundColumn(item.name, each.name, each.type, each.nullable, each.default, each.identity, generated=False)
        for item in TABLES.objects
        for each in item.columns
    ],
    [
        FoundConstraint(item.name, f"{item.name}_{number}", item.printed(each), working=True)
        for item in TABLES.objects
        for number, each in enumerate(item.constraints)
    ],
    [
        FoundRelation(item.name, item.printed(item.definition) or None, valid=True, logged=True, row_security=False)
        for item in TABLES.objects
    ],
)
EMPTY = Observed(180_000, ADMIN, {}, (), None, {}, frozenset(), frozenset())


def role(name: str, **changes: Any) -> Role:
    usual = Role(
        name,
        OWNER.claim(),
        superuser=False,
        inherit=True,
        createrole=False,
        createdb=False,
        login=name == NAMES.logins[0],
        replication=False,
        bypassrls=False,
        connection_limit=-1,
        expires=False,
        search_path_set=True,
        administered=True,
        assumable=True,
        connects=True,
    )
    return replace(usual, **changes)


def ready() -> Observed:
    tables = [item.name for item in ddl(SCHEMA) if item.kind == "table"]
    granted = {
        Privilege("table", name, NAMES.app, privilege, False) for name in tables for privilege in privileges(name)
    }
    return Observed(
        version=180_000,
        admin=ADMIN,
        roles={name: role(name) for name in (NAMES.owner, NAMES.app, *NAMES.logins)},
        memberships=tuple(Membership(NAMES.app, login, "admin", False, True, False, True) for login in NAMES.logins),
        schema=Owned("schema", SCHEMA, NAMES.owner, OWNER.claim(), True, True),
        relations={item.name: Owned(item.kind, item.name, NAMES.owner, None, True, True) for item in ddl(SCHEMA)},
        privileges=frozenset({*granted, Privilege("schema", SCHEMA, NAMES.app, "USAGE", False)}),
        default_privileges=frozenset(),
        versions={"locus_schema": 1},
        definitions=DEFINITIONS,
        login="accepted",
    )


def with_role(observed: Observed, name: str, **changes: Any) -> Observed:
    return replace(observed, roles={**observed.roles, name: replace(observed.roles[name], **changes)})


def target(observed: Observed) -> Target:
    return Target.of(observed, NAMES, SCHEMA, "app", OWNER, TABLES)


def make(observed: Observed, *, adopt: bool = False) -> Plan:
    return plan(observed, target(observed), adopt=adopt, admin_secret="admin-secret")


def release(observed: Observed, *, delete: bool) -> list[str]:
    actions = plan_release(observed, target(observed), delete=delete).actions
    return [f"{action.verb} {action.kind} {action.name}" for action in actions]


def test_an_empty_database_gets_everything_and_the_login_last() -> None:
    actions = make(EMPTY).actions
    assert [action.kind for action in actions[:5]] == ["role"] * 4 + ["schema"]
    created = [action.name for action in actions if action.verb == "create"]
    assert created == [NAMES.owner, NAMES.app, *NAMES.logins, SCHEMA, *(item.name for item in ddl(SCHEMA))]
    assert str(actions[-1]) == f"set password of {NAMES.logins[0]}: missing"


def test_nothing_is_to_be_done_when_all_is_there() -> None:
    assert not make(ready())


def test_a_role_is_claimed_in_the_transaction_that_creates_it() -> None:
    for action in make(EMPTY).actions[:5]:
        texts = [statement.as_string() for statement in action.statements]  # type: ignore[attr-defined]
        assert any(text.startswith("COMMENT ON") and "uid-1" in text for text in texts)


@pytest.mark.parametrize(("version", "options"), [(180_000, " WITH INHERIT TRUE, SET TRUE"), (150_000, "")])
def test_the_administrator_may_act_as_the_owner_on_every_release(version: int, options: str) -> None:
    owner = make(replace(EMPTY, version=version)).actions[0]
    statements = [each.as_string() for each in owner.statements]  # type: ignore[attr-defined]
    assert f'GRANT "{NAMES.owner}" TO CURRENT_USER{options}' in statements


def test_a_name_is_quoted_whatever_is_in_it() -> None:
    hostile = replace(target(EMPTY), schema='x"; DROP SCHEMA public; --')
    actions = plan(EMPTY, hostile, adopt=False, admin_secret="s").actions
    schema = next(action for action in actions if action.kind == "schema")
    assert 'CREATE SCHEMA "x""; DROP SCHEMA public; --"' in schema.statements[0].as_string()  # type: ignore[attr-defined]


# --- whose it is ---


def test_all_conflicts_are_listed_at_once() -> None:
    observed = replace(ready(), schema=replace(ready().schema, comment=replace(OWNER, uid="uid-2").claim()))  # type: ignore[type-var]
    observed = with_role(observed, NAMES.app, comment=replace(OWNER, uid="uid-3").claim())
    with pytest.raises(RefusedError, match=r"uid-2.*uid-3") as caught:
        make(observed, adopt=True)
    assert caught.value.reason is ConditionReason.CONFLICT


@pytest.mark.parametrize("name", [NAMES.owner, NAMES.app, *NAMES.logins])
def test_a_lost_comment_on_a_role_is_drift(name: str) -> None:
    (action,) = make(with_role(ready(), name, comment=None)).actions
    assert str(action) == f"claim role {name}: not claimed"


def test_a_schema_of_somebody_elses_is_no_drift_because_the_roles_are_ours() -> None:
    foreign = Owned("schema", SCHEMA, "somebody", None, True, True)
    with pytest.raises(RefusedError, match="belongs to no store"):
        make(replace(ready(), schema=foreign))


def test_a_role_that_nobody_claimed_is_a_conflict_and_can_be_adopted() -> None:
    observed = replace(EMPTY, roles={NAMES.app: role(NAMES.app, comment=None)})
    with pytest.raises(RefusedError, match=f"role '{NAMES.app}' exists and belongs to no store"):
        make(observed)
    assert any(str(action).startswith(f"claim role {NAMES.app}") for action in make(observed, adopt=True).actions)


# --- privileges of the administrator ---


def test_missing_privileges_are_listed_at_once_with_their_statements() -> None:
    admin = replace(ADMIN, createrole=False, creates_schemas=False, public_connects=False)
    with pytest.raises(RefusedError) as caught:
        make(replace(EMPTY, admin=admin))
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    for statement in (
        'ALTER ROLE "admin" CREATEROLE',
        'GRANT CREATE ON DATABASE "app" TO "admin"',
        'GRANT CONNECT ON DATABASE "app" TO "admin" WITH GRANT OPTION',
    ):
        assert f"({statement};)" in str(caught.value)


def test_a_store_that_is_as_desired_needs_no_privileges() -> None:
    assert not make(replace(ready(), admin=replace(ADMIN, createrole=False, creates_schemas=False)))


@pytest.mark.parametrize(
    ("version", "admin", "attribute", "allowed"),
    [
        (180_000, {}, "createdb", False),
        (180_000, {"createdb": True}, "createdb", True),
        (150_000, {}, "createdb", True),
        (180_000, {"bypassrls": True}, "bypassrls", True),
        (150_000, {"bypassrls": True}, "bypassrls", False),
        (180_000, {"createdb": True, "bypassrls": True, "replication": True}, "superuser", False),
        (150_000, {"superuser": True}, "superuser", True),
        (180_000, {}, "createrole", True),
    ],
)
def test_who_may_take_an_attribute_away_depends_on_the_release(
    version: int, admin: dict[str, Any], attribute: str, allowed: bool
) -> None:
    observed = replace(ready(), version=version, admin=replace(ADMIN, **admin))
    observed = with_role(observed, NAMES.app, **{attribute: True})
    if allowed:
        (action,) = make(observed).actions
        assert action.reason == f"differs: NO{attribute.upper()}"
    else:
        with pytest.raises(RefusedError, match=f"NO{attribute.upper()}"):
            make(observed)


def test_administrators_may_be_members() -> None:
    members = (
        *ready().memberships,
        Membership(NAMES.owner, "admin", "postgres", True, False, True, False),
        Membership(NAMES.owner, "another_admin", "postgres", True, False, True, False),
    )
    assert not make(replace(ready(), memberships=members))


# --- data ---


def test_rows_of_a_lost_first_table_make_the_plan_destructive() -> None:
    relations = {name: owned for name, owned in ready().relations.items() if name != "locus_threads"}
    observed = replace(ready(), relations=relations)
    empty = make(replace(observed, filled=frozenset()))
    full = make(replace(observed, filled=frozenset({"locus_checkpoints"})))
    assert not any(action.destructive for action in empty.actions)
    assert [action.name for action in full.actions if action.destructive] == ["locus_checkpoints"]


def test_newer_tables_are_refused() -> None:
    with pytest.raises(RefusedError, match="newer operator"):
        make(replace(ready(), versions={"locus_schema": 2}))


def test_a_replica_is_refused() -> None:
    with pytest.raises(RefusedError, match="read-only replica"):
        make(replace(EMPTY, admin=replace(ADMIN, read_only=True)))


# --- deletion ---


def test_retain_drops_the_logins_and_marks_the_rest() -> None:
    a, b = NAMES.logins
    assert release(ready(), delete=False) == [
        f"disable role {a}",
        f"drop role {a}",
        f"drop role {b}",
        f"release schema {SCHEMA}",
        f"release role {NAMES.app}",
        f"release role {NAMES.owner}",
    ]


def test_delete_drops_the_owner_last() -> None:
    assert release(ready(), delete=True)[-3:] == [
        f"drop schema {SCHEMA}",
        f"drop role {NAMES.app}",
        f"drop role {NAMES.owner}",
    ]


def test_what_is_gone_is_done() -> None:
    assert release(EMPTY, delete=True) == release(EMPTY, delete=False) == []


def test_a_schema_that_somebody_else_adopted_is_left_with_its_owner() -> None:
    schema = Owned("schema", SCHEMA, NAMES.owner, replace(OWNER, uid="uid-2").claim(), True, True)
    left = release(replace(ready(), schema=schema), delete=True)
    assert not [action for action in left if "schema" in action or NAMES.owner in action]
