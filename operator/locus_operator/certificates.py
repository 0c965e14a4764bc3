"""Certificates of the webhook: made, judged and read. Pure functions of what is given, the time included.

Each certificate has a CA of its own, whose key is forgotten as soon as the certificate is signed: there is no CA key
that anybody could read, and a change of the CA, which is what needs care, happens at each renewal and not once in ten
years. Clients trust the CAs of all certificates that have not ended, so a server may go on with an earlier one.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CERTIFICATE_ENTRY: Final = "tls.crt"
KEY_ENTRY: Final = "tls.key"
AUTHORITIES_ENTRY: Final = "ca.crt"
BACKDATED: Final = timedelta(minutes=5)
"""A certificate is valid from a little before it was made: clocks differ."""
_AUTHORITY_NAME: Final = "locus-operator webhook CA"
_SERVER_NAME: Final = "locus-operator webhook"
# Two thirds, and a twentieth more or less: the controllers of many clusters do not renew together.
_EARLIEST_RENEWAL: Final = 2 / 3 - 0.05
_RENEWAL_WINDOW: Final = 0.1


class UnusableError(ValueError):
    """What is stored is no certificate to serve with; the message says why, and shows nothing of a key."""


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """A certificate with its key, and with what clients have to trust.

    Attributes:
        certificate: The server's own.
        key: Its private key, PEM.
        authorities: CAs that clients trust: that of the certificate, and those of earlier ones; the newest first.
    """

    certificate: x509.Certificate
    key: str = field(repr=False)
    authorities: tuple[x509.Certificate, ...]

    @property
    def expiry(self) -> datetime:
        """When the certificate ends."""
        return self.certificate.not_valid_after_utc

    def renewal(self, validity: timedelta) -> datetime:
        """Return when to renew; the same for everybody who asks, for the jitter comes from the serial number.

        Args:
            validity: Of a new certificate; one that was made for longer is renewed as if it had been made for this.
        """
        begin = self.certificate.not_valid_before_utc + BACKDATED
        jitter = self.certificate.serial_number % 1000 / 1000
        return begin + min(self.expiry - begin, validity) * (_EARLIEST_RENEWAL + _RENEWAL_WINDOW * jitter)

    def trusting(self, earlier: Iterable[x509.Certificate]) -> Self:
        """Return it with more CAs that clients trust."""
        return replace(self, authorities=tuple(dict.fromkeys((*self.authorities, *earlier))))

    def bundle(self, now: datetime) -> str:
        """Return the CAs to trust now, PEM. A CA ends with its only certificate, so what has ended is not needed."""
        return _pem(each for each in self.authorities if each.not_valid_after_utc > now)

    def entries(self, now: datetime) -> dict[str, str]:
        """Return the entries of its Secret."""
        return {
            CERTIFICATE_ENTRY: _pem([self.certificate]),
            KEY_ENTRY: self.key,
            AUTHORITIES_ENTRY: self.bundle(now),
        }

    def why_replace(self, names: Iterable[str], validity: timedelta, now: datetime) -> str:
        """Say why another certificate is needed; empty while this one will do.

        Args:
            names: DNS names and addresses by which clients call the server.
            validity: Of a new certificate.
            now: The time.
        """
        if missing := set(names) - _names_in(self.certificate):
            return f"it is not for {', '.join(sorted(missing))}"
        if now < self.certificate.not_valid_before_utc:
            return f"it begins only at {self.certificate.not_valid_before_utc.isoformat()}"
        if now >= self.renewal(validity):
            return f"it ends at {self.expiry.isoformat()}"
        return ""


def issue(names: Iterable[str], validity: timedelta, now: datetime) -> ServingCertificate:
    """Make a certificate and a CA for it.

    Args:
        names: DNS names and IP addresses of the server; at least one.
        validity: How long it is valid from now on, in whole seconds.
        now: The time.
    """
    now = now.replace(microsecond=0)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    # A name of its own: clients look for the issuer by its name.
    authority_name = _name(f"{_AUTHORITY_NAME} {secrets.token_hex(8)}")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), authority_key.public_key())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(_name(_SERVER_NAME), authority_name, key.public_key(), authority_key.public_key())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return ServingCertificate(certificate, pem, (authority,))


def read(entries: Mapping[str, str]) -> ServingCertificate:
    """Read the entries of a Secret.

    Raises:
        UnusableError: No server could serve with them, or no client would trust it.
    """
    if missing := [name for name in (CERTIFICATE_ENTRY, KEY_ENTRY, AUTHORITIES_ENTRY) if not entries.get(name)]:
        raise UnusableError(f"it lacks {', '.join(missing)}")
    certificates = authorities_in(entries[CERTIFICATE_ENTRY])
    if not certificates:
        raise UnusableError(f"{CERTIFICATE_ENTRY} is no certificate in PEM")
    try:
        key = serialization.load_pem_private_key(entries[KEY_ENTRY].encode(), password=None)
    except (ValueError, TypeError):
        # Without the cause: its text may be of the key.
        raise UnusableError(f"{KEY_ENTRY} is no private key in PEM") from None
    if key.public_key() != certificates[0].public_key():
        raise UnusableError(f"{CERTIFICATE_ENTRY} and {KEY_ENTRY} do not belong together")
    authorities = authorities_in(entries[AUTHORITIES_ENTRY])
    if not any(_issued(certificates[0], each) for each in authorities):
        raise UnusableError(f"no CA in {AUTHORITIES_ENTRY} has issued {CERTIFICATE_ENTRY}")
    return ServingCertificate(certificates[0], entries[KEY_ENTRY], authorities)


def authorities_in(pem: str) -> tuple[x509.Certificate, ...]:
    """Return the certificates in a text, in their order; none if it is anything else."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return ()


def is_ours(authority: x509.Certificate) -> bool:
    """Tell whether a CA was made by `issue`, by what it is called."""
    return any(
        isinstance(each.value, str) and each.value.startswith(_AUTHORITY_NAME)
        for each in authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names_in(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _pem(certificates: Iterable[x509.Certificate]) -> str:
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)
