"""Parts and pending writes on Oracle: what savers keep beside a checkpoint's payload.

Parts belong to a thread and namespace, and are shared by its checkpoints: `<t>_NEEDS` says which checkpoint needs
which, and its foreign key refuses a checkpoint whose part is gone. Pending writes belong to a checkpoint by its id,
which may not be there yet. Names of parts, tasks and channels have no bound: they stand before the bytes, in the same
BLOB, and rows are told apart by hashes of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import oracledb

from locus_memory.backends.oracle_errors import NO_PARENT, code_of
from locus_memory.backends.oracle_rows import summary_of
from locus_memory.errors import CorruptCheckpointError, MissingPartsError
from locus_memory.storage import NewCheckpoint, PendingWrite, StoredCheckpoint

if TYPE_CHECKING:
    from locus_memory.backends.oracle_client import Client

TEXTS: Final = {
    "insert_part": "INSERT INTO {parts} (thread_key, part_key, content) VALUES (:thread_key, :part_key, :content)",
    "make_room_for_part": """MERGE INTO {parts} p
        USING (SELECT :thread_key AS thread_key, :part_key AS part_key FROM dual) k
            ON (p.thread_key = k.thread_key AND p.part_key = k.part_key)
        WHEN NOT MATCHED THEN INSERT (thread_key, part_key) VALUES (k.thread_key, k.part_key)""",
    "fill_part": """UPDATE {parts} p SET p.content = :content
        WHERE p.thread_key = :thread_key AND p.part_key = :part_key AND p.content IS NULL""",
    "need_part": """INSERT INTO {needs} (thread_key, checkpoint_id, part_key)
        VALUES (:thread_key, :checkpoint_id, :part_key)""",
    "forget_needs": "DELETE FROM {needs} n WHERE n.thread_key = :thread_key AND n.checkpoint_id = :checkpoint_id",
    "delete_unused_parts": """DELETE FROM {parts} p WHERE p.thread_key = :thread_key AND NOT EXISTS (
            SELECT 1 FROM {needs} n WHERE n.thread_key = p.thread_key AND n.part_key = p.part_key)""",
    "make_thread": """INSERT INTO {threads} (thread_key, thread_id, namespace)
        VALUES (:thread_key, :thread_id, :namespace)""",
    "make_room_for_write": """MERGE INTO {writes} w
        USING (SELECT :thread_key AS thread_key, :checkpoint_id AS checkpoint_id, :place AS place FROM dual) k
            ON (w.thread_key = k.thread_key AND w.checkpoint_id = k.checkpoint_id AND w.place = k.place)
        WHEN NOT MATCHED THEN INSERT (thread_key, checkpoint_id, place)
            VALUES (k.thread_key, k.checkpoint_id, k.place)""",
    "fill_write": """UPDATE {writes} w SET w.content = :content
        WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id AND w.place = :place
            AND (w.content IS NULL OR :write_index < 0)""",
    "get_writes": """SELECT w.content FROM {writes} w
        WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id""",
    "delete_writes": "DELETE FROM {writes} w WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id",
    "delete_old_writes": """DELETE FROM {writes} w WHERE w.thread_key = :thread_key AND w.checkpoint_id IN (
            SELECT c.checkpoint_id FROM {checkpoints} c
            WHERE c.thread_key = :thread_key AND c.created_at < :before)""",
    "copy_parts": """INSERT INTO {parts} (thread_key, part_key, content)
        SELECT :destination_key, p.part_key, p.content FROM {parts} p WHERE p.thread_key = :source_key""",
    "copy_needs": """INSERT INTO {needs} (thread_key, checkpoint_id, part_key)
        SELECT :destination_key, n.checkpoint_id, n.part_key FROM {needs} n WHERE n.thread_key = :source_key""",
    "copy_writes": """INSERT INTO {writes} (thread_key, checkpoint_id, place, content)
        SELECT :destination_key, w.checkpoint_id, w.place, w.content
        FROM {writes} w WHERE w.thread_key = :source_key""",
}

# One statement, so that all of it is of one moment. A part that several checkpoints need is read once. The kinds are of
# one length, and NULLs have types, so that the columns of the branches are of the same ones.
_COMPLETE: Final = """SELECT 'C' AS kind, t.thread_id AS row_key, c.checkpoint_id, c.metadata, c.created_at,
            t.namespace, c.parent_id, c.part_count, c.payload
        FROM {threads} t JOIN {checkpoints} c ON c.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND {which}
        UNION ALL SELECT 'N', n.part_key, c.checkpoint_id, TO_CLOB(NULL), c.created_at,
            t.namespace, c.parent_id, c.part_count, TO_BLOB(NULL)
        FROM {threads} t JOIN {checkpoints} c ON c.thread_key = t.thread_key
        JOIN {needs} n ON n.thread_key = c.thread_key AND n.checkpoint_id = c.checkpoint_id
        WHERE t.thread_key = :thread_key AND c.part_count > 0 AND {which}
        UNION ALL SELECT 'P', p.part_key, p.part_key, TO_CLOB(NULL), CAST(NULL AS TIMESTAMP(6)),
            t.namespace, p.part_key, 0, p.content
        FROM {threads} t JOIN {parts} p ON p.thread_key = t.thread_key
        WHERE t.thread_key = :thread_key AND EXISTS (
            SELECT 1 FROM {needs} n
            WHERE n.thread_key = p.thread_key AND n.part_key = p.part_key AND {which_needs})
        UNION ALL SELECT 'W', w.place, c.checkpoint_id, TO_CLOB(NULL), c.created_at,
            t.namespace, c.parent_id, c.part_count, w.content
        FROM {threads} t JOIN {checkpoints} c ON c.thread_key = t.thread_key
        JOIN {writes} w ON w.thread_key = c.thread_key AND w.checkpoint_id = c.checkpoint_id
        WHERE t.thread_key = :thread_key AND {which}"""

COMPLETE: Final = "complete "
"""Followed by a number, the name of the query for so many checkpoints with all that belongs to them; 0: the latest."""

_PAGE: Final = 64
"""Checkpoints of one query; a power of 2."""

_EXPECTED_ROWS: Final = 499
"""Of a query for complete checkpoints, and for writes: as many as one fetch brings at most."""


def complete_text(fragments: Mapping[str, str], count: int) -> str:
    """Return the query for so many checkpoints, bound as `id_0`, `id_1`, ...; 0: for the latest."""
    places = ", ".join(f":id_{number}" for number in range(count))
    which = f"checkpoint_id IN ({places})" if count else "checkpoint_id = t.latest_checkpoint"
    return _COMPLETE.format(**fragments, which=f"c.{which}", which_needs=f"n.{which}")


async def keep_parts(client: Client, checkpoint: NewCheckpoint, thread_key: bytes) -> None:
    """Write the new parts of a checkpoint, in the transaction that has locked its thread."""
    rows = [
        {"thread_key": thread_key, "part_key": _part_key(name), "content": _framed(name.encode(), part)}
        for name, part in checkpoint.parts.items()
    ]
    if rows and not await client.execute_many_unless_present("insert_part", rows):
        # A save done again, as after a lost answer: what was stored stays.
        names = [{"thread_key": row["thread_key"], "part_key": row["part_key"]} for row in rows]
        await client.execute_many("make_room_for_part", names)
        await client.execute_many("fill_part", rows)


async def need_parts(client: Client, checkpoint: NewCheckpoint, key: Mapping[str, Any], *, commit: bool) -> None:
    """Say which parts a checkpoint needs that was just written.

    Raises:
        MissingPartsError: One is not there; the transaction is to be undone.
    """
    rows = [{**key, "part_key": _part_key(name)} for name in dict.fromkeys(checkpoint.part_names)]
    try:
        await client.execute_many("need_part", rows, commit=commit)
    except oracledb.IntegrityError as error:
        if code_of(error) != NO_PARENT:
            raise
        where = f"thread {checkpoint.thread_id!r}, checkpoint {checkpoint.checkpoint_id!r}"
        raise MissingPartsError(f"{where}: a part that it needs is not there any more") from error


async def get_complete(
    client: Client, key: Mapping[str, Any], checkpoint_ids: Sequence[str] | None
) -> list[StoredCheckpoint]:
    """Return checkpoints with their parts and writes; see `StorageBackend.get_complete`."""
    if checkpoint_ids is None:
        return _read(await client.fetch(f"{COMPLETE}0", key, _EXPECTED_ROWS))
    found: dict[str, StoredCheckpoint] = {}
    for start in range(0, len(checkpoint_ids), _PAGE):
        page = [checkpoint_id.encode() for checkpoint_id in checkpoint_ids[start : start + _PAGE]]
        # Filled up, so that there are few different statements.
        count = 1 << (len(page) - 1).bit_length()
        page += [page[-1]] * (count - len(page))
        binds = {f"id_{number}": checkpoint_id for number, checkpoint_id in enumerate(page)}
        rows = await client.fetch(f"{COMPLETE}{count}", {**key, **binds}, _EXPECTED_ROWS)
        found |= {stored.summary.checkpoint_id: stored for stored in _read(rows)}
    return [found[checkpoint_id] for checkpoint_id in checkpoint_ids if checkpoint_id in found]


async def put_writes(
    client: Client, key: Mapping[str, Any], thread: Mapping[str, Any], writes: Sequence[PendingWrite]
) -> None:
    """Write what a task has written; see `StorageBackend.put_writes`.

    Args:
        client: Runs the statements.
        key: Names the checkpoint.
        thread: What the thread's row holds, if there is none yet.
        writes: Several at one position follow one another.
    """
    rows = [
        {**key, "place": _place(write), "write_index": write.index, "content": _content(write)}
        # Calls that overlap lock rows in the same order, or they could wait for each other for ever.
        for write in sorted(writes, key=_place)
    ]
    places = [{**key, "place": row["place"]} for row in rows]
    while rows and not await _make_room(client, places, {"thread_key": key["thread_key"], **thread}):
        # The thread has no row, or the same task has just written there: see again.
        pass
    if rows:
        await client.execute_many("fill_write", rows, commit=True)


async def get_writes(client: Client, key: Mapping[str, Any]) -> list[PendingWrite]:
    """Return the pending writes on top of a checkpoint, in their order."""
    return _in_order(row[0] for row in await client.fetch("get_writes", key, _EXPECTED_ROWS))


async def _make_room(client: Client, places: Sequence[Mapping[str, Any]], thread: Mapping[str, Any]) -> bool:
    try:
        if await client.execute_many_unless_present("make_room_for_write", places):
            return True
    except oracledb.IntegrityError as error:
        if code_of(error) != NO_PARENT:
            raise
        await client.execute_unless_present("make_thread", thread)
    return False


def _read(rows: Sequence[Sequence[Any]]) -> list[StoredCheckpoint]:
    parts = dict(_named(row[8]) for row in rows if row[0] == "P")
    by_key = {_part_key(name): name for name in parts}
    needs: dict[bytes, list[str]] = {}
    writes: dict[bytes, list[bytes]] = {}
    for kind, row_key, checkpoint_id, *_, content in rows:
        if kind == "N" and row_key in by_key:
            needs.setdefault(checkpoint_id, []).append(by_key[row_key])
        elif kind == "W":
            writes.setdefault(checkpoint_id, []).append(content)
    found = []
    for row in rows:
        if row[0] == "C":
            summary, names = summary_of(row[1:]), needs.get(row[2], [])
            if len(names) != row[7]:
                where = f"thread {summary.thread_id!r}, checkpoint {summary.checkpoint_id!r}"
                raise CorruptCheckpointError(f"{where}: {row[7] - len(names)} of its {row[7]} parts are missing")
            pending = tuple(_in_order(writes.get(row[2], [])))
            # An empty BLOB is bound, and stored, as NULL.
            found.append(StoredCheckpoint(summary, row[8] or b"", {name: parts[name] for name in names}, pending))
    return found


def _part_key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]


def _place(write: PendingWrite) -> bytes:
    return hashlib.sha256(f"{write.index} {write.task_id}".encode()).digest()[:16]


def _framed(head: bytes, content: bytes) -> bytes:
    return len(head).to_bytes(4) + head + content


def _unframed(framed: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(framed[:4])
    return framed[4:end], framed[end:]


def _named(framed: bytes) -> tuple[str, bytes]:
    name, part = _unframed(framed)
    return name.decode(), part


def _content(write: PendingWrite) -> bytes:
    head = [write.task_id, write.index, write.channel, write.task_path]
    return _framed(json.dumps(head).encode(), write.payload)


def _in_order(contents: Any) -> list[PendingWrite]:
    writes = []
    for content in contents:
        head, payload = _unframed(content)
        task_id, index, channel, task_path = json.loads(head)
        writes.append(PendingWrite(task_id, index, channel, payload, task_path))
    return sorted(writes, key=lambda write: write.order)
