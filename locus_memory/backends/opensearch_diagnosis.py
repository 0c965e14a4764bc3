"""What `locus-memory doctor` says about OpenSearch: whether the cluster may lose or refuse what is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from pydantic import JsonValue

from locus_memory.backends.opensearch_errors import INDEX_MISSING, Refusal
from locus_memory.connection import OpenSearchConnection
from locus_memory.diagnosis import Diagnosis, Finding, Level

if TYPE_CHECKING:
    from locus_memory.backends.opensearch_client import Client

_LOCAL: Final = ("localhost", "::1")
_BLOCKS: Final = ("index.blocks.write", "index.blocks.read_only", "index.blocks.read_only_allow_delete")


async def diagnose(client: Client) -> Diagnosis:
    """Ask the cluster about itself and the index; what the login may not see is a finding of its own."""
    document = client.connection
    server = _seen(client, await client.look("/"))
    settings = await client.look(
        f"/{quote(document.index_name, safe='')}/_settings", flat_settings="true", include_defaults="true"
    )
    facts: dict[str, JsonValue] = {
        "server": _server(server),
        "login": document.username or "none",
        "TLS": "yes" if all(host.startswith("https:") for host in document.hosts) else "no",
        "index": document.index_name,
    }
    findings = tls_findings(document)
    if server is not None and server.get("version", {}).get("distribution") != "opensearch":
        message = f"the server says that it is {_server(server)}, and nothing here was tried on that"
        findings.append(Finding(Level.WARNING, "opensearch-other", message, "bind OpenSearch 2 or later"))
    if isinstance(settings, Refusal) and settings.kind == INDEX_MISSING:
        return Diagnosis(facts, (*findings, _missing_index(document)))
    seen = _seen(client, settings)
    health = _seen(client, await client.look(f"/_cluster/health/{quote(document.index_name, safe='')}"))
    if seen is None or health is None:
        message = (
            "the login may not ask the cluster about the index, so its health and its settings are not known in full"
        )
        advice = "run doctor with an administrator's URL as well, or grant cluster_monitor and indices_monitor"
        findings.append(Finding(Level.INFO, "opensearch-unseen", message, advice))
    if health is not None:
        facts["health"] = f"{health['status']}, {health['number_of_data_nodes']} data nodes"
        findings += health_findings(health)
    for index in (seen or {}).values():
        every = {**index.get("defaults", {}), **index.get("settings", {})}
        facts |= {
            "shards": every.get("index.number_of_shards"),
            "replicas": every.get("index.number_of_replicas"),
            "refresh interval": every.get("index.refresh_interval"),
            "translog": every.get("index.translog.durability"),
        }
        findings += settings_findings(every)
    return Diagnosis(facts, tuple(findings))


def tls_findings(document: OpenSearchConnection) -> list[Finding]:
    """Tell whether somebody on the way can read along."""
    remote = [host for host in document.hosts if not _is_local(urlsplit(host).hostname or "")]
    plain = [host for host in remote if not host.startswith("https:")]
    if plain:
        message = (
            f"the connection to {plain[0]} is not encrypted: the password and conversations can be read on the way"
        )
        return [Finding(Level.WARNING, "opensearch-no-tls", message, "bind https:// hosts, with the ca")]
    if remote and not document.verify_certs:
        message = f"certificates are not verified: anyone may pose as {remote[0]}"
        return [Finding(Level.WARNING, "opensearch-tls-unverified", message, "turn verify_certs on, and give the ca")]
    return []


def health_findings(health: Mapping[str, Any]) -> list[Finding]:
    """Tell whether shards of the index are away."""
    if health["status"] == "red":
        message = "the index is red: a primary shard is away, and with it the conversations on it"
        return [Finding(Level.ERROR, "opensearch-red", message, "look at GET _cluster/allocation/explain")]
    if health["status"] == "yellow":
        message = (
            f"{health['unassigned_shards']} copies of shards of the index have no node: "
            "what is lost with one node may be lost for good"
        )
        return [Finding(Level.WARNING, "opensearch-yellow", message, "add data nodes, or repair the one that is away")]
    return []


def settings_findings(settings: Mapping[str, Any]) -> list[Finding]:
    """Tell what the settings of the index put at risk; names are flat, values are text."""
    findings = []
    blocks = [name for name in _BLOCKS if settings.get(name) == "true"]
    if blocks:
        message = f"{blocks[0]} is set: the index takes no writes"
        advice = "look for a full disk, on which the cluster sets it by itself; then set it to null"
        findings.append(Finding(Level.ERROR, "opensearch-read-only", message, advice))
    if (
        settings.get("index.number_of_replicas") == "0"
        and settings.get("index.auto_expand_replicas", "false") == "false"
    ):
        message = "the index has no replicas: a node that is lost takes conversations with it"
        findings.append(
            Finding(Level.WARNING, "opensearch-no-replicas", message, "set index.number_of_replicas to 1 or more")
        )
    if settings.get("index.translog.durability", "").lower() == "async":
        message = "index.translog.durability is async: a crash loses the last saves, though they had returned"
        findings.append(Finding(Level.WARNING, "opensearch-asynchronous", message, "set it to request"))
    if settings.get("index.replication.type") == "SEGMENT":
        message = "replicas follow by segments: searches and listings may miss for a moment what was just saved"
        findings.append(Finding(Level.INFO, "opensearch-segment-replication", message))
    return findings


def _seen(client: Client, answer: dict[str, Any] | Refusal) -> dict[str, Any] | None:
    """Return an answer; None if the login may not have it."""
    if not isinstance(answer, Refusal):
        return answer
    if answer.status == 403:
        return None
    raise client.error(answer)


def _server(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return "unknown"
    version = answer.get("version", {})
    product = (
        "OpenSearch" if version.get("distribution") == "opensearch" else str(answer.get("tagline", "something else"))
    )
    return f"{product} {version.get('number', '')}".strip()


def _missing_index(document: OpenSearchConnection) -> Finding:
    if document.tables == "provisioned":
        message = f"the binding says that the index {document.index_name!r} is provisioned, and it is missing"
        advice = "wait for the operator's next sweep, or save once with tables: auto"
        return Finding(Level.ERROR, "opensearch-no-index", message, advice)
    message = f"the index {document.index_name!r} is created with the first save"
    return Finding(Level.INFO, "opensearch-index-created", message)


def _is_local(host: str) -> bool:
    return host in _LOCAL or host.startswith("127.")
