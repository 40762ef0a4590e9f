"""What is read from certificates: ours, before they are served, and clients', for whom they speak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509
from OpenSSL.SSL import Error

from tests.certificates import Authority
from trabbits.config.model import CertificateConfig, TlsConfig
from trabbits.interfaces import ClientCertificate
from trabbits.tls import Unusable, client_certificate, failure_text, tls_options

#: Of an extension.
OID = x509.SubjectAlternativeName.oid


class Transport:
    """One whose client has shown a certificate, or none."""

    def __init__(self, certificate: X509 | None) -> None:
        self._certificate = certificate

    def getPeerCertificate(self) -> X509 | None:
        return self._certificate


def shown(file: str) -> ClientCertificate | None:
    certificate = x509.load_pem_x509_certificate(Path(file).read_bytes())
    return client_certificate(Transport(X509.from_cryptography(certificate)))


def builder(folder: Path, subject: x509.Name) -> x509.CertificateBuilder:
    """A certificate of this subject, but for its signature."""
    old = x509.load_pem_x509_certificate(Path(Authority(folder).issue("x").certificate).read_bytes())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(1)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )


def said_by(made: x509.CertificateBuilder) -> ClientCertificate | None:
    key = ec.generate_private_key(ec.SECP256R1())
    return client_certificate(Transport(X509.from_cryptography(made.sign(key, hashes.SHA256()))))


def test_no_certificate() -> None:
    assert client_certificate(Transport(None)) is None


def test_without_alternative_names(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("orders")
    assert shown(issued.certificate) == ClientCertificate("O=Example,CN=orders", "orders")


def test_with_all_alternative_names(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue(
        "orders", dns=["a.example", "b.example"], email=["a@example"], uri=["urn:a"], ip=["192.0.2.1", "::1"]
    )
    assert shown(issued.certificate) == ClientCertificate(
        "O=Example,CN=orders",
        "orders",
        dns_names=("a.example", "b.example"),
        email_addresses=("a@example",),
        uris=("urn:a",),
        ip_addresses=("192.0.2.1", "::1"),
    )


@pytest.mark.parametrize(
    ("names", "subject", "common_name"),
    [
        ([], "", ""),
        ([(NameOID.ORGANIZATION_NAME, "a, b")], r"O=a\, b", ""),
        ([(NameOID.COMMON_NAME, "a"), (NameOID.COMMON_NAME, "b")], "CN=b,CN=a", "a,b"),
    ],
)
def test_odd_subjects(names: list[Any], subject: str, common_name: str, tmp_path: Path) -> None:
    """As RabbitMQ has them: several common names are one text, which is none of them."""
    made = builder(tmp_path, x509.Name([x509.NameAttribute(*each) for each in names]))
    assert said_by(made) == ClientCertificate(subject, common_name)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(b"junk", id="no list of names"),
        pytest.param(b"\x30\x06\x82\x04\xff\xfe\x61\x62", id="a name that is no ASCII"),
        pytest.param(b"\x30\x05\x87\x03\x01\x02\x03", id="an address of three octets"),
        pytest.param(b"\x30\x02\xa3\x00", id="an X.400 address"),
        pytest.param(b"\x30\x04\xa5\x02\x30\x00", id="an EDI party"),
    ],
)
def test_alternative_names_that_cannot_be_read_name_nobody(names: bytes, tmp_path: Path) -> None:
    """Whatever an authority signed: the client is nobody, which ends its login and nothing else."""
    made = builder(tmp_path, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "orders")]))
    alternatives = x509.UnrecognizedExtension(OID, names)
    assert said_by(made.add_extension(alternatives, critical=False)) == ClientCertificate("")


@pytest.mark.parametrize("error", [ValueError("error parsing asn1 value"), x509.DuplicateExtension("twice", OID)])
def test_one_that_cannot_be_read_names_nobody(error: Exception) -> None:
    class Broken:
        def to_cryptography(self) -> None:
            raise error

    assert client_certificate(Transport(Broken())) == ClientCertificate("")  # type: ignore[arg-type]  # a double


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"certificate": "/nowhere"}, "x.certificate"),
        ({"certificate": "KEY"}, "x.certificate"),
        ({"key": "CERTIFICATE"}, "x.key"),
        ({"key": "OTHER"}, "x.key"),
        ({"client_ca": "KEY"}, "x.client_ca"),
        ({"client_ca": "GARBAGE"}, "x.client_ca"),
    ],
)
def test_files_that_cannot_be_used(wrong: dict[str, str], path: str, tmp_path: Path) -> None:
    """The error says which, and nothing of a key."""
    authority = Authority(tmp_path)
    issued, other = authority.issue("a"), authority.issue("b")
    garbage = tmp_path / "garbage"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    files = {"CERTIFICATE": issued.certificate, "KEY": issued.key, "OTHER": other.key, "GARBAGE": str(garbage)}
    right = {"certificate": issued.certificate, "key": issued.key}
    given: Any = right | {key: files.get(value, value) for key, value in wrong.items()}
    model = TlsConfig if "client_ca" in wrong else CertificateConfig
    config = model.model_validate(given | ({"listen": "a:1"} if model is TlsConfig else {}))
    with pytest.raises(Unusable) as caught:
        tls_options(config, "x")
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert "PRIVATE" not in str(caught.value)


def test_what_tls_says() -> None:
    assert failure_text(Error([("a", "b", "first"), ("", "", "certificate verify failed")])) == (
        "TLS: certificate verify failed"
    )
    assert failure_text(Error()) == "TLS: broken off"
    assert failure_text(ConnectionResetError("x")) == ""
