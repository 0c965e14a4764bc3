"""Pure parts of the provisioner of buckets: statements, lifecycle rules, claims, and when what is too old."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from locus_operator.api.backends import OCIAgents
from locus_operator.api.store import Retention
from locus_operator.backends.oci_bucket_access import (
    Place,
    agent_statements,
    agents_principal,
    canonical,
    service_statements,
)
from locus_operator.backends.oci_bucket_claims import above, claim_object, claimed_prefix, owner_of, tag_of
from locus_operator.backends.oci_bucket_rules import (
    Rule,
    Wanted,
    dangers,
    desired_rules,
    differences,
    expiry_days,
    is_exact,
    merged,
    part_days,
)
from locus_operator.backends.oci_bucket_sweep import is_needed, limits_now
from locus_operator.errors import RefusedError
from locus_operator.provisioner import Owner
from tests.emulators.oci_object_storage.lifecycle import covers
from tests.emulators.oci_object_storage.statements import Principal, parse

COMPARTMENT = "ocid1.compartment.oc1..c"
BUCKET = Place(COMPARTMENT, "eu-frankfurt-1", "b", "")
PREFIX = Place(COMPARTMENT, "eu-frankfurt-1", "b", "app/")
DATA = "data/0123/4567"


def agents(**fields: Any) -> OCIAgents:
    return OCIAgents.model_validate(fields)


def retention(**fields: Any) -> Retention:
    return Retention.model_validate(fields)


# --- statements ---

IN_COMPARTMENT = f"in compartment id {COMPARTMENT} where all"
ALL = "{OBJECT_INSPECT, OBJECT_READ, OBJECT_CREATE, OBJECT_OVERWRITE, OBJECT_DELETE}"
STATEMENTS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "workload": (
        {"type": "workloadIdentity", "clusterId": "ocid1.cluster.oc1.eu.c", "serviceAccount": "agent"},
        {},
        (
            f"Allow any-user to {ALL} {IN_COMPARTMENT} {{request.principal.type='workload', "
            "request.principal.namespace='agents', request.principal.service_account='agent', "
            "request.principal.cluster_id='ocid1.cluster.oc1.eu.c', target.bucket.name='b'}"
        ),
    ),
    "instance": (
        {"type": "instancePrincipal", "dynamicGroup": "nodes"},
        {},
        f"Allow dynamic-group nodes to {ALL} {IN_COMPARTMENT} {{target.bucket.name='b'}}",
    ),
    "resource of a domain": (
        {"type": "resourcePrincipal", "dynamicGroup": "Default/jobs"},
        {},
        f"Allow dynamic-group 'Default'/'jobs' to {ALL} {IN_COMPARTMENT} {{target.bucket.name='b'}}",
    ),
    "user": (
        {"type": "apiKey", "secretRef": {"name": "key"}},
        {"user": "ocid1.user.oc1..u"},
        f"Allow any-user to {ALL} {IN_COMPARTMENT} {{request.user.id='ocid1.user.oc1..u', target.bucket.name='b'}}",
    ),
}


@pytest.mark.parametrize("kind", STATEMENTS)
def test_each_kind_of_agents_has_its_statement(kind: str) -> None:
    fields, secret, wanted = STATEMENTS[kind]
    principal = agents_principal(agents(**fields), "agents", secret)
    assert principal.gap == ""
    assert agent_statements(principal, BUCKET) == (wanted,)


@pytest.mark.parametrize("user", ["", "ocid1.group.oc1..u", "ocid1.user.oc1..u' , request.user.id='x", "*"])
def test_nobody_but_a_user_gets_into_a_statement(user: str) -> None:
    fields = {"type": "apiKey", "secretRef": {"name": "key"}}
    with pytest.raises(RefusedError, match="'key'"):
        agents_principal(agents(**fields), "agents", {"user": user})


def test_a_prefix_is_in_each_statement_but_the_one_for_listing() -> None:
    fields, secret, _ = STATEMENTS["user"]
    objects, listing = agent_statements(agents_principal(agents(**fields), "agents", secret), PREFIX)
    user = Principal({"request.user.id": "ocid1.user.oc1..u"}, frozenset())

    def may(permission: str, name: str | None, bucket: str = "b") -> bool:
        target = {"target.bucket.name": bucket} | ({"target.object.name": name} if name else {})
        return any(parse(each).grants(user, permission, COMPARTMENT, target) for each in (objects, listing))

    assert may("OBJECT_READ", f"app/{DATA}/c/1")
    assert may("OBJECT_OVERWRITE", "app/threads/t")
    assert may("OBJECT_INSPECT", None)
    for permission, name, bucket in (
        ("OBJECT_READ", "app/other", "b"),
        ("OBJECT_READ", "application/threads/t", "b"),
        ("OBJECT_READ", "threads/t", "b"),
        ("OBJECT_READ", "app/threads/t", "other"),
        ("OBJECT_VERSION_DELETE", "app/threads/t", "b"),
        ("BUCKET_READ", None, "b"),
    ):
        assert not may(permission, name, bucket)


def test_the_root_compartment_is_the_tenancy() -> None:
    root = Place("ocid1.tenancy.oc1..t", "eu-frankfurt-1", "b", "")
    assert " in tenancy where " in service_statements(root)[0]


def test_statements_compare_as_iam_reads_them() -> None:
    one = "Allow any-user to {OBJECT_READ, OBJECT_CREATE} in tenancy where all {a.b='c', d = 'e'}"
    other = "  allow  ANY-USER to {OBJECT_READ,OBJECT_CREATE}  in tenancy where all {a.b='c',d='e'}"
    assert canonical(one) == canonical(other)
    assert canonical(one) != canonical(one.replace("OBJECT_READ", "OBJECT_DELETE"))


# --- lifecycle rules ---


def rules(prefix: str = "", *, versions: bool = False, **fields: Any) -> dict[str, Rule]:
    found = desired_rules(Wanted(prefix, retention(**fields), versions, infrequent_access=False))
    return {rule.name.split("-")[2]: rule for rule in found}


def covered(rule: Rule, name: str) -> bool:
    names = {"inclusionPatterns": list(rule.patterns), "exclusionPatterns": list(rule.exclusions)}
    return covers(names, name)


@pytest.mark.parametrize("prefix", ["", "app/", "a/b/"])
def test_which_objects_each_rule_covers(prefix: str) -> None:
    found = rules(prefix, maxAge="30d", archiveAfter="10d")
    names = {kind: f"{prefix}{DATA}/{kind}/1" for kind in "cpbw"} | {"head": f"{prefix}threads/t"}
    covers_what = {
        purpose: {kind for kind, name in names.items() if covered(found[purpose], name)}
        for purpose in ("checkpoints", "parts", "archive")
    }
    assert covers_what == {"checkpoints": {"c", "p", "w", "head"}, "parts": {"b"}, "archive": {"c"}}
    for name in (f"{prefix}report.pdf", ".locus-memory/claims/app/claim.json", f"other/{prefix}threads/t"):
        assert not any(covered(rule, name) for rule in found.values() if rule.target == "objects")


def test_ages_are_whole_days_and_never_less_than_asked_for() -> None:
    ages = (("30d", 30, True), ("48h", 2, True), ("36h", 2, False), ("1m", 1, False), ("25h", 2, False))
    for text, days, exact in ages:
        given = retention(maxAge=text)
        assert (expiry_days(given), is_exact(given)) == (days, exact)
    assert rules(maxAge="36h")["checkpoints"].days == 2
    assert expiry_days(retention()) is None


@pytest.mark.parametrize(("days", "kept"), [(1, 2), (9, 10), (10, 11), (30, 33), (365, 401)])
def test_parts_are_kept_longer(days: int, kept: int) -> None:
    assert part_days(days) == kept


def test_without_retention_there_is_no_rule() -> None:
    assert rules() == rules(maxCheckpointsPerThread=3) == {}


def test_uploads_are_aborted_in_a_bucket_of_its_own_alone() -> None:
    assert "uploads" in rules(maxAge="1d")
    assert "uploads" not in rules("app/", maxAge="1d")
    assert "versions" in rules("app/", maxAge="1d", versions=True)


def test_rules_of_others_stay_where_they_are() -> None:
    theirs = [Rule("a", "DELETE", 1), Rule("locus-memory-checkpoints-other", "DELETE", 1), Rule("z", "DELETE", 2)]
    ours = desired_rules(Wanted("app/", retention(maxAge="3d"), False, False))
    there = merged(theirs, ours, "app/")
    assert (there[:3], differences(there, ours, "app/")) == (tuple(theirs), [])
    assert merged(there, (), "app/") == tuple(theirs)
    assert merged(there, ours, "app/") == there


@pytest.mark.parametrize(
    ("rule", "dangerous"),
    [
        (Rule("r", "DELETE", 3), True),
        (Rule("r", "DELETE", 10), False),
        (Rule("r", "DELETE", 1, unit="YEARS"), False),
        (Rule("r", "DELETE", 3, enabled=False), False),
        (Rule("r", "DELETE", 3, target="previous-object-versions"), False),
        (Rule("r", "DELETE", 3, prefixes=("app/",)), True),
        (Rule("r", "DELETE", 3, prefixes=("application/",)), False),
        (Rule("r", "DELETE", 3, patterns=("a*",)), True),
        (Rule("r", "DELETE", 3, patterns=("app/data/*/c/*",)), True),
        (Rule("r", "DELETE", 3, patterns=("app/reports/*",)), False),
        (Rule("r", "DELETE", 3, exclusions=("app/*",)), False),
        (Rule("r", "ARCHIVE", 30), True),
        (Rule("r", "INFREQUENT_ACCESS", 1), False),
    ],
)
def test_rules_of_others_that_reach_the_store(rule: Rule, dangerous: bool) -> None:
    assert bool(dangers([rule], retention(maxAge="10d"), "app/")) == dangerous
    if rule.action == "DELETE":
        assert dangers([rule], retention(), "app/") or not dangerous


# --- the sweep ---


def test_what_is_exactly_as_old_as_the_policy_stays() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert limits_now(retention(maxAge="90m"), now).before == now - timedelta(minutes=90)
    assert limits_now(retention(maxAge="2d", maxCheckpointsPerThread=3), now).before == datetime.min.replace(tzinfo=UTC)
    assert [is_needed(retention(**each)) for each in ({}, {"maxAge": "1d"}, {"maxAge": "1h"})] == [False, False, True]
    assert is_needed(retention(maxCheckpointsPerThread=1))


# --- claims ---


def test_the_longest_names_of_kubernetes_fit_into_a_tag() -> None:
    uid = "0" * 36
    for released in (False, True):
        owner = Owner(uid, uid, "n" * 63, "s" * 63, released)
        assert len(tag_of(owner)) <= 256
        assert owner_of({"locus-memory": tag_of(owner)}) == owner
    with pytest.raises(RefusedError, match="--cluster"):
        tag_of(Owner("c" * 200, uid, "agents", "support"))


@pytest.mark.parametrize("tags", [None, {}, {"locus-memory": ""}, {"locus-memory": "mine"}, {"locus-memory": "[1]"}])
def test_what_is_no_claim_is_nobodys(tags: dict[str, str] | None) -> None:
    assert owner_of(tags) is None


def test_claims_of_prefixes_have_names_that_no_prefix_begins_with() -> None:
    assert claimed_prefix(claim_object("a/b/")) == "a/b/"
    assert above("a/b/c/") == ("a/b/", "a/")
    assert above("a/") == above("") == ()
