"""`trabbits.config.addresses`: where a node listens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trabbits.config.addresses import Address, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:5672", "localhost", 5672),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
        ("[2001:DB8::1]:5672", "2001:db8::1", 5672),
        ("[fe80::1%eth0]:5672", "fe80::1%eth0", 5672),
        ("rabbit-1.example.com:5672", "rabbit-1.example.com", 5672),
        ("my_service:5672", "my_service", 5672),
        ("host.:5672", "host.", 5672),
    ],
)
def test_reads(text: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert address == Address(host, port)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":5672",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:-1",
        "localhost:\uff15",
        "localhost:5672 ",
        " localhost:5672",
        "::1:5672",
        "[::1]",
        "[::1:5672",
        "[]:5672",
        "[localhost]:5672",
        "[127.0.0.1]:5672",
        "1.2.3:5672",
        "1.2.3.256:5672",
        "1.2.3.4.5:5672",
        "-a:5672",
        "a-:5672",
        "a..b:5672",
        "a/b:5672",
        "amqp://localhost:5672",
        "user:password@localhost:5672",
        f"{'a' * 64}:5672",
        f"{'.'.join(['a' * 60] * 5)}:5672",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


@given(st.text("ab.:[]-1%@/", max_size=16))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        parse_address(text)
    except ValueError:
        return
