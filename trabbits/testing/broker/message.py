"""Messages, and their places in queues.

Lives here: `Message`, as it was published, and `Entry`, one message's place in one queue.
Must not know: queues, channels, how a message is framed again.
"""

from __future__ import annotations

from typing import Final

from trabbits.testing.broker.properties import read_properties
from trabbits.testing.broker.tables import Table, read_table

#: Octets of a short string, such as a routing key, at most.
SHORT_MAX: Final = 255
#: What a message costs in memory besides its octets, roughly.
_OVERHEAD: Final = 400


class Message:
    """A published message, its octets untouched.

    `route` is exchange and routing key as they stand in basic.publish and basic.deliver (two short strings), `header`
    the payload of the content header frame, `body` all of the body.
    """

    __slots__ = ("body", "header", "route", "size")

    def __init__(self, route: bytes, header: bytes, body: bytes) -> None:
        self.route = route
        self.header = header
        self.body = body
        #: Octets that count against the broker's limit.
        self.size = len(body) + len(header) + _OVERHEAD

    @property
    def exchange(self) -> str:
        return self.route[1 : 1 + self.route[0]].decode("utf-8", "surrogateescape")

    @property
    def routing_key(self) -> str:
        return self.route[2 + self.route[0] :].decode("utf-8", "surrogateescape")

    @property
    def properties(self) -> bytes:
        """Property flags and properties."""
        return self.header[12:]

    def headers(self) -> Table:
        return read_table(read_properties(self.header[12:]).headers)

    def __repr__(self) -> str:
        return f"<Message {self.exchange!r} {self.routing_key!r} {self.body[:40]!r}>"


class Entry:
    """A message in a queue.

    `position` orders the queue and is kept when the message is requeued.  `expires` is the broker's time at which it
    is dropped, None if never.
    """

    __slots__ = ("expires", "message", "position", "redelivered")

    def __init__(self, message: Message, position: int, expires: float | None) -> None:
        self.message = message
        self.position = position
        self.redelivered = False
        self.expires = expires


def route_octets(exchange: str, key: str) -> bytes:
    """Two short strings, as `Message.route` has them; each has at most 255 octets."""
    octets = [name.encode("utf-8", "surrogateescape") for name in (exchange, key)]
    return b"".join(bytes((len(name),)) + name for name in octets)
