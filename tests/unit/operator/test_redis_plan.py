"""Plans on Redis from observed states; no server."""

from dataclasses import replace

import pytest

from locus_memory.backends.redis_keys import KeyLayout
from locus_memory.connection import HostAddress
from locus_operator.backends.redis_observe import NodeState, Observed, escape_pattern
from locus_operator.backends.redis_plan import SetUser, Target, desired_users, plan, plan_release, rules
from locus_operator.backends.redis_privileges import Missing
from locus_operator.backends.redis_servers import Kind, Node
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Owner, Plan

OWNER = Owner("c", "uid-1", "agents", "support")
NAMES = ("locus_agents_support_a", "locus_agents_support_b")
TARGET = Target(KeyLayout("locus:agents:support:"), NAMES, OWNER, "pw", 0)


def node(kind: Kind, port: int = 6379) -> Node:
    return Node(HostAddress(host="h", port=port), kind)


def bare(kind: Kind, port: int = 6379) -> NodeState:
    commands = {"ping", "sentinel|master"} if kind is Kind.SENTINEL else {"get", "eval"}
    return NodeState(node(kind, port), {}, {}, frozenset(commands), True)


def settled(state: NodeState) -> NodeState:
    return replace(state, users=desired_users(state, TARGET))


SERVER = bare(Kind.ONLY)
EMPTY = Observed(nodes=(SERVER,), ancestors={})
READY = replace(EMPTY, nodes=(settled(SERVER),), claim=OWNER.claim(), has_data=True)
GROUP = (bare(Kind.PRIMARY, 1), bare(Kind.REPLICA, 2), bare(Kind.SENTINEL, 3))
READY_GROUP = replace(READY, nodes=tuple(map(settled, GROUP)))


def make(observed: Observed, *, adopt: bool = False) -> Plan:
    return plan(observed, TARGET, adopt=adopt)


def test_an_empty_server_gets_the_claim_first() -> None:
    assert [(action.verb, action.kind) for action in make(EMPTY).actions] == [
        ("claim", "key prefix"),
        ("create", "ACL user"),
        ("create", "ACL user"),
    ]


def test_nothing_is_to_be_done_when_all_is_there() -> None:
    assert not make(READY)


def test_users_reach_data_and_not_the_claim() -> None:
    for user in desired_users(SERVER, TARGET).values():
        assert user.keys == {"~locus:agents:support:t:*", "~locus:agents:support:i:*"}
        assert user.commands == {"-@all", "+get", "+eval"}


def test_only_the_digest_of_the_password_is_sent() -> None:
    (user, *_) = [action for action in make(EMPTY).actions if isinstance(action, SetUser)]
    assert user.rules[0] == "reset"
    assert not [rule for rule in user.rules if "pw" in rule]
    assert len([rule for rule in user.rules if rule.startswith("#")]) == 1
    assert "#" not in repr(user)


def test_rules_take_all_commands_away_before_they_give_some() -> None:
    given = rules(desired_users(SERVER, TARGET)[TARGET.names[0]])
    assert given.index("-@all") < min(given.index("+get"), given.index("+eval"))


def test_one_database_other_than_the_first_may_be_selected() -> None:
    users = desired_users(SERVER, replace(TARGET, database=3))
    assert all("+select|3" in user.commands for user in users.values())


def test_patterns_are_escaped() -> None:
    assert escape_pattern("a*b?[c]^\\") == "a\\*b\\?\\[c\\]\\^\\\\"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"claim": replace(OWNER, uid="uid-2").claim()}, "belongs to the store agents/support (uid uid-2"),
        ({"claim": replace(OWNER, released=True).claim()}, "was left by the store"),
        ({"claim": "not ours", "nodes": (SERVER,)}, "belongs to no store"),
        ({"claim": None, "nodes": (SERVER,)}, "belongs to no store"),
        ({"ancestors": {"locus:claim": replace(OWNER, uid="uid-2").claim()}}, "lies inside 'locus:'"),
        ({"nodes": (replace(SERVER, neighbours={"locus_x_y_a": "~locus:*"}),)}, "overlaps with '~locus:*'"),
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
    released = replace(READY, claim=replace(OWNER, uid="uid-0", released=True).claim(), nodes=(SERVER,))
    assert [action.verb for action in make(released, adopt=True).actions] == ["claim", "create", "create"]


def test_a_replica_is_refused() -> None:
    with pytest.raises(RefusedError, match="replica"):
        make(replace(READY, replica=True))


def test_retain_releases_and_delete_drops_the_claim_last() -> None:
    retained = plan_release(READY, TARGET, delete=False).actions
    deleted = plan_release(READY, TARGET, delete=True).actions
    assert [action.verb for action in retained] == ["drop", "drop", "release"]
    assert [action.destructive for action in deleted] == [False, False, True, False]
    assert deleted[-1].kind == "claim of key prefix"


def test_a_release_leaves_somebody_elses_prefix_alone() -> None:
    other = replace(READY, claim=replace(OWNER, uid="uid-2").claim())
    assert not plan_release(other, TARGET, delete=True)


# --- several servers ---


def test_every_server_gets_both_users_and_is_named() -> None:
    made = make(replace(EMPTY, nodes=GROUP)).actions
    assert [action.name for action in made[1:]] == [
        f"{user} on {place}" for place in ("primary h:1", "replica h:2", "Sentinel h:3") for user in NAMES
    ]
    assert not make(READY_GROUP)


def test_at_the_sentinels_users_may_ask_for_the_primary_and_reach_no_keys() -> None:
    for user in desired_users(GROUP[2], TARGET).values():
        assert user.keys == frozenset()
        assert user.commands == {"-@all", "+ping", "+sentinel|master"}


def test_a_server_that_joined_later_is_the_only_one_to_be_changed() -> None:
    joined = replace(READY_GROUP, nodes=(*READY_GROUP.nodes, bare(Kind.REPLICA, 4)))
    assert [str(action) for action in make(joined).actions] == [
        f"create ACL user {user} on replica h:4: missing" for user in NAMES
    ]


def test_one_that_does_not_answer_is_no_reason_to_change_the_others() -> None:
    assert not make(replace(READY_GROUP, away=(node(Kind.REPLICA, 4),)))


@pytest.mark.parametrize("delete", [True, False])
def test_a_release_waits_for_one_that_does_not_answer_before_it_touches_data(delete: bool) -> None:
    away = replace(READY_GROUP, away=(node(Kind.REPLICA, 4),))
    kinds = [(action.verb, action.name) for action in plan_release(away, TARGET, delete=delete).actions]
    assert kinds[6:8] == [("drop", f"{user} on replica h:4") for user in NAMES]
    assert len(kinds) == (10 if delete else 9)


def test_a_release_that_is_done_waits_for_nobody() -> None:
    done = replace(EMPTY, nodes=GROUP, claim=replace(OWNER, released=True).claim(), away=(node(Kind.REPLICA, 4),))
    assert not plan_release(done, TARGET, delete=False)


def test_missing_privileges_are_told_for_each_server_with_the_rule_that_grants_them() -> None:
    missing = (
        Missing(node(Kind.PRIMARY, 1), "op", "admin", ("scan", "acl|list"), ""),
        Missing(node(Kind.REPLICA, 2), "op", "admin", (), "locus:agents:support:*"),
    )
    with pytest.raises(RefusedError) as caught:
        make(Observed(missing=missing))
    assert caught.value.reason is ConditionReason.MISSING_PRIVILEGES
    text = str(caught.value)
    assert "on primary h:1 may not run: scan, acl|list" in text
    assert "on replica h:2 may not reach the keys locus:agents:support:*" in text
    assert "ACL SETUSER op +scan +acl|list (on primary h:1)" in text
    assert "ACL SETUSER op ~locus:agents:support:* (on replica h:2)" in text
