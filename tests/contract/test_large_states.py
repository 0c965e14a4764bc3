"""A payload of 64 MiB, on each backend."""

import asyncio
import secrets

from locus_memory.binding import URLBinding
from locus_memory.opening import open_checkpointer
from locus_memory.retry import RetryPolicy

PAYLOAD_BYTES = 64 * 1024 * 1024


async def test_a_state_of_64_mib_comes_back(store_url: str) -> None:
    # Random, so that compression leaves it at its size; hexadecimal digits compress by half.
    state = {"blob": secrets.token_bytes(PAYLOAD_BYTES).hex()}
    async with open_checkpointer(URLBinding(store_url), retry=RetryPolicy(deadline=60)) as checkpointer:
        await checkpointer.save(state, "t", "c")
        assert await checkpointer.list_checkpoints("t") == ["c"]
        assert await checkpointer.load("t") == state


async def test_other_calls_are_answered_meanwhile(store_url: str) -> None:
    state = {"blob": secrets.token_bytes(PAYLOAD_BYTES).hex()}
    answered = 0
    async with open_checkpointer(URLBinding(store_url), retry=RetryPolicy(deadline=60)) as checkpointer:
        await checkpointer.save({}, "small", "c")
        large = asyncio.create_task(checkpointer.save(state, "large", "c"))
        while not large.done():
            assert await checkpointer.exists("small")
            answered += 1
        await large
    # The first one starts before the save does, and may wait for its end.
    assert answered >= 3
