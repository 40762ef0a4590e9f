#!/usr/bin/env python3
"""A micro benchmark of upstreams that call queues differently: microseconds per message, without sockets or brokers.

What lives here: publishes and deliveries of every kind that a renamer makes a difference to, a plain and a fan session
with such an upstream and the same without, and a stopwatch.  They take turns, pass by pass.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from pamqp import commands, header
from pamqp import frame as pamqp_frame

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.session.frames import on
from tests.session.playbook import Playbook
from trabbits.plugins.rename import Rename

CHUNK = 64 * 1024
MESSAGES = 5_000
REPEATS = 11
BODY = b"x" * 100
CONSUMER = "ctag1.0123456789abcdef"
DEATH: Mapping[str, Any] = {
    "count": 1, "reason": "rejected", "queue": "new.orders", "exchange": "", "routing-keys": ["new.orders"],
}  # fmt: skip
HEADERS: Mapping[str, Any] = {"content-version": "3", "tenant": "acme", "trace": "00-4bf92f3577b34da6"}
DEAD: Mapping[str, Any] = {
    **HEADERS, "x-death": [DEATH], "x-first-death-queue": "new.orders", "x-first-death-reason": "rejected",
    "x-first-death-exchange": "",
}  # fmt: skip
SEVERAL: Mapping[str, Any] = {**HEADERS, "CC": ["new.audit", "new.archive"]}


@frozen
class Case:
    """One stream of messages, up or down."""

    title: str
    down: bool
    exchange: str
    headers: Mapping[str, Any] | None


CASES = [
    Case(f"{'deliver' if down else 'publish'}, {'exchange x' if exchange else 'a queue'}, {what}", down, exchange, each)
    for down in (False, True)
    for exchange in ("x", "")
    for what, each in (("no headers", None), ("3 headers", HEADERS), ("x-death", DEAD), ("CC", SEVERAL))
    if what != "CC" or not exchange
]


def stream(case: Case) -> list[bytes]:
    """Chunks of whole messages, as large as a read of a busy socket."""
    properties = commands.Basic.Properties(headers=dict(case.headers) if case.headers else None, delivery_mode=1)
    content = pamqp_frame.marshal(header.ContentHeader(0, len(BODY), properties), 1)
    content += b"\x03\x00\x01" + len(BODY).to_bytes(4, "big") + BODY + b"\xce"
    queue = "new.orders" if case.down else "orders"
    if case.down:
        method = on(1, commands.Basic.Deliver(CONSUMER, 1, False, case.exchange, queue))
    else:
        method = on(1, commands.Basic.Publish(exchange=case.exchange, routing_key=queue))
    octets = (method + content) * MESSAGES
    return [octets[start : start + CHUNK] for start in range(0, len(octets), CHUNK)]


def session(upstreams: str, *, renames: bool) -> Playbook:
    """An open session that consumes without acknowledgement; its first upstream renames."""
    rewriters = {"a": Rename([("*", "new.*")])} if renames else {}
    play = Playbook(*upstreams, rewriters=rewriters)
    play.open()
    play.open_channel(1)
    play.client(on(1, commands.Basic.Consume(queue="orders", consumer_tag=CONSUMER, no_ack=True)))
    play.skip()
    play.all_links(on(1, commands.Basic.ConsumeOk(CONSUMER)))
    play.skip()
    return play


def feeding(play: Playbook, case: Case) -> Callable[[bytes], None]:
    if not case.down:
        return play.session.client_received
    link = play.links["a"]
    return lambda octets: play.session.link_received(link, octets)


def microseconds_per_message(chunks: list[bytes], play: Playbook, feed: Callable[[bytes], None]) -> float:
    """One pass."""
    outs = [*(link.out for link in play.links.values()), play.session.to_client]
    start = time.process_time_ns()
    for chunk in chunks:
        feed(chunk)
        for out in outs:
            out.clear()
    spent = time.process_time_ns() - start
    if play.session.actions:
        raise AssertionError("the session had something to say")
    return spent / MESSAGES / 1000


def sessions() -> Iterator[tuple[str, Playbook]]:
    for kind, upstreams in (("plain", "a"), ("fan", "ab")):
        for renames in (False, True):
            yield f"{kind}{', renamed' if renames else ''}", session(upstreams, renames=renames)


def main() -> int:
    gc.disable()
    running = list(sessions())
    print(f"{'microseconds per message':34}" + "".join(f"{title:>15}" for title, _ in running))
    for case in CASES:
        chunks = stream(case)
        passes: dict[str, list[float]] = {title: [] for title, _ in running}
        for _ in range(REPEATS):
            for title, play in running:
                passes[title].append(microseconds_per_message(chunks, play, feeding(play, case)))
        shown = "".join(f"{statistics.median(passes[title]):15.2f}" for title, _ in running)
        print(f"{case.title:34}{shown}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
