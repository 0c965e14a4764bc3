"""The binding document: everything needed to reach a store, one pydantic model per backend.

The operator writes these models into `connection.json` of a binding Secret, the library reads them; there is no
second description. Unknown fields are kept, so that an older library tolerates a newer operator; an unknown
`version` is an error. Connection URLs are a second spelling of the same models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from locus_memory.errors import BindingError

DOCUMENT_VERSION = 1


class Retention(BaseModel):
    """What the operator enforces on the backend; informs the library, whose file backend keeps to it with each save.

    Attributes:
        max_age_seconds: Checkpoints older than this are deleted.
        max_checkpoints_per_thread: At most this many checkpoints of a thread are kept.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    max_age_seconds: int | None = Field(default=None, gt=0)
    max_checkpoints_per_thread: int | None = Field(default=None, ge=1)


class LongTermMemory(BaseModel):
    """The cross-thread store that was provisioned beside the checkpoints.

    Attributes:
        embedding_dimension: Numbers in an embedding, the default of `locus_memory.store()`; None: no embeddings.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    embedding_dimension: int | None = Field(default=None, ge=1, le=16_000)


def _split(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


class BaseConnection(BaseModel):
    """What all documents share.

    Attributes:
        version: Version of the document's layout.
        store: `namespace/name` of the `CheckpointStore`, when the operator wrote the document.
        tables: `provisioned` when tables, indexes or buckets exist already and must not be created.
        retention: The policy that the operator enforces.
        long_term_memory: The cross-thread store, where one was provisioned. Without it a binding with
            `tables: provisioned` has none; with `tables: auto` the library makes one on first use.
        encryption_keys: 32 bytes each, as base64 text: the first encrypts states, all decrypt them. In a URL they are
            separated by commas, with each `+` written as `%2B`.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    version: Literal[1] = 1
    store: str | None = None
    tables: Literal["auto", "provisioned"] = "auto"
    retention: Retention | None = None
    long_term_memory: LongTermMemory | None = None
    encryption_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_split)] | None = None

    def document(self) -> dict[str, Any]:
        """Return the JSON object for `connection.json`, secrets included."""
        revealed: dict[str, Any] = _reveal(self.model_dump(by_alias=True, exclude_none=True))
        return revealed

    def read_from(self, directory: Path) -> Self:
        """Return the document as it means what it says in this directory: its relative paths start there."""
        return self


class HostAddress(BaseModel):
    """A host and a port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class PostgreSQLConnection(BaseConnection):
    """A schema in a PostgreSQL database.

    Attributes:
        schema_name: Schema of the tables (`schema` in the document).
        ssl_mode: libpq's sslmode.
        ca: Certificates that sign the server's, PEM text.
        pool_max_size: Connections per event loop.
        parameters: Further parameters of libpq, such as `target_session_attrs`.
    """

    type: Literal["postgresql"] = "postgresql"
    host: str = "localhost"
    port: int = Field(default=5432, ge=1, le=65535)
    database: str = "postgres"
    username: str | None = None
    password: SecretStr | None = None
    schema_name: str = Field(default="public", alias="schema", min_length=1, max_length=63)
    ssl_mode: SslMode = "prefer"
    ca: str | None = None
    pool_max_size: int = Field(default=10, ge=1)
    parameters: dict[str, str] = Field(default_factory=dict, repr=False)


class RedisConnection(BaseConnection):
    """A key prefix on Redis or Valkey.

    Attributes:
        mode: How `addresses` are meant: one server, Sentinels, or Cluster nodes.
        master_name: Name that the Sentinels know the primary by.
        sentinel_username: Login at the Sentinels, with `sentinel_password`. Without both, the Sentinels get the
            servers' login, or none where they reject it.
        wait_replicas: A write returns when this many replicas have it in memory (the command WAIT).
        key_prefix: Every key starts with this.
        ttl_seconds: A thread expires this long after its last write.
        refresh_ttl_on_read: Loading a thread counts as use, and postpones its expiry.
        tls: Encrypt the connection and verify the server.
        ca: Certificates that sign the server's, PEM text; the system's by default.
    """

    type: Literal["redis"] = "redis"
    mode: Literal["standalone", "sentinel", "cluster"] = "standalone"
    addresses: tuple[HostAddress, ...] = Field(default=(HostAddress(host="localhost", port=6379),), min_length=1)
    master_name: str | None = None
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None
    wait_replicas: int = Field(default=0, ge=0)
    database: int = Field(default=0, ge=0)
    username: str | None = None
    password: SecretStr | None = None
    key_prefix: str = "locus:"
    ttl_seconds: int | None = Field(default=None, gt=0)
    refresh_ttl_on_read: bool = False
    tls: bool = False
    ca: str | None = None
    pool_max_size: int = Field(default=50, ge=1)


class OracleConnection(BaseConnection):
    """A table in an Oracle schema.

    Attributes:
        dsn: Connect descriptor, EZConnect string or alias in tnsnames.ora; without login.
        owner: Schema of the tables, when it is not the login's own.
        wallet_location: Directory of the wallet; `~` is the home directory. A relative one starts at the document's
            own directory, so `.` is a wallet whose files are beside it.
        config_dir: Directory of tnsnames.ora, likewise; the wallet's by default.
        ca: Certificates that sign the server's, PEM text, for TLS without a wallet.
        ssl_server_dn_match: The server's certificate must name the host, or be `ssl_server_cert_dn`.
        ssl_server_cert_dn: Distinguished name of the server's certificate.
        pool_max_size: Connections per event loop.
    """

    type: Literal["oracle"] = "oracle"
    dsn: str = Field(min_length=1)
    username: str | None = None
    password: SecretStr | None = None
    owner: str | None = None
    table_name: str = "locus_checkpoints"
    wallet_location: str | None = None
    wallet_password: SecretStr | None = None
    config_dir: str | None = None
    ca: str | None = None
    ssl_server_dn_match: bool = True
    ssl_server_cert_dn: str | None = None
    pool_max_size: int = Field(default=10, ge=1)

    def read_from(self, directory: Path) -> Self:
        """Return the document with absolute paths; see `BaseConnection.read_from`."""
        paths = {"wallet_location": self.wallet_location, "config_dir": self.config_dir}
        found = {
            name: str(directory / path)
            for name, path in paths.items()
            if path is not None and not path.startswith("~") and not Path(path).is_absolute()
        }
        return self.model_copy(update=found)


class OCIBucketConnection(BaseConnection):
    """A prefix in an OCI Object Storage bucket.

    Attributes:
        bucket: Name of the bucket.
        namespace: Object Storage namespace of the tenancy.
        prefix: Every object's name starts with this; at most 256 bytes.
        region: Region identifier; by default the one of the configuration file or of the principal.
        compartment_id: Where a missing bucket is created; None: it is not.
        auth: How requests are signed; only `api_key` needs a secret.
        config_file: Configuration of the OCI SDK, for `api_key` without the fields and for `session_token`.
        pass_phrase: Of an encrypted `private_key`.
        service_endpoint: Instead of the region's endpoint, such as a private one.
        part_age_seconds: Age at which parts that checkpoints share are deleted, where they are kept longer than
            `retention` keeps checkpoints. By default it is the same, and checkpoints may expire a tenth earlier.
        pool_max_size: Requests at once.
    """

    type: Literal["oci-bucket"] = "oci-bucket"
    bucket: str
    namespace: str
    prefix: str = ""
    region: str | None = None
    compartment_id: str | None = None
    auth: Literal["api_key", "session_token", "instance_principal", "resource_principal", "workload_identity"] = (
        "api_key"
    )
    tenancy: str | None = None
    user: str | None = None
    fingerprint: str | None = None
    private_key: SecretStr | None = None
    pass_phrase: SecretStr | None = None
    config_file: str | None = None
    profile_name: str | None = None
    service_endpoint: str | None = None
    part_age_seconds: int | None = Field(default=None, ge=1)
    pool_max_size: int = Field(default=16, ge=1)


class OpenSearchConnection(BaseConnection):
    """An index on OpenSearch; `hosts` are URLs."""

    type: Literal["opensearch"] = "opensearch"
    hosts: tuple[str, ...] = Field(min_length=1)
    index_name: str = "locus-checkpoints"
    username: str | None = None
    password: SecretStr | None = None
    verify_certs: bool = True
    ca: str | None = None


class HTTPConnection(BaseConnection):
    """A checkpoint service over HTTP.

    Attributes:
        base_url: URL below which `/threads/…` is served.
        headers: Sent with each request; they may hold credentials.
        timeout_seconds: For each wait within a request: to connect, and for the next piece of an answer.
        ca: Certificates that sign the server's, PEM text; the system's by default.
        pool_max_size: Connections per event loop.
    """

    type: Literal["http"] = "http"
    base_url: str
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    timeout_seconds: float = Field(default=10.0, gt=0)
    ca: str | None = None
    pool_max_size: int = Field(default=20, ge=1)


class FileConnection(BaseConnection):
    """A directory of files."""

    type: Literal["file"] = "file"
    directory: str = Field(min_length=1)


class MemoryConnection(BaseConnection):
    """Memory of the process; for trying things out."""

    type: Literal["memory"] = "memory"


Connection = Annotated[
    PostgreSQLConnection
    | RedisConnection
    | OracleConnection
    | OCIBucketConnection
    | OpenSearchConnection
    | HTTPConnection
    | FileConnection
    | MemoryConnection,
    Field(discriminator="type"),
]
"""Any binding document."""

_DOCUMENT: TypeAdapter[Connection] = TypeAdapter(Connection)


def parse_document(data: bytes | str) -> Connection:
    """Read `connection.json`.

    Raises:
        BindingError: No JSON object, an unknown version or type, or invalid fields, each named. Values are not
            shown, since they may be secrets.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise BindingError(f"connection.json is no JSON: {error}") from None
    return connection_from(document)


def connection_from(document: Any) -> Connection:
    """Validate a document that is JSON already; see `parse_document`."""
    if not isinstance(document, dict):
        raise BindingError("connection.json must hold a JSON object")
    version = document.get("version")
    if version != DOCUMENT_VERSION:
        raise BindingError(
            f"connection.json has version {version!r}, this locus-memory reads version {DOCUMENT_VERSION}: "
            "install a newer locus-memory in the agent's image"
        )
    try:
        return _DOCUMENT.validate_python(document)
    except ValidationError as error:
        raise BindingError(f"connection.json: {describe(error)}") from None


def describe(error: ValidationError) -> str:
    """List the errors of a pydantic validation with their fields, without the values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )


def _reveal(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {key: _reveal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_reveal(item) for item in value]
    return value
