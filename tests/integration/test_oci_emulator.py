"""The emulator of Object Storage refuses what the service refuses; else tests on it would prove nothing."""

import base64
import email.utils
import hashlib
import http.client
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import oci  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.servers.oci import COMPARTMENT, NAMESPACE, ObjectStorageServer

ServiceError = oci.exceptions.ServiceError
models = oci.object_storage.models


@pytest.fixture
def client(oci_server: ObjectStorageServer) -> Iterator[Any]:
    found = oci_server.client()
    yield found
    found.base_client.session.close()


def send(
    server: ObjectStorageServer,
    method: str,
    target: str,
    *,
    names: str = "date (request-target) host",
    body: bytes = b"",
    key_id: str | None = None,
    sign_target: str | None = None,
    skew: float = 0,
    headers: dict[str, str] | None = None,
) -> int:
    """Send a request signed by hand; return the status."""
    key = load_pem_private_key(server.key.private_key.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    sent = {"date": email.utils.formatdate(time.time() + skew, usegmt=True), "host": f"{server.host}:{server.port}"}
    sent |= headers or {}
    values = sent | {"(request-target)": f"{method.lower()} {sign_target or target}"}
    text = "\n".join(f"{name}: {values[name]}" for name in names.split())
    signature = base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), SHA256())).decode()
    sent["authorization"] = (
        f'Signature algorithm="rsa-sha256",headers="{names}",keyId="{key_id or server.key.id}",'
        f'signature="{signature}",version="1"'
    )
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, target, body, sent)
        return connection.getresponse().status
    finally:
        connection.close()


def test_signatures_are_verified(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    target = f"/n/{NAMESPACE}/b/{oci_bucket}/o"
    assert send(oci_server, "GET", target) == 200
    assert send(oci_server, "GET", f"{target}?limit=2", sign_target=target) == 401
    assert send(oci_server, "GET", target, names="date host") == 401
    assert send(oci_server, "GET", target, skew=-400) == 401
    assert send(oci_server, "GET", target, skew=400) == 401
    assert send(oci_server, "GET", target, key_id="a/b/c") == 401
    assert send(oci_server, "PUT", f"{target}/name", body=b"unsigned") == 200


def test_bodies_are_signed_but_for_objects(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    target, body = f"/n/{NAMESPACE}/b/{oci_bucket}/l", b'{"items":[]}'
    names = "date (request-target) host content-length content-type x-content-sha256"
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "x-content-sha256": digest}
    assert send(oci_server, "PUT", target, names=names, body=body, headers=headers) == 200
    assert send(oci_server, "PUT", target, body=body, headers=headers) == 401
    assert send(oci_server, "PUT", target, names=names, body=b'{"items":{}}', headers=headers) == 401


def test_of_twenty_racing_writers_exactly_one_wins(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    clients = [oci_server.client() for _ in range(20)]
    first = clients[0].put_object(NAMESPACE, oci_bucket, "name", b"").headers["etag"]

    def write(number: int, name: str, **condition: str) -> bool:
        try:
            clients[number].put_object(NAMESPACE, oci_bucket, name, b"%d" % number, **condition)
        except ServiceError as error:
            if error.status == 412 and error.code in ("IfMatchFailed", "IfNoneMatchFailed"):
                return False
            raise
        return True

    with ThreadPoolExecutor(20) as pool:
        replaced = list(pool.map(lambda number: write(number, "name", if_match=first), range(20)))
        created = list(pool.map(lambda number: write(number, "new", if_none_match="*"), range(20)))
    assert (sum(replaced), sum(created)) == (1, 1)
    for each in clients:
        each.base_client.session.close()


def test_objects_are_listed_in_byte_order_in_pages_of_a_thousand(
    oci_server: ObjectStorageServer, oci_bucket: str, client: Any
) -> None:
    client.put_object(NAMESPACE, oci_bucket, "z", b"")
    names = [f"d/{number:04}" for number in range(1500)] + ["d!", "d0", "é", "\uffff", "🎉", "Z"]
    oci_server.admin("POST", "fill", {"bucket": oci_bucket, "object": "z", "names": names})
    page = client.list_objects(NAMESPACE, oci_bucket).data
    assert (len(page.objects), page.next_start_with) == (1000, "d/0998")
    assert oci_server.objects(oci_bucket) == sorted([*names, "z"], key=str.encode)
    grouped = client.list_objects(NAMESPACE, oci_bucket, delimiter="/", limit=4).data
    assert ([each.name for each in grouped.objects], grouped.prefixes) == (["Z", "d!", "d0"], ["d/"])
    assert grouped.next_start_with == "z"
    part = client.list_objects(NAMESPACE, oci_bucket, prefix="d/", start="d/1498", fields="name,size").data
    assert [(each.name, each.size) for each in part.objects] == [("d/1498", 0), ("d/1499", 0)]


def test_ranges_metadata_and_checksums(oci_bucket: str, client: Any) -> None:
    client.put_object(NAMESPACE, oci_bucket, "a/../b c", b"0123456789", opc_meta={"key": "value"})
    found = client.get_object(NAMESPACE, oci_bucket, "a/../b c", range="bytes=2-4", enable_strict_url_encoding=True)
    assert (found.status, found.data.content, found.headers["opc-meta-key"]) == (206, b"234", "value")
    with pytest.raises(ServiceError, match="UnmatchedContentMD5"):
        client.put_object(NAMESPACE, oci_bucket, "name", b"x", content_md5=base64.b64encode(b"0" * 16).decode())
    with pytest.raises(ServiceError, match="InvalidObjectName"):
        client.put_object(NAMESPACE, oci_bucket, "é" * 513, b"")


def test_a_bucket_with_objects_is_not_deleted(oci_bucket: str, client: Any) -> None:
    client.put_object(NAMESPACE, oci_bucket, "name", b"")
    with pytest.raises(ServiceError, match="BucketNotEmpty"):
        client.delete_bucket(NAMESPACE, oci_bucket)
    client.delete_object(NAMESPACE, oci_bucket, "name")
    client.delete_bucket(NAMESPACE, oci_bucket)
    with pytest.raises(ServiceError, match="BucketNotFound"):
        client.get_bucket(NAMESPACE, oci_bucket)


def test_a_lifecycle_policy_is_enforced_as_days_go_by(
    oci_server: ObjectStorageServer, oci_bucket: str, client: Any
) -> None:
    def rule(name: str, action: str, amount: int, unit: str = "DAYS", **fields: Any) -> Any:
        return models.ObjectLifecycleRule(
            name=name, action=action, time_amount=amount, time_unit=unit, is_enabled=True, **fields
        )

    only = models.ObjectNameFilter(
        inclusion_prefixes=["a/"], inclusion_patterns=["*.log"], exclusion_patterns=["a/keep*"]
    )
    rules = [
        rule("delete", "DELETE", 10, object_name_filter=only),
        rule("archive", "ARCHIVE", 1, "YEARS"),
        rule("abort", "ABORT", 5, target="multipart-uploads"),
    ]
    names = ("a/1", "a/keep", "b/x.log", "b/y")
    for name in names:
        client.put_object(NAMESPACE, oci_bucket, name, b"x")
    upload = models.CreateMultipartUploadDetails(object="big")
    client.create_multipart_upload(NAMESPACE, oci_bucket, upload)
    client.put_object_lifecycle_policy(NAMESPACE, oci_bucket, models.PutObjectLifecyclePolicyDetails(items=rules))
    kept = client.get_object_lifecycle_policy(NAMESPACE, oci_bucket).data
    assert [each.name for each in kept.items] == ["delete", "archive", "abort"]
    try:
        oci_server.admin("POST", "clock", {"advance_days": 9})
        assert len(oci_server.objects(oci_bucket)) == len(names)
        assert client.list_multipart_uploads(NAMESPACE, oci_bucket).data == []
        oci_server.admin("POST", "clock", {"advance_days": 2})
        assert oci_server.objects(oci_bucket) == ["a/keep", "b/y"]
        oci_server.admin("POST", "clock", {"advance_days": 400})
        with pytest.raises(ServiceError, match="NotRestored"):
            client.get_object(NAMESPACE, oci_bucket, "b/y")
        oci_server.admin("PUT", "settings", {"lifecycle_authorized": False})
        with pytest.raises(ServiceError, match="InsufficientServicePermissions"):
            client.put_object_lifecycle_policy(NAMESPACE, oci_bucket, models.PutObjectLifecyclePolicyDetails(items=[]))
    finally:
        oci_server.admin("PUT", "settings", {"clock_ahead_seconds": 0, "lifecycle_authorized": True})


def test_what_was_answered_survives_a_kill() -> None:
    with ObjectStorageServer() as server:
        server.create_bucket("bucket")
        client, key = server.client(), server.create_key("ocid1.user.oc1..other", {"bucket": "read"})
        names = [secrets.token_hex(4) for _ in range(50)]
        for name in names:
            client.put_object(NAMESPACE, "bucket", name, b"x")
        client.base_client.session.close()
        server.kill()
        server.start()
        assert server.objects("bucket") == sorted(names)
        reader = server.client(key)
        assert reader.get_object(NAMESPACE, "bucket", names[0]).data.content == b"x"
        with pytest.raises(ServiceError, match="BucketNotFound"):
            reader.put_object(NAMESPACE, "bucket", "name", b"")
        with pytest.raises(ServiceError, match="BucketNotFound"):
            reader.create_bucket(NAMESPACE, models.CreateBucketDetails(name="new", compartment_id=COMPARTMENT))
        reader.base_client.session.close()
