"""Retention in Redis: what a time to live cannot do, or was not asked to do when something was written.

Agents give their threads a time to live with each write. That leaves the old checkpoints of a thread that goes on, the
number of its checkpoints, and the threads that were written under another policy, or none. Scripts look at a few
threads each. They judge by the server's clock, which also dated the checkpoints.

The last write of a thread is that of its youngest checkpoint, in any namespace, whatever the order: some may have been
imported. Pending writes have no date. A thread whose latest checkpoint has some, and one that has nothing else, is
left as long as it has, up to the whole time to live.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from locus_memory.backends.redis_lua import ENCODING, FORGET, PAGE, REMOVE, UNINDEX, make_script

THREADS: Final = 100
"""Threads that one script looks at, at most: the server serves nobody else meanwhile."""

SLACK_MILLISECONDS: Final = 1000
"""An expiry that differs by less is left as it is."""

RETENTION_COMMANDS: Final = (
    "eval",
    "evalsha",
    "time",
    "exists",
    "unlink",
    "pttl",
    "pexpire",
    "hget",
    "hset",
    "hdel",
    "hgetall",
    "hmget",
    "hexists",
    "smembers",
    "srem",
    "zadd",
    "zrem",
    "zcard",
    "zscore",
    "zrange",
    "zrangebylex",
)
"""What the login that runs these scripts needs, on the keys of the key space."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long what is kept.

    Attributes:
        max_age_milliseconds: Checkpoints older than this go, also those of threads that go on; 0 for none.
        max_checkpoints: So many are kept of each thread's history (of each namespace of it), the latest; 0 for all.
        ttl_milliseconds: A thread goes as a whole this long after its last write; 0 for never.
        reads_count: Reading a thread postpones that.
    """

    max_age_milliseconds: int = 0
    max_checkpoints: int = 0
    ttl_milliseconds: int = 0
    reads_count: bool = False

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        """What the scripts get of it."""
        return self.max_age_milliseconds, self.max_checkpoints, self.ttl_milliseconds, int(self.reads_count)

    def __bool__(self) -> bool:
        return any(self.arguments[:3])


def threads_pattern(prefix: str, *, clustered: bool) -> str:
    """Return a pattern for SCAN that one key of each thread matches.

    Args:
        prefix: Of all keys, as a pattern.
        clustered: The threads are spread over buckets.
    """
    return f"{prefix}t:{{*}}:t:{{*}}:namespaces" if clustered else f"{prefix}t:{{*}}:namespaces"


def thread_at(key: str) -> tuple[str, str] | None:
    """Return the prefix of the key space and the tag of the thread that a key with this pattern belongs to."""
    # Items of long-term memory have any name, and may look alike.
    match = _THREAD_KEY.fullmatch(key)
    return (match[1], match[2]) if match else None


_THREAD_KEY: Final = re.compile(r"(.*)t:\{([A-Za-z0-9_.~%-]*)\}:namespaces", re.DOTALL)

_KEEP: Final = """
local max_age, keep, ttl, reads = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local time = call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local before = max_age > 0 and (now_ms - max_age) * 1000
local removed, looked, most_looked, most_removed = 0, 0, 5000, 500

local function is_enough() return removed >= most_removed end

-- Returns the microsecond of the youngest checkpoint that stays, if there is any.
local function thin_out(thread, tag, namespace)
    local base = prefix .. 't:{' .. tag .. '}:'
    local order, data, youngest = base .. 'order:' .. namespace, base .. 'data:' .. namespace, nil
    local surplus = keep > 0 and call('ZCARD', order) - keep or 0
    if surplus > 0 then
        for _, id in ipairs(call('ZRANGE', order, 0, math.min(surplus, most_removed - removed) - 1)) do
            removed = removed + remove(thread, tag, namespace, id)
        end
        if is_enough() then return end
    end
    local ids = call('ZRANGE', order, 0, -1)
    looked = looked + #ids
    for first = 1, #ids, 1000 do
        local fields = {}
        for i = first, math.min(first + 999, #ids) do fields[#fields + 1] = 's' .. ids[i] end
        for i, summary in ipairs(call('HMGET', data, unpack(fields))) do
            local microsecond = tonumber((summary or ''):match('^%-?%d+'))
            if before and microsecond and microsecond < before then
                removed = removed + remove(thread, tag, namespace, ids[first + i - 1])
                if is_enough() then return end
            elseif microsecond and (not youngest or microsecond > youngest) then
                youngest = microsecond
            end
        end
    end
    return youngest
end

local function has_undated_writes(base, namespace)
    local latest = call('ZRANGE', base .. 'order:' .. namespace, -1, -1)[1]
    return not latest or call('HEXISTS', base .. 'data:' .. namespace, 'l' .. latest) == 1
end

-- Makes all keys of a thread expire at once, in so many milliseconds.
local function align(thread, base, namespaces, left)
    local keys = {base .. 'namespaces'}
    for _, namespace in ipairs(namespaces) do
        keys[#keys + 1], keys[#keys + 2] = base .. 'order:' .. namespace, base .. 'data:' .. namespace
    end
    local aligned = true
    for _, key in ipairs(keys) do
        local has = call('PTTL', key)
        if has == -1 or has >= 0 and math.abs(has - left) > SLACK then
            call('PEXPIRE', key, left)
            aligned = false
        end
    end
    if not aligned then call('ZADD', prefix .. 'i:expiry', now_ms + left, thread) end
end

local function expire(thread, tag, namespaces, youngest, undated)
    local base, due = prefix .. 't:{' .. tag .. '}:', nil
    if youngest then due = math.floor(youngest / 1000) + ttl - now_ms end
    if reads or undated or not due then
        -- Its keys know better, unless they have no time to live, or one from another policy.
        local has = call('PTTL', base .. 'namespaces')
        if has < 0 or has > ttl then has = ttl end
        due = math.max(due or has, has)
    end
    if due > 0 then return align(thread, base, namespaces, due) end
    for _, namespace in ipairs(namespaces) do
        removed = removed + call('ZCARD', base .. 'order:' .. namespace)
        call('UNLINK', base .. 'order:' .. namespace, base .. 'data:' .. namespace)
    end
    call('UNLINK', base .. 'namespaces')
    forget(thread, tag)
end

local function retain(thread, tag)
    local base, youngest, undated = prefix .. 't:{' .. tag .. '}:', nil, false
    for _, namespace in ipairs(call('SMEMBERS', base .. 'namespaces')) do
        local microsecond = thin_out(thread, tag, namespace)
        -- What is left is looked at next time, and whether the thread expires.
        if is_enough() then return end
        if microsecond and (not youngest or microsecond > youngest) then youngest = microsecond end
    end
    local left = call('SMEMBERS', base .. 'namespaces')
    for _, namespace in ipairs(left) do undated = undated or has_undated_writes(base, namespace) end
    if ttl > 0 and left[1] then expire(thread, tag, left, youngest, undated) end
end
""".replace("SLACK", str(SLACK_MILLISECONDS))

RETAIN: Final = make_script(
    ENCODING,
    FORGET,
    UNINDEX,
    REMOVE,
    PAGE,
    _KEEP,
    """
-- prefix, policy (four numbers), start, count; returns how many checkpoints went, and where to go on or nothing
local start = ARGV[6]
for _, thread in ipairs(call('ZRANGEBYLEX', prefix .. 'i:threads', start, '+', 'LIMIT', 0, tonumber(ARGV[7]))) do
    local tag = encode(thread)
    if is_alive(tag) then retain(thread, tag) else forget(thread, tag) end
    looked = looked + 1
    -- Of this one more may have to go.
    if is_enough() then return {removed, '[' .. thread} end
    start = '(' .. thread
    if looked >= most_looked then break end
end
return {removed, start ~= ARGV[6] and start}
""",
    writes=True,
)
"""Goes through the index of threads."""

RETAIN_UNLISTED: Final = make_script(
    ENCODING,
    FORGET,
    UNINDEX,
    REMOVE,
    PAGE,
    _KEEP,
    """
-- prefix, policy (four numbers), tags...; returns how many checkpoints went
for i = 6, #ARGV do
    local thread = decode(ARGV[i])
    local is_listed = call('ZSCORE', prefix .. 'i:threads', thread)
    if not is_listed and not is_enough() and is_alive(ARGV[i]) then retain(thread, ARGV[i]) end
end
return removed
""",
    writes=True,
)
"""Looks at threads that the index does not list: they have pending writes alone, or were written by hand."""
