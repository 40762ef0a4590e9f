"""Every built-in authentication mechanism keeps to the contract of its kind."""

from __future__ import annotations

from tests.plugins.contracts import untested
from trabbits.interfaces import ClientCertificate, IAuthMechanism, Peer
from trabbits.plugins.amqplain import amqplain
from trabbits.plugins.external import external
from trabbits.plugins.plain import plain
from trabbits.testing.contracts import AuthMechanismTestsMixIn
from trabbits.wire.table import encode_table

ORDERS = ClientCertificate("O=Example,CN=orders", "orders", ("orders.example", "o.example"))


class Authenticating(AuthMechanismTestsMixIn):
    pass


class TestPlain(Authenticating):
    plugin = plain
    conversations = ([b"\0guest\0guest"], ["\0jürgen\0pässword".encode()])


class TestPlainWithTls(TestPlain):
    options = {"needs_tls": True}


class TestAmqplain(Authenticating):
    plugin = amqplain
    conversations = ([encode_table({"LOGIN": "guest", "PASSWORD": "guest"})],)


class TestExternal(Authenticating):
    plugin = external
    conversations = ([b""], [b"anything"])
    peers = (Peer("192.0.2.1:5", tls=True, certificate=ORDERS),)


class TestExternalBySecondName(TestExternal):
    options = {"user_from": "san_dns", "san_index": 1}


def test_none_is_left_out() -> None:
    assert untested(IAuthMechanism, Authenticating) == set()
