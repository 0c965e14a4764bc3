"""Cross-thread stores: each module has a store, its backend, and what opens one from a binding.

A module imports its driver when a store is made, never on import.
"""

from locus_memory.store_backends.oracle import OracleStore
from locus_memory.store_backends.postgresql import PostgreSQLStore
from locus_memory.store_backends.redis import RedisStore

__all__ = ["OracleStore", "PostgreSQLStore", "RedisStore"]
