"""Lua scripts of the Redis backend: each call of the storage port is one script, hence one atomic round trip.

`redis_keys` says where things are. `ARGV[1]` is always the prefix of a key space; a `tag` is an encoded thread id,
namespaces are passed encoded, and thread and checkpoint ids as they are. Scripts build key names themselves, so that
they can clean up after threads that expired: their data is gone by then, and only the indexes still mention them.

`PUT` and `GET` are run for every save and load. The server builds each function of a script anew on every run, so
these two define the functions that they rarely need where they need them.
"""

from __future__ import annotations

from typing import Final

from locus_memory.backends.redis_lua import (
    ENCODING,
    EXPIRY,
    FORGET,
    NOW_MS,
    PAGE,
    PORTIONS,
    RELEASE,
    REMOVE,
    TOUCH,
    UNINDEX,
    Script,
    make_script,
)


def _put(check: str = "", keep: str = "if before then call('HDEL', data, 'n' .. id) end") -> Script:
    return make_script(
        """
-- prefix, thread, tag, namespace, id, payload, summary without its time, encoded id, ttl, mode, expected,
-- microsecond of the write or nothing for now, number of index keys, index keys...
local thread, tag, namespace, id, ttl = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[9])
local base, last = prefix .. 't:{' .. tag .. '}:', 13 + ARGV[13]
local order, data = base .. 'order:' .. namespace, base .. 'data:' .. namespace
local latest = call('ZRANGE', order, -1, -1, 'WITHSCORES')
if ARGV[10] == 'first' and latest[1] or ARGV[10] == 'next' and latest[1] ~= ARGV[11] then return 0 end
""",
        check,
        """
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
local microsecond = ARGV[12] ~= '' and ARGV[12] or time[1] .. string.format('%06d', time[2])
call('HSET', data, 's' .. id, microsecond .. ARGV[7], 'p' .. id, ARGV[6])
local added = call('ZADD', order, (tonumber(latest[2]) or 0) + 1, id)
local before = added == 0 and call('HGET', data, 'n' .. id)
""",
        keep,
        """
if before then
    """,
        PORTIONS,
        RELEASE,
        """
    release(data, before)
end
if added == 0 or last > 13 then
    """,
        UNINDEX,
        """
    local ref = tag .. '|' .. namespace .. '|' .. ARGV[8]
    unindex(tag, ref)
    if last > 13 then
        for i = 14, last do call('ZADD', ARGV[i], microsecond, ref) end
        call('HSET', prefix .. 'i:refs:' .. tag, ref, table.concat(ARGV, '\\n', 14, last))
    end
end
""",
        EXPIRY,
        "return 1",
        writes=True,
    )


PUT: Final = _put()

# As PUT, then: number of new parts, {name, bytes}..., names of the others. Returns -1 when one of those is missing.
PUT_WITH_PARTS: Final = _put(
    PORTIONS
    + """
local new, names, counters = tonumber(ARGV[last + 1]), {}, {}
for i = last + 2, last + 2 * new, 2 do names[#names + 1] = ARGV[i] end
for i = last + 2 * new + 2, #ARGV do names[#names + 1] = ARGV[i] end
for i, name in ipairs(names) do counters[i] = 'c' .. name end
local counts = values(data, counters)
for i = new + 1, #names do if not counts[i] then return -1 end end
""",
    """
local kept = {'n' .. id, cmsgpack.pack(names)}
for i, name in ipairs(names) do
    kept[#kept + 1], kept[#kept + 2] = counters[i], (counts[i] or 0) + 1
    if not counts[i] then kept[#kept + 1], kept[#kept + 2] = 'd' .. name, ARGV[last + 2 * i + 1] end
end
in_portions('HSET', data, kept)
""",
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
    UNINDEX,
    REMOVE,
    """
-- prefix, thread, tag, namespace, id
return remove(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
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
local namespaces, saved = call('SMEMBERS', from .. 'namespaces'), 0
for _, namespace in ipairs(namespaces) do saved = saved + call('EXISTS', from .. 'order:' .. namespace) end
if saved == 0 then return 0 end
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

LIST_NAMESPACES: Final = make_script(
    """
-- prefix, tag; returns the namespaces that hold checkpoints
local base, found = prefix .. 't:{' .. ARGV[2] .. '}:', {}
for _, namespace in ipairs(call('SMEMBERS', base .. 'namespaces')) do
    if call('EXISTS', base .. 'order:' .. namespace) == 1 then found[#found + 1] = namespace end
end
return found
""",
    writes=False,
)

LIST_THREADS: Final = make_script(
    ENCODING,
    FORGET,
    PAGE,
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
    PAGE,
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
    UNINDEX,
    REMOVE,
    PAGE,
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
            if summary and tonumber(summary:match('^%-?%d+')) < before then
                removed = removed + remove(thread, tag, namespace, id)
            end
        end
    end
end
return {removed, last}
""",
    writes=True,
)
