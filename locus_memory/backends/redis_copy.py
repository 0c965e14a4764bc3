"""Copies a thread from one slot of a Cluster to another, where no script reaches both.

The copy is what the thread was at one moment, and appears at another, whole. A script reads the order and the
summaries of all checkpoints, with the names of their parts and the places of their pending writes; payloads, parts and
writes follow in portions. A checkpoint that was replaced or deleted before that has another summary, with the
microsecond of its write, and one of whose writes one was replaced has another list of them; then the copy starts again.
What was merely added does not matter. Writes on checkpoints that do not exist stay behind.

At the destination the portions wait below names of their own, which expire should nobody come back for them, until a
last script moves them into place.
"""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from locus_memory.backends.redis_keys import KeyLayout, encode
from locus_memory.backends.redis_lua import ENCODING, FORGET, NOW_MS, TOUCH, make_script
from locus_memory.errors import BackendUnavailableError, CorruptCheckpointError

_PORTION_FIELDS: Final = 500
_PORTION_BYTES: Final = 4 * 1024 * 1024
_ABANDONED_MILLISECONDS: Final = 10 * 60 * 1000

_SNAPSHOT: Final = make_script(
    ENCODING,
    """
-- prefix, tag; returns for each checkpoint what `_Checkpoint` holds, in its order
local base, refs, found = prefix .. 't:{' .. ARGV[2] .. '}:', prefix .. 'i:refs:' .. ARGV[2], {}
for _, namespace in ipairs(call('SMEMBERS', base .. 'namespaces')) do
    local order = call('ZRANGE', base .. 'order:' .. namespace, 0, -1, 'WITHSCORES')
    for i = 1, #order, 2 do
        local id, indexes = order[i], {}
        local held = call('HGET', refs, ARGV[2] .. '|' .. namespace .. '|' .. encode(id))
        for index in (held or ''):gmatch('[^\\n]+') do indexes[#indexes + 1] = index:sub(#prefix + 1) end
        local row = call('HMGET', base .. 'data:' .. namespace, 's' .. id, 'n' .. id, 'l' .. id)
        local names = row[2] and cmsgpack.unpack(row[2]) or {}
        found[#found + 1] = {
            namespace, id, order[i + 1], row[1], table.concat(indexes, '\\n'), row[2] or '', names, row[3] or ''
        }
    end
end
return found
""",
    writes=False,
)

_READ: Final = make_script(
    """
-- prefix, tag, bytes that suffice, {namespace, id, summary, list of writes, number of fields, field...}...
-- returns values of the fields, false when a checkpoint has changed
local base, found, size, i = prefix .. 't:{' .. ARGV[2] .. '}:data:', {}, 0, 4
while i <= #ARGV and size < tonumber(ARGV[3]) do
    local data, list, last = base .. ARGV[i], ARGV[i + 3], i + 4 + ARGV[i + 4]
    local now = call('HMGET', data, 's' .. ARGV[i + 1], 'l' .. ARGV[i + 1])
    if now[1] ~= ARGV[i + 2] or (now[2] or ''):sub(1, #list) ~= list then return false end
    for field = i + 5, last do
        local value = call('HGET', data, ARGV[field])
        found[#found + 1] = value
        size = size + (value and #value or 0)
        if size >= tonumber(ARGV[3]) then break end
    end
    i = last + 1
end
return found
""",
    writes=False,
)

_STAGE: Final = make_script(
    ENCODING,
    """
-- prefix, tag, token, milliseconds to keep, number of checkpoints,
-- {namespace, id, sequence number, summary, index keys}..., {namespace, field, value}...
local base = prefix .. 't:{' .. ARGV[2] .. '}:'
if call('EXISTS', base .. 'namespaces') == 1 then return -1 end
local stage, fields = base .. 'copy:' .. ARGV[3] .. ':', 6 + 5 * ARGV[5]
for i = 6, fields - 1, 5 do
    local namespace, id, indexes = ARGV[i], ARGV[i + 1], ARGV[i + 4]
    call('SADD', stage .. 'namespaces', namespace)
    call('ZADD', stage .. 'order:' .. namespace, ARGV[i + 2], id)
    if indexes ~= '' then
        local held = {ARGV[i + 3]:match('^%-?%d+')}
        for index in indexes:gmatch('[^\\n]+') do held[#held + 1] = prefix .. index end
        call('HSET', stage .. 'refs', ARGV[2] .. '|' .. namespace .. '|' .. encode(id), table.concat(held, '\\n'))
    end
end
for i = fields, #ARGV, 3 do call('HSET', stage .. 'data:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
for _, namespace in ipairs(call('SMEMBERS', stage .. 'namespaces')) do
    call('PEXPIRE', stage .. 'order:' .. namespace, ARGV[4])
    call('PEXPIRE', stage .. 'data:' .. namespace, ARGV[4])
end
call('PEXPIRE', stage .. 'namespaces', ARGV[4])
call('PEXPIRE', stage .. 'refs', ARGV[4])
return 1
""",
    writes=True,
)

_COMMIT: Final = make_script(
    FORGET,
    TOUCH,
    NOW_MS,
    """
-- prefix, thread, tag, token, ttl, number of checkpoints; returns 1, -1 destination exists, -2 some were lost
local thread, tag = ARGV[2], ARGV[3]
local base = prefix .. 't:{' .. tag .. '}:'
local stage = base .. 'copy:' .. ARGV[4] .. ':'
if call('EXISTS', base .. 'namespaces') == 1 then return -1 end
local namespaces, count = call('SMEMBERS', stage .. 'namespaces'), 0
for _, namespace in ipairs(namespaces) do
    if call('EXISTS', stage .. 'data:' .. namespace) == 0 then return -2 end
    count = count + call('ZCARD', stage .. 'order:' .. namespace)
end
if count ~= tonumber(ARGV[6]) then return -2 end
forget(thread, tag)
for _, namespace in ipairs(namespaces) do
    for _, kind in ipairs({'order:', 'data:'}) do
        call('RENAME', stage .. kind .. namespace, base .. kind .. namespace)
        call('PERSIST', base .. kind .. namespace)
    end
    call('SADD', base .. 'namespaces', namespace)
end
local staged = call('HGETALL', stage .. 'refs')
for i = 1, #staged, 2 do
    local microsecond, held = staged[i + 1]:match('^(%-?%d+)\\n(.*)$')
    for index in held:gmatch('[^\\n]+') do call('ZADD', index, microsecond, staged[i]) end
    call('HSET', prefix .. 'i:refs:' .. tag, staged[i], held)
end
call('UNLINK', stage .. 'namespaces', stage .. 'refs')
call('ZADD', prefix .. 'i:threads', 0, thread)
touch(thread, tag, tonumber(ARGV[5]), now_ms())
return 1
""",
    writes=True,
)


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A row of the snapshot; `names` are those in `packed_names`, `writes` is the list of the writes' places."""

    namespace: bytes
    name: bytes
    sequence: bytes
    summary: bytes | None
    indexes: bytes
    packed_names: bytes
    names: Sequence[bytes]
    writes: bytes

    def known_fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the fields that the snapshot has the values of."""
        yield b"s" + self.name, self.summary or b""
        if self.packed_names:
            yield b"n" + self.name, self.packed_names
        if self.writes:
            yield b"l" + self.name, self.writes

    def fields_to_read(self, names: Sequence[bytes]) -> Iterator[bytes]:
        """Yield the fields that have to be read, of the parts only those named."""
        yield b"p" + self.name
        yield from (b"d" + name for name in names)
        yield from (b"w%d:%s%s" % (len(self.name), self.name, place) for place in self.writes.split(b" ")[1:])


_Item = tuple[_Checkpoint, bytes]
"""A field to be copied, and the checkpoint that must not have changed when it is read."""


class CrossSlotCopy:
    """One copy.

    Args:
        run: Runs a script on the key space with a prefix.
        source: Layout that the source is in, with its thread id.
        dest: Layout that the destination is in, with its thread id.
    """

    def __init__(
        self, run: Callable[..., Awaitable[Any]], source: tuple[KeyLayout, str], dest: tuple[KeyLayout, str]
    ) -> None:
        self._run = run
        (self._source, self._source_id), (self._dest, self._dest_id) = source, dest
        self._token = secrets.token_hex(8)
        self._uses: Counter[tuple[bytes, bytes]] = Counter()

    async def run(self, ttl_milliseconds: int) -> int:
        """Copy; return 1, 0 when there is no source, or -1 when the destination exists.

        Raises:
            BackendUnavailableError: The source was changed meanwhile: try again.
            CorruptCheckpointError: A part of the source is missing.
        """
        rows = await self._run(_SNAPSHOT, self._source.prefix, encode(self._source_id))
        checkpoints = [_Checkpoint(*row) for row in rows]
        items = list(self._items(checkpoints))
        copied = 0
        while copied < len(items):
            portion = items[copied : copied + _PORTION_FIELDS]
            values = await self._read(portion)
            if await self._stage(portion[: len(values)], values) < 0:
                return -1
            copied += len(values)
        return await self._commit(ttl_milliseconds, len(checkpoints)) if checkpoints else 0

    def _items(self, checkpoints: list[_Checkpoint]) -> Iterator[_Item]:
        for checkpoint in checkpoints:
            new = [name for name in checkpoint.names if (checkpoint.namespace, name) not in self._uses]
            self._uses.update((checkpoint.namespace, name) for name in checkpoint.names)
            yield from ((checkpoint, field) for field in checkpoint.fields_to_read(new))

    async def _read(self, portion: list[_Item]) -> list[bytes]:
        wanted: list[bytes | int] = []
        for checkpoint, items in itertools.groupby(portion, lambda item: item[0]):
            fields = [field for _, field in items]
            guards = (checkpoint.namespace, checkpoint.name, checkpoint.summary or b"", checkpoint.writes)
            wanted += (*guards, len(fields), *fields)
        values = await self._run(_READ, self._source.prefix, encode(self._source_id), _PORTION_BYTES, *wanted)
        if any(checkpoint.summary is None for checkpoint, _ in portion) or (values and None in values):
            raise CorruptCheckpointError(f"thread {self._source_id!r}: part of it is missing, and it cannot be copied")
        if values is None:
            raise BackendUnavailableError(f"thread {self._source_id!r} was changed while it was being copied")
        found: list[bytes] = values
        return found

    async def _stage(self, portion: list[_Item], values: list[bytes]) -> int:
        begun: list[bytes | None] = []
        fields: list[bytes | int] = []
        for (checkpoint, field), value in zip(portion, values, strict=True):
            namespace = checkpoint.namespace
            fields += (namespace, field, value)
            if field.startswith(b"d"):
                fields += (namespace, b"c" + field[1:], self._uses[namespace, field[1:]])
            elif field.startswith(b"p"):
                begun += (namespace, checkpoint.name, checkpoint.sequence, checkpoint.summary, checkpoint.indexes)
                for known, value_known in checkpoint.known_fields():
                    fields += (namespace, known, value_known)
        place = (encode(self._dest_id), self._token, _ABANDONED_MILLISECONDS)
        return int(await self._run(_STAGE, self._dest.prefix, *place, len(begun) // 5, *begun, *fields))

    async def _commit(self, ttl_milliseconds: int, count: int) -> int:
        tag = encode(self._dest_id)
        done = await self._run(_COMMIT, self._dest.prefix, self._dest_id, tag, self._token, ttl_milliseconds, count)
        if done == -2:
            raise BackendUnavailableError(f"thread {self._dest_id!r}: the copy took too long")
        return int(done)
