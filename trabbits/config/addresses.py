"""Addresses in a configuration: ``host:port`` and ``[IPv6]:port``.

Lives here: `Address`, parsing, and the annotated type for pydantic.  Must not know: how names are resolved.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from attrs import frozen
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from trabbits.config.errors import expected

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)


@frozen
class Address:
    """Where a node listens.  `host` is a name or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, least_port: int = 1) -> Address:
    """``host:port`` or ``[IPv6]:port`` as an `Address`.  ValueError, saying what was expected, otherwise."""
    if "://" in text or "@" in text:
        raise ValueError('"host:port" without a scheme, user or password')
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError('an IPv6 address in brackets, such as "[::1]:5672"')
    if not colon or not host:
        raise ValueError('"host:port", such as "localhost:5672"')
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and least_port <= int(port) <= 65535):
        raise ValueError(f'"host:port" with a port from {least_port} to 65535')
    if bracketed:
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError('an IPv6 address in brackets, such as "[::1]:5672"') from None
    elif len(host) > 253 or not _HOST_NAME.fullmatch(host) or _is_broken_ipv4(host):
        raise ValueError('"host:port" with a valid host name or address')
    return Address(host, int(port))


def _is_broken_ipv4(host: str) -> bool:
    """A name whose last label is all digits can only be an IPv4 address (RFC 3696 section 2)."""
    if not host.rstrip(".").rpartition(".")[2].isdigit():
        return False
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return True
    return False


def _listening_address(value: Any) -> Address:
    return address(value, least_port=0)


def address(value: Any, *, least_port: int = 1) -> Address:
    """Validate a value of a configuration."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise expected('"host:port", such as "localhost:5672"')
    try:
        return parse_address(value, least_port)
    except ValueError as error:
        raise expected(str(error), hide="@" in value) from None


AddressField = Annotated[
    Address,
    PlainValidator(address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(\[[^/@]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$",
            "examples": ["localhost:5672", "10.0.0.5:5672", "[::1]:5672"],
        }
    ),
]

#: Where something listens: port 0 is any free one.
ListenField = Annotated[
    Address,
    PlainValidator(_listening_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(\[[^/@]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$",
            "examples": ["127.0.0.1:16693", "[::1]:16693"],
        }
    ),
]
