"""What `locus-memory doctor` says about a bucket: whether anything deletes, keeps or shows what it must not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import JsonValue

from locus_memory.backends.oci_bucket_client import ObjectStore
from locus_memory.backends.oci_bucket_errors import BucketMissingError, place
from locus_memory.backends.oci_bucket_layout import Layout
from locus_memory.connection import OCIBucketConnection
from locus_memory.diagnosis import Diagnosis, Finding, Level
from locus_memory.errors import AuthenticationError

T = TypeVar("T")

_DAY_SECONDS: Final = 86_400
_UNIT_DAYS: Final = {"DAYS": 1, "YEARS": 365}
_LOCAL: Final = ("localhost", "::1")


async def diagnose(store: ObjectStore) -> Diagnosis:
    """Ask the service about the bucket; what the principal may not see is a finding of its own."""
    document = store.connection
    where = document.namespace, document.bucket
    prefix = Layout(document.prefix).prefix
    facts: dict[str, JsonValue] = {
        "bucket": f"{document.bucket} in {document.namespace}",
        "prefix": prefix or "none",
        "auth": document.auth,
    }
    findings = _transport_findings(document)
    try:
        facts["endpoint"] = await store.inspect(
            lambda client: client.list_objects(*where, prefix=prefix, limit=1) and client.base_client.endpoint
        )
    except BucketMissingError:
        return Diagnosis(facts, (*findings, _missing(document)))
    bucket = await _seen(store, lambda client: client.get_bucket(*where, fields=["approximateSize"]).data)
    rules = await _seen(store, lambda client: _rules(client, where))
    if bucket is None or rules is None:
        message = "the principal may not read the bucket's settings, so versions and lifecycle rules are not known"
        advice = "allow it to read buckets in the compartment"
        findings.append(Finding(Level.INFO, "oci-bucket-unseen", message, advice))
    if bucket is not None:
        facts |= {
            "size of the bucket": f"about {(bucket.approximate_size or 0) / 2**20:,.1f} MiB",
            "versions": bucket.versioning,
            "encryption": "a Vault key" if bucket.kms_key_id else "Oracle's keys",
        }
        findings += bucket_findings(bucket.versioning, bucket.public_access_type)
    if rules is not None:
        findings += rule_findings(document, [rule for rule in rules if _covers(rule, prefix)])
    return Diagnosis(facts, tuple(findings))


async def _seen(store: ObjectStore, request: Callable[[Any], T]) -> T | None:
    try:
        return await store.inspect(request)
    except AuthenticationError:
        return None


def _rules(client: Any, where: tuple[str, str]) -> list[Any]:
    try:
        return list(client.get_object_lifecycle_policy(*where).data.items)
    except Exception as error:
        if getattr(error, "code", None) == "LifecyclePolicyNotFound":
            return []
        raise


def _covers(rule: Any, prefix: str) -> bool:
    """Tell whether a rule may reach objects below a prefix."""
    included = (rule.object_name_filter and rule.object_name_filter.inclusion_prefixes) or []
    patterns = rule.object_name_filter and rule.object_name_filter.inclusion_patterns
    near = any(prefix.startswith(each) or each.startswith(prefix) for each in included)
    return bool(rule.is_enabled and rule.target in (None, "objects") and (near or patterns or not included))


def _missing(document: OCIBucketConnection) -> Finding:
    message = f"{place(document)} does not exist, or the principal may not see it"
    if document.compartment_id is not None and document.tables != "provisioned":
        return Finding(Level.INFO, "oci-bucket-created", f"{message}; the first save creates it if it is missing")
    advice = "check its name, namespace and region, and the policies of the principal"
    return Finding(Level.ERROR, "oci-bucket-missing", message, advice)


def _transport_findings(document: OCIBucketConnection) -> list[Finding]:
    endpoint = urlsplit(document.service_endpoint or "")
    host = endpoint.hostname or ""
    if endpoint.scheme != "http" or host in _LOCAL or host.startswith("127."):
        return []
    message = f"requests to {host} are not encrypted: conversations can be read on the way"
    return [Finding(Level.WARNING, "oci-bucket-no-tls", message, "write an https:// service_endpoint")]


def bucket_findings(versioning: str | None, public_access: str | None) -> list[Finding]:
    """Tell whether the bucket keeps what was deleted, or shows it to everybody."""
    findings = []
    if versioning == "Enabled":
        message = (
            "the bucket keeps previous versions: what is deleted stays, and every save leaves a version of the head"
        )
        advice = "suspend versioning, or add a lifecycle rule that deletes previous versions"
        findings.append(Finding(Level.WARNING, "oci-bucket-versions", message, advice))
    if public_access not in (None, "NoPublicAccess"):
        message = f"the bucket is public ({public_access}): anyone can read conversations"
        findings.append(Finding(Level.ERROR, "oci-bucket-public", message, "set its access to NoPublicAccess"))
    return findings


def rule_findings(document: OCIBucketConnection, rules: Iterable[Any]) -> list[Finding]:
    """Tell whether lifecycle rules that reach the store's objects fit its retention."""
    retention = document.retention.max_age_seconds if document.retention else None
    findings = []
    for rule in rules:
        days = rule.time_amount * _UNIT_DAYS[rule.time_unit]
        if rule.action == "ARCHIVE":
            message = f"lifecycle rule {rule.name!r} archives objects after {days} days: then they cannot be loaded"
            advice = "have it delete them, or move them to infrequent access"
            findings.append(Finding(Level.WARNING, "oci-bucket-archived", message, advice))
        elif rule.action == "DELETE" and (retention is None or days * _DAY_SECONDS < retention):
            declared = "no retention is declared" if retention is None else "the retention declared is longer"
            message = f"lifecycle rule {rule.name!r} deletes objects after {days} days, and {declared}"
            advice = f"declare a retention of {days} days: until then, what it deletes is reported as damage"
            findings.append(Finding(Level.ERROR, "oci-bucket-retention", message, advice))
    return findings
