"""Derived names: valid on the backend, and never the same for two stores."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from locus_operator.names import RoleNames, derive_name, key_prefix

NAMESPACES = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
NAMES = st.from_regex(r"\A[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?\Z")
# Few letters and short names meet most easily.
CLOSE = st.from_regex(r"\A[ab]([-.ab]{0,3}[ab])?\Z")
STORES: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(NAMESPACES, NAMES), st.tuples(CLOSE.map(lambda text: text.replace(".", "-")), CLOSE)
)


def test_a_plain_name_is_readable() -> None:
    assert derive_name("agents", "support", 57) == "locus_agents_support"
    assert key_prefix("agents", "support") == "locus:agents:support:"


def test_other_characters_are_replaced_and_marked_with_a_hash() -> None:
    assert derive_name("team-a", "support", 57).startswith("locus_team_a_support__")


def test_names_that_differ_only_in_replaced_characters_stay_apart() -> None:
    names = {derive_name(*store, 57) for store in [("a-b", "c"), ("a", "b-c"), ("a", "b.c"), ("a-b-c", "c")]}
    assert len(names) == 4


def test_nobody_can_choose_a_name_that_equals_a_cut_one() -> None:
    cut = derive_name("n" * 63, "support", 57)
    namespace, _, digest = cut.removeprefix("locus_").rpartition("_")
    assert derive_name(namespace.rstrip("_"), digest, 57) != cut


@given(STORES, STORES)
def test_two_stores_never_meet(one: tuple[str, str], other: tuple[str, str]) -> None:
    if one == other:
        return
    ours, theirs = RoleNames.of(*one), RoleNames.of(*other)
    assert not {*_names(ours)} & {*_names(theirs)}
    assert not key_prefix(*one).startswith(key_prefix(*other))


@given(STORES)
def test_names_fit_into_an_identifier(store: tuple[str, str]) -> None:
    names = _names(RoleNames.of(*store))
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name.encode()) <= 63
        assert name.replace("_", "a").isalnum()
        assert name == name.lower()


def _names(roles: RoleNames) -> list[str]:
    return [roles.base, roles.owner, roles.app, *roles.logins]
