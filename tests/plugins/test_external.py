"""The user name out of a certificate."""

from __future__ import annotations

from typing import Any

import pytest
from zope.interface.verify import verifyObject

from trabbits.interfaces import ClientCertificate, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import PluginContext
from trabbits.plugins.external import external

CERTIFICATE = ClientCertificate(
    "O=Example,CN=orders",
    "orders",
    dns_names=("a.example", "b.example"),
    email_addresses=("orders@example",),
    uris=("urn:orders",),
    ip_addresses=("192.0.2.1",),
)


def answered(certificate: ClientCertificate | None, response: bytes = b"", **options: Any) -> Identity | Refusal:
    made = external.make(external.options(**options), PluginContext())
    verifyObject(IAuthMechanism, made)
    exchange: Any = made.begin(Peer("192.0.2.1:50000", tls=True, certificate=certificate))  # type: ignore[attr-defined]
    verifyObject(IAuthExchange, exchange)
    answer: Identity | Refusal = exchange.respond(response)
    return answer


def test_it_is_known_and_wants_tls() -> None:
    assert discover().get(IAuthMechanism, "EXTERNAL") is external
    made: Any = external.make(external.options(), PluginContext())
    assert (made.name, made.needs_tls, made.verifies) == ("EXTERNAL", True, True)


@pytest.mark.parametrize(
    ("options", "user"),
    [
        ({}, "O=Example,CN=orders"),
        ({"user_from": "distinguished_name"}, "O=Example,CN=orders"),
        ({"user_from": "common_name"}, "orders"),
        ({"user_from": "san_dns"}, "a.example"),
        ({"user_from": "san_dns", "san_index": 1}, "b.example"),
        ({"user_from": "san_email"}, "orders@example"),
        ({"user_from": "san_uri"}, "urn:orders"),
        ({"user_from": "san_ip"}, "192.0.2.1"),
    ],
)
@pytest.mark.parametrize("response", [b"", b"admin", b"\0\xff"])
def test_the_certificate_says_who_it_is(options: dict[str, Any], user: str, response: bytes) -> None:
    """Whatever the client says, and without anything that an upstream could be told."""
    assert answered(CERTIFICATE, response, **options) == Identity(user, verified=True)


@pytest.mark.parametrize(
    ("certificate", "options", "why"),
    [
        (None, {}, "the client has shown no certificate"),
        (ClientCertificate(""), {}, "the certificate has no distinguished_name"),
        (ClientCertificate("O=x"), {"user_from": "common_name"}, "the certificate has no common_name"),
        (CERTIFICATE, {"user_from": "san_uri", "san_index": 1}, "the certificate has no san_uri"),
    ],
)
def test_nobody_comes_in_without_a_name(
    certificate: ClientCertificate | None, options: dict[str, Any], why: str
) -> None:
    refusal = answered(certificate, b"admin", **options)
    assert isinstance(refusal, Refusal)
    assert refusal.code == 403
    assert refusal.text.startswith(f"ACCESS_REFUSED - EXTERNAL login refused: {why}")
