"""Saves on Oracle: the thread's row first, which is the lock, then all that belongs to the checkpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from locus_memory.backends.oracle_history import keep_parts, need_parts
from locus_memory.backends.oracle_rows import field_hashes, stored_time, thread_row
from locus_memory.checkpointer import Unchecked
from locus_memory.storage import NewCheckpoint

if TYPE_CHECKING:
    from locus_memory.backends.oracle_client import Client


async def point_at(
    client: Client, checkpoint: NewCheckpoint, key: dict[str, Any], expected: str | Unchecked | None
) -> bool:
    """Lock the thread's row and make the checkpoint its latest; tell whether the latest was the expected one."""
    thread = key | thread_row(checkpoint.thread_id, checkpoint.namespace)
    if expected is None:
        put = await client.execute_unless_present("put_first", thread)
        return (put or await client.execute("put_behind_writes", key)) > 0
    if isinstance(expected, str):
        return await client.execute("put_next", key | {"expected": expected.encode()}) > 0
    # Of two sessions that create the row at once, the second waits for the first and then finds it there.
    while not await client.execute_unless_present("put", thread):
        pass
    return True


async def write(client: Client, checkpoint: NewCheckpoint, key: dict[str, Any]) -> None:
    """Write a checkpoint that its thread points at, with its parts, and commit."""
    names = set(checkpoint.part_names)
    row = key | {
        "created_at": None if checkpoint.created_at is None else stored_time(checkpoint.created_at),
        "parent_id": None if checkpoint.parent_id is None else checkpoint.parent_id.encode(),
        # Escaped, so that the database's character set does not matter.
        "metadata": json.dumps(checkpoint.metadata, ensure_ascii=True, allow_nan=False),
        "payload_bytes": len(checkpoint.payload),
        "part_count": len(names),
        "payload": checkpoint.payload,
    }
    # Queries cover the empty namespace only.
    fields = [] if checkpoint.namespace else [key | {"field_hash": each} for each in field_hashes(checkpoint.metadata)]
    if not names:
        await _put(client, key, row, commit=not fields)
    else:
        await keep_parts(client, checkpoint, key["thread_key"])
        replaced = await _put(client, key, row, commit=False)
        await need_parts(client, checkpoint, key, commit=not (fields or replaced))
        if replaced:
            await client.execute("delete_unused_parts", {"thread_key": key["thread_key"]}, commit=not fields)
    if fields:
        await client.execute_many("index_field", fields, commit=True)


async def _put(client: Client, key: dict[str, Any], row: dict[str, Any], *, commit: bool) -> bool:
    """Insert the checkpoint's row, or replace it; tell whether one was there."""
    if await client.execute_unless_present("insert_checkpoint", row, commit=commit):
        return False
    await client.execute("forget_fields", key)
    if row["part_count"]:
        await client.execute("forget_needs", key)
    await client.execute("replace_checkpoint", row, commit=commit)
    return True
