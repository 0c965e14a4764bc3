"""Plans on Redis from observed states; no server."""

from dataclasses import replace

import pytest

from locus_memory.backends.redis_keys import KeyLayout
from locus_operator.backends.redis_observe import Observed, escape_pattern
from locus_operator.backends.redis_plan import SetUser, Target, desired_users, plan, plan_release, rules
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Owner, Plan

OWNER = Owner("c", "uid-1", "agents", "support")
TARGET = Target(
    KeyLayout("locus:agents:support:"), ("locus_agents_support_a", "locus_agents_support_b"), OWNER, "pw", 0
)
EMPTY = Observed("default", (), {}, None, False, {}, {}, frozenset({"get", "eval"}), True, False)
READY = replace(EMPTY, users=desired_users(EMPTY, TARGET), claim=OWNER.claim(), has_data=True)


def make(observed: Observed, *, adopt: bool = False) -> Plan:
    return plan(observed, TARGET, adopt=adopt, admin_secret="admin")


def test_an_empty_server_gets_the_claim_first() -> None:
    assert [(action.verb, action.kind) for action in make(EMPTY).actions] == [
        ("claim", "key prefix"),
        ("create", "ACL user"),
        ("create", "ACL user"),
    ]


def test_nothing_is_to_be_done_when_all_is_there() -> None:
    assert not make(READY)


def test_users_reach_data_and_not_the_claim() -> None:
    for user in desired_users(EMPTY, TARGET).values():
        assert user.keys == {"~locus:agents:support:t:*", "~locus:agents:support:i:*"}
        assert user.commands == {"-@all", "+get", "+eval"}


def test_only_the_digest_of_the_password_is_sent() -> None:
    (user, *_) = [action for action in make(EMPTY).actions if isinstance(action, SetUser)]
    assert user.rules[0] == "reset"
    assert not [rule for rule in user.rules if "pw" in rule]
    assert len([rule for rule in user.rules if rule.startswith("#")]) == 1
    assert "#" not in repr(user)


def test_rules_take_all_commands_away_before_they_give_some() -> None:
    given = rules(desired_users(EMPTY, TARGET)[TARGET.names[0]])
    assert given.index("-@all") < min(given.index("+get"), given.index("+eval"))


def test_one_database_other_than_the_first_may_be_selected() -> None:
    users = desired_users(EMPTY, replace(TARGET, database=3))
    assert all("+select|3" in user.commands for user in users.values())


def test_patterns_are_escaped() -> None:
    assert escape_pattern("a*b?[c]^\\") == "a\\*b\\?\\[c\\]\\^\\\\"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"claim": replace(OWNER, uid="uid-2").claim()}, "belongs to the store agents/support (uid uid-2"),
        ({"claim": replace(OWNER, released=True).claim()}, "was left by the store"),
        ({"claim": "not ours", "users": {}}, "belongs to no store"),
        ({"claim": None, "users": {}}, "belongs to no store"),
        ({"ancestors": {"locus:claim": replace(OWNER, uid="uid-2").claim()}}, "lies inside 'locus:'"),
        ({"neighbours": {"locus_x_y_a": "~locus:*"}}, "overlaps with '~locus:*'"),
    ],
)
def test_what_is_somebody_elses_is_a_conflict(changes: dict[str, object], named: str) -> None:
    with pytest.raises(RefusedError) as caught:
        make(replace(READY, **changes))  # type: ignore[arg-type]
    assert caught.value.reason is ConditionReason.CONFLICT
    assert named in str(caught.value)


def test_a_lost_claim_is_no_conflict_with_ourselves() -> None:
    assert [action.verb for action in make(replace(READY, claim=None)).actions] == ["claim"]


def test_a_released_prefix_is_adopted() -> None:
    released = replace(READY, claim=replace(OWNER, uid="uid-0", released=True).claim(), users={})
    assert [action.verb for action in make(released, adopt=True).actions] == ["claim", "create", "create"]


def test_a_replica_is_refused() -> None:
    with pytest.raises(RefusedError, match="replica"):
        make(replace(READY, replica=True))


def test_retain_releases_and_delete_drops_the_claim_last() -> None:
    retained = plan_release(READY, TARGET, delete=False, admin_secret="admin").actions
    deleted = plan_release(READY, TARGET, delete=True, admin_secret="admin").actions
    assert [action.verb for action in retained] == ["drop", "drop", "release"]
    assert [action.destructive for action in deleted] == [False, False, True, False]
    assert deleted[-1].kind == "claim of key prefix"


def test_a_release_leaves_somebody_elses_prefix_alone() -> None:
    other = replace(READY, claim=replace(OWNER, uid="uid-2").claim())
    assert not plan_release(other, TARGET, delete=True, admin_secret="admin")
