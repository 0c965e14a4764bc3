"""What `locus-memory doctor` says about a Redis store: whether the server may forget what was saved, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from pydantic import JsonValue

from locus_memory.connection import RedisConnection
from locus_memory.diagnosis import Diagnosis, Finding, Level
from locus_memory.errors import AuthenticationError

Ask = Callable[..., Awaitable[Any]]
"""Runs a command that touches no key on a server in charge."""

_ADVICE: Final = "run doctor with an administrator's URL as well, and look at eviction and persistence there"
_LOCAL: Final = ("localhost", "::1")


async def diagnose(ask: Ask, document: RedisConnection) -> Diagnosis:
    """Ask a server about itself; an agent's login is rarely allowed to, which is a finding of its own."""
    facts: dict[str, JsonValue] = {
        "mode": document.mode,
        "key prefix": document.key_prefix,
        "time to live": "none" if document.ttl_seconds is None else f"{document.ttl_seconds} s",
        "TLS": "yes" if document.tls else "no",
    }
    findings = _tls_findings(document)
    try:
        info: Mapping[str, Any] = await ask("INFO")
    except AuthenticationError:
        message = "the login may not ask the server about itself, so eviction and persistence are unknown"
        return Diagnosis(facts, (*findings, Finding(Level.INFO, "redis-unseen", message, _ADVICE)))
    product = "Valkey" if "valkey_version" in info else "Redis"
    facts = {
        "server": f"{product} {info.get('valkey_version', info.get('redis_version'))}",
        "role": info.get("role"),
        **facts,
        "maxmemory": info.get("maxmemory_human"),
        "maxmemory-policy": info.get("maxmemory_policy"),
        "append-only file": "on" if info.get("aof_enabled") else "off",
    }
    settings = await _settings(ask)
    facts |= {name: value or "none" for name, value in settings.items()}
    findings += [
        *role_findings(str(info.get("role"))),
        *eviction_findings(str(info.get("maxmemory_policy")), int(info.get("maxmemory", 0)), document.ttl_seconds),
        *persistence_findings(aof=bool(info.get("aof_enabled")), settings=settings, info=info),
    ]
    return Diagnosis(facts, tuple(findings))


def role_findings(role: str) -> list[Finding]:
    """Tell whether the server takes writes."""
    if role != "slave":
        return []
    message = "the server is a replica, which takes no writes"
    return [Finding(Level.ERROR, "redis-replica", message, "bind the primary, or its Sentinels (redis+sentinel://)")]


def eviction_findings(policy: str, maxmemory: int, ttl_seconds: int | None) -> list[Finding]:
    """Tell whether a server that is full throws threads away, or parts of them."""
    if policy == "noeviction":
        return []
    if policy.startswith("allkeys-"):
        when = "when its memory is full" if maxmemory else "as soon as maxmemory is set and reached"
        message = f"maxmemory-policy is {policy}: the server deletes conversations {when}, and says nothing"
        advice = "set maxmemory-policy to noeviction, or to volatile-ttl when threads have a time to live"
        return [Finding(Level.WARNING if maxmemory else Level.INFO, "redis-evicts", message, advice)]
    if ttl_seconds is not None and maxmemory:
        message = f"maxmemory-policy is {policy}: threads may go before their {ttl_seconds} s are over"
        return [
            Finding(Level.INFO, "redis-evicts-early", message, "set maxmemory-policy to noeviction if they may not")
        ]
    return []


def persistence_findings(*, aof: bool, settings: Mapping[str, str], info: Mapping[str, Any]) -> list[Finding]:
    """Tell what a crash of the server loses.

    Args:
        aof: Whether there is an append-only file.
        settings: `appendfsync` and `save`, where they may be seen.
        info: What INFO answers.
    """
    findings = []
    if info.get("rdb_last_bgsave_status", "ok") != "ok" or info.get("aof_last_write_status", "ok") != "ok":
        message = "the server could not write to its disk lately, and may refuse saves because of that"
        findings.append(Finding(Level.WARNING, "redis-disk", message, "look into its log and at its disk"))
    if aof and settings.get("appendfsync") == "no":
        message = "appendfsync is no: a crash of the machine loses what its system had not written yet"
        findings.append(Finding(Level.WARNING, "redis-not-synced", message, "set appendfsync to everysec or always"))
    elif aof and settings.get("appendfsync") == "everysec":
        message = "appendfsync is everysec: a crash of the machine may lose the last second of saves"
        findings.append(Finding(Level.INFO, "redis-everysec", message, "set appendfsync to always if it may not"))
    elif not aof and settings.get("save") == "":
        message = "the server writes nothing to disk: a restart loses all conversations"
        findings.append(Finding(Level.WARNING, "redis-not-persistent", message, "set appendonly to yes"))
    elif not aof:
        message = "there is no append-only file: a crash loses everything since the last snapshot"
        findings.append(Finding(Level.WARNING, "redis-snapshots-only", message, "set appendonly to yes"))
    return findings


async def _settings(ask: Ask) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name in ("appendfsync", "save"):
        try:
            found = await ask("CONFIG", "GET", name)
        except AuthenticationError:
            return {}
        settings |= {_text(key): _text(value) for key, value in dict(found).items()}
    return settings


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _tls_findings(document: RedisConnection) -> list[Finding]:
    hosts = [address.host for address in document.addresses]
    if document.tls or all(host in _LOCAL or host.startswith("127.") for host in hosts):
        return []
    message = f"the connection to {hosts[0]} is not encrypted: the password and conversations can be read on the way"
    return [Finding(Level.WARNING, "redis-no-tls", message, "use rediss://, or set tls in the binding")]
