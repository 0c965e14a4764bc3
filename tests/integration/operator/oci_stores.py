"""Stores in OCI: agents with keys of their own, and operators that may do what the documentation lists."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import oci  # type: ignore[import-untyped]

from locus_operator.engine import Reconciled
from tests.integration.operator.stores import NAMESPACE, Store
from tests.servers.oci import COMPARTMENT, REGION, TENANCY, ApiKey, ObjectStorageServer

OPERATOR_STATEMENTS = (
    f"Allow group locus-operators to manage buckets in compartment id {COMPARTMENT}",
    f"Allow group locus-operators to manage objects in compartment id {COMPARTMENT}",
)
POLICY_STATEMENT = f"Allow group locus-operators to manage policies in compartment id {COMPARTMENT}"


@dataclass
class BucketStore(Store):
    """A store in OCI; when the operator may not write policies, an administrator does as the status says."""

    server: ObjectStorageServer = field(kw_only=True)

    @property
    def bucket(self) -> str:
        given: str | None = self.backend["ociBucket"].get("bucketName")
        return given or f"locus_{NAMESPACE}_{self.name}"

    @property
    def prefix(self) -> str:
        return str(self.backend["ociBucket"].get("prefix", ""))

    async def reconcile(self) -> Reconciled:
        done = await super().reconcile()
        add_policy(self.server, done.iam_statements)
        return done

    def successor(self) -> BucketStore:
        return BucketStore(self.backend, self.sources, name=self.name, uid="uid-2", server=self.server)

    def sibling(self) -> BucketStore:
        backend = dict(self.backend["ociBucket"])
        if self.prefix:
            backend["prefix"] = f"{secrets.token_hex(4)}/"
        sources = {**self.sources, "agents": api_key_secret(agents_key(self.server))}
        return BucketStore({"ociBucket": backend}, sources, server=self.server)

    def change(self, **fields: Any) -> None:
        """Change fields of the backend."""
        self.backend = {"ociBucket": {**self.backend["ociBucket"], **fields}}

    def agents_client(self) -> Any:
        """The SDK's client, with the agents' key."""
        data = self.sources["agents"]
        return self.server.client(ApiKey(data["user"], data["fingerprint"], data["privateKey"]))


def bucket_backend(server: ObjectStorageServer, *, policies: bool = True, prefix: str = "") -> BucketStore:
    """A store on an emulator without buckets and policies, but for a shared one where there is a prefix."""
    reset(server)
    operator = server.create_key("ocid1.user.oc1..operator", {})
    server.admin("PUT", "principals", {"name": operator.user, "subjects": ["group locus-operators"]})
    add_policy(server, (*OPERATOR_STATEMENTS, *([POLICY_STATEMENT] if policies else [])))
    auth = {side: {"type": "apiKey", "secretRef": {"name": side}} for side in ("operator", "agents")}
    backend: dict[str, Any] = {
        "compartmentId": COMPARTMENT,
        "region": REGION,
        "endpoint": server.endpoint,
        "identityEndpoint": server.endpoint,
        "auth": auth,
    }
    if prefix:
        server.create_bucket("shared")
        backend |= {"bucketName": "shared", "prefix": prefix}
    sources = {"operator": api_key_secret(operator), "agents": api_key_secret(agents_key(server))}
    return BucketStore({"ociBucket": backend}, sources, server=server)


def reset(server: ObjectStorageServer) -> None:
    """Remove buckets, policies and faults, and have lifecycle rules need a statement, as they do in OCI."""
    server.admin("DELETE", "buckets")
    server.admin("DELETE", "faults")
    server.admin("PUT", "settings", {"lifecycle_authorized": False})


def agents_key(server: ObjectStorageServer) -> ApiKey:
    """A key of a new user that may do nothing."""
    return server.create_key(f"ocid1.user.oc1..agent{secrets.token_hex(6)}", {})


def api_key_secret(key: ApiKey) -> dict[str, str]:
    """What people write into a Secret for `apiKey`."""
    return {"tenancy": TENANCY, "user": key.user, "fingerprint": key.fingerprint, "privateKey": key.private_key}


def add_policy(server: ObjectStorageServer, statements: Sequence[str], compartment: str = COMPARTMENT) -> None:
    """Add statements as an administrator of the tenancy, once."""
    if not statements:
        return
    client = identity_client(server)
    details = oci.identity.models.CreatePolicyDetails(
        compartment_id=compartment,
        name=f"by-hand-{hashlib.sha256(repr(statements).encode()).hexdigest()[:16]}",
        description="added by an administrator",
        statements=list(statements),
    )
    try:
        client.create_policy(details)
    except oci.exceptions.ServiceError as error:
        if error.code != "PolicyAlreadyExists":
            raise


def identity_client(server: ObjectStorageServer) -> Any:
    """The SDK's client of the Identity API, as an administrator of the tenancy."""
    key = server.key
    names = {"user": key.user, "tenancy": TENANCY, "fingerprint": key.fingerprint, "key_content": key.private_key}
    return oci.identity.IdentityClient(
        {"region": REGION, **names},
        signer=oci.signer.Signer(TENANCY, key.user, key.fingerprint, None, private_key_content=key.private_key),
        service_endpoint=server.endpoint,
        retry_strategy=oci.retry.NoneRetryStrategy(),
        circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
    )


def policies(server: ObjectStorageServer) -> list[Any]:
    """The policies that the operator has written."""
    found: Iterable[Any] = identity_client(server).list_policies(COMPARTMENT).data
    return [each for each in found if not each.name.startswith("by-hand")]
