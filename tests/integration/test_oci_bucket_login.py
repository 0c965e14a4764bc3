"""Each way to log in to Object Storage, end to end where that can be here, and logins that are refused."""

import asyncio
import base64
import configparser
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import OCIBucketBackend
from locus_memory.backends.oci_bucket_login import make_signer, read_login
from locus_memory.binding import DirectoryBinding, URLBinding
from locus_memory.connection import OCIBucketConnection
from locus_memory.errors import AuthenticationError, BackendUnavailableError, BindingError
from locus_memory.opening import open_checkpointer
from locus_memory.retry import RetryPolicy
from tests.servers.oci import COMPARTMENT, NAMESPACE, REGION, TENANCY, ApiKey, ObjectStorageServer

QUICK = RetryPolicy(deadline=3)


def token(**claims: Any) -> str:
    """Make a token as OCI's look; the emulator knows tokens by their text."""
    now = int(time.time())
    parts = ({"alg": "RS256", "typ": "JWT"}, {"iat": now, "exp": now + 3600, **claims})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*encoded, "c2lnbmF0dXJl"))


def profile(directory: Path, private_key: str, **fields: str) -> Path:
    """Write a configuration file of the SDK, with the key beside it."""
    key_file = directory / "key.pem"
    key_file.write_text(private_key)
    parser = configparser.ConfigParser(interpolation=None)
    parser["AGENT"] = {"region": REGION, "tenancy": TENANCY, "key_file": str(key_file), **fields}
    with (directory / "config").open("w") as file:
        parser.write(file)
    return directory / "config"


def opened(server: ObjectStorageServer, bucket: str, **arguments: Any) -> OCIBucketBackend:
    return OCIBucketBackend(bucket, NAMESPACE, service_endpoint=server.endpoint, **{"retry": QUICK, **arguments})


async def works(checkpointer: StorageBackendAdapter) -> None:
    async with checkpointer:
        await checkpointer.save({"n": 1}, "t")
        assert await checkpointer.load("t") == {"n": 1}
        assert await checkpointer.delete("t")


async def test_an_api_key_in_the_connection_url(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    checkpointer = open_checkpointer(URLBinding(oci_server.url(oci_bucket, "prod/")))
    assert isinstance(checkpointer, StorageBackendAdapter)
    await works(checkpointer)
    assert oci_server.key.private_key not in repr(checkpointer)


async def test_an_api_key_in_a_profile(oci_server: ObjectStorageServer, oci_bucket: str, tmp_path: Path) -> None:
    key = oci_server.key
    path = profile(tmp_path, key.private_key, user=key.user, fingerprint=key.fingerprint)
    await works(opened(oci_server, oci_bucket, config_file=str(path), profile_name="AGENT"))


async def test_a_session_token(oci_server: ObjectStorageServer, oci_bucket: str, tmp_path: Path) -> None:
    session = token(sub="session")
    (tmp_path / "token").write_text(session)
    private_key = oci_server.create_session(session, "ocid1.user.oc1..session")
    path = profile(tmp_path, private_key, security_token_file=str(tmp_path / "token"), fingerprint="aa:" * 15 + "aa")
    await works(opened(oci_server, oci_bucket, auth_type="session_token", config_file=str(path), profile_name="AGENT"))


async def test_a_session_token_that_is_renewed_on_disk_is_taken_up(
    oci_server: ObjectStorageServer, oci_bucket: str, tmp_path: Path
) -> None:
    first, second = token(sub="first"), token(sub="second")
    (tmp_path / "token").write_text(first)
    private_key = oci_server.create_session(first, "ocid1.user.oc1..session")
    path = profile(tmp_path, private_key, security_token_file=str(tmp_path / "token"))
    async with opened(
        oci_server, oci_bucket, auth_type="session_token", config_file=str(path), profile_name="AGENT"
    ) as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        (tmp_path / "token").write_text(second)
        (tmp_path / "key.pem").write_text(oci_server.create_session(second, "ocid1.user.oc1..session"))
        oci_server.admin("DELETE", "keys", {"id": f"ST${first}"})
        await asyncio.gather(*(checkpointer.save({"n": 2}, f"t{number}") for number in range(8)))


@pytest.fixture
def resource_principal(oci_server: ObjectStorageServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The variables that OCI gives to a function or a job, version 2.2; the token is in the file returned."""
    session = token(res_tenant=TENANCY, res_compartment=COMPARTMENT)
    (tmp_path / "rpst").write_text(session)
    (tmp_path / "key.pem").write_text(oci_server.create_session(session, "ocid1.fnfunc.oc1..agent"))
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_RPST", str(tmp_path / "rpst"))
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", str(tmp_path / "key.pem"))
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_REGION", REGION)
    return tmp_path / "rpst"


async def test_a_resource_principal(oci_server: ObjectStorageServer, oci_bucket: str, resource_principal: Path) -> None:
    await works(opened(oci_server, oci_bucket, auth_type="resource_principal"))


async def test_a_resource_principal_whose_token_is_renewed_goes_on(
    oci_server: ObjectStorageServer, oci_bucket: str, resource_principal: Path
) -> None:
    async with opened(oci_server, oci_bucket, auth_type="resource_principal") as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        old, new = resource_principal.read_text(), token(res_tenant=TENANCY, renewed=True)
        resource_principal.write_text(new)
        key = oci_server.create_session(new, "ocid1.fnfunc.oc1..agent")
        resource_principal.with_name("key.pem").write_text(key)
        oci_server.admin("DELETE", "keys", {"id": f"ST${old}"})
        await checkpointer.save({"n": 2}, "t")
        assert await checkpointer.load("t") == {"n": 2}


@pytest.mark.parametrize(
    ("auth", "signer"),
    [
        ("instance_principal", "InstancePrincipalsSecurityTokenSigner"),
        ("workload_identity", "get_oke_workload_identity_resource_principal_signer"),
    ],
)
def test_a_principal_that_needs_its_machine_is_asked_of_the_sdk(
    monkeypatch: pytest.MonkeyPatch, auth: str, signer: str
) -> None:
    # Their token services are on OCI's machines alone: that the tokens work was not confirmed here.
    oci: Any = pytest.importorskip("oci")
    made = object()
    monkeypatch.setattr(oci.auth.signers, signer, lambda **_: made)
    connection = OCIBucketConnection.model_validate({"bucket": "b", "namespace": "n", "auth": auth})
    assert make_signer(read_login(connection)) is made


@pytest.mark.parametrize("auth", ["resource_principal", "workload_identity"])
async def test_a_principal_that_this_machine_does_not_have_is_an_error_that_names_it(
    oci_server: ObjectStorageServer, oci_bucket: str, monkeypatch: pytest.MonkeyPatch, auth: str
) -> None:
    for name in ("OCI_RESOURCE_PRINCIPAL_VERSION", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    async with opened(oci_server, oci_bucket, auth_type=auth) as checkpointer:
        with pytest.raises((BindingError, BackendUnavailableError), match=auth):
            await checkpointer.load("t")


async def test_a_missing_profile_is_an_error_that_names_it(
    oci_server: ObjectStorageServer, oci_bucket: str, tmp_path: Path
) -> None:
    for path, name in ((tmp_path / "none", "none"), (profile(tmp_path, "key"), "OTHER")):
        async with opened(oci_server, oci_bucket, config_file=str(path), profile_name="OTHER") as checkpointer:
            with pytest.raises(BindingError, match=name):
                await checkpointer.load("t")


async def test_a_damaged_configuration_file_is_an_error_that_does_not_quote_it(
    oci_server: ObjectStorageServer, oci_bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "config"
    path.write_text("[DEFAULT]\nhunter2\n")
    async with opened(oci_server, oci_bucket, config_file=str(path)) as checkpointer:
        with pytest.raises(BindingError) as caught:
            await checkpointer.load("t")
    assert "hunter2" not in str(caught.value)


def test_half_a_key_is_an_error_that_names_the_other_half() -> None:
    connection = OCIBucketConnection.model_validate({"bucket": "b", "namespace": "n", "private_key": "x", "user": "u"})
    with pytest.raises(BindingError, match="tenancy, fingerprint"):
        read_login(connection)


@pytest.fixture
def rotating_key(oci_server: ObjectStorageServer) -> Iterator[ApiKey]:
    """A key of its own, that a test may revoke."""
    key = oci_server.create_key()
    yield key
    oci_server.admin("DELETE", "keys", {"id": key.id})


def write(directory: Path, document: dict[str, Any]) -> None:
    replacement = directory / "..new"
    replacement.write_text(json.dumps(document))
    replacement.rename(directory / "connection.json")


async def test_a_key_replaced_in_the_binding_is_taken_up_by_all_callers(
    oci_server: ObjectStorageServer, oci_bucket: str, rotating_key: ApiKey, tmp_path: Path
) -> None:
    write(tmp_path, oci_server.document(oci_bucket, rotating_key))
    async with open_checkpointer(DirectoryBinding(tmp_path)) as checkpointer:
        await asyncio.gather(*(checkpointer.save({"n": 1}, f"t{number}") for number in range(8)))
        write(tmp_path, oci_server.document(oci_bucket))
        oci_server.admin("DELETE", "keys", {"id": rotating_key.id})
        await asyncio.gather(*(checkpointer.save({"n": 2}, f"t{number}") for number in range(8)))
        assert [await checkpointer.load(f"t{number}") for number in range(8)] == [{"n": 2}] * 8


async def test_a_revoked_key_is_an_error_at_once_and_not_an_empty_store(
    oci_server: ObjectStorageServer, oci_bucket: str, rotating_key: ApiKey
) -> None:
    async with opened(oci_server, oci_bucket, region=REGION, **rotating_key.fields()) as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        oci_server.admin("DELETE", "keys", {"id": rotating_key.id})
        async with asyncio.timeout(2):
            for call in (checkpointer.load("t"), checkpointer.save({}, "t"), checkpointer.list_threads()):
                with pytest.raises(AuthenticationError, match=r"401.*api_key.*rejected"):
                    await call


async def test_a_bucket_that_is_missing_or_hidden_is_an_error_and_never_none(
    oci_server: ObjectStorageServer, oci_bucket: str
) -> None:
    stranger = oci_server.create_key("ocid1.user.oc1..stranger", {"other": "manage"})
    hidden = opened(oci_server, oci_bucket, region=REGION, **stranger.fields())
    missing = opened(oci_server, "nowhere", region=REGION, **oci_server.key.fields())
    for checkpointer in (hidden, missing):
        async with checkpointer:
            for call in (checkpointer.load("t"), checkpointer.exists("t"), checkpointer.list_threads()):
                with pytest.raises(AuthenticationError, match="does not exist, or the principal may not see it"):
                    await call


async def test_a_reader_can_load_and_is_told_that_it_may_not_save(
    oci_server: ObjectStorageServer, oci_bucket: str
) -> None:
    async with opened(oci_server, oci_bucket, region=REGION, **oci_server.key.fields()) as writer:
        await writer.save({"n": 1}, "t")
    key = oci_server.create_key("ocid1.user.oc1..reader", {oci_bucket: "read"})
    async with opened(oci_server, oci_bucket, region=REGION, **key.fields()) as reader:
        assert await reader.load("t") == {"n": 1}
        with pytest.raises(AuthenticationError):
            await reader.save({"n": 2}, "t")
        assert await reader.load("t") == {"n": 1}


async def test_a_missing_bucket_is_created_where_a_compartment_is_given_but_never_again(
    oci_server: ObjectStorageServer, oci_bucket: str
) -> None:
    new = f"new-{oci_bucket}"
    async with opened(
        oci_server, new, region=REGION, compartment_id=COMPARTMENT, **oci_server.key.fields()
    ) as checkpointer:
        assert await checkpointer.load("t") is None
        client = oci_server.client()
        assert client.get_bucket(NAMESPACE, new).data.public_access_type == "NoPublicAccess"
        client.delete_bucket(NAMESPACE, new)
        client.base_client.session.close()
        with pytest.raises(AuthenticationError, match=new):
            await checkpointer.load("t")


async def test_a_provisioned_bucket_is_never_created(oci_server: ObjectStorageServer, oci_bucket: str) -> None:
    missing = opened(
        oci_server,
        f"new-{oci_bucket}",
        region=REGION,
        compartment_id=COMPARTMENT,
        tables="provisioned",
        **oci_server.key.fields(),
    )
    async with missing as checkpointer:
        with pytest.raises(AuthenticationError):
            await checkpointer.save({}, "t")
