"""`spec.backend.redis`: Redis and Valkey."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from locus_operator.api.duration import Duration
from locus_operator.api.references import AdminSecretRef, CertificateAuthority
from locus_operator.api.rules import SpecModel, fixed_at_creation, rule
from locus_operator.api.shapes import Addresses, Text, Whole


class RedisMode(StrEnum):
    """How the servers belong together."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class RedisTTL(SpecModel):
    """When Redis itself lets a checkpoint expire."""

    on_write: Duration | None = Field(
        None,
        description="A checkpoint expires this long after it was written, such as 24h. Default: retention.maxAge.",
    )
    refresh_on_read: bool = Field(False, description="Reading a thread starts its time anew.")


class RedisBackend(SpecModel):
    """A key prefix with two ACL users on Redis or Valkey."""

    admin_secret_ref: AdminSecretRef = Field(
        description="Credentials of a user that may run ACL SETUSER, such as `default`."
    )
    sentinel_secret_ref: AdminSecretRef | None = Field(
        None,
        description="Credentials at the Sentinels, where they differ; only for mode sentinel. Default: those of "
        "adminSecretRef, or none where the Sentinels ask for none.",
    )
    mode: RedisMode = Field(RedisMode.STANDALONE, description="One server, servers watched by Sentinel, or a cluster.")
    addresses: Addresses = Field(
        description="host:port of the server (standalone), of the Sentinels, or of some nodes of the cluster."
    )
    master_name: (
        Annotated[
            str,
            Text(
                "write the name that Sentinel knows the master by: letters, digits, '.', '_' and '-'",
                "^[-A-Za-z0-9_.]+$",
                max_length=128,
            ),
        ]
        | None
    ) = Field(None, description="Sentinel's name of the master; only for mode sentinel.")
    database: Annotated[int, Whole(0, 1023)] = Field(
        0, description="Number of the logical database; a cluster has 0 only. Fixed at creation."
    )
    key_prefix: (
        Annotated[
            str,
            Text(
                "write a prefix of letters, digits and _ . : / - that starts with a letter or digit and "
                "ends with "
                "':' or '/' (without that end, app would also reach the keys of app2), such as "
                "agents:support:",
                "^[A-Za-z0-9][-A-Za-z0-9_.:/]*[:/]$",
                max_length=200,
                min_length=2,
            ),
        ]
        | None
    ) = Field(
        None,
        description="Start of every key of this store alone. Default: locus:<namespace>:<name>:. Fixed at creation.",
    )
    ttl: RedisTTL = Field(RedisTTL(), description="When Redis itself lets a checkpoint expire.")
    tls: bool = Field(False, description="Connect with TLS.")
    ca: CertificateAuthority | None = Field(
        None, description="Certificates that may have signed the servers'. Default: those of the system."
    )

    @rule(
        cel="self.mode != 'standalone' || self.addresses.size() == 1",
        message="mode standalone has exactly one address: remove the others, or write mode: sentinel or mode: cluster",
        field="addresses",
    )
    def _standalone_is_one_server(self) -> bool:
        return self.mode is not RedisMode.STANDALONE or len(self.addresses) == 1

    @rule(
        cel="self.mode != 'sentinel' || has(self.masterName)",
        message="mode sentinel needs masterName: write the name after `sentinel monitor` in its configuration",
        field="masterName",
    )
    def _sentinel_needs_master(self) -> bool:
        return self.mode is not RedisMode.SENTINEL or self.master_name is not None

    @rule(
        cel="self.mode == 'sentinel' || !has(self.masterName)",
        message="only mode sentinel reads masterName: remove it, or write mode: sentinel",
        field="masterName",
    )
    def _master_needs_sentinel(self) -> bool:
        return self.mode is RedisMode.SENTINEL or self.master_name is None

    @rule(
        cel="self.mode == 'sentinel' || !has(self.sentinelSecretRef)",
        message="only mode sentinel reads sentinelSecretRef: remove it, or write mode: sentinel",
        field="sentinelSecretRef",
    )
    def _sentinel_login_needs_sentinel(self) -> bool:
        return self.mode is RedisMode.SENTINEL or self.sentinel_secret_ref is None

    @rule(
        cel="self.mode != 'cluster' || self.database == 0",
        message="mode cluster has database 0 only: write database: 0 or remove it",
        field="database",
    )
    def _cluster_has_one_database(self) -> bool:
        return self.mode is not RedisMode.CLUSTER or self.database == 0

    @rule(
        cel="!has(self.ca) || self.tls",
        message="ca is read with TLS only: write tls: true, or remove ca",
        field="tls",
    )
    def _certificates_are_used(self) -> bool:
        return self.ca is None or self.tls

    _database_is_fixed = fixed_at_creation("database", "database", "create another store for another database")
    _prefix_is_fixed = fixed_at_creation("key_prefix", "keyPrefix", "create another store for another prefix")
