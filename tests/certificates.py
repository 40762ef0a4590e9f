"""A certificate authority for tests: issues certificates, as files, to servers on this machine and to clients.

Example::

    authority = Authority(tmp_path)
    server = authority.issue("server", dns=["localhost"], ip=["127.0.0.1"])
    context = ssl.create_default_context(cafile=authority.file)
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


@frozen
class Issued:
    """A certificate and its key, as files."""

    certificate: str
    key: str


class Authority:
    """One that signs certificates; `file` has its own.  Everything is written to `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self._name, self._name, self._key.public_key())
        own = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = str(folder / f"{name}.pem")
        Path(self.file).write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def issue(
        self,
        name: str,
        *,
        dns: Sequence[str] = (),
        email: Sequence[str] = (),
        uri: Sequence[str] = (),
        ip: Sequence[str] = (),
    ) -> Issued:
        """A certificate with the subject ``O=Example,CN=name``, and these alternative names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, name),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            ]
        )
        builder = _builder(subject, self._name, key.public_key())
        names: list[x509.GeneralName] = [
            *map(x509.DNSName, dns),
            *map(x509.RFC822Name, email),
            *map(x509.UniformResourceIdentifier, uri),
            *(x509.IPAddress(ip_address(each)) for each in ip),
        ]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issued = Issued(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}-key.pem"))
        Path(issued.certificate).write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))
        secret = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        Path(issued.key).write_bytes(secret)
        return issued

    def context(self, issued: Issued | None = None) -> ssl.SSLContext:
        """What a client needs that trusts this authority, and shows a certificate if it has one."""
        context = ssl.create_default_context(cafile=self.file)
        if issued is not None:
            context.load_cert_chain(issued.certificate, issued.key)
        return context


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
