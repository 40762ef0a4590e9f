"""The API over TCP: a port of its own, with a token and, if wished, TLS.

Lives here: `open_listener`.  Must not know: when there is one, and what is served there.
"""

# mypy: disallow-untyped-calls=False
# Twisted and pyOpenSSL are only partly annotated.

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

from trabbits.config.model import AdminConfig, AdminTlsConfig

BACKLOG = 128

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Unusable(OSError):
    """What is configured cannot be used; `key` says which part of ``admin``."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key
        self.text = text

    def __str__(self) -> str:
        return f"admin.{self.key}: {self.text}"


def listening_socket(config: AdminConfig) -> socket.socket:
    """A socket that listens where `config` says.  Raises `Unusable`."""
    address = config.listen
    assert address is not None
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        # Names are for numbers of this machine: nobody waits for them.
        place = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)[0][4]
        listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise Unusable("listen", f"cannot listen on {address}: {error.strerror}") from None
    return listening


def tls_options(config: AdminTlsConfig) -> Any:
    """What TLS connections are made with.  Raises `Unusable`."""
    from OpenSSL.SSL import Error
    from twisted.internet.ssl import Certificate, CertificateOptions, KeyPair, TLSVersion

    found = _CERTIFICATE.findall(_content(config.certificate, "tls.certificate"))
    if not found:
        raise Unusable("tls.certificate", f"{config.certificate}: no certificates in PEM form")
    key = _content(config.key, "tls.key")
    try:
        first, *chain = [Certificate.loadPEM(each).original for each in found]
    except Exception:
        raise Unusable("tls.certificate", f"{config.certificate}: a certificate cannot be read") from None
    try:
        private = KeyPair.load(key, _pem()).original
    except Exception:
        # Nothing of a private key in an error.
        raise Unusable("tls.key", f"{config.key}: no private key in PEM form without a passphrase") from None
    options = CertificateOptions(
        privateKey=private, certificate=first, extraCertChain=chain, raiseMinimumTo=TLSVersion.TLSv1_2
    )
    try:
        options.getContext()
    except Error:
        raise Unusable("tls.key", f"{config.key} does not belong to {config.certificate}") from None
    return options


def _content(path: str, key: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unusable(key, f"{path}: {reason}") from None


def _pem() -> int:
    from OpenSSL.crypto import FILETYPE_PEM

    return int(FILETYPE_PEM)
