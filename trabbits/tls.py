"""TLS on ports of our own: what they prove themselves with, and what clients' certificates say.

Lives here: `tls_options`, `tls_factory`, `client_certificate`, `failure_text`.  Must not know: which ports there are.
"""

# mypy: disallow-untyped-calls=False
# Twisted and pyOpenSSL are only partly annotated.

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trabbits.config.model import CertificateConfig, TlsConfig
from trabbits.interfaces import ClientCertificate

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Unusable(OSError):
    """What is configured cannot be used; `path` says which part of the configuration."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path
        self.text = text

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def tls_options(config: CertificateConfig, path: str) -> Any:
    """What TLS connections are made with; `path` is that of `config`.  Raises `Unusable`."""
    from OpenSSL.SSL import Error
    from twisted.internet.ssl import CertificateOptions, KeyPair, TLSVersion

    first, *chain = [each.original for each in _certificates(config.certificate, f"{path}.certificate")]
    key = _content(config.key, f"{path}.key")
    try:
        private = KeyPair.load(key, _pem()).original
    except Exception:
        # Nothing of a private key in an error.
        text = f"{config.key}: no private key in PEM form without a passphrase"
        raise Unusable(f"{path}.key", text) from None
    options = CertificateOptions(
        privateKey=private,
        certificate=first,
        extraCertChain=chain,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        **(_asking(config, path) if isinstance(config, TlsConfig) else {}),
    )
    try:
        options.getContext()
    except Error:
        raise Unusable(f"{path}.key", f"{config.key} does not belong to {config.certificate}") from None
    return options


def tls_factory(options: Any, factory: Any, reactor: Any) -> Any:
    """A factory that puts TLS before what `factory` makes."""
    from twisted.protocols.tls import TLSMemoryBIOFactory

    wrapping = TLSMemoryBIOFactory(options, False, factory, reactor)
    wrapping.noisy = False
    return wrapping


def client_certificate(transport: Any) -> ClientCertificate | None:
    """What the certificate of the client at this transport says, once its handshake is done.

    TLS has verified it against the authorities that clients' certificates may come from; without those, no client is
    asked for one.
    """
    from cryptography.x509 import DuplicateExtension, UnsupportedGeneralNameType

    shown = transport.getPeerCertificate()
    if shown is None:
        return None
    try:
        return _said_by(shown.to_cryptography())
    except (ValueError, DuplicateExtension, UnsupportedGeneralNameType):
        # Whatever an authority may have signed: what cannot be read names nobody.
        return ClientCertificate("")


def _said_by(certificate: Certificate) -> ClientCertificate:
    from cryptography import x509

    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternatives = x509.SubjectAlternativeName([])
    return ClientCertificate(
        subject=certificate.subject.rfc4514_string(),
        common_name=",".join(str(each.value) for each in names),
        dns_names=tuple(alternatives.get_values_for_type(x509.DNSName)),
        email_addresses=tuple(alternatives.get_values_for_type(x509.RFC822Name)),
        uris=tuple(alternatives.get_values_for_type(x509.UniformResourceIdentifier)),
        ip_addresses=tuple(str(each) for each in alternatives.get_values_for_type(x509.IPAddress)),
    )


def failure_text(error: BaseException | None) -> str:
    """What TLS says of a connection that it gave up, for people; empty if it is not TLS that speaks."""
    from OpenSSL.SSL import Error

    if not isinstance(error, Error):
        return ""
    # Each is library, function and reason; the last one is about the whole.
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return f"TLS: {entries[-1][-1]}" if entries else "TLS: broken off"


def _asking(config: TlsConfig, path: str) -> dict[str, Any]:
    """What makes a port ask clients for certificates."""
    if config.client_ca is None:
        return {}
    authorities = _certificates(config.client_ca, f"{path}.client_ca")
    return {
        "verify": True,
        "caCerts": [each.original for each in authorities],
        "requireCertificate": config.client_certificate != "optional",
    }


def _certificates(file: str, path: str) -> list[Any]:
    """Those in a file, at least one."""
    from twisted.internet.ssl import Certificate as TwistedCertificate

    found = _CERTIFICATE.findall(_content(file, path))
    if not found:
        raise Unusable(path, f"{file}: no certificates in PEM form")
    try:
        return [TwistedCertificate.loadPEM(each) for each in found]
    except Exception:
        raise Unusable(path, f"{file}: a certificate cannot be read") from None


def _content(file: str, path: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unusable(path, f"{file}: {reason}") from None


def _pem() -> int:
    from OpenSSL.crypto import FILETYPE_PEM

    return int(FILETYPE_PEM)
