"""What stores inherit from their class, and what it does not let them have."""

import json

from tests.e2e.controller.offer import FOR_ALL, Offer
from tests.e2e.operator_process import Stores
from tests.servers.processes import wait_for

DAY = 86_400


def retention(stores: Stores, name: str) -> dict[str, int] | None:
    found: dict[str, int] | None = json.loads(stores.binding(name)["connection.json"]).get("retention")
    return found


def test_a_store_gets_what_it_does_not_say_field_by_field(stores: Stores, offer: Offer) -> None:
    offer.apply(
        defaults={"retention": {"maxAge": "30d"}},
        limits={"maxRetention": "60d", "maxCheckpointsPerThread": 7},
        **FOR_ALL,
    )
    stores.apply("silent", {"className": offer.name})
    stores.apply("modest", {"className": offer.name, "retention": {"maxCheckpointsPerThread": 3}})

    stores.wait("silent")
    stores.wait("modest")

    assert retention(stores, "silent") == {"max_age_seconds": 30 * DAY, "max_checkpoints_per_thread": 7}
    assert retention(stores, "modest") == {"max_age_seconds": 30 * DAY, "max_checkpoints_per_thread": 3}


def test_a_changed_default_reaches_the_stores_that_inherit_it(stores: Stores, offer: Offer) -> None:
    offer.apply(defaults={"retention": {"maxAge": "30d"}}, **FOR_ALL)
    stores.apply("silent", {"className": offer.name})
    stores.apply("own", {"className": offer.name, "retention": {"maxAge": "2d"}})
    stores.wait("silent")
    stores.wait("own")

    offer.apply(defaults={"retention": {"maxAge": "5d"}}, **FOR_ALL)

    wait_for(lambda: retention(stores, "silent") == {"max_age_seconds": 5 * DAY}, timeout=10, what="the new default")
    assert retention(stores, "own") == {"max_age_seconds": 2 * DAY}


def test_a_store_over_a_limit_is_told_path_value_and_bound(stores: Stores, offer: Offer) -> None:
    offer.apply(limits={"maxRetention": "30d"}, **FOR_ALL)
    stores.apply("support", {"className": offer.name, "retention": {"maxAge": "31d"}})

    condition = stores.wait_for_reason("support", "LimitExceeded")

    assert condition["message"] == (
        f"spec.retention.maxAge: write 30d or less: 31d is more than CheckpointStoreClass '{offer.name}' allows"
    )
    assert "binding" not in stores.get("support")["status"]
    stores.apply("support", {"className": offer.name, "retention": {"maxAge": "30d"}})
    stores.wait("support")


def test_a_tightened_limit_takes_nothing_away_until_the_store_complies(stores: Stores, offer: Offer) -> None:
    offer.apply(**FOR_ALL)
    stores.apply("support", {"className": offer.name, "retention": {"maxAge": "31d"}})
    stores.wait("support")
    before = stores.binding("support")

    offer.apply(limits={"maxRetention": "30d"}, **FOR_ALL)

    stores.wait_for_reason("support", "LimitExceeded")
    assert stores.binding("support") == before
    offer.apply(limits={"maxRetention": "31d"}, **FOR_ALL)
    stores.wait("support", timeout=10)


def test_what_does_not_go_together_is_told_in_the_stores_words(stores: Stores, offer: Offer) -> None:
    offer.apply(defaults={"credentials": {"rotationPeriod": "7d", "overlap": "2h"}}, **FOR_ALL)
    stores.apply("support", {"className": offer.name, "credentials": {"rotationPeriod": "1h"}})

    message = stores.wait_for_reason("support", "InvalidSpec")["message"]

    assert message.startswith("spec.credentials.overlap: write an overlap shorter than rotationPeriod")
    assert message.endswith("(from the class: overlap is 2h)")
