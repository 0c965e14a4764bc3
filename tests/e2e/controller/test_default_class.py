"""Stores that name neither a class nor a backend."""

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.control_plane import ControlPlane
from tests.e2e.controller.offer import DEFAULT, Offer
from tests.e2e.controller.samples import Admin
from tests.e2e.operator_process import Controller, Stores

OfferDefault = Callable[..., Offer]


@pytest.fixture
def offer_default(
    control_plane: ControlPlane, controller: Controller, admin: Admin, stores: Stores
) -> Iterator[OfferDefault]:
    """Makes default classes that the test's own namespace may use, or nobody."""
    made: list[Offer] = []
    control_plane.kubectl("label", "namespace", stores.namespace, f"tenant={stores.namespace}")

    def make(*, allowed: bool = True, marked: bool = True) -> Offer:
        name, annotations = f"default-{secrets.token_hex(4)}", {DEFAULT: "true"} if marked else {}
        offer = Offer(control_plane, name, admin, annotations)
        made.append(offer)
        offer.create_secret()
        tenant = stores.namespace if allowed else "somebody-else"
        offer.apply(allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"tenant": tenant}}})
        return offer

    yield make
    for offer in made:
        offer.delete()


def class_of(stores: Stores, name: str) -> str | None:
    found: str | None = stores.get(name)["spec"].get("className")
    return found


def test_the_default_class_is_written_into_the_store_once(stores: Stores, offer_default: OfferDefault) -> None:
    first = offer_default()
    stores.apply("support", {})
    stores.wait("support")
    assert class_of(stores, "support") == first.name

    stores.control_plane.kubectl("annotate", f"cpsclass/{first.name}", f"{DEFAULT}-")
    second = offer_default()
    stores.apply("later", {})
    stores.wait("later")

    assert class_of(stores, "later") == second.name
    assert class_of(stores, "support") == first.name
    assert stores.get("support")["status"]["className"] == first.name


def test_several_default_classes_are_no_choice_and_one_less_is(stores: Stores, offer_default: OfferDefault) -> None:
    offers = sorted((offer_default(), offer_default()), key=lambda offer: offer.name)
    stores.apply("support", {})

    message = stores.wait_for_reason("support", "ClassNotFound")["message"]

    assert f"there are several: {offers[0].name}, {offers[1].name}" in message
    assert class_of(stores, "support") is None
    stores.control_plane.kubectl("annotate", f"cpsclass/{offers[0].name}", f"{DEFAULT}-")
    stores.wait("support", timeout=10)
    assert class_of(stores, "support") == offers[1].name


def test_a_default_class_of_others_is_not_even_named(stores: Stores, offer_default: OfferDefault) -> None:
    hidden = offer_default(allowed=False)
    stores.apply("support", {})

    message = stores.wait_for_reason("support", "ClassNotFound")["message"]

    assert "there is no default class for it" in message
    assert hidden.name not in message
    mine = offer_default()
    stores.wait("support", timeout=10)
    assert class_of(stores, "support") == mine.name


def test_a_class_that_is_not_marked_is_not_chosen(stores: Stores, offer_default: OfferDefault) -> None:
    offer_default(marked=False)
    stores.apply("support", {})

    stores.wait_for_reason("support", "ClassNotFound")
    assert class_of(stores, "support") is None


def test_a_store_that_never_got_a_class_can_be_deleted(stores: Stores) -> None:
    stores.apply("support", {})
    stores.wait_for_reason("support", "ClassNotFound")

    stores.kubectl("delete", "cps/support", "--timeout=10s")
