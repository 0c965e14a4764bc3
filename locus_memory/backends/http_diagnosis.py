"""What `locus-memory doctor` says about a checkpoint service."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from locus_memory.backends.http_service import Service
from locus_memory.diagnosis import Diagnosis, Finding, Level
from locus_memory.wire import HISTORY, TRANSFERS


def service_diagnosis(base_url: str, service: Service) -> Diagnosis:
    """Say what a service is, from what it says of itself."""
    findings = _tls_findings(base_url)
    if service.operations is None:
        message = "the service has the six basic routes alone: no search, no listing of threads, no compare-and-set"
        findings.append(Finding(Level.INFO, "http-basic-routes", message, "`locus-memory serve` has all operations"))
    facts = {
        "server": service.name,
        "service": base_url,
        "versioned history": "yes" if HISTORY in service.extras else "no",
        "transfers": "yes" if TRANSFERS in service.extras else "no",
    }
    return Diagnosis(facts, tuple(findings))


def _tls_findings(base_url: str) -> list[Finding]:
    parts = urlsplit(base_url)
    if parts.scheme == "https" or _is_local(parts.hostname or ""):
        return []
    message = f"the connection to {parts.hostname} is not encrypted: tokens and conversations can be read on the way"
    return [Finding(Level.WARNING, "http-no-tls", message, "bind an https:// URL, with the ca")]


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
