"""Certificates as files in one directory, as Kubernetes programs want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers.tls import LOOPBACK, Certificate, CertificateAuthority, new_key, pem


@dataclass(frozen=True)
class KeyPair:
    """Paths of a PEM certificate and of its unencrypted PEM private key."""

    certificate: Path
    key: Path


class CertificateDirectory:
    """An authority that issues into a directory, where ``ca.crt`` and ``ca.key`` lie too."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._authority = CertificateAuthority()
        self.pair = self._write("ca", Certificate(self._authority.certificate, self._authority.key))

    def issue_server(self, name: str, hosts: Sequence[str] = LOOPBACK) -> KeyPair:
        """Issue a serving certificate for ``hosts`` (addresses or DNS names), in files called ``name``."""
        return self._write(name, self._authority.issue_server(hosts))

    def issue_client(self, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """Issue a client certificate: Kubernetes takes the common name as user, organizations as groups."""
        return self._write(f"client-{user.replace(':', '_')}", self._authority.issue_client(user, groups))

    def write_key(self, name: str) -> Path:
        """Write a new private key without a certificate, and return its path."""
        path = self.directory / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(pem(new_key()))
        return path

    def _write(self, name: str, certificate: Certificate) -> KeyPair:
        return KeyPair(*certificate.write(self.directory, name))
