"""Addresses of nodes."""

from __future__ import annotations

import pytest

from trabbits.upstream.node import Node


@pytest.mark.parametrize(
    ("address", "host", "port", "shown"),
    [
        ("localhost:5672", "localhost", 5672, "localhost:5672"),
        ("localhost", "localhost", 5672, "localhost:5672"),
        ("10.0.0.1:1", "10.0.0.1", 1, "10.0.0.1:1"),
        ("[::1]:65535", "::1", 65535, "[::1]:65535"),
        ("[fe80::1]", "fe80::1", 5672, "[fe80::1]:5672"),
    ],
)
def test_addresses(address: str, host: str, port: int, shown: str) -> None:
    node = Node.parse(address)
    assert (node.host, node.port, str(node)) == (host, port, shown)


@pytest.mark.parametrize(
    "address",
    ["", ":5672", "host:", "host:x", "host:0", "host:65536", "::1", "::1:5672", "[::1", "[::1]x", "[]:1", "h:²"],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="not an address: "):
        Node.parse(address)
