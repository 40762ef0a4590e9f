"""Messages with headers that name queues, for the tests of upstreams that call these differently.

The client's names of queues are such as q and r, the upstream's have a prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pamqp import base, body, frame, header

from tests.session.frames import Basic, on
from tests.session.playbook import Playbook
from trabbits.interfaces import Decision

#: A name of a queue that leaves no room for a prefix.
LONG = "n" * 252

Headers = dict[str, Any]


def message(
    method: base.Frame, headers: Headers | None, octets: bytes = b"body", channel: int = 1, piece: int = 3
) -> bytes:
    """A method with content."""
    properties = Basic.Properties(content_type="text/plain", headers=headers)
    parts = [frame.marshal(method, channel), frame.marshal(header.ContentHeader(0, len(octets), properties), channel)]
    parts += [frame.marshal(body.ContentBody(octets[at : at + piece]), channel) for at in range(0, len(octets), piece)]
    return b"".join(parts)


def publish(key: str, headers: Headers | None, octets: bytes = b"body", exchange: str = "", **options: Any) -> bytes:
    mandatory, channel = options.pop("mandatory", False), options.pop("channel", 1)
    method = Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)
    return message(method, headers, octets, channel, **options)


def delivered(tag: int, key: str, headers: Headers | None, octets: bytes = b"body", exchange: str = "") -> bytes:
    return message(Basic.Deliver("c", tag, False, exchange, key), headers, octets)


def death(prefix: str, exchange: str = "") -> Headers:
    """Headers of a message that died in the queue q."""
    keys = [prefix + "q", prefix + "r"] if not exchange else ["q"]
    entry = {"count": 1, "reason": "expired", "queue": prefix + "q", "exchange": exchange, "routing-keys": keys}
    first = {"x-first-death-queue": prefix + "q", "x-first-death-exchange": exchange}
    return {"mine": "q", "x-death": [entry], **first, "x-last-death-queue": prefix + "q"}


class Routes:
    """Keys that begin with b. go to b, all others to a."""

    def route(self, exchange: str, routing_key: str) -> Decision:
        """See `IRoutingStrategy`."""
        return "b" if routing_key.startswith("b.") else "a"


def in_pieces(feed: Callable[[bytes], None], octets: bytes, size: int) -> None:
    for at in range(0, len(octets), size):
        feed(octets[at : at + size])


def consuming(play: Playbook) -> None:
    """Start the consumer c, of a queue without another name."""
    play.client(on(1, Basic.Consume(queue="amq.q", consumer_tag="c")))
    play.skip()
    play.all_links(on(1, Basic.ConsumeOk("c")))
    play.skip()
