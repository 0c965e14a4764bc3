"""On which kinds of backends a promise of the provisioners is held."""

from typing import Final

import pytest

POSTGRESQL_SERVERS: Final = ("postgresql_server", "tls_postgresql_server")
REDIS_SERVERS: Final = ("redis_server", "tls_redis_server")
OPENSEARCH_SERVERS: Final = ("opensearch_server", "tls_opensearch_server")
REDIS_GROUPS: Final = ("redis_sentinels", "redis_cluster")
ORACLE_ADMINISTRATORS: Final = ("oracle_dba", "oracle_operator")
"""A DBA, and who holds no more than the documentation asks for."""

WITH_LOGIN: Final = (
    *POSTGRESQL_SERVERS,
    "superuser",
    *REDIS_SERVERS,
    *REDIS_GROUPS,
    *OPENSEARCH_SERVERS,
    *ORACLE_ADMINISTRATORS,
)
"""Backends that issue a login: the `store` fixture's own."""
OCI_STORES: Final = ("oci_bucket_store", "oci_prefix_store", "oci_store_without_policies")
"""In a bucket of its own; below a prefix; where the operator may not write policies."""

WITHOUT_LOGIN: Final = ("file", "opensearch_without_plugins", *OCI_STORES)
"""Backends that issue none: everything but logins is held on them, too."""

everywhere = pytest.mark.parametrize("store", [*WITH_LOGIN, *WITHOUT_LOGIN], indirect=True)
"""For tests that need no login."""
