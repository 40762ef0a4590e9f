"""One node of an upstream: where it listens.

Lives here: `Node`, parsing and printing of ``host:port``.  Must not know: connections.
"""

from __future__ import annotations

from attrs import frozen

DEFAULT_PORT = 5672


@frozen
class Node:
    """A host (a name, an IPv4 or an IPv6 literal) and a TCP port."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, address: str) -> Node:
        """``host``, ``host:port``, ``[::1]`` or ``[::1]:port``.  Raises ValueError with what was expected."""
        if address.startswith("["):
            host, bracket, rest = address[1:].partition("]")
            colon, port = rest[:1], rest[1:]
            well_formed = bool(bracket) and colon in ("", ":")
        else:
            host, colon, port = address.partition(":")
            well_formed = True
        if not host or not well_formed or (colon and not (port.isascii() and port.isdigit())):
            raise ValueError(f"'{address}' is not an address: expected host:port or [IPv6 address]:port")
        number = int(port) if colon else DEFAULT_PORT
        if not 0 < number < 65536:
            raise ValueError(f"'{address}' is not an address: the port must be 1 to 65535")
        return cls(host, number)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
