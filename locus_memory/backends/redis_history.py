"""Parts and pending writes in Redis: what savers keep beside a checkpoint's payload.

All of it is in the hash of the namespace, so that it expires, is copied and is deleted with the checkpoints, at no cost
to those who have none. A part has a counter of the checkpoints that name it, so that a deletion looks at nothing but
what its own checkpoint named. `redis_keys` lists the fields, `redis_scripts` has the script that saves parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from locus_memory.backends.redis_keys import encode
from locus_memory.backends.redis_lua import EXPIRY, FORGET, NOW_MS, PORTIONS, TOUCH, WRITE_FIELDS, make_script
from locus_memory.storage import NewCheckpoint, PendingWrite

BATCH: Final = 100
"""Checkpoints that one script returns with their parts, at most: the server serves nobody else meanwhile."""

GET_COMPLETE: Final = make_script(
    PORTIONS,
    WRITE_FIELDS,
    """
-- prefix, thread, tag, namespace, ttl to refresh or 0, ids... or nothing for the latest
-- returns {{id, summary, payload, names of parts, writes}...} and {name, part...}: each part once
local base = prefix .. 't:{' .. ARGV[3] .. '}:'
local order, data = base .. 'order:' .. ARGV[4], base .. 'data:' .. ARGV[4]
local ids, found, fields, parts = {}, {}, {}, {}
for i = 6, #ARGV do if call('ZSCORE', order, ARGV[i]) then ids[#ids + 1] = ARGV[i] end end
if not ARGV[6] then ids = call('ZRANGE', order, -1, -1) end
for _, id in ipairs(ids) do
    local row = call('HMGET', data, 's' .. id, 'p' .. id, 'n' .. id, 'l' .. id)
    local names = row[3] and cmsgpack.unpack(row[3]) or {}
    for _, name in ipairs(names) do
        if not parts[name] then
            fields[#fields + 1] = 'd' .. name
            parts[name] = true
        end
    end
    found[#found + 1] = {id, row[1], row[2], names, values(data, write_fields(id, row[4]))}
end
local held = {}
for i, part in ipairs(values(data, fields)) do held[2 * i - 1], held[2 * i] = fields[i]:sub(2), part end
if found[1] and ARGV[5] ~= '0' then
    """,
    TOUCH,
    NOW_MS,
    """
    touch(ARGV[2], ARGV[3], tonumber(ARGV[5]), now_ms())
end
return {found, held}
""",
    writes=False,
)

PUT_WRITES: Final = make_script(
    """
-- prefix, thread, tag, namespace, id, ttl, {place, write}...
local thread, tag, namespace, id, ttl = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local base = prefix .. 't:{' .. tag .. '}:'
local data = base .. 'data:' .. namespace
if call('EXISTS', base .. 'namespaces') == 0 then
    """,
    FORGET,
    """
    forget(thread, tag)
end
call('SADD', base .. 'namespaces', namespace)
-- The places in the order in which they came, behind the number of replacements: the rest is appended only.
local replaced, places = (call('HGET', data, 'l' .. id) or '0'):match('^(%d+)(.*)$')
local list = {places}
for i = 7, #ARGV, 2 do
    local place, write = ARGV[i], ARGV[i + 1]
    local field = 'w' .. #id .. ':' .. id .. place
    local held = call('HGET', data, field)
    if not held then
        list[#list + 1] = place
    elseif held ~= write and place:find('|-', 1, true) then
        replaced = replaced + 1
    else
        write = nil
    end
    if write then call('HSET', data, field, write) end
end
call('HSET', data, 'l' .. id, string.format('%d', replaced) .. table.concat(list, ' '))
local time = call('TIME')
""",
    EXPIRY,
    "return 1",
    writes=True,
)

GET_WRITES: Final = make_script(
    PORTIONS,
    WRITE_FIELDS,
    """
-- prefix, tag, namespace, id
local data = prefix .. 't:{' .. ARGV[2] .. '}:data:' .. ARGV[3]
return values(data, write_fields(ARGV[4], call('HGET', data, 'l' .. ARGV[4])))
""",
    writes=False,
)


def part_arguments(checkpoint: NewCheckpoint) -> Iterator[str | bytes | int]:
    """Yield what a put with parts sends beyond one without."""
    yield len(checkpoint.parts)
    for name, part in checkpoint.parts.items():
        yield name
        yield part
    yield from (name for name in dict.fromkeys(checkpoint.part_names) if name not in checkpoint.parts)


def write_arguments(writes: Sequence[PendingWrite]) -> Iterator[str | bytes]:
    """Yield the place of each write among those of its checkpoint, and the write."""
    for write in writes:
        yield f"{encode(write.task_id)}|{write.index}"
        head = json.dumps([write.task_id, write.index, write.channel, write.task_path], separators=(",", ":"))
        yield head.encode() + b"\n" + write.payload


def parts_of(held: Sequence[bytes | None]) -> dict[bytes, bytes]:
    """Read the parts that a script returned, by their encoded names; missing ones are left out."""
    pairs = zip(held[::2], held[1::2], strict=True)
    return {name: part for name, part in pairs if name is not None and part is not None}


def writes_of(rows: Sequence[bytes]) -> tuple[PendingWrite, ...]:
    """Read pending writes, and put them into their order."""
    return tuple(sorted(map(_write, rows), key=lambda write: write.order))


def _write(row: bytes) -> PendingWrite:
    # JSON as it is written here has no line break of its own.
    head, _, payload = row.partition(b"\n")
    task_id, index, channel, task_path = json.loads(head)
    return PendingWrite(task_id, index, channel, payload, task_path)
