"""EXTERNAL: the client's certificate says who it is, and TLS has proved that it is the client's.

Lives here: `External`, the mechanism.  Must not know: how certificates are verified.
Source: RFC 4422 appendix A; RabbitMQ's rabbit_auth_mechanism_ssl for where the user name comes from.
"""

from __future__ import annotations

from typing import Annotated, Literal

from attrs import frozen
from pydantic import Field
from zope.interface import implementer

from trabbits.interfaces import ClientCertificate, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions

UserFrom = Literal["distinguished_name", "common_name", "san_dns", "san_email", "san_uri", "san_ip"]


class ExternalOptions(PluginOptions):
    """What of a certificate is the user name."""

    user_from: UserFrom = "distinguished_name"
    """The subject as a whole (`O=Example,CN=orders`), its common name, or a subject alternative name of a kind."""
    san_index: Annotated[int, Field(ge=0, le=100)] = 0
    """Which subject alternative name of that kind, the first being 0."""


@implementer(IAuthMechanism)
class External:
    """Takes the user name from the certificate.  What upstreams are told of the user, the configuration says."""

    name = "EXTERNAL"
    priority = 10
    needs_tls = True
    verifies = True

    def __init__(self, user_from: UserFrom = "distinguished_name", san_index: int = 0) -> None:
        self._user_from = user_from
        self._san_index = san_index

    def begin(self, peer: Peer) -> _Exchange:
        return _Exchange(self, peer.certificate)

    def user_of(self, certificate: ClientCertificate) -> str:
        """The user name; empty if the certificate has none."""
        match self._user_from:
            case "distinguished_name":
                return certificate.subject
            case "common_name":
                return certificate.common_name
        names = {
            "san_dns": certificate.dns_names,
            "san_email": certificate.email_addresses,
            "san_uri": certificate.uris,
            "san_ip": certificate.ip_addresses,
        }[self._user_from]
        return names[self._san_index] if self._san_index < len(names) else ""

    def identify(self, certificate: ClientCertificate | None) -> Identity | Refusal:
        """Who the client with this certificate is."""
        if certificate is None:
            return _refusal("the client has shown no certificate")
        user = self.user_of(certificate)
        if not user:
            return _refusal(f"the certificate has no {self._user_from} for a user name")
        return Identity(user, verified=True)


@implementer(IAuthExchange)
@frozen
class _Exchange:
    """RabbitMQ takes no notice of the response, and clients send whatever they like."""

    mechanism: External
    certificate: ClientCertificate | None

    def respond(self, response: bytes) -> Identity | Refusal:
        return self.mechanism.identify(self.certificate)


def _refusal(why: str) -> Refusal:
    return Refusal(403, f"ACCESS_REFUSED - EXTERNAL login refused: {why}")


def _make(options: ExternalOptions, context: PluginContext) -> External:
    if not context.client_certificates:
        raise ValueError(
            'nobody could log in by EXTERNAL, because clients are not asked for certificates: set "tls.client_ca", or '
            "leave this mechanism out"
        )
    return External(options.user_from, options.san_index)


external = Plugin(
    "EXTERNAL",
    IAuthMechanism,
    ExternalOptions,
    _make,
    "the client's certificate says who it is",
)
