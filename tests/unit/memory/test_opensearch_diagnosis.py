"""What the state of a cluster and the settings of an index mean for conversations."""

from typing import Any

import pytest

from locus_memory.backends.opensearch_diagnosis import health_findings, settings_findings, tls_findings
from locus_memory.connection import OpenSearchConnection
from locus_memory.diagnosis import Level

REPLICATED = {"index.number_of_replicas": "1"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (REPLICATED, []),
        ({"index.number_of_replicas": "0"}, ["opensearch-no-replicas"]),
        ({"index.number_of_replicas": "0", "index.auto_expand_replicas": "false"}, ["opensearch-no-replicas"]),
        ({"index.number_of_replicas": "0", "index.auto_expand_replicas": "0-1"}, []),
        ({**REPLICATED, "index.translog.durability": "ASYNC"}, ["opensearch-asynchronous"]),
        ({**REPLICATED, "index.translog.durability": "request"}, []),
        ({**REPLICATED, "index.blocks.read_only_allow_delete": "true"}, ["opensearch-read-only"]),
        ({**REPLICATED, "index.blocks.write": "false"}, []),
        ({**REPLICATED, "index.replication.type": "SEGMENT"}, ["opensearch-segment-replication"]),
    ],
)
def test_what_the_settings_put_at_risk_is_said(settings: dict[str, str], expected: list[str]) -> None:
    assert [finding.code for finding in settings_findings(settings)] == expected


@pytest.mark.parametrize(
    ("health", "level"),
    [
        ({"status": "green", "unassigned_shards": 0}, None),
        ({"status": "yellow", "unassigned_shards": 1}, Level.WARNING),
        ({"status": "red", "unassigned_shards": 2}, Level.ERROR),
    ],
)
def test_shards_that_are_away_are_noticed(health: dict[str, Any], level: Level | None) -> None:
    assert [finding.level for finding in health_findings(health)] == ([level] if level else [])


@pytest.mark.parametrize(
    ("hosts", "verify", "expected"),
    [
        (("http://localhost:9200", "http://127.0.0.1:9200", "http://[::1]:9200"), True, []),
        (("https://search:9200",), True, []),
        (("https://search:9200", "http://other:9200"), True, ["opensearch-no-tls"]),
        (("https://search:9200",), False, ["opensearch-tls-unverified"]),
    ],
)
def test_who_can_read_along_is_said(hosts: tuple[str, ...], verify: bool, expected: list[str]) -> None:
    document = OpenSearchConnection(hosts=hosts, verify_certs=verify)
    assert [finding.code for finding in tls_findings(document)] == expected
