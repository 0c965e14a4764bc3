"""Stores on OpenSearch: with the superuser, with an administrator that has what the documentation lists, and none."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from locus_operator.backends.opensearch_privileges import administrators_needs
from tests.integration.operator.stores import CA, NAMESPACE, Store
from tests.servers.opensearch import OpenSearchServer

ADMIN = "locus_provisioner"
ADMIN_PASSWORD = "an administrator's own"
API = "/_plugins/_security/api"


def opensearch_backend(server: OpenSearchServer, *, superuser: bool = True) -> Store:
    """A store on an empty server, which an administrator with or without all rights provisions."""
    if not superuser:
        add_administrator(server)
    user, password = ("admin", server.password) if superuser else (ADMIN, ADMIN_PASSWORD)
    backend: dict[str, Any] = {"adminSecretRef": {"name": "admin"}, "hosts": [server.address], "replicas": 0}
    sources = {"admin": {"username": user, "password": password}}
    if server.ca is not None:
        backend["ca"] = CA
        sources["server-ca"] = {"ca.crt": server.ca}
    return Store({"opensearch": backend}, sources)


def add_administrator(server: OpenSearchServer, without: str = "") -> None:
    """Make the administrator of the documentation; `without` a permission."""
    needs = administrators_needs(ism=True, delete=True, retention=True)
    permission = {"index_patterns": ["locus_*"], "allowed_actions": sorted(needs.index - {without})}
    role = {"cluster_permissions": sorted(needs.cluster - {without}), "index_permissions": [permission]}
    server.ask("PUT", f"{API}/roles/{ADMIN}", role)
    user = {"password": ADMIN_PASSWORD, "opendistro_security_roles": [ADMIN, "security_rest_api_access"]}
    server.ask("PUT", f"{API}/internalusers/{ADMIN}", user)


def index_of(store: Store) -> str:
    """The index of a store with a name of the tests."""
    return f"locus_{NAMESPACE}_{store.name}-checkpoints"


def ask_as_agent(
    server: OpenSearchServer, store: Store, method: str, path: str, body: Any = None, **headers: str
) -> httpx.Response:
    """Send a request with the issued login."""
    assert store.binding is not None
    login = (store.binding["username"], store.binding["password"])
    context = ssl.create_default_context(cadata=server.ca) if server.ca else False
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    headers = {"Content-Type": "application/json", **headers}
    url = f"{server.address}{path}"
    return httpx.request(method, url, auth=login, verify=context, headers=headers, timeout=10, **content)
