"""One client per event loop."""

import asyncio
from dataclasses import dataclass

from locus_memory.loops import PerLoop


@dataclass(eq=False)
class Client:
    state: str = "open"


def per_loop(made: list[Client]) -> PerLoop[Client]:
    def create() -> Client:
        made.append(Client())
        return made[-1]

    async def close(client: Client) -> None:
        client.state = "closed"

    def abandon(client: Client) -> None:
        client.state = "abandoned"

    return PerLoop(create, close, abandon)


async def test_a_loop_gets_the_same_client_each_time() -> None:
    made: list[Client] = []
    clients = per_loop(made)
    assert clients.get() is clients.get()
    assert len(made) == 1


async def test_each_loop_gets_a_client_of_its_own() -> None:
    made: list[Client] = []
    clients = per_loop(made)
    here = clients.get()
    barrier_passed = await asyncio.gather(*(asyncio.to_thread(asyncio.run, _get(clients)) for _ in range(4)))
    assert len({id(client) for client in (here, *barrier_passed)}) == 5
    assert len(made) == 5
    assert clients.get() is here


async def _get(clients: PerLoop[Client]) -> Client:
    return clients.get()


async def test_closing_is_idempotent_and_the_next_client_is_new() -> None:
    clients = per_loop([])
    first = clients.get()
    await clients.close()
    await clients.close()
    assert first.state == "closed"
    assert clients.get() is not first


async def test_closing_leaves_the_clients_of_other_loops_open() -> None:
    clients = per_loop([])
    here = clients.get()

    async def elsewhere() -> None:
        clients.get()
        await clients.close()

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert here.state == "open"
    assert clients.get() is here


def test_the_client_of_an_ended_loop_is_abandoned_when_the_next_one_is_made() -> None:
    clients = per_loop([])
    orphan = asyncio.run(_get(clients))
    assert orphan.state == "open"
    asyncio.run(_get(clients))
    assert orphan.state == "abandoned"
