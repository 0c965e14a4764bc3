"""Copies a thread from one slot of a Cluster to another, where no script reaches both.

The copy is what the thread was at one moment, and appears at another, whole. A script reads the order and the
summaries of all checkpoints; their payloads follow in portions. A checkpoint that was replaced or deleted before its
payload was read has another summary, with the microsecond of its write, and the copy starts again; what was merely
added does not matter. At the destination the portions wait below names of their own, which expire should nobody come
back for them, until a last script moves them into place.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from locus_memory.backends.redis_keys import KeyLayout, encode
from locus_memory.backends.redis_scripts import ENCODING, FORGET, NOW_MS, TOUCH, make_script
from locus_memory.errors import BackendUnavailableError, CorruptCheckpointError

_PORTION_CHECKPOINTS: Final = 100
_PORTION_BYTES: Final = 4 * 1024 * 1024
_ABANDONED_MILLISECONDS: Final = 10 * 60 * 1000

_SNAPSHOT: Final = make_script(
    ENCODING,
    """
-- prefix, tag; returns {namespace, id, sequence number, summary, index keys without the prefix, one a line}
local base, refs, found = prefix .. 't:{' .. ARGV[2] .. '}:', prefix .. 'i:refs:' .. ARGV[2], {}
for _, namespace in ipairs(call('SMEMBERS', base .. 'namespaces')) do
    local order = call('ZRANGE', base .. 'order:' .. namespace, 0, -1, 'WITHSCORES')
    for i = 1, #order, 2 do
        local indexes = {}
        local held = call('HGET', refs, ARGV[2] .. '|' .. namespace .. '|' .. encode(order[i]))
        for index in (held or ''):gmatch('[^\\n]+') do indexes[#indexes + 1] = index:sub(#prefix + 1) end
        local summary = call('HGET', base .. 'data:' .. namespace, 's' .. order[i])
        found[#found + 1] = {namespace, order[i], order[i + 1], summary, table.concat(indexes, '\\n')}
    end
end
return found
""",
    writes=False,
)

_READ: Final = make_script(
    """
-- prefix, tag, bytes that suffice, {namespace, id, summary}...; returns {payload or nothing}, false when one changed
local base, found, size = prefix .. 't:{' .. ARGV[2] .. '}:data:', {}, 0
for i = 4, #ARGV, 3 do
    local now = call('HMGET', base .. ARGV[i], 's' .. ARGV[i + 1], 'p' .. ARGV[i + 1])
    if now[1] ~= ARGV[i + 2] then return false end
    found[#found + 1] = now[2]
    size = size + (now[2] and #now[2] or 0)
    if size >= tonumber(ARGV[3]) then break end
end
return found
""",
    writes=False,
)

_STAGE: Final = make_script(
    ENCODING,
    """
-- prefix, tag, token, milliseconds to keep, {namespace, id, sequence number, summary, index keys, payload}...
local base = prefix .. 't:{' .. ARGV[2] .. '}:'
if call('EXISTS', base .. 'namespaces') == 1 then return -1 end
local stage = base .. 'copy:' .. ARGV[3] .. ':'
for i = 5, #ARGV, 6 do
    local namespace, id, summary = ARGV[i], ARGV[i + 1], ARGV[i + 3]
    call('SADD', stage .. 'namespaces', namespace)
    call('ZADD', stage .. 'order:' .. namespace, ARGV[i + 2], id)
    call('HSET', stage .. 'data:' .. namespace, 's' .. id, summary, 'p' .. id, ARGV[i + 5])
    if ARGV[i + 4] ~= '' then
        local held = {summary:match('^%d+')}
        for index in ARGV[i + 4]:gmatch('[^\\n]+') do held[#held + 1] = prefix .. index end
        call('HSET', stage .. 'refs', ARGV[2] .. '|' .. namespace .. '|' .. encode(id), table.concat(held, '\\n'))
    end
end
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
    local microsecond, held = staged[i + 1]:match('^(%d+)\\n(.*)$')
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

    async def run(self, ttl_milliseconds: int) -> int:
        """Copy; return 1, 0 when there is no source, or -1 when the destination exists.

        Raises:
            BackendUnavailableError: The source was changed meanwhile: try again.
            CorruptCheckpointError: A part of the source is missing.
        """
        rows = await self._run(_SNAPSHOT, self._source.prefix, encode(self._source_id))
        copied = 0
        while copied < len(rows):
            portion = rows[copied : copied + _PORTION_CHECKPOINTS]
            payloads = await self._read(portion)
            if await self._stage(portion[: len(payloads)], payloads) < 0:
                return -1
            copied += len(payloads)
        return await self._commit(ttl_milliseconds, len(rows)) if rows else 0

    async def _read(self, portion: list[Any]) -> list[bytes]:
        wanted = [part for namespace, name, _, summary, _ in portion for part in (namespace, name, summary or b"")]
        payloads = await self._run(_READ, self._source.prefix, encode(self._source_id), _PORTION_BYTES, *wanted)
        if any(summary is None for _, _, _, summary, _ in portion) or (payloads and None in payloads):
            raise CorruptCheckpointError(f"thread {self._source_id!r}: part of it is missing, and it cannot be copied")
        if payloads is None:
            raise BackendUnavailableError(f"thread {self._source_id!r} was changed while it was being copied")
        found: list[bytes] = payloads
        return found

    async def _stage(self, portion: list[Any], payloads: list[bytes]) -> int:
        arguments = [part for row, payload in zip(portion, payloads, strict=True) for part in (*row, payload)]
        tag = encode(self._dest_id)
        return int(await self._run(_STAGE, self._dest.prefix, tag, self._token, _ABANDONED_MILLISECONDS, *arguments))

    async def _commit(self, ttl_milliseconds: int, count: int) -> int:
        tag = encode(self._dest_id)
        done = await self._run(_COMMIT, self._dest.prefix, self._dest_id, tag, self._token, ttl_milliseconds, count)
        if done == -2:
            raise BackendUnavailableError(f"thread {self._dest_id!r}: the copy took too long")
        return int(done)
