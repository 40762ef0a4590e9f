#!/usr/bin/env python3
"""A micro benchmark of publishes in a fan session: microseconds per message, without sockets or brokers.

What lives here: one session with two links that is fed publishes as a busy socket gives them, and a stopwatch. What
goes on is thrown away. The figures of interest are the differences: what copies cost, and that they cost nothing where
there are none. Needs no RabbitMQ.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from zope.interface import implementer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.session.frames import publish
from tests.session.playbook import Playbook
from trabbits.interfaces import (
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IRoutingStrategy,
    MessageProperties,
    Mirrored,
)

CHUNK = 64 * 1024
STREAM = 4 * 1024 * 1024
REPEATS = 15
CHANNEL_MAX = 2045


@implementer(IRoutingStrategy)
class ToA:
    """Everything goes to one upstream."""

    def route(self, exchange: str, routing_key: str) -> str | None:
        return "a"


@implementer(IMirroringStrategy)
class Mirroring:
    """Messages with the key "mirrored" are copied."""

    def route(self, exchange: str, routing_key: str) -> str | Mirrored | None:
        return Mirrored("a", ("b",)) if routing_key == "mirrored" else "a"


@implementer(IMessageRoutingStrategy)
class ToAByMessage(ToA):
    """The same, asked for every message."""

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        return "a"


@implementer(IMessageRoutingStrategy)
class MirroringByMessage(Mirroring):
    """The same, asked for every message."""

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | Mirrored | None:
        return self.route(exchange, routing_key)


CASES = [
    ("no mirroring", ToA(), "plain"),
    ("mirroring, another key", Mirroring(), "plain"),
    ("mirroring, copied", Mirroring(), "mirrored"),
    ("by message, no mirroring", ToAByMessage(), "plain"),
    ("by message, another key", MirroringByMessage(), "plain"),
    ("by message, copied", MirroringByMessage(), "mirrored"),
]


def seconds(routing: Any, message: bytes, count: int) -> float:
    """How long a session takes for so many of them."""
    play = Playbook("a", "b", routing=routing)
    play.open(channel_max=CHANNEL_MAX)
    play.open_channel(1)
    stream = message * count
    chunks = [stream[at : at + CHUNK] for at in range(0, len(stream), CHUNK)]
    session = play.session
    links = session.links
    gc.collect()
    begun = time.process_time()
    for chunk in chunks:
        session.client_received(chunk)
        for link in links:
            # As the runner: the transport takes it in one piece.
            b"".join(link.out)
            link.out.clear()
    return time.process_time() - begun


def main() -> None:
    """Print a table."""
    for size in (100, 4096):
        for title, routing, key in CASES:
            message = publish(1, key, b"x" * size)
            count = STREAM // len(message)
            times = [seconds(routing, message, count) / count * 1e6 for _ in range(REPEATS)]
            print(f"{size:>5} B  {title:<26} {statistics.median(times):6.2f} µs  (best {min(times):.2f})")


if __name__ == "__main__":
    main()
