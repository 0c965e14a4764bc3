"""Request signatures: RSA over some headers, as "Request Signatures" in the service's documentation describes."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.emulators.oci_object_storage.errors import unauthenticated

MAX_SKEW_SECONDS = 300

GENERIC = frozenset({"date", "(request-target)", "host"})
BODY = frozenset({"content-length", "content-type", "x-content-sha256"})

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class SignedRequest:
    """What a signature covers.

    Attributes:
        method: as sent, in capitals.
        target: path and query exactly as sent.
        headers: names in lower case.
        body: None where the service does not ask for the body to be signed, as for the PUT of an object.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None


def verify(request: SignedRequest, key_of: Callable[[str], rsa.RSAPublicKey | None]) -> str:
    """Return the id of the key that signed the request.

    Args:
        request: the request.
        key_of: returns the public key of a key id; None for one that is unknown, revoked or expired.

    Raises:
        ServiceError: 401, for a signature that is missing, incomplete, wrong or old.
    """
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "signature":
        raise unauthenticated("no signature")
    parameters = dict(_PARAMETER.findall(text))
    if parameters.get("algorithm") != "rsa-sha256" or parameters.get("version") != "1":
        raise unauthenticated("algorithm or version of the signature")
    names = parameters.get("headers", "").split(" ")
    missing = (GENERIC | BODY if request.body is not None else GENERIC) - {
        "date" if name == "x-date" else name for name in names
    }
    if missing:
        raise unauthenticated(f"unsigned headers {', '.join(sorted(missing))}")
    _check_date(request.headers)
    _check_body(request)
    key_id: str = parameters.get("keyId", "")
    key = key_of(key_id)
    if key is None:
        raise unauthenticated("unknown key")
    try:
        signature = base64.b64decode(parameters.get("signature", ""), validate=True)
        key.verify(signature, _signing_string(request, names), padding.PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature):
        raise unauthenticated("signature does not match") from None
    return key_id


def _signing_string(request: SignedRequest, names: list[str]) -> bytes:
    lines = []
    for name in names:
        if name == "(request-target)":
            lines.append(f"{name}: {request.method.lower()} {request.target}")
        elif name in request.headers:
            lines.append(f"{name}: {request.headers[name]}")
        else:
            raise unauthenticated(f"signed header {name} is absent")
    return "\n".join(lines).encode()


def _check_date(headers: Mapping[str, str]) -> None:
    try:
        sent = email.utils.parsedate_to_datetime(headers.get("x-date") or headers.get("date", ""))
    except ValueError:
        raise unauthenticated("date") from None
    if abs(sent.timestamp() - time.time()) > MAX_SKEW_SECONDS:
        raise unauthenticated("the date is not within the allowed clock skew")


def _check_body(request: SignedRequest) -> None:
    if request.body is None:
        return
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    if request.headers.get("x-content-sha256") != digest:
        raise unauthenticated("x-content-sha256 is not the body's")
