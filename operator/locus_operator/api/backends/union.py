"""The union of the backends, shared by stores and classes."""

from typing import Final, Literal, Self, get_args

from pydantic import Field

from locus_operator.api.backends.file import FileBackend
from locus_operator.api.backends.http import HTTPBackend
from locus_operator.api.backends.memory import MemoryBackend
from locus_operator.api.backends.oci_bucket import OCIBucketBackend
from locus_operator.api.backends.opensearch import OpenSearchBackend
from locus_operator.api.backends.oracle import OracleBackend
from locus_operator.api.backends.postgresql import PostgreSQLBackend
from locus_operator.api.backends.redis import RedisBackend
from locus_operator.api.rules import SpecModel, rule, transition_rule

BackendKind = Literal["postgresql", "redis", "oracle", "ociBucket", "opensearch", "http", "file", "memory"]
"""A member's name in YAML."""

BackendMember = (
    PostgreSQLBackend
    | RedisBackend
    | OracleBackend
    | OCIBucketBackend
    | OpenSearchBackend
    | HTTPBackend
    | FileBackend
    | MemoryBackend
)
"""Any one member."""

KINDS: Final[tuple[BackendKind, ...]] = get_args(BackendKind)


class Backend(SpecModel):
    """Where checkpoints are kept: exactly one member."""

    postgresql: PostgreSQLBackend | None = Field(
        None, description="A schema, two logins and the tables in a PostgreSQL database."
    )
    redis: RedisBackend | None = Field(
        None,
        description="A key prefix and two ACL users on Redis or Valkey: one server, Sentinel or a cluster.",
    )
    oracle: OracleBackend | None = Field(
        None, description="An owner schema, two users and the tables in an Oracle Database."
    )
    oci_bucket: OCIBucketBackend | None = Field(
        None, description="A bucket of OCI Object Storage with its lifecycle rules."
    )
    opensearch: OpenSearchBackend | None = Field(
        None, description="Indices, a role and two users on an OpenSearch cluster."
    )
    http: HTTPBackend | None = Field(
        None, description="A checkpoint service that exists already, such as `locus-memory serve`."
    )
    file: FileBackend | None = Field(None, description="Files on a PersistentVolumeClaim.")
    memory: MemoryBackend | None = Field(
        None, description="Nothing that survives the pod, for trying things out: write `memory: {}`."
    )

    @property
    def kind(self) -> BackendKind:
        """The name of the member that is set."""
        return next(kind for kind in KINDS if self.get(kind) is not None)

    @property
    def member(self) -> BackendMember:
        """The member that is set."""
        return next(member for kind in KINDS if (member := self.get(kind)) is not None)

    def get(self, kind: BackendKind) -> BackendMember | None:
        """The member of that name, if it is set."""
        member: BackendMember | None = getattr(self, "oci_bucket" if kind == "ociBucket" else kind)
        return member

    @rule(
        cel=f"[{', '.join(f'has(self.{kind})' for kind in KINDS)}].exists_one(x, x)",
        message=f"write exactly one backend out of {', '.join(KINDS)}; the one in memory is written `memory: {{}}`",
    )
    def _one_member(self) -> bool:
        return sum(self.get(kind) is not None for kind in KINDS) == 1

    @transition_rule(
        cel=" && ".join(f"has(self.{kind}) == has(oldSelf.{kind})" for kind in KINDS),
        message="the kind of backend is fixed when the object is created: put back the old one, or create "
        "another "
        "object and copy the data with `locus-memory migrate`",
    )
    def _same_kind(self, old: Self) -> bool:
        return all((self.get(kind) is None) == (old.get(kind) is None) for kind in KINDS)
