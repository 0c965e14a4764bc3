"""What the Oracle provisioner decides, from what it has observed alone."""

from dataclasses import replace
from typing import Any

import pytest

from locus_operator.backends import oracle_plan
from locus_operator.backends.oracle_actions import Target
from locus_operator.backends.oracle_names import Layout
from locus_operator.backends.oracle_observe import Grant, Observed, User
from locus_operator.backends.oracle_preflight import PRIVILEGES
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.names import RoleNames
from locus_operator.provisioner import Owner, Plan

CLAIM = Owner("cluster", "uid-1", "team", "bot")
OWNER, A, B = "LOCUS_TEAM_BOT", "LOCUS_TEAM_BOT_A", "LOCUS_TEAM_BOT_B"


def target(**changes: Any) -> Target:
    layout = Layout(RoleNames.of("team", "bot"), OWNER, "locus_checkpoints", memory=False, dimension=None)
    return Target(replace(layout, **changes), CLAIM, "USERS", "unlimited")


def observed(**changes: Any) -> Observed:
    """A database with the store as it shall be."""
    here, text = target().layout, CLAIM.claim()
    grants = {
        Grant(login, OWNER, item.name, privilege)
        for login in (A, B)
        for item in here.wanted
        for privilege in item.privileges
    }
    there = Observed(
        release=19,
        longest_name=128,
        privileges=frozenset({*PRIVILEGES, "GRANT ANY PRIVILEGE"}),
        default_tablespace="USERS",
        users={
            OWNER: User(OWNER, "LOCKED", "NONE", "USERS", claim=text),
            A: User(A, "OPEN", "PASSWORD", "USERS", claim=text),
            B: User(B, "LOCKED", "NONE", "USERS", claim=text),
        },
        quotas={(OWNER, "USERS"): -1},
        objects={item.name: item.kind.upper() for item in here.wanted},
        system=frozenset({(A, "CREATE SESSION", False), (B, "CREATE SESSION", False)}),
        grants=frozenset(grants),
        versions={"LOCUS_CHECKPOINTS_SCHEMA": 1},
        login="accepted",
    )
    return replace(there, **changes)


def plan(there: Observed, here: Target | None = None, *, adopt: bool = False, retention: bool = False) -> Plan:
    return oracle_plan.plan(
        there, here or target(), adopt=adopt, admin="admin", secret="admin", retention=retention
    )  # fmt: skip


def release(there: Observed, *, delete: bool) -> list[str]:
    done = oracle_plan.plan_release(there, target(), delete=delete, admin="admin", secret="admin")
    return [str(action) for action in done.actions]


def user(name: str, **changes: Any) -> dict[str, User]:
    return dict(observed().users) | {name: replace(observed().users[name], **changes)}


def test_what_is_as_it_shall_be_needs_nothing() -> None:
    assert not plan(observed())


def test_what_needs_nothing_needs_no_privileges_but_retention_does() -> None:
    there = observed(privileges=frozenset({"SELECT ANY TABLE"}))
    assert not plan(there)
    with pytest.raises(RefusedError, match=r"lacks: UPDATE ANY TABLE \(GRANT UPDATE ANY TABLE TO admin\); DELETE ANY"):
        plan(there, retention=True)


@pytest.mark.parametrize(
    ("quota", "found", "same"),
    [
        ("unlimited", -1, True),
        ("unlimited", 10, False),
        ("10M", -1, False),
        ("10M", 10 * 2**20, True),
        ("10K", 16_384, True),  # two blocks of 8 KB
        ("1M", 2**20 + 32_768, False),
        ("1T", 2**40, True),
        ("1G", 0, False),
    ],
)
def test_a_quota_is_compared_up_to_a_block(quota: str, found: int, same: bool) -> None:
    there = observed(quotas={(OWNER, "USERS"): found})
    assert (not plan(there, replace(target(), quota=quota))) == same


def test_what_belongs_to_a_missing_table_is_made_anew_from_below() -> None:
    objects = {name: kind for name, kind in observed().objects.items() if name != "LOCUS_CHECKPOINTS_PARTS"}
    there = observed(objects=objects, filled=frozenset({"LOCUS_CHECKPOINTS_NEEDS"}))
    parts = "table LOCUS_CHECKPOINTS_PARTS"
    actions = [str(action) for action in plan(replace(there, privileges=there.privileges | {"DROP ANY TABLE"})).actions]
    assert actions == [
        f"drop table LOCUS_CHECKPOINTS_NEEDS: its rows belong to {parts}, which is missing (destructive)",
        "create table LOCUS_CHECKPOINTS_PARTS: missing",
        "create table LOCUS_CHECKPOINTS_NEEDS: missing",
        "create index LOCUS_CHECKPOINTS_BY_PART: missing",
    ]


def test_everything_below_the_first_table_goes_with_it_children_first() -> None:
    left = {f"LOCUS_CHECKPOINTS{suffix}" for suffix in ("", "_WORDS", "_SEARCH", "_METADATA")}
    lost = target().layout.orphans(dict.fromkeys(left, "TABLE"))
    assert set(lost) == left
    assert lost.index("LOCUS_CHECKPOINTS_WORDS") < lost.index("LOCUS_CHECKPOINTS_SEARCH")
    assert lost.index("LOCUS_CHECKPOINTS_METADATA") < lost.index("LOCUS_CHECKPOINTS")


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({"claim": None}, True),  # beside others that are claimed
        ({"claim": replace(CLAIM, uid="uid-2").claim()}, False),
        ({"claim": replace(CLAIM, cluster="another").claim()}, False),
        ({"builtin": True}, False),
    ],
)
def test_whose_a_user_is(changes: dict[str, Any], own: bool) -> None:
    there = observed(users=user(A, **changes))
    assert oracle_plan.is_own(there, target(), there.users[A]) == own


def test_a_user_alone_is_ours_if_it_can_do_nothing_and_is_not_oracles_own() -> None:
    idle = User(A, "LOCKED", "NONE", "USERS", idle=True)
    for found, own in ((idle, True), (replace(idle, idle=False), False), (replace(idle, builtin=True), False)):
        there = observed(users={A: found})
        assert oracle_plan.is_own(there, target(), found) == own


def test_what_another_store_claims_is_left_alone_by_deletion() -> None:
    other = replace(CLAIM, uid="uid-2").claim()
    there = observed(users={name: replace(each, claim=other) for name, each in observed().users.items()})
    assert release(there, delete=True) == release(there, delete=False) == []


def test_retain_keeps_the_owner_and_says_once_that_it_is_free() -> None:
    assert release(observed(), delete=False) == [
        f"lock user {A}: store deleted",
        f"drop user {A}: store deleted",
        f"drop user {B}: store deleted",
        f"release user {OWNER}: store deleted, data kept",
    ]
    kept = observed().users[OWNER]
    there = observed(users={OWNER: replace(kept, claim=replace(CLAIM, released=True).claim())})
    assert release(there, delete=False) == []
    assert release(there, delete=True) == [
        f"drop user {OWNER}: store deleted, deletionPolicy: Delete (destructive)"
    ]  # fmt: skip


def test_grants_of_others_on_what_is_not_the_store_s_stay() -> None:
    """An adopted schema may have tables beside the store's."""
    beside = Grant("REPORTING", OWNER, "ORDERS", "SELECT")
    assert not plan(observed(grants=observed().grants | {beside}))
    assert "REPORTING has SELECT" in str(
        plan(observed(grants=observed().grants | {replace(beside, name="LOCUS_CHECKPOINTS")}))
    )
    assert f"{A} has SELECT" in str(plan(observed(grants=observed().grants | {replace(beside, grantee=A)})))


@pytest.mark.parametrize(
    ("there", "here", "reason", "words"),
    [
        (observed(release=18), target(), ConditionReason.NOT_SUPPORTED, "Oracle Database 18 is too old: 19c"),
        (
            observed(release=19),
            target(memory=True, dimension=3),
            ConditionReason.NOT_SUPPORTED,
            "embeddingDimension: Oracle Database 19 has no vectors",
        ),
        (
            observed(longest_name=30),
            target(base=RoleNames.of("a-long-namespace", "a-long-name"), owner="O"),
            ConditionReason.NOT_SUPPORTED,
            "names may have 30 bytes .*COMPATIBLE",
        ),
        (
            observed(versions={"LOCUS_CHECKPOINTS_SCHEMA": 99}),
            target(),
            ConditionReason.NOT_SUPPORTED,
            "says version 99.*newer operator",
        ),
        (
            observed(objects={"LOCUS_CHECKPOINTS": "VIEW"}),
            target(),
            ConditionReason.CONFLICT,
            "has LOCUS_CHECKPOINTS as something else",
        ),
        (observed(dictionary=False), target(), ConditionReason.MISSING_PRIVILEGES, "SELECT ANY DICTIONARY"),
    ],
)
def test_a_database_that_cannot_hold_the_store_is_refused(
    there: Observed, here: Target, reason: ConditionReason, words: str
) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        plan(there, here)
    assert caught.value.reason is reason
