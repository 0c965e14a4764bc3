"""Lua scripts of the Redis backend: each call of the storage port is one script, hence one atomic round trip.

`redis_keys` says where things are. `ARGV[1]` is always the prefix of a key space; a `tag` is an encoded thread id,
namespaces are passed encoded, and thread and checkpoint ids as they are. Scripts build key names themselves, so that
they can clean up after threads that expired: their data is gone by then, and only the indexes still mention them.

`PUT` and `GET` are run for every save and load. The server builds each function of a script anew on every run, so
these two define the functions that they rarely need where they need them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

ENCODING: Final = """
local function encode(text)
    return (text:gsub('[^%w_%.~-]', function(c) return string.format('%%%02X', c:byte()) end))
end
local function decode(text)
    return (text:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end
"""

# Removes the traces of a thread whose data is gone.
FORGET: Final = """
local function forget(thread, tag)
    local refs = prefix .. 'i:refs:' .. tag
    local held = call('HGETALL', refs)
    for i = 1, #held, 2 do
        for index in held[i + 1]:gmatch('[^\\n]+') do call('ZREM', index, held[i]) end
    end
    call('UNLINK', refs)
    call('ZREM', prefix .. 'i:threads', thread)
    call('ZREM', prefix .. 'i:expiry', thread)
end
"""

# Takes a checkpoint out of the metadata indexes that hold it.
_UNINDEX: Final = """
local function unindex(tag, ref)
    local refs = prefix .. 'i:refs:' .. tag
    local held = call('HGET', refs, ref)
    if held then
        for index in held:gmatch('[^\\n]+') do call('ZREM', index, ref) end
        call('HDEL', refs, ref)
    end
end
"""

# Makes all keys of a thread expire together; without a time to live, takes away one that was set before.
TOUCH: Final = """
local function touch(thread, tag, ttl, now_ms)
    local base = prefix .. 't:{' .. tag .. '}:'
    if ttl > 0 then
        for _, namespace in ipairs(call('SMEMBERS', base .. 'namespaces')) do
            call('PEXPIRE', base .. 'order:' .. namespace, ttl)
            call('PEXPIRE', base .. 'data:' .. namespace, ttl)
        end
        call('PEXPIRE', base .. 'namespaces', ttl)
        call('ZADD', prefix .. 'i:expiry', now_ms + ttl, thread)
    elseif call('ZREM', prefix .. 'i:expiry', thread) == 1 then
        for _, namespace in ipairs(call('SMEMBERS', base .. 'namespaces')) do
            call('PERSIST', base .. 'order:' .. namespace)
            call('PERSIST', base .. 'data:' .. namespace)
        end
        call('PERSIST', base .. 'namespaces')
    end
end
"""

NOW_MS: Final = """
local function now_ms()
    local time = call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
"""

_REMOVE: Final = """
local function remove(tag, namespace, id)
    local base = prefix .. 't:{' .. tag .. '}:'
    if call('ZREM', base .. 'order:' .. namespace, id) == 0 then return 0 end
    call('HDEL', base .. 'data:' .. namespace, 's' .. id, 'p' .. id)
    unindex(tag, tag .. '|' .. namespace .. '|' .. encode(id))
    if call('ZCARD', base .. 'order:' .. namespace) == 0 then call('SREM', base .. 'namespaces', namespace) end
    return 1
end
"""

_PAGE: Final = """
local function is_alive(tag) return call('EXISTS', prefix .. 't:{' .. tag .. '}:namespaces') == 1 end
local function page_of_threads(start, count)
    local page, alive = call('ZRANGEBYLEX', prefix .. 'i:threads', start, '+', 'LIMIT', 0, count), {}
    for _, thread in ipairs(page) do
        local tag = encode(thread)
        if is_alive(tag) then alive[#alive + 1] = thread else forget(thread, tag) end
    end
    return alive, page[#page] or false
end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script, the digest by which the server knows it once it has seen it, and whether it writes."""

    text: str
    digest: str
    writes: bool


def make_script(*parts: str, writes: bool) -> Script:
    """Put a script together; `call` and `prefix` are defined in it."""
    text = "local call, prefix = redis.call, ARGV[1]\n" + "".join(parts)
    # SHA-1 is what EVALSHA takes; it protects nothing here.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), writes)


PUT: Final = make_script(
    """
-- prefix, thread, tag, namespace, id, payload, summary, encoded id, ttl, mode, expected, index keys...
local thread, tag, namespace, id, ttl = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[9])
local base = prefix .. 't:{' .. tag .. '}:'
local order = base .. 'order:' .. namespace
local latest = call('ZRANGE', order, -1, -1, 'WITHSCORES')
if ARGV[10] == 'first' and latest[1] or ARGV[10] == 'next' and latest[1] ~= ARGV[11] then return 0 end
if not latest[1] then
    if call('EXISTS', base .. 'namespaces') == 0 then
        """,
    FORGET,
    """
        forget(thread, tag)
    end
    call('SADD', base .. 'namespaces', namespace)
    call('ZADD', prefix .. 'i:threads', 0, thread)
end
local time = call('TIME')
local microsecond = time[1] .. string.format('%06d', time[2])
call('HSET', base .. 'data:' .. namespace, 's' .. id, microsecond .. ARGV[7], 'p' .. id, ARGV[6])
local added = call('ZADD', order, (tonumber(latest[2]) or 0) + 1, id)
if added == 0 or #ARGV > 11 then
    """,
    _UNINDEX,
    """
    local ref = tag .. '|' .. namespace .. '|' .. ARGV[8]
    unindex(tag, ref)
    if #ARGV > 11 then
        for i = 12, #ARGV do call('ZADD', ARGV[i], microsecond, ref) end
        call('HSET', prefix .. 'i:refs:' .. tag, ref, table.concat(ARGV, '\\n', 12))
    end
end
if ttl > 0 or call('ZSCORE', prefix .. 'i:expiry', thread) then
    """,
    ENCODING,
    FORGET,
    TOUCH,
    """
    local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    touch(thread, tag, ttl, now_ms)
    -- Each save adds at most one thread that will expire, and clears up after at most two that did.
    for _, gone in ipairs(call('ZRANGEBYSCORE', prefix .. 'i:expiry', '-inf', now_ms - 1000, 'LIMIT', 0, 2)) do
        local gone_tag = encode(gone)
        if call('EXISTS', prefix .. 't:{' .. gone_tag .. '}:namespaces') == 0 then forget(gone, gone_tag) end
    end
end
return 1
""",
    writes=True,
)

GET: Final = make_script(
    """
-- prefix, thread, tag, namespace, 1 with payload or 0, ttl to refresh or 0, id or nothing for the latest
local base, id = prefix .. 't:{' .. ARGV[3] .. '}:', ARGV[7]
local order = base .. 'order:' .. ARGV[4]
if not id then
    id = call('ZRANGE', order, -1, -1)[1]
    if not id then return false end
elseif not call('ZSCORE', order, id) then
    return false
end
if ARGV[6] ~= '0' then
    """,
    TOUCH,
    NOW_MS,
    """
    touch(ARGV[2], ARGV[3], tonumber(ARGV[6]), now_ms())
end
if ARGV[5] == '0' then return {id, call('HGET', base .. 'data:' .. ARGV[4], 's' .. id)} end
local found = call('HMGET', base .. 'data:' .. ARGV[4], 's' .. id, 'p' .. id)
return {id, found[1], found[2]}
""",
    writes=False,
)

LIST_CHECKPOINTS: Final = make_script(
    """
-- prefix, tag, namespace, limit
local base, found = prefix .. 't:{' .. ARGV[2] .. '}:', {}
for _, id in ipairs(call('ZREVRANGE', base .. 'order:' .. ARGV[3], 0, tonumber(ARGV[4]) - 1)) do
    found[#found + 1] = {id, call('HGET', base .. 'data:' .. ARGV[3], 's' .. id)}
end
return found
""",
    writes=False,
)

DELETE_CHECKPOINT: Final = make_script(
    ENCODING,
    FORGET,
    _UNINDEX,
    _REMOVE,
    """
-- prefix, thread, tag, namespace, id
local removed = remove(ARGV[3], ARGV[4], ARGV[5])
if removed == 1 and call('EXISTS', prefix .. 't:{' .. ARGV[3] .. '}:namespaces') == 0 then forget(ARGV[2], ARGV[3]) end
return removed
""",
    writes=True,
)

DELETE_THREAD: Final = make_script(
    FORGET,
    """
-- prefix, thread, tag
local base = prefix .. 't:{' .. ARGV[3] .. '}:'
local namespaces = call('SMEMBERS', base .. 'namespaces')
for _, namespace in ipairs(namespaces) do
    call('UNLINK', base .. 'order:' .. namespace, base .. 'data:' .. namespace)
end
call('UNLINK', base .. 'namespaces')
forget(ARGV[2], ARGV[3])
return #namespaces
""",
    writes=True,
)

COPY_THREAD: Final = make_script(
    FORGET,
    TOUCH,
    NOW_MS,
    """
-- prefix, source tag, destination, destination tag, ttl; returns 1 copied, 0 no source, -1 destination exists
local source, destination = ARGV[2], ARGV[4]
local from, to = prefix .. 't:{' .. source .. '}:', prefix .. 't:{' .. destination .. '}:'
local namespaces = call('SMEMBERS', from .. 'namespaces')
if #namespaces == 0 then return 0 end
if call('EXISTS', to .. 'namespaces') == 1 then return -1 end
forget(ARGV[3], destination)
call('COPY', from .. 'namespaces', to .. 'namespaces', 'REPLACE')
for _, namespace in ipairs(namespaces) do
    call('COPY', from .. 'order:' .. namespace, to .. 'order:' .. namespace, 'REPLACE')
    call('COPY', from .. 'data:' .. namespace, to .. 'data:' .. namespace, 'REPLACE')
end
local held = call('HGETALL', prefix .. 'i:refs:' .. source)
for i = 1, #held, 2 do
    local ref = destination .. held[i]:sub(#source + 1)
    for index in held[i + 1]:gmatch('[^\\n]+') do call('ZADD', index, call('ZSCORE', index, held[i]), ref) end
    call('HSET', prefix .. 'i:refs:' .. destination, ref, held[i + 1])
end
call('ZADD', prefix .. 'i:threads', 0, ARGV[3])
touch(ARGV[3], destination, tonumber(ARGV[5]), now_ms())
return 1
""",
    writes=True,
)

LIST_THREADS: Final = make_script(
    ENCODING,
    FORGET,
    _PAGE,
    """
-- prefix, start, count; returns the living threads and where the page ended
local alive, last = page_of_threads(ARGV[2], tonumber(ARGV[3]))
return {alive, last}
""",
    writes=False,
)

LIST_LATEST: Final = make_script(
    ENCODING,
    FORGET,
    _PAGE,
    """
-- prefix, start, count; returns {thread, id, summary} of threads in the empty namespace
local alive, last = page_of_threads(ARGV[2], tonumber(ARGV[3]))
local found = {}
for _, thread in ipairs(alive) do
    local base = prefix .. 't:{' .. encode(thread) .. '}:'
    local id = call('ZRANGE', base .. 'order:', -1, -1)[1]
    if id then found[#found + 1] = {thread, id, call('HGET', base .. 'data:', 's' .. id)} end
end
return {found, last}
""",
    writes=False,
)

QUERY_BY_METADATA: Final = make_script(
    ENCODING,
    """
-- prefix, index key, limit; returns {thread, id, summary} in the empty namespace, newest first
local index, limit = ARGV[2], tonumber(ARGV[3])
local found, gone, position = {}, {}, 0
while #found < limit do
    local refs = call('ZREVRANGE', index, position, position + 99)
    if #refs == 0 then break end
    for _, ref in ipairs(refs) do
        local tag, namespace, id = ref:match('^(.-)|(.-)|(.*)$')
        id = decode(id)
        local summary = call('HGET', prefix .. 't:{' .. tag .. '}:data:' .. namespace, 's' .. id)
        if not summary then
            gone[#gone + 1] = ref
        elseif namespace == '' and #found < limit then
            found[#found + 1] = {decode(tag), id, summary}
        end
    end
    position = position + #refs
end
for _, ref in ipairs(gone) do call('ZREM', index, ref) end
return found
""",
    writes=False,
)

VACUUM: Final = make_script(
    ENCODING,
    FORGET,
    _UNINDEX,
    _REMOVE,
    _PAGE,
    """
-- prefix, start, count, microsecond before which checkpoints go; returns how many went and where the page ended
local alive, last = page_of_threads(ARGV[2], tonumber(ARGV[3]))
local before, removed = tonumber(ARGV[4]), 0
for _, thread in ipairs(alive) do
    local tag = encode(thread)
    local base = prefix .. 't:{' .. tag .. '}:'
    for _, namespace in ipairs(call('SMEMBERS', base .. 'namespaces')) do
        for _, id in ipairs(call('ZRANGE', base .. 'order:' .. namespace, 0, -1)) do
            local summary = call('HGET', base .. 'data:' .. namespace, 's' .. id)
            if summary and tonumber(summary:match('^%d+')) < before then
                removed = removed + remove(tag, namespace, id)
            end
        end
    end
    if not is_alive(tag) then forget(thread, tag) end
end
return {removed, last}
""",
    writes=True,
)
