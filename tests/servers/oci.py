"""OCI Object Storage, emulated: see `tests.emulators.oci_object_storage`."""

import http.client
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import oci  # type: ignore[import-untyped]
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.servers.processes import ServerError
from tests.servers.server import Server

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACE = "tenancy"
REGION = "eu-frankfurt-1"
TENANCY = "ocid1.tenancy.oc1..aaaa"
COMPARTMENT = "ocid1.compartment.oc1..aaaa"


@dataclass(frozen=True)
class ApiKey:
    """An API key of a user, as it stands in a binding document."""

    user: str
    fingerprint: str
    private_key: str

    @property
    def id(self) -> str:
        """The key id that requests are signed with."""
        return f"{TENANCY}/{self.user}/{self.fingerprint}"

    def fields(self) -> dict[str, str]:
        """The fields of a connection document."""
        return {
            "tenancy": TENANCY,
            "user": self.user,
            "fingerprint": self.fingerprint,
            "private_key": self.private_key,
        }


def new_key_pair() -> tuple[str, str]:
    """Make a key pair; both as PEM text, the private one first."""
    # Checking a key of 2,048 bits takes the SDK 30 ms for each client, which is most of what a short test takes.
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it protects nothing
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@lru_cache
def _signer(key: ApiKey) -> Any:
    # Making one takes many times as long as a request: the key is checked.
    return oci.signer.Signer(TENANCY, key.user, key.fingerprint, None, private_key_content=key.private_key)


class ObjectStorageServer(Server):
    """The emulator as a child process; what it has answered is in its directory.

    Args:
        directory: where buckets and keys live; it is kept. None for a temporary one, removed by ``close``.
        log: the log file; None for one inside the directory.
    """

    product = "OCI Object Storage emulator"

    @property
    def endpoint(self) -> str:
        """What the SDK takes as ``service_endpoint``."""
        return f"http://{self.host}:{self.port}"

    @property
    def version(self) -> str:
        """The emulator has none."""
        self.admin("GET", "requests")
        return "(ours)"

    def admin(self, method: str, what: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the emulator's administration; see `tests.emulators.oci_object_storage.admin`.

        Raises:
            ServerError: it refuses.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(method, f"/admin/{what}", json.dumps(body or {}), {"X-Admin-Token": self.password})
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise ServerError(f"{self.product}: {method} {what}: {response.status} {text.decode()}")
            return json.loads(text)
        finally:
            connection.close()

    def create_key(self, user: str = "ocid1.user.oc1..admin", buckets: Mapping[str, str] | None = None) -> ApiKey:
        """Register a new API key.

        Args:
            user: whose it is.
            buckets: what the user may do from now on, by bucket; None for everything.
        """
        private_key, public_key = new_key_pair()
        key = ApiKey(user, ":".join(f"{byte:02x}" for byte in secrets.token_bytes(16)), private_key)
        self.admin("PUT", "keys", {"id": key.id, "user": user, "public_key": public_key})
        self.admin("PUT", "users", {"name": user, "buckets": {"*": "manage"} if buckets is None else dict(buckets)})
        return key

    @cached_property
    def key(self) -> ApiKey:
        """A key that may do everything."""
        return self.create_key()

    def create_session(self, token: str, user: str, expires: float | None = None) -> str:
        """Register a session token; return the private key that requests are signed with, as PEM text."""
        private_key, public_key = new_key_pair()
        self.admin("PUT", "keys", {"id": f"ST${token}", "user": user, "public_key": public_key, "expires": expires})
        self.admin("PUT", "users", {"name": user, "buckets": {"*": "manage"}})
        return private_key

    def client(self, key: ApiKey | None = None) -> Any:
        """The SDK's own client, without retries; close its session with `base_client.session.close()`."""
        login = key or self.key
        return oci.object_storage.ObjectStorageClient(
            {"region": REGION, "user": login.user, "tenancy": TENANCY, "fingerprint": login.fingerprint}
            | {"key_content": login.private_key},
            signer=_signer(login),
            service_endpoint=self.endpoint,
            retry_strategy=oci.retry.NoneRetryStrategy(),
            circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
            timeout=(5, 30),
        )

    def create_bucket(self, name: str) -> None:
        """Create a bucket."""
        client = self.client()
        details = oci.object_storage.models.CreateBucketDetails(name=name, compartment_id=COMPARTMENT)
        client.create_bucket(NAMESPACE, details)
        client.base_client.session.close()

    def objects(self, bucket: str, prefix: str = "") -> list[str]:
        """The names of all objects below a prefix."""
        client, names, start = self.client(), [], None
        while True:
            page = client.list_objects(NAMESPACE, bucket, prefix=prefix, start=start).data
            names += [each.name for each in page.objects]
            start = page.next_start_with
            if start is None:
                client.base_client.session.close()
                return names

    def document(self, bucket: str, key: ApiKey | None = None, **fields: Any) -> dict[str, Any]:
        """A binding document for a bucket."""
        return {
            "version": 1,
            "type": "oci-bucket",
            "bucket": bucket,
            "namespace": NAMESPACE,
            "region": REGION,
            "service_endpoint": self.endpoint,
            **(key or self.key).fields(),
            **fields,
        }

    def url(self, bucket: str, prefix: str = "", **parameters: str) -> str:
        """A connection URL for a bucket; it holds the private key."""
        query = {"region": REGION, "service_endpoint": self.endpoint, **self.key.fields(), **parameters}
        return f"oci://{bucket}@{NAMESPACE}/{prefix}?{urlencode(query)}"

    def _prepare(self) -> None:
        """Nothing: the emulator makes its files."""

    def _command(self) -> list[str]:
        module = "tests.emulators.oci_object_storage"
        arguments = [f"--directory={self.directory}", f"--port={self.port}"]
        return [sys.executable, "-m", module, *arguments, f"--namespace={NAMESPACE}", f"--region={REGION}"]

    def _environment(self) -> Mapping[str, str]:
        return {**super()._environment(), "ADMIN_TOKEN": self.password, "PYTHONPATH": str(REPOSITORY)}

    def _is_ready(self) -> bool:
        try:
            self.admin("GET", "requests")
        except (OSError, http.client.HTTPException):
            return False
        return True
