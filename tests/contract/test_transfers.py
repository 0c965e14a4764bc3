"""Threads move into each backend and out of it again, and nothing of them changes: what `migrate` stands on."""

from pathlib import Path

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands.running import Calls
from locus_memory.commands.transfer import OnConflict, Transfer, Verification, for_each_thread
from locus_memory.commands.transfer_readers import StoreReader
from locus_memory.errors import InvalidArgumentError
from tests.commands.stores import contents, fill, opened


async def move(source: StorageBackendAdapter, destination: StorageBackendAdapter) -> Verification:
    """Do what `migrate` does."""
    ours, theirs = Calls.on(source, 30), Calls.on(destination, 30)
    reader, verification = StoreReader(ours), Verification()
    transfer = Transfer(reader, theirs, on_conflict=OnConflict.FAIL, store_text=True)
    await for_each_thread(reader.threads(), transfer.move, workers=3)
    assert transfer.tally.conflicts == {}

    async def compare(thread_id: str) -> None:
        await verification.compare(reader, StoreReader(theirs), thread_id)

    await for_each_thread(reader.threads(), compare, workers=3)
    return verification


async def test_threads_come_back_as_they_were(store_url: str, tmp_path: Path) -> None:
    before, after = f"file://{tmp_path}/before", f"file://{tmp_path}/after"
    async with opened(store_url) as store, opened(before) as source, opened(after) as destination:
        await store.storage.discover()
        if not store.storage.transfers:
            with pytest.raises(InvalidArgumentError, match="cannot be moved"):
                StoreReader(Calls.on(store, 30))
            return
        await fill(source, threads=4, history=store.storage.keeps_history)
        there = await move(source, store)
        back = await move(store, destination)
        again = await move(source, store)
        assert (there.differences, back.differences, again.differences) == ({}, {}, {})
        assert str(there.source) == str(there.destination) == str(back.destination)
        assert there.source.checkpoints == 32
        assert await contents(destination) == await contents(source)
