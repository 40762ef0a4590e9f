"""User and password in connection.start-ok, of both mechanisms, good and bad."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trabbits.session.credentials import Credentials, credentials_of
from trabbits.wire.errors import Violation
from trabbits.wire.table import encode_table


def amqplain(**fields: Any) -> bytes:
    """An AMQPLAIN response."""
    return encode_table(fields)


@pytest.mark.parametrize(
    ("mechanism", "response", "user", "password"),
    [
        ("PLAIN", b"\0guest\0guest", "guest", "guest"),
        ("PLAIN", b"\0\0", "", ""),
        ("PLAIN", "\0Zoë\0pä§".encode(), "Zoë", "pä§"),
        ("AMQPLAIN", amqplain(LOGIN="guest", PASSWORD="secret"), "guest", "secret"),
        ("AMQPLAIN", amqplain(extra=1, PASSWORD="", LOGIN="Zoë"), "Zoë", ""),
    ],
)
def test_credentials(mechanism: str, response: bytes, user: str, password: str) -> None:
    found = credentials_of(mechanism, response)
    assert found == Credentials(mechanism, user, password)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("mechanism", "response", "code", "words"),
    [
        ("PLAIN", b"", 403, "not NUL user NUL password"),
        ("PLAIN", b"guest\0guest", 403, "not NUL user NUL password"),
        ("PLAIN", b"admin\0guest\0guest", 403, "not NUL user NUL password"),
        ("PLAIN", b"\0guest\0guest\0", 403, "not NUL user NUL password"),
        ("PLAIN", b"\0\xff\0guest", 502, "not UTF-8"),
        ("PLAIN", b"\0guest\0\xff", 502, "not UTF-8"),
        ("AMQPLAIN", b"", 403, "user or password missing"),
        ("AMQPLAIN", amqplain(LOGIN="guest"), 403, "user or password missing"),
        ("AMQPLAIN", amqplain(LOGIN="guest", PASSWORD=1), 403, "user or password missing"),
        ("AMQPLAIN", amqplain(LOGIN=b"\xff", PASSWORD="guest"), 403, "user or password missing"),
        ("AMQPLAIN", amqplain(LOGIN="guest", PASSWORD="guest")[:-1], 502, "not a field table"),
        ("AMQPLAIN", b"\0guest\0guest", 502, "not a field table"),
        ("AMQPLAIN", b"\x01\xffV", 502, "not a field table"),
        ("AMQPLAIN", b"\x01xT\xff\xff\xff\xff\xff\xff\xff\xff", 502, "not a field table"),
        ("EXTERNAL", b"", 503, "unsupported authentication mechanism 'EXTERNAL'; supported are PLAIN, AMQPLAIN"),
        ("plain", b"\0guest\0guest", 503, "unsupported authentication mechanism 'plain'"),
    ],
)
def test_credentials_that_make_no_sense(mechanism: str, response: bytes, code: int, words: str) -> None:
    with pytest.raises(Violation, match=words) as caught:
        credentials_of(mechanism, response)
    assert caught.value.code == code


@given(st.sampled_from(["PLAIN", "AMQPLAIN"]), st.binary() | st.binary().map(lambda octets: b"\x05LOGIN" + octets))
def test_only_violations_leave_the_reading_of_credentials(mechanism: str, response: bytes) -> None:
    with suppress(Violation):
        credentials_of(mechanism, response)
