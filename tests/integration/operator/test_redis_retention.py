"""Retention on Redis, in every mode: what is too old or too much goes, and nothing else does."""

import asyncio
import time
from dataclasses import replace

import pytest

from locus_memory.backends.redis_keys import KeyLayout
from locus_memory.backends.redis_retention import thread_at
from locus_memory.testing.history import new, write
from locus_operator.backends import redis_retention
from locus_operator.constants import ConditionType
from tests.integration.operator.kinds import REDIS_GROUPS, REDIS_SERVERS
from tests.integration.operator.redis_groups import layout, redis_group_backend
from tests.integration.operator.redis_retention import HOUR, Kept, dated
from tests.integration.operator.stores import redis_backend


@pytest.fixture(params=[*REDIS_SERVERS, *REDIS_GROUPS])
def kept(request: pytest.FixtureRequest) -> Kept:
    servers = request.getfixturevalue(request.param)
    servers.reset()
    make = redis_group_backend if request.param in REDIS_GROUPS else redis_backend
    return Kept(make(servers), servers)


# --- maxAge ---


async def test_checkpoints_go_at_their_age_and_not_before(kept: Kept) -> None:
    await kept.provision(maxAge="1h")
    async with kept.agent() as agent:
        for number, age in enumerate((HOUR + 60, HOUR + 1, HOUR - 10, 10)):
            await agent.storage.put(dated(f"c{number}", age))
        assert await kept.sweep() == 2
        assert await agent.list_checkpoints("t") == ["c3", "c2"]
        assert await kept.sweep() == 0


async def test_a_thread_goes_with_its_youngest_checkpoint_and_leaves_nothing(kept: Kept) -> None:
    await kept.provision(maxAge="1h")
    async with kept.agent() as agent:
        await agent.storage.put(dated("c", HOUR + 5))
        await agent.storage.put_writes("t", "c", [write("task", 0)])
        assert await kept.sweep() == 1
        assert await agent.list_threads() == []
    assert set(kept.expiries()) == {layout(kept.store).claim}


async def test_what_was_written_without_a_time_to_live_gets_it_from_its_last_write(kept: Kept) -> None:
    begun = time.time()
    await kept.provision(maxAge="1h")
    async with kept.agent() as agent:
        await agent.storage.put(dated("old", 3000))
        await agent.storage.put(dated("young", 1000))
        await agent.storage.put(dated("imported later", 2000))
        for namespace in "abcdef":
            await agent.storage.put(replace(dated("of a graph", 3000), namespace=namespace))
        assert set(kept.expiries("t:{t}:").values()) == {-1}
        assert await kept.sweep() == 0
        assert kept.expires("t", begun, HOUR - 1000)


@pytest.mark.parametrize("before", [HOUR // 2, 5 * HOUR], ids=["lengthened", "shortened"])
async def test_another_policy_holds_for_what_was_written_before_it(kept: Kept, before: int) -> None:
    begun = time.time()
    await kept.provision(maxAge="1h")
    async with kept.agent(ttl_seconds=before) as agent:
        await agent.storage.put(dated("c", 600))
        await agent.storage.put(dated("d", 0, thread="u"))
        assert await kept.sweep() == 0
        assert kept.expires("t", begun, HOUR - 600)
        assert kept.expires("u", begun, HOUR)


@pytest.mark.parametrize("key", ["namespaces", "order:", "data:"])
async def test_a_single_key_that_would_stay_is_found(kept: Kept, key: str) -> None:
    begun = time.time()
    await kept.provision(maxAge="1h")
    async with kept.agent(HOUR) as agent:
        await agent.save({"n": 1}, "t")
        kept.change(f"t:{{t}}:{key}", "PERSIST")
        assert -1 in kept.expiries("t:{t}:").values()
        await kept.sweep()
        assert kept.expires("t", begun, HOUR)


async def test_a_thread_that_is_as_it_shall_be_is_not_touched(kept: Kept) -> None:
    await kept.provision(maxAge="1h")
    async with kept.store.checkpointer() as agent:
        await agent.save({"n": 1}, "t")
    before = kept.expiries()
    await kept.sweep()
    assert kept.expiries() == before


async def test_pending_writes_which_have_no_date_keep_what_they_have(kept: Kept) -> None:
    begun = time.time()
    await kept.provision(maxAge="1h")
    async with kept.agent(HOUR) as agent, kept.agent() as without:
        await agent.storage.put(dated("c", 1800))
        await agent.storage.put_writes("t", "c", [write("task", 0)])
        await without.storage.put_writes("unlisted", "c", [write("task", 0)])
        await kept.sweep()
        assert kept.expires("t", begun, HOUR)
        assert kept.expires("unlisted", begun, HOUR), "no index lists it"
        kept.change("t:{unlisted}:", "PEXPIRE", "60000")
        await kept.sweep()
        assert kept.expires("unlisted", begun, 60)


async def test_nothing_younger_goes_while_agents_write(kept: Kept) -> None:
    await kept.provision(maxAge="1h")
    threads = [f"t{number}" for number in range(4)]
    saved: dict[str, list[str]] = {thread: [] for thread in threads}

    async with kept.agent() as agent:

        async def save(thread: str) -> None:
            for number in range(40):
                await agent.storage.put(dated(f"old-{number}", HOUR + 1 + number, f"p{number}", thread=thread))
                name = f"young-{number}"
                await agent.storage.put(dated(name, HOUR - 60, thread=thread, **{f"p{number + 1}": b"part"}))
                saved[thread].append(name)

        for thread in threads:
            await agent.storage.put(dated("first", 1, thread=thread, p0=b"part"))
        writers = [asyncio.create_task(save(thread)) for thread in threads]
        removed = 0
        while not all(writer.done() for writer in writers):
            removed += await kept.sweep()
        await asyncio.gather(*writers)
        removed += await kept.sweep()
        assert removed == len(threads) * 40
        for thread in threads:
            left = await agent.list_checkpoints(thread, limit=1000)
            assert left == [*reversed(saved[thread]), "first"]
            complete = await agent.storage.get_complete(thread, left)
            assert all(list(each.parts.values()) == [b"part"] for each in complete)


# --- ttl ---


async def test_without_an_age_a_thread_goes_as_a_whole_after_its_time_to_live(kept: Kept) -> None:
    await kept.provision(ttl={"onWrite": "1h"})
    async with kept.agent() as agent:
        await agent.storage.put(dated("old", 2 * HOUR))
        await agent.storage.put(dated("young", 60))
        await agent.storage.put(dated("c1", 2 * HOUR, thread="over"))
        await agent.storage.put(dated("c2", HOUR + 5, thread="over"))
        assert await kept.sweep() == 2
        assert await agent.list_threads() == ["t"]
        assert await agent.list_checkpoints("t") == ["young", "old"]


async def test_where_reading_counts_nothing_is_deleted_for_its_age(kept: Kept) -> None:
    begun = time.time()
    await kept.provision(maxAge="1h", ttl={"refreshOnRead": True})
    async with kept.agent() as agent:
        for thread in ("read", "never", "too long"):
            await agent.storage.put(dated("c", 2 * HOUR, thread=thread))
        kept.change("t:{read}:", "PEXPIRE", "1200000")
        kept.change("t:{too%20long}:", "PEXPIRE", "99000000")
        assert await kept.sweep() == 0
        assert kept.expires("read", begun, 1200)
        assert kept.expires("never", begun, HOUR)
        assert kept.expires("too%20long", begun, HOUR)


async def test_no_policy_touches_nothing(kept: Kept) -> None:
    await kept.provision()
    async with kept.agent() as agent:
        await agent.storage.put(dated("c", 1000 * HOUR))
        assert await kept.sweep() == 0
        assert set(kept.expiries().values()) == {-1}


# --- maxCheckpointsPerThread ---


async def test_the_latest_checkpoints_of_each_history_stay_with_all_that_is_theirs(kept: Kept) -> None:
    await kept.provision(maxCheckpointsPerThread=2)
    async with kept.agent() as agent:
        storage = agent.storage
        for namespace in ("", "sub"):
            for number in range(5):
                shared = ("shared",) if number else ()
                own = {f"own{number}": b"o"} if number else {"shared": b"s"}
                checkpoint = new(f"c{number}", namespace=namespace)
                await storage.put(replace(checkpoint, parts=own, part_names=(*shared, *own)))
                await storage.put_writes("t", f"c{number}", [write("task", 0)], namespace=namespace)
        await storage.put(new("c1", "shared", "own4"))  # written again: now the latest
        assert await kept.sweep() == 6
        assert [each.checkpoint_id for each in await storage.list_checkpoints("t", 9)] == ["c1", "c4"]
        assert [each.checkpoint_id for each in await storage.list_checkpoints("t", 9, namespace="sub")] == ["c4", "c3"]
        for each in await storage.get_complete("t", ["c1", "c4"]):
            assert each.parts["shared"] == b"s"
        assert await storage.get_writes("t", "c0") == []
        assert len(await storage.get_writes("t", "c4")) == 1
        assert [each["checkpoint_id"] for each in await agent.query_by_metadata("n", "c4")] == ["c4"]
        assert await agent.query_by_metadata("n", "c0") == []
        assert set(kept.expiries().values()) == {-1}, "no time to live was asked for"
        for namespace, names in (("", ("c1", "c4")), ("sub", ("c3", "c4"))):
            for name in names:
                await storage.delete_checkpoint("t", name, namespace=namespace)
    assert set(kept.expiries()) == {layout(kept.store).claim}


async def test_many_are_removed_in_portions(kept: Kept) -> None:
    await kept.provision(maxCheckpointsPerThread=1, maxAge="1h")
    async with kept.agent() as agent:
        for number in range(1200):
            await agent.storage.put(dated(f"c{number}", 2 * HOUR))
        await agent.storage.put(dated("last", 0))
        assert await kept.sweep() == 1200
        assert await agent.list_checkpoints("t") == ["last"]


async def test_a_run_that_has_no_time_left_leaves_the_rest_to_the_next(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.provision(maxAge="1h")
    async with kept.agent() as agent:
        await agent.storage.put(dated("c", 2 * HOUR))
        with monkeypatch.context() as patch:
            patch.setattr(redis_retention.RetentionSweep, "_is_time", lambda sweep: False)
            assert await kept.sweep() == 0
        assert await kept.sweep() == 1


# --- long-term memory ---


async def test_long_term_memory_is_not_what_the_policy_is_about(kept: Kept) -> None:
    await kept.provision(maxAge="60s", maxCheckpointsPerThread=1, ttl={"onWrite": "60s"})
    look_alike = ("t:{t}:namespaces", "x}:t:{t}:namespaces")
    async with kept.memory() as memory, kept.agent() as agent:
        await memory.put(("user",), "fact", {"likes": "roses"})
        await memory.put(("user",), "secret", {"likes": "tulips"}, ttl_seconds=7200)
        await memory.put(("short",), "fact", {"likes": "lilies"}, ttl_seconds=7200)
        await memory.put(look_alike, "fact", {"likes": "daisies"})
        await agent.save({"n": 1}, "t")
        before = kept.expiries("i:s:")
        await kept.sweep()
        after = kept.expiries("i:s:")
        assert after == before
        assert -1 in after.values()
        assert await memory.get(("user",), "fact") is not None
        assert await memory.get(look_alike, "fact") is not None


# --- what is told ---


async def test_the_condition_tells_how_each_rule_is_enforced(kept: Kept) -> None:
    kept.store.spec = {"retention": {"maxAge": "90d", "maxCheckpointsPerThread": 7}}
    done = await kept.store.reconcile()
    (retention,) = [each for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED]
    assert retention.status.value == "True"
    assert "7776000 seconds after their last write" in retention.message
    assert "the latest 7 checkpoints" in retention.message


def test_the_layout_of_a_thread_is_told_from_a_key() -> None:
    assert thread_at("locus:a:t:{x%3Ay}:namespaces") == ("locus:a:", "x%3Ay")
    assert thread_at("locus:a:t:{3-abc}:t:{x}:namespaces") == ("locus:a:t:{3-abc}:", "x")
    assert thread_at("locus:a:t:{x}:data:namespaces") is None
    assert thread_at(KeyLayout("locus:a:").memories) is None
