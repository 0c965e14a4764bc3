"""Plans for OpenSearch, made from what was observed: no server."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from locus_memory.backends.opensearch_manifest import Entry, Manifest
from locus_memory.backends.opensearch_retention import newest
from locus_operator.backends.opensearch import PROVISIONER
from locus_operator.backends.opensearch_desired import Target, mapping_differences, setting_differences
from locus_operator.backends.opensearch_observe import Attached, Found, Index, Observed, Policy, attached_in, flat
from locus_operator.backends.opensearch_plan import plan, plan_release
from locus_operator.backends.opensearch_privileges import Privileges, administrators_needs, lacking
from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.names import RoleNames
from locus_operator.provisioner import Owner

OWNER = Owner("cluster", "uid-1", "agents", "support")
OTHER = Owner("cluster", "uid-2", "agents", "support")
TARGET = Target("locus_agents_support-checkpoints", RoleNames.of("agents", "support"), OWNER, "a password")
PAGE = Path(__file__).parents[3] / "docs" / "provision" / "opensearch.md"


def complete(owner: Owner = OWNER) -> Observed:
    """Everything as a store of this owner has it."""
    target = replace(TARGET, owner=owner)
    body, template = target.index_body(), target.template()
    mapping, role = target.mapping(), target.role()
    user = {name: value for name, value in target.user().items() if name != "password"}
    return Observed(
        security=True,
        ism=True,
        template=Found({**template, "composed_of": []}, target.claim),
        index=Index(body["mappings"], flat(body["settings"]), "green"),
        policy=Policy(target.policy(), (1, 1)),
        attached=Attached(target.names.base),
        role=Found(role, role["description"]),
        mapping=Found(mapping, mapping["description"]),
        users={target.names.logins[0]: Found(user, target.claim)},
        login_roles=(target.names.base,),
    )


def planned(observed: Observed, *, adopt: bool = False) -> list[str]:
    return [str(action) for action in plan(observed, TARGET, adopt=adopt, administrator="the administrator").actions]


def released(observed: Observed, *, delete: bool) -> list[str]:
    found = plan_release(observed, TARGET, delete=delete, administrator="the administrator")
    return [f"{action.verb} {action.kind}" for action in found.actions]


def test_nothing_is_to_be_done_where_everything_is_as_desired() -> None:
    assert planned(complete()) == []


def test_the_user_comes_after_what_limits_it_and_the_policy_before_the_index() -> None:
    kinds = [line.split(" locus_")[0] for line in planned(Observed(security=True, ism=True))]
    assert kinds == [
        "create ISM policy",
        "create index template",
        "create index",
        "attach ISM policy",
        "create role",
        "create role mapping",
        "create user",
    ]


def test_without_plugins_there_is_the_index_alone() -> None:
    kinds = [line.split(" locus_")[0] for line in planned(Observed(security=False, ism=False))]
    assert kinds == ["create index template", "create index"]


def test_the_password_is_in_no_plan() -> None:
    actions = plan(Observed(security=True, ism=True), TARGET, adopt=False, administrator="a").actions
    assert "a password" not in f"{actions} {TARGET}"


@pytest.mark.parametrize("adopt", [False, True])
def test_what_a_living_store_owns_is_not_touched_and_all_of_it_is_listed(adopt: bool) -> None:
    with pytest.raises(RefusedError) as caught:
        planned(complete(OTHER), adopt=adopt)
    assert caught.value.reason is ConditionReason.CONFLICT
    assert str(caught.value).count("belongs to the store agents/support (uid uid-2") == 6


def test_what_was_left_is_taken_over_when_asked() -> None:
    left = complete(replace(OTHER, released=True))
    with pytest.raises(RefusedError, match=r"was left by the store .*uid-2"):
        planned(left)
    assert len(planned(left, adopt=True)) == 6


def test_one_claim_of_ours_tells_that_lost_ones_are_ours() -> None:
    observed = complete()
    assert observed.index is not None
    lost = replace(
        observed,
        template=None,
        policy=None,
        role=Found(TARGET.role()),
        index=replace(observed.index, mappings={**observed.index.mappings, "_meta": {}}),
    )
    assert any("mapping of index" in line and "claim" in line for line in planned(lost))


def test_an_index_of_a_later_layout_is_refused_even_with_our_claim() -> None:
    observed = complete()
    assert observed.index is not None
    mappings = {**observed.index.mappings, "_meta": {**observed.index.meta, "locus_memory": {"version": 2}}}
    with pytest.raises(RefusedError, match="has layout 2"):
        planned(replace(observed, index=replace(observed.index, mappings=mappings)))


def test_a_red_index_is_waited_for_but_not_when_it_goes() -> None:
    observed = complete()
    assert observed.index is not None
    red = replace(observed, index=replace(observed.index, health="red"))
    with pytest.raises(UnavailableError, match="is red"):
        planned(red)
    assert "drop index" in released(red, delete=True)


def test_deletion_drops_the_login_first_and_the_policy_last() -> None:
    login = ["drop role mapping", "drop user", "drop role", "drop index template"]
    assert released(complete(), delete=True) == [*login, "drop index", "drop ISM policy"]
    assert released(complete(), delete=False) == [*login, "release ISM policy", "release index"]
    assert released(complete(OTHER), delete=True) == []
    assert released(Observed(security=True, ism=True), delete=True) == []


def test_a_policy_that_protects_nothing_is_dropped() -> None:
    without = replace(complete(), index=None, attached=None)
    assert "drop ISM policy" in released(without, delete=False)


def test_a_mapping_keeps_what_others_wrote_about_it() -> None:
    mappings = {**TARGET.index_body()["mappings"], "_meta": {"team": "search"}}
    found = mapping_differences(Index(mappings, {}), TARGET)
    assert found.update["_meta"] == {"team": "search", **TARGET.index_body()["mappings"]["_meta"]}
    assert found.incompatible == ()


def test_replicas_that_the_cluster_chooses_are_given_back() -> None:
    settings = {**flat(TARGET.index_body()["settings"]), "index.auto_expand_replicas": "0-all"}
    assert setting_differences(Index({}, settings), TARGET) == {"index.auto_expand_replicas": None}


@pytest.mark.parametrize(
    ("explained", "expected"),
    [
        ({}, None),
        ({"index.plugins.index_state_management.policy_id": None}, None),
        ({"policy_id": "p"}, Attached("p")),
        ({"index.plugins.index_state_management.policy_id": "p"}, Attached("p")),
        (
            {"policy_id": "p", "policy": {"states": [{"actions": [{"retry": {}, "delete": {}}]}, {"actions": None}]}},
            Attached("p", ("delete",)),
        ),
    ],
)
def test_what_manages_an_index(explained: dict[str, Any], expected: Attached | None) -> None:
    assert attached_in({"i": explained, "total_managed_indices": 1}, "i") == expected


def test_passwords_are_what_a_common_rule_of_clusters_asks_for() -> None:
    rule = r"(?=.*[A-Z])(?=.*[^a-zA-Z\d])(?=.*[0-9])(?=.*[a-z]).{8,}"
    assert all(re.fullmatch(rule, PROVISIONER.passwords.generate()) for _ in range(200))


# --- privileges ---


def test_the_documented_role_is_what_the_administrator_needs() -> None:
    block = re.search(r"^```json\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None
    role = json.loads(block[1])
    needs = administrators_needs(ism=True, delete=True, retention=True)
    assert set(role["cluster_permissions"]) == needs.cluster
    assert set(role["index_permissions"][0]["allowed_actions"]) == needs.index


GROUPS = {
    "indices_all": {"allowed_actions": ["indices:*"]},
    "mine": {"allowed_actions": ["indices_all", "mine"]},
}


@pytest.mark.parametrize(
    ("pattern", "allowed", "missing"),
    [
        ("*", ["*"], set()),
        ("locus_*", ["mine"], set()),
        ("${user.name}*", ["indices_all"], set()),
        ("locus_agents_support", ["*"], {"indices:admin/create"}),
        ("locus_*", ["indices:admin/created"], {"indices:admin/create"}),
    ],
)
def test_roles_grant_by_pattern_group_and_wildcard(pattern: str, allowed: list[str], missing: set[str]) -> None:
    role = {"index_permissions": [{"index_patterns": [pattern], "allowed_actions": allowed}]}
    needs = Privileges(index=frozenset({"indices:admin/create"}))
    assert lacking(needs, [role], GROUPS, TARGET.index, "locus_agents").index == missing


# --- the newest of a thread ---


def manifest(**times: list[int]) -> Manifest:
    return Manifest(
        {
            namespace: tuple(Entry(f"{namespace}{n}", f"{namespace}{n}", time, 1) for n, time in enumerate(found))
            for namespace, found in times.items()
        }
    )


@pytest.mark.parametrize(
    ("found", "keep", "kept"),
    [
        (manifest(a=[1, 2, 3]), 2, {"a1", "a2"}),
        (manifest(a=[1, 2, 3]), 3, {"a0", "a1", "a2"}),
        (manifest(a=[1, 4], b=[2, 3, 5]), 1, {"a1", "b2"}),
        # The last one written came from elsewhere with an old time: it stays the newest of its namespace.
        (manifest(a=[5, 6, 1]), 1, {"a2"}),
        (manifest(a=[7, 7, 7]), 2, {"a1", "a2"}),
    ],
)
def test_the_newest_stay(found: Manifest, keep: int, kept: set[str]) -> None:
    assert {entry.document for entry in newest(found, keep).entries()} == kept
