"""The drift sweep: every store once, a few at a time, one failing or not."""

import asyncio
import logging
from typing import Any

import pytest

from locus_operator.controller.index import StoreIndex
from locus_operator.controller.sweep import Sweep
from locus_operator.kube import StoreIdentity


def index_of(*names: str, **spec: Any) -> StoreIndex:
    index = StoreIndex()
    for name in names:
        index.remember(body(name, **spec))
    return index


def body(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "agents", "name": name, "uid": f"uid-{name}"}, "spec": spec}


def sweep(index: StoreIndex, look: Any, **options: Any) -> Sweep:
    return Sweep(index, look, interval=3600, **{"workers": 3, **options})


async def test_every_store_is_looked_at_once_and_few_at_the_same_time() -> None:
    seen: list[str] = []
    running = most = 0

    async def look(store: StoreIdentity) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        seen.append(store.name)
        running -= 1

    names = [f"s{number}" for number in range(50)]
    await sweep(index_of(*names), look).once()
    assert sorted(seen) == sorted(names)
    assert seen != names  # in another order each time
    assert most == 3


async def test_a_store_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def look(store: StoreIdentity) -> None:
        if store.name == "bad":
            raise RuntimeError("-".join(("secret", "value")))
        seen.append(store.name)

    with caplog.at_level(logging.ERROR):
        await sweep(index_of("bad", "good", "fine"), look, workers=1).once()
    assert sorted(seen) == ["fine", "good"]
    assert "agents/bad: unexpected RuntimeError" in caplog.text
    assert "secret-value" not in caplog.text


async def test_suspended_stores_and_those_that_went_meanwhile_are_left_out() -> None:
    index = index_of("first", "second")
    index.remember(body("asleep", suspend=True))
    seen: list[str] = []

    async def look(store: StoreIdentity) -> None:
        seen.append(store.name)
        for each in index.all():
            index.forget(each.identity.uid)

    await sweep(index, look, workers=1).once()
    assert len(seen) == 1
    assert "asleep" not in seen


async def test_what_comes_afterwards_comes_although_stores_failed() -> None:
    called = []

    async def look(_: StoreIdentity) -> None:
        raise RuntimeError

    async def afterwards() -> None:
        called.append(True)

    await sweep(index_of("bad"), look, afterwards=(afterwards,)).once()
    assert called == [True]


def test_the_index_knows_the_stores_of_a_class() -> None:
    index = index_of("b", "a", className="standard")
    index.remember(body("c", className="other"))
    index.remember(body("d", backend={"memory": {}}))
    assert [str(each) for each in index.of_class("standard")] == ["agents/a", "agents/b"]
    index.forget("uid-a")
    assert [str(each) for each in index.of_class("standard")] == ["agents/b"]
    assert "uid-a" not in index
