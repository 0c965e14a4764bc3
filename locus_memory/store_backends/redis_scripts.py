"""Keys and Lua scripts of the store on Redis: each call of the port is one script, hence one atomic round trip.

Below the prefix of a key space, beside the indexes of the checkpoints (so that the same ACL rules cover them):

    <prefix>i:s:all                  sorted set: namespaces with items, all with score 0, hence in byte order
    <prefix>i:s:keys:<namespace>     sorted set: keys, all with score 0
    <prefix>i:s:order:<namespace>    sorted set: key, by the number of its last write
    <prefix>i:s:expiry:<namespace>   sorted set: key, by the millisecond at which it expires
    <prefix>i:s:head:<namespace>     hash: key -> version, microseconds of first and last write, that millisecond or 0
    <prefix>i:s:data:<namespace>     hash: key -> payload
    <prefix>i:s:meta:<namespace>     hash: key -> metadata, where there is any
    <prefix>i:s:vector:<namespace>   hash: key -> 32-bit floats, little-endian, where there are any; of several
                                     vectors one after another, and then in two bytes how many they are

Where all items of a namespace expire, so do these keys; in other namespaces, each put takes away some of what has
expired. A namespace is written as by `namespace_text`, and belongs as a whole to one key space.
"""

from __future__ import annotations

from typing import Final

from locus_memory.backends.redis_lua import make_script

_NAMES: Final = """
local all = prefix .. 'i:s:all'
local function at(kind, ns) return prefix .. 'i:s:' .. kind .. ':' .. ns end
local time = call('TIME')
local microsecond = time[1] .. string.format('%06d', time[2])
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function is_live(head)
    if not head then return false end
    local expires = tonumber(head:match('%d+$'))
    return expires == 0 or expires > now
end
"""

_REMOVE: Final = """
local function remove(ns, key)
    for _, kind in ipairs({'head', 'data', 'meta', 'vector'}) do call('HDEL', at(kind, ns), key) end
    for _, kind in ipairs({'keys', 'order', 'expiry'}) do call('ZREM', at(kind, ns), key) end
end
"""

# The keys of a namespace expire with the last of its items, if all of them do.
_TOUCH: Final = """
local kinds = {'keys', 'order', 'expiry', 'head', 'data', 'meta', 'vector'}
local function touch(ns)
    local left = call('ZCARD', at('keys', ns))
    if left == 0 then
        call('ZREM', all, ns)
    elseif call('ZCARD', at('expiry', ns)) == left then
        local last = call('ZRANGE', at('expiry', ns), -1, -1, 'WITHSCORES')[2]
        for _, kind in ipairs(kinds) do call('PEXPIRE', at(kind, ns), math.max(1, last - now) + 1000) end
    else
        for _, kind in ipairs(kinds) do call('PERSIST', at(kind, ns)) end
    end
end
"""

PUT: Final = make_script(
    _NAMES,
    _REMOVE,
    _TOUCH,
    """
-- prefix, then for each item: namespace, key, payload, metadata or '', vector or '', milliseconds to live or 0
local seen = {}
for i = 2, #ARGV, 6 do
    local ns, key, ttl = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 5])
    local expiring = seen[ns]
    if expiring == nil then
        for _, gone in ipairs(call('ZRANGEBYSCORE', at('expiry', ns), '-inf', now, 'LIMIT', 0, 100)) do
            remove(ns, gone)
        end
        expiring = call('EXISTS', at('expiry', ns)) == 1 or call('EXISTS', at('keys', ns)) == 0
        call('ZADD', all, 0, ns)
    end
    seen[ns] = expiring or ttl > 0
    local head, version, created = call('HGET', at('head', ns), key), 1, microsecond
    if is_live(head) then
        local before, since = head:match('^(%d+) (%d+)')
        version, created = string.format('%d', before + 1), since
    end
    local expires = ttl > 0 and string.format('%.0f', now + ttl) or '0'
    call('HSET', at('head', ns), key, table.concat({version, created, microsecond, expires}, ' '))
    call('HSET', at('data', ns), key, ARGV[i + 2])
    for offset, kind in pairs({[3] = 'meta', [4] = 'vector'}) do
        if ARGV[i + offset] == '' then
            call('HDEL', at(kind, ns), key)
        else
            call('HSET', at(kind, ns), key, ARGV[i + offset])
        end
    end
    local last = call('ZRANGE', at('order', ns), -1, -1, 'WITHSCORES')[2] or 0
    call('ZADD', at('order', ns), last + 1, key)
    call('ZADD', at('keys', ns), 0, key)
    if ttl > 0 then call('ZADD', at('expiry', ns), expires, key) else call('ZREM', at('expiry', ns), key) end
end
for ns, expiring in pairs(seen) do
    if expiring then touch(ns) end
end
return 1
""",
    writes=True,
)

GET: Final = make_script(
    _NAMES,
    """
-- prefix, then for each item: namespace, key
local found = {}
for i = 2, #ARGV, 2 do
    local head = call('HGET', at('head', ARGV[i]), ARGV[i + 1])
    if is_live(head) then
        found[#found + 1] = {ARGV[i], ARGV[i + 1], head, call('HGET', at('data', ARGV[i]), ARGV[i + 1])}
    end
end
return found
""",
    writes=False,
)

TOUCH: Final = make_script(
    _NAMES,
    _TOUCH,
    """
-- prefix, then for each item: namespace, key, version, milliseconds to live
local touched = {}
for i = 2, #ARGV, 4 do
    local ns, key = ARGV[i], ARGV[i + 1]
    local head = call('HGET', at('head', ns), key)
    local version, rest, expires = (head or ''):match('^(%d+)( .* )(%d+)$')
    if version == ARGV[i + 2] and expires ~= '0' and is_live(head) then
        expires = string.format('%.0f', now + ARGV[i + 3])
        call('HSET', at('head', ns), key, version .. rest .. expires)
        call('ZADD', at('expiry', ns), expires, key)
        touched[ns] = true
    end
end
for ns in pairs(touched) do touch(ns) end
return 1
""",
    writes=True,
)

DELETE: Final = make_script(
    _NAMES,
    _REMOVE,
    _TOUCH,
    """
-- prefix, namespace, key
local head = call('HGET', at('head', ARGV[2]), ARGV[3])
if not head then return 0 end
remove(ARGV[2], ARGV[3])
touch(ARGV[2])
return is_live(head) and 1 or 0
""",
    writes=True,
)

CLEAR: Final = make_script(
    _NAMES,
    _TOUCH,
    """
-- prefix, namespace
local ns = ARGV[2]
local gone = call('ZRANGEBYSCORE', at('expiry', ns), '-inf', now)
local count = call('ZCARD', at('keys', ns)) - #gone
for _, kind in ipairs(kinds) do call('UNLINK', at(kind, ns)) end
call('ZREM', all, ns)
return count
""",
    writes=True,
)

LIST_KEYS: Final = make_script(
    _NAMES,
    """
-- prefix, namespace, start, count; returns keys, and the last one looked at where there may be more
local page, found = call('ZRANGEBYLEX', at('keys', ARGV[2]), ARGV[3], '+', 'LIMIT', 0, ARGV[4]), {}
for _, key in ipairs(page) do
    if is_live(call('HGET', at('head', ARGV[2]), key)) then found[#found + 1] = key end
end
return {found, #page == tonumber(ARGV[4]) and page[#page]}
""",
    writes=False,
)

# Ends a page early when it has enough bytes: values may be large.
PAGE: Final = make_script(
    _NAMES,
    """
-- prefix, namespace, highest number, lowest number, count, bytes, 'data' or 'vector'
-- returns rows of key, number, head, data or vector, metadata; and the last number looked at where there may be more
local ns, rows, size = ARGV[2], {}, 0
local page = call('ZRANGE', at('order', ns), ARGV[3], ARGV[4], 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[5], 'WITHSCORES')
for i = 1, #page, 2 do
    local key = page[i]
    local head, body = call('HGET', at('head', ns), key), call('HGET', at(ARGV[7], ns), key)
    if is_live(head) and body then
        rows[#rows + 1] = {key, page[i + 1], head, body, call('HGET', at('meta', ns), key) or ''}
        size = size + #body
        if size > tonumber(ARGV[6]) then return {rows, page[i + 1]} end
    end
end
return {rows, #page == 2 * tonumber(ARGV[5]) and page[#page]}
""",
    writes=False,
)

LIST_NAMESPACES: Final = make_script(
    _NAMES,
    """
-- prefix, start, count; returns namespaces, and the last one looked at or nothing
local page, found = call('ZRANGEBYLEX', all, ARGV[2], '+', 'LIMIT', 0, ARGV[3]), {}
for _, ns in ipairs(page) do
    local count = call('ZCARD', at('keys', ns))
    if count == 0 then
        call('ZREM', all, ns)
    elseif count > #call('ZRANGEBYSCORE', at('expiry', ns), '-inf', now, 'LIMIT', 0, count) then
        found[#found + 1] = ns
    end
end
return {found, page[#page] or false}
""",
    writes=False,
)
