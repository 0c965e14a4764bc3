"""What the settings of a Redis server mean for conversations."""

import pytest

from locus_memory.backends.redis_diagnosis import eviction_findings, persistence_findings, role_findings
from locus_memory.diagnosis import Level


@pytest.mark.parametrize(
    ("policy", "maxmemory", "ttl", "level"),
    [
        ("noeviction", 1, None, None),
        ("allkeys-lru", 1, None, Level.WARNING),
        ("allkeys-random", 1, 60, Level.WARNING),
        ("allkeys-lfu", 0, None, Level.INFO),
        ("volatile-ttl", 1, None, None),
        ("volatile-ttl", 1, 60, Level.INFO),
        ("volatile-ttl", 0, 60, None),
    ],
)
def test_a_server_that_throws_conversations_away_is_noticed(
    policy: str, maxmemory: int, ttl: int | None, level: Level | None
) -> None:
    assert [finding.level for finding in eviction_findings(policy, maxmemory, ttl)] == ([level] if level else [])


@pytest.mark.parametrize(
    ("aof", "settings", "info", "codes"),
    [
        (True, {"appendfsync": "always", "save": ""}, {}, []),
        (True, {"appendfsync": "everysec", "save": ""}, {}, ["redis-everysec"]),
        (True, {"appendfsync": "no", "save": ""}, {}, ["redis-not-synced"]),
        (True, {}, {}, []),
        (False, {"appendfsync": "everysec", "save": ""}, {}, ["redis-not-persistent"]),
        (False, {"appendfsync": "everysec", "save": "3600 1"}, {}, ["redis-snapshots-only"]),
        (False, {}, {}, ["redis-snapshots-only"]),
        (True, {"appendfsync": "always"}, {"rdb_last_bgsave_status": "err"}, ["redis-disk"]),
        (True, {"appendfsync": "always"}, {"aof_last_write_status": "err"}, ["redis-disk"]),
    ],
)
def test_what_a_crash_loses_is_said(
    aof: bool, settings: dict[str, str], info: dict[str, str], codes: list[str]
) -> None:
    assert [finding.code for finding in persistence_findings(aof=aof, settings=settings, info=info)] == codes


def test_a_replica_is_an_error() -> None:
    assert [finding.level for finding in role_findings("slave")] == [Level.ERROR]
    assert role_findings("master") == []
