"""Backends: each module has a storage backend and the factory of its checkpointer.

A backend's module imports its driver when the backend is made, never on import.
"""

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends.file import FileBackend, FileCheckpointer
from locus_memory.backends.http import HTTPBackend, HTTPCheckpointer
from locus_memory.backends.memory import MemoryBackend, MemoryCheckpointer
from locus_memory.backends.oci_bucket import OCIBucketBackend, oci_bucket_checkpointer
from locus_memory.backends.opensearch import OpenSearchBackend, opensearch_checkpointer
from locus_memory.backends.oracle import OracleBackend, oracle_checkpointer
from locus_memory.backends.oracle_saver import OracleCheckpointSaver
from locus_memory.backends.postgresql import PostgreSQLBackend, postgresql_checkpointer
from locus_memory.backends.redis import RedisBackend, redis_checkpointer

__all__ = [
    "FileBackend",
    "FileCheckpointer",
    "HTTPBackend",
    "HTTPCheckpointer",
    "MemoryBackend",
    "MemoryCheckpointer",
    "OCIBucketBackend",
    "OpenSearchBackend",
    "OracleBackend",
    "OracleCheckpointSaver",
    "PostgreSQLBackend",
    "RedisBackend",
    "StorageBackendAdapter",
    "oci_bucket_checkpointer",
    "opensearch_checkpointer",
    "oracle_checkpointer",
    "postgresql_checkpointer",
    "redis_checkpointer",
]
