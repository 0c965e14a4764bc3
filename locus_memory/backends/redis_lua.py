"""Lua functions that the scripts of the Redis backend share, and how a script is put together of them."""

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
UNINDEX: Final = """
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

# What each write does about expiry; needs `thread`, `tag`, `ttl` and `time`.
EXPIRY: Final = (
    """
if ttl > 0 or call('ZSCORE', prefix .. 'i:expiry', thread) then
    """
    + ENCODING
    + FORGET
    + TOUCH
    + """
    local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    touch(thread, tag, ttl, now_ms)
    -- Each write adds at most one thread that will expire, and clears up after at most two that did.
    for _, gone in ipairs(call('ZRANGEBYSCORE', prefix .. 'i:expiry', '-inf', now_ms - 1000, 'LIMIT', 0, 2)) do
        local gone_tag = encode(gone)
        if call('EXISTS', prefix .. 't:{' .. gone_tag .. '}:namespaces') == 0 then forget(gone, gone_tag) end
    end
end
"""
)

NOW_MS: Final = """
local function now_ms()
    local time = call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
"""

# For more arguments than Lua can hand over at once.
PORTIONS: Final = """
local function in_portions(command, key, list)
    for i = 1, #list, 4000 do call(command, key, unpack(list, i, math.min(i + 3999, #list))) end
end
local function values(key, fields)
    local found = {}
    for i = 1, #fields, 4000 do
        for _, value in ipairs(call('HMGET', key, unpack(fields, i, math.min(i + 3999, #fields)))) do
            found[#found + 1] = value
        end
    end
    return found
end
"""

# Counts a checkpoint out of the parts that it named; those that no other one names go.
RELEASE: Final = """
local function release(data, packed)
    local names, counters, changed, gone = cmsgpack.unpack(packed), {}, {}, {}
    for i, name in ipairs(names) do counters[i] = 'c' .. name end
    for i, count in ipairs(values(data, counters)) do
        if tonumber(count or 0) > 1 then
            changed[#changed + 1], changed[#changed + 2] = counters[i], count - 1
        else
            gone[#gone + 1], gone[#gone + 2] = counters[i], 'd' .. names[i]
        end
    end
    in_portions('HSET', data, changed)
    in_portions('HDEL', data, gone)
end
"""

# The fields that hold the pending writes of a checkpoint, from the list of their places.
WRITE_FIELDS: Final = """
local function write_fields(id, list)
    local fields = {}
    for place in (list or ''):gmatch('%S*|%S+') do fields[#fields + 1] = 'w' .. #id .. ':' .. id .. place end
    return fields
end
"""

# Takes a checkpoint out, with its pending writes, and a thread that then has none.
REMOVE: Final = (
    PORTIONS
    + RELEASE
    + WRITE_FIELDS
    + """
local function drop_if_empty(thread, tag)
    local base = prefix .. 't:{' .. tag .. '}:'
    local namespaces = call('SMEMBERS', base .. 'namespaces')
    for _, namespace in ipairs(namespaces) do
        if call('EXISTS', base .. 'order:' .. namespace) == 1 then return end
    end
    for _, namespace in ipairs(namespaces) do call('UNLINK', base .. 'data:' .. namespace) end
    call('UNLINK', base .. 'namespaces')
    forget(thread, tag)
end
local function remove(thread, tag, namespace, id)
    local base = prefix .. 't:{' .. tag .. '}:'
    local order, data = base .. 'order:' .. namespace, base .. 'data:' .. namespace
    local removed = call('ZREM', order, id)
    if removed == 1 and call('EXISTS', order) == 0 then
        call('UNLINK', data)
    else
        local held = call('HMGET', data, 'n' .. id, 'l' .. id)
        if held[1] then release(data, held[1]) end
        in_portions('HDEL', data, write_fields(id, held[2]))
        call('HDEL', data, 's' .. id, 'p' .. id, 'n' .. id, 'l' .. id)
    end
    if removed == 1 then unindex(tag, tag .. '|' .. namespace .. '|' .. encode(id)) end
    if call('EXISTS', order, data) == 0 then
        call('SREM', base .. 'namespaces', namespace)
        if removed == 1 or call('EXISTS', base .. 'namespaces') == 0 then drop_if_empty(thread, tag) end
    end
    return removed
end
"""
)

PAGE: Final = """
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
