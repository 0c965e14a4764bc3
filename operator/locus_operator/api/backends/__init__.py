"""`spec.backend`: one module per backend, and the union of them with exactly one member."""

from locus_operator.api.backends.file import AccessMode, FileBackend
from locus_operator.api.backends.http import HTTPBackend
from locus_operator.api.backends.memory import MemoryBackend
from locus_operator.api.backends.oci_bucket import OCIAgents, OCIAuth, OCIAuthType, OCIBucketBackend, OCIPrincipal
from locus_operator.api.backends.opensearch import OpenSearchBackend
from locus_operator.api.backends.oracle import OracleBackend
from locus_operator.api.backends.postgresql import PostgreSQLBackend, SSLMode
from locus_operator.api.backends.redis import RedisBackend, RedisMode, RedisTTL
from locus_operator.api.backends.union import KINDS, Backend, BackendKind, BackendMember

__all__ = [
    "KINDS",
    "AccessMode",
    "Backend",
    "BackendKind",
    "BackendMember",
    "FileBackend",
    "HTTPBackend",
    "MemoryBackend",
    "OCIAgents",
    "OCIAuth",
    "OCIAuthType",
    "OCIBucketBackend",
    "OCIPrincipal",
    "OpenSearchBackend",
    "OracleBackend",
    "PostgreSQLBackend",
    "RedisBackend",
    "RedisMode",
    "RedisTTL",
    "SSLMode",
]
