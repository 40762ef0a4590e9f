"""User and password in one response, of both mechanisms, good and bad."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from trabbits.interfaces import Credentials, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal
from trabbits.plugins.amqplain import AmqPlain, amqplain
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import PluginContext
from trabbits.plugins.plain import Plain, plain
from trabbits.wire.table import encode_table

PEER = Peer("192.0.2.1:50000")
MECHANISMS: dict[str, Plain | AmqPlain] = {"PLAIN": Plain(), "AMQPLAIN": AmqPlain()}


def answered(mechanism: str, response: bytes) -> Identity | Refusal:
    return MECHANISMS[mechanism].begin(PEER).respond(response)


def table(**fields: Any) -> bytes:
    """An AMQPLAIN response."""
    return encode_table(fields)


@pytest.mark.parametrize("declaration", [plain, amqplain])
@pytest.mark.parametrize("needs_tls", [True, False])
def test_it_is_a_mechanism(declaration: Any, needs_tls: bool) -> None:
    assert discover().get(IAuthMechanism, declaration.name) is declaration
    made = declaration.make(declaration.options(needs_tls=needs_tls), PluginContext())
    verifyObject(IAuthMechanism, made)
    verifyObject(IAuthExchange, made.begin(PEER))
    assert (made.name, made.needs_tls, made.verifies) == (declaration.name, needs_tls, False)


@pytest.mark.parametrize(
    ("mechanism", "response", "user", "password"),
    [
        ("PLAIN", b"\0guest\0guest", "guest", "guest"),
        ("PLAIN", b"\0\0", "", ""),
        ("PLAIN", "\0Zoë\0pä§".encode(), "Zoë", "pä§"),
        ("AMQPLAIN", table(LOGIN="guest", PASSWORD="secret"), "guest", "secret"),
        ("AMQPLAIN", table(extra=1, PASSWORD="", LOGIN="Zoë"), "Zoë", ""),
    ],
)
def test_user_and_password_are_for_upstreams_to_check(
    mechanism: str, response: bytes, user: str, password: str
) -> None:
    found = answered(mechanism, response)
    assert found == Identity(user, Credentials(user, password, mechanism), verified=False)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("mechanism", "response", "code", "text"),
    [
        ("PLAIN", b"", 403, "not NUL user NUL password"),
        ("PLAIN", b"guest\0guest", 403, "not NUL user NUL password"),
        ("PLAIN", b"admin\0guest\0guest", 403, "not NUL user NUL password"),
        ("PLAIN", b"\0guest\0guest\0", 403, "not NUL user NUL password"),
        ("PLAIN", b"\0\xff\0guest", 502, "not UTF-8"),
        ("PLAIN", b"\0guest\0\xff", 502, "not UTF-8"),
        ("AMQPLAIN", b"", 403, "user or password missing"),
        ("AMQPLAIN", table(LOGIN="guest"), 403, "user or password missing"),
        ("AMQPLAIN", table(LOGIN="guest", PASSWORD=1), 403, "user or password missing"),
        ("AMQPLAIN", table(LOGIN=b"\xff", PASSWORD="guest"), 403, "user or password missing"),
        ("AMQPLAIN", table(LOGIN="guest", PASSWORD="guest")[:-1], 502, "not a field table"),
        ("AMQPLAIN", b"\0guest\0guest", 502, "not a field table"),
        ("AMQPLAIN", b"\x01\xffV", 502, "not a field table"),
        ("AMQPLAIN", b"\x01xT\xff\xff\xff\xff\xff\xff\xff\xff", 502, "not a field table"),
    ],
)
def test_responses_that_make_no_sense(mechanism: str, response: bytes, code: int, text: str) -> None:
    refusal = answered(mechanism, response)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert refusal.text.startswith(
        ("ACCESS_REFUSED" if code == 403 else "SYNTAX_ERROR") + f" - {mechanism} login refused"
    )
    assert text in refusal.text


@given(st.sampled_from(list(MECHANISMS)), st.binary() | st.binary().map(lambda octets: b"\x05LOGIN" + octets))
def test_any_octets_are_an_identity_or_a_refusal(mechanism: str, response: bytes) -> None:
    """Nothing is raised, and nobody is verified."""
    answer = answered(mechanism, response)
    if isinstance(answer, Identity):
        assert answer.credentials is not None
        assert not answer.verified
    else:
        assert answer.code in (403, 502)


@given(st.text().filter(lambda text: "\0" not in text), st.text().filter(lambda text: "\0" not in text))
def test_what_plain_says_is_what_is_heard(user: str, password: str) -> None:
    try:
        response = f"\0{user}\0{password}".encode()
    except UnicodeEncodeError:
        return
    assert answered("PLAIN", response) == Identity(user, Credentials(user, password))
