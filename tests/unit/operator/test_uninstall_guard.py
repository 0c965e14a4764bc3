"""Which stores are in the way of an uninstallation, and what is said about them."""

from typing import Any

import pytest

from locus_operator.uninstall_guard import GuardedStore, guarded, refusal

Object = dict[str, Any]


def store(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    return {"metadata": {"namespace": "agents", "name": name, "annotations": annotations}, "spec": spec}


class TestGuarded:
    def test_a_store_with_delete(self) -> None:
        assert guarded([store("a", deletionPolicy="Delete")], {}) == [GuardedStore("agents", "a")]

    @pytest.mark.parametrize("spec", [{}, {"deletionPolicy": "Retain"}, {"className": "gone"}])
    def test_no_store_that_keeps_its_data(self, spec: Object) -> None:
        assert guarded([store("a", **spec)], {}) == []

    def test_a_store_whose_class_says_delete(self) -> None:
        found = guarded([store("a", className="shared")], {"shared": "Delete"})
        assert found == [GuardedStore("agents", "a", "shared")]
        assert str(found[0]) == "agents/a (deletionPolicy of the class shared)"

    def test_the_stores_own_policy_wins(self) -> None:
        assert guarded([store("a", className="shared", deletionPolicy="Retain")], {"shared": "Delete"}) == []
        assert guarded([store("a", className="shared", deletionPolicy="Delete")], {"shared": "Retain"})

    def test_no_store_that_is_to_be_abandoned(self) -> None:
        abandoned = store("a", {"memory.locus.dev/abandon": "true"}, deletionPolicy="Delete")
        assert guarded([abandoned], {}) == []

    def test_every_store_where_the_kinds_go_too(self) -> None:
        assert guarded([store("a"), store("b", deletionPolicy="Delete")], {}, every=True) == [
            GuardedStore("agents", "a"),
            GuardedStore("agents", "b"),
        ]


class TestRefusal:
    def test_it_names_the_stores_and_the_ways_on(self) -> None:
        text = refusal([GuardedStore("agents", "a"), GuardedStore("agents", "b", "shared")])
        assert "  agents/a\n  agents/b (deletionPolicy of the class shared)\n" in text
        assert "kubectl delete cps a --namespace=agents" in text
        assert "uninstallGuard.enabled=false" in text

    def test_it_is_no_longer_than_a_screen(self) -> None:
        text = refusal([GuardedStore("agents", f"store-{number:03}") for number in range(100)])
        assert "  and 80 more\n" in text
        assert len(text.splitlines()) < 25

    def test_where_the_kinds_go_too_it_says_so(self) -> None:
        text = refusal([GuardedStore("agents", "a")], every=True)
        assert "crds.keep: false" in text
        assert "deletionPolicy" not in text
