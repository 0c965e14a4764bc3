"""How requests are signed: API keys, session tokens and the principals that OCI gives to its own machines."""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locus_memory.backends.oci_bucket_workers import sdk
from locus_memory.connection import OCIBucketConnection
from locus_memory.errors import AuthenticationError, BackendUnavailableError, BindingError, CheckpointError

_FIELDS = ("tenancy", "user", "fingerprint", "private_key")


@dataclass(frozen=True)
class Login:
    """A connection document with all that it refers to on disk: two are equal when requests are signed alike.

    Attributes:
        config: What the SDK calls a config.
        private_key: PEM text, for `api_key` and `session_token`.
        token: For `session_token`.
    """

    connection: OCIBucketConnection
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    private_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def read_login(connection: OCIBucketConnection) -> Login:
    """Read the files that a connection document refers to; blocks.

    Raises:
        BindingError: A file or field is missing or makes no sense.
        MissingDriverError: The SDK is not installed.
    """
    if connection.auth == "api_key" and connection.private_key is not None:
        missing = [name for name in _FIELDS if getattr(connection, name) is None]
        if missing:
            raise BindingError(f"oci-bucket: private_key is given, so give {', '.join(missing)} as well")
        config = {name: getattr(connection, name) for name in ("tenancy", "user", "fingerprint")}
        private_key = connection.private_key.get_secret_value()
        if connection.pass_phrase is not None:
            config["pass_phrase"] = connection.pass_phrase.get_secret_value()
        return Login(connection, _with_region(config | {"key_content": private_key}, connection), private_key)
    if connection.auth in ("api_key", "session_token"):
        return _from_file(connection)
    return Login(connection, _with_region({}, connection))


def _from_file(connection: OCIBucketConnection) -> Login:
    oci = sdk()
    config_module = oci.config
    location = connection.config_file or config_module.DEFAULT_LOCATION
    profile = connection.profile_name or config_module.DEFAULT_PROFILE
    where = f"oci-bucket: profile {profile!r} of {location}"
    try:
        config = dict(config_module.from_file(location, profile))
        private_key = _text(config["key_file"])
        token = _text(config["security_token_file"]) if connection.auth == "session_token" else None
    except KeyError as error:
        raise BindingError(f"{where} lacks {error.args[0]}") from None
    except (OSError, oci.exceptions.ClientError) as error:
        raise BindingError(f"{where}: {error}") from error
    except (configparser.Error, ValueError) as error:
        # Their messages quote lines of the file, which may be a pass phrase.
        raise BindingError(f"{where} cannot be read: {type(error).__name__}") from None
    return Login(connection, _with_region(config, connection), private_key, token)


def _text(path: str) -> str:
    return Path(path).expanduser().read_text().strip()


def _with_region(config: dict[str, Any], connection: OCIBucketConnection) -> dict[str, Any]:
    return config | ({"region": connection.region} if connection.region else {})


def make_signer(login: Login) -> Any:
    """Make the SDK's signer; blocks, and asks OCI for a token where a principal needs one.

    Raises:
        BindingError: The key is none, or this machine has no such principal.
        AuthenticationError: OCI refuses a token.
        BackendUnavailableError: The service that gives tokens does not answer.
    """
    oci = sdk()
    try:
        return _signer(oci, login)
    except oci.exceptions.ServiceError as error:
        where = f"oci-bucket with auth {login.connection.auth!r}: no token: {error.status} {error.message}"
        raise (AuthenticationError if 400 <= error.status < 500 else BackendUnavailableError)(where) from error
    except CheckpointError:
        raise
    except (OSError, oci.exceptions.RequestException) as error:
        # Missing variables are an OSError too: EnvironmentError is another name of it.
        unset = type(error) is OSError and error.errno is None
        kind = BindingError if unset else BackendUnavailableError
        raise kind(f"oci-bucket with auth {login.connection.auth!r}: {type(error).__name__}: {error}") from error
    except (ValueError, KeyError, AttributeError, oci.exceptions.ClientError) as error:
        raise BindingError(f"oci-bucket with auth {login.connection.auth!r}: {type(error).__name__}: {error}") from None


def _signer(oci: Any, login: Login) -> Any:
    signers, none = oci.auth.signers, oci.retry.NoneRetryStrategy()
    match login.connection.auth:
        case "api_key":
            # Not Signer.from_config, which needs a file even where it is given the key.
            names = (login.config[name] for name in ("tenancy", "user", "fingerprint"))
            pass_phrase = login.config.get("pass_phrase")
            return oci.signer.Signer(*names, None, pass_phrase, private_key_content=login.private_key)
        case "session_token":
            key = oci.signer.load_private_key(login.private_key, login.config.get("pass_phrase"))
            return signers.SecurityTokenSigner(login.token, key)
        case "instance_principal":
            return signers.InstancePrincipalsSecurityTokenSigner(federation_client_retry_strategy=none)
        case "resource_principal":
            return signers.get_resource_principals_signer()
        case "workload_identity":
            return signers.get_oke_workload_identity_resource_principal_signer()
