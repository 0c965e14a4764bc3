"""The services that give tokens to OCI's own machines, as the SDK asks them for some.

A pod on OKE shows the token of its service account to the cluster's proxy (HTTPS, port 12250 of the API server's
address). An instance reads its certificate from the metadata service, and shows it to the region's auth service; that
one has a fixed name on the internet, so it is reached through a proxy, which is this process. Both answer with a
session token for a key that the caller has made up, and the emulator of Object Storage gets to know that key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.servers.oci import REGION, TENANCY, ObjectStorageServer
from tests.servers.tls import CertificateAuthority

PROXYMUX_PORT = 12250
"""Fixed in the SDK; so each test process has an address of its own."""

AUTH_HOST = f"auth.{REGION}.oraclecloud.com"
INSTANCE = "ocid1.instance.oc1.eu-frankfurt-1.node"
CLUSTER = "ocid1.cluster.oc1.eu-frankfurt-1.test"


def jwt(**claims: Any) -> str:
    """Make a token that is valid for an hour; nobody looks at its signature."""
    parts = ({"alg": "RS256", "typ": "JWT"}, {"exp": int(time.time()) + 3600, "jti": secrets.token_hex(8), **claims})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*encoded, "c2lnbmF0dXJl"))


def service_account_token(namespace: str, name: str) -> str:
    """Make the token that a kubelet puts into a pod."""
    return jwt(**{"kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name}}})


class TokenServices:
    """Both services, on threads of this process.

    Args:
        storage: Gets to know the keys.
        directory: For certificates.
    """

    def __init__(self, storage: ObjectStorageServer, directory: Path) -> None:
        self._storage = storage
        self._authority = CertificateAuthority()
        self._directory = directory
        self._stack = ExitStack()
        self.address = f"127.{secrets.randbelow(250) + 2}.{secrets.randbelow(250)}.{secrets.randbelow(250) + 2}"
        self.ca = self._authority.write(directory)
        self._key = rsa.generate_private_key(65537, 2048)
        self._certificate = _instance_certificate(self._key)

    def __enter__(self) -> Self:
        """Start."""
        proxymux = ThreadingHTTPServer((self.address, PROXYMUX_PORT), self._handler(post=self._workload_token))
        proxymux.socket = self._tls(self.address).wrap_socket(proxymux.socket, server_side=True)
        self._metadata = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(get=self._metadata_entry))
        for server in (proxymux, self._metadata):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self._stack.callback(server.server_close)
            self._stack.callback(server.shutdown)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stack.close()

    def environment(self) -> dict[str, str]:
        """The variables by which the SDK finds both."""
        url = f"http://127.0.0.1:{self._metadata.server_address[1]}"
        return {
            "KUBERNETES_SERVICE_HOST": self.address,
            "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH": str(self.ca),
            "OCI_METADATA_BASE_URL": f"{url}/opc/v2",
            "HTTPS_PROXY": url,
            "NO_PROXY": self.address,
            "REQUESTS_CA_BUNDLE": str(self.ca),
        }

    def _workload_token(self, body: dict[str, Any], headers: Mapping[str, str]) -> bytes:
        claims = json.loads(base64.urlsafe_b64decode(headers["Authorization"].split(".")[1] + "=="))["kubernetes.io"]
        namespace, account = claims["namespace"], claims["serviceaccount"]["name"]
        variables = {
            "request.principal.type": "workload",
            "request.principal.namespace": namespace,
            "request.principal.service_account": account,
            "request.principal.cluster_id": CLUSTER,
        }
        name = f"workload/{namespace}/{account}"
        self._storage.admin("PUT", "principals", {"name": name, "variables": variables})
        return base64.b64encode(json.dumps({"token": f"ST${self._session(name, body['podKey'])}"}).encode())

    def _instance_token(self, body: dict[str, Any], headers: Mapping[str, str]) -> bytes:
        self._verify(headers)
        if body["certificate"] not in self._certificate.decode().replace("\n", ""):
            raise PermissionError("another instance's certificate")
        return json.dumps({"token": self._session(INSTANCE, body["publicKey"])}).encode()

    def _session(self, name: str, public_key: str) -> str:
        token = jwt(sub=name)
        key = f"-----BEGIN PUBLIC KEY-----\n{public_key}\n-----END PUBLIC KEY-----\n"
        self._storage.admin("PUT", "users", {"name": name, "buckets": {}})
        self._storage.admin("PUT", "keys", {"id": f"ST${token}", "user": name, "public_key": key})
        return token

    def _verify(self, headers: Mapping[str, str]) -> None:
        """Refuse what the key of the instance's certificate has not signed."""
        parameters = dict(re.findall(r'(\w+)="([^"]*)"', headers["authorization"]))
        fingerprint = x509.load_pem_x509_certificate(self._certificate).fingerprint(hashes.SHA1())  # noqa: S303
        if parameters["keyId"] != f"{TENANCY}/fed-x509/{':'.join(f'{byte:02X}' for byte in fingerprint)}":
            raise PermissionError("another key")
        values = {**{key.lower(): value for key, value in headers.items()}, "(request-target)": "post /v1/x509"}
        text = "\n".join(f"{name}: {values[name]}" for name in parameters["headers"].split())
        signature = base64.b64decode(parameters["signature"])
        self._key.public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())

    def _metadata_entry(self, path: str) -> bytes:
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        return {
            "/opc/v2/instance/region": REGION.encode(),
            "/opc/v2/identity/cert.pem": self._certificate,
            "/opc/v2/identity/key.pem": private,
            "/opc/v2/identity/intermediate.pem": self._certificate,
        }[path]

    def _tls(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        name = hashlib.sha256(host.encode()).hexdigest()[:8]
        context.load_cert_chain(*self._authority.issue_server([host]).write(self._directory, name))
        return context

    def _handler(
        self,
        *,
        get: Callable[[str], bytes] | None = None,
        post: Callable[[dict[str, Any], Mapping[str, str]], bytes] | None = None,
    ) -> type[BaseHTTPRequestHandler]:
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert get is not None
                self._answer(get(self.path))

            def do_POST(self) -> None:
                assert post is not None
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(post(body, dict(self.headers.items())))

            def do_CONNECT(self) -> None:
                assert self.path == f"{AUTH_HOST}:443"
                self.send_response(200)
                self.end_headers()
                inner = services._handler(post=services._instance_token)
                with services._tls(AUTH_HOST).wrap_socket(self.connection, server_side=True) as tunnel:
                    inner(tunnel, self.client_address, self.server)
                self.close_connection = True

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: the tests' output is for tests."""

        return Handler


def _instance_certificate(key: rsa.RSAPrivateKey) -> bytes:
    names = [
        x509.NameAttribute(x509.NameOID.COMMON_NAME, INSTANCE),
        x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, f"opc-tenant:{TENANCY}"),
    ]
    now, subject = datetime.now(UTC), x509.Name(names)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    certificate = builder.not_valid_after(now + timedelta(hours=1)).sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)
