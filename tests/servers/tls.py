"""A certificate authority for tests: short-lived certificates on elliptic-curve keys."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LIFETIME = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A certificate with its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write ``NAME.crt`` and ``NAME.key``, the key for its owner only; returns both paths."""
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        return certificate, key


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key: fast to make, and every server takes it."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key as unencrypted PEM, in the form from which Kubernetes also reads the public key."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


class CertificateAuthority:
    """Issues server and client certificates; two instances do not trust each other.

    Args:
        common_name: the subject of the authority's own certificate.
    """

    def __init__(self, common_name: str = "Locus Memory test CA") -> None:
        self._key = new_key()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), self._key.public_key(), LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate: bytes = certificate.public_bytes(serialization.Encoding.PEM)
        """The authority's certificate as PEM: what clients trust."""
        self.key: bytes = pem(self._key)
        """Its private key as PEM: for a server that signs certificates itself."""

    def write(self, directory: Path, name: str = "ca") -> Path:
        """Write the authority's certificate as ``NAME.crt``; returns its path."""
        path = directory / f"{name}.crt"
        path.write_bytes(self.certificate)
        return path

    def issue_server(self, hosts: Sequence[str] = LOOPBACK, *, lifetime: timedelta = LIFETIME) -> Certificate:
        """Issue a certificate for a server.

        Args:
            hosts: DNS names and IP addresses; the first is the common name as well.
            lifetime: counted from now; zero or less gives an expired certificate.
        """
        names: list[x509.GeneralName] = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        return self._issue(subject, [x509.SubjectAlternativeName(names), usage], lifetime)

    def issue_client(
        self, common_name: str, organizations: Sequence[str] = (), *, lifetime: timedelta = LIFETIME
    ) -> Certificate:
        """Issue a certificate for a client.

        Args:
            common_name: the user name, for Kubernetes and PostgreSQL alike.
            organizations: the groups, for Kubernetes.
            lifetime: counted from now.
        """
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations),
            ]
        )
        return self._issue(subject, [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])], lifetime)

    def _issue(self, subject: x509.Name, extensions: Sequence[x509.ExtensionType], lifetime: timedelta) -> Certificate:
        key = new_key()
        builder = (
            _builder(subject, self._name, key.public_key(), self._key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return Certificate(
            certificate=builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key=pem(key),
        )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    # Key identifiers are what Python 3.13's strict verification insists on.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + lifetime) - timedelta(hours=1))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
