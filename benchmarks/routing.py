#!/usr/bin/env python3
"""A micro benchmark of routing: what the decision costs a fan session per message, without sockets or brokers.

What lives here: a stream of publishes as one client sends them, a session with two links for each strategy, and a
stopwatch.  The strategies take turns, round by round, and the least that each needed counts: whatever else a machine
does, and however fast it is just then, only adds to that.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from attrs import Factory, frozen
from pamqp import commands, header
from pamqp import frame as pamqp_frame
from zope.interface import implementer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.session.frames import on
from tests.session.playbook import Playbook
from trabbits.config.making import plugin_context
from trabbits.config.model import Config
from trabbits.interfaces import IMessageRoutingStrategy, MessageProperties

#: Nanoseconds more per message that one rule about one header may cost.
GOAL = 2000
CHUNK = 64 * 1024
MESSAGES = 2_000
ROUNDS = 150
BODY = b"x" * 100
KEYS = ("a.one", "b.two")
#: What a message carries that says something about itself: the tenant is the second of three headers.
HEADERS: Mapping[str, Any] = {"content-version": "3", "tenant": "acme", "trace": "00-4bf92f3577b34da6"}


@frozen
class Strategy:
    """A routing section, and what the stream's messages carry."""

    title: str
    routing: Mapping[str, Any] | IMessageRoutingStrategy
    headers: Mapping[str, Any] | None = HEADERS
    #: How many different tenants there are.
    tenants: int = 1
    properties: Mapping[str, Any] = Factory(dict)


@implementer(IMessageRoutingStrategy)
class AskedPerMessage:
    """Looks at one header, and does not say so."""

    def route(self, exchange: str, routing_key: str) -> str | None:
        return None

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        return "b" if properties.headers.get("tenant") == "acme" else "a"


@implementer(IMessageRoutingStrategy)
class AskedAboutType(AskedPerMessage):
    """Looks at another property."""

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        return "b" if properties.type == "order" else "a"


def _rule(**match: Any) -> dict[str, Any]:
    return {"match": match, "upstream": "b"}


PATTERNS: dict[str, Any] = {"plugin": "key_patterns"}
BY_HEADER: dict[str, Any] = {
    "plugin": "weighted", "options": {"weights": {"a": 50, "b": 50}, "header": "tenant"}
}  # fmt: skip
STRATEGIES = (
    Strategy("key_patterns (cached per key)", PATTERNS),
    Strategy("headers, one rule", {"plugin": "headers", "options": {"rules": [_rule(tenant="acme")]}}),
    Strategy(
        "headers, two headers in a rule",
        {"plugin": "headers", "options": {"rules": [_rule(tenant="acme", trace="00-4bf92f3577b34da6")]}},
    ),
    Strategy(
        "headers, 1000 rules",
        {"plugin": "headers", "options": {"rules": [_rule(tenant=f"t{number}") for number in range(1000)]}},
    ),
    Strategy(
        "headers, a number among them",
        {"plugin": "headers", "options": {"rules": [_rule(tenant="acme")]}},
        {"attempt": 1, **HEADERS},
    ),
    Strategy("weighted by key (cached per key)", {"plugin": "weighted", "options": {"weights": {"a": 50, "b": 50}}}),
    Strategy("weighted by header", BY_HEADER),
    Strategy("weighted by header, 4000 values", BY_HEADER, tenants=4000),
    Strategy("weighted by header, each value new", BY_HEADER, tenants=20_000),
    Strategy(
        "headers, the property type",
        {"plugin": "headers", "options": {"rules": [{"properties": {"type": "order"}, "upstream": "b"}]}},
        properties={"message_type": "order", "content_type": "text/plain", "message_id": "m"},
    ),
    Strategy("asked per message, one header", AskedPerMessage()),
    Strategy(
        "asked per message, the property type",
        AskedAboutType(),
        properties={"message_type": "order", "content_type": "text/plain", "message_id": "m"},
    ),
    Strategy(
        "headers, messages without headers", {"plugin": "headers", "options": {"rules": [_rule(tenant="x")]}}, None
    ),
)


def streams(strategy: Strategy) -> list[list[bytes]]:
    """For each pass, chunks of whole publishes, as large as a read of a busy socket; keys alternate."""
    count = max(MESSAGES, strategy.tenants)
    contents = [_content(strategy, f"acme-{number}" if number else "acme") for number in range(strategy.tenants)]
    methods = [on(1, commands.Basic.Publish(exchange="x", routing_key=key)) for key in KEYS]
    messages = [methods[number % len(KEYS)] + contents[number % strategy.tenants] for number in range(count)]
    return [_chunks(b"".join(messages[start : start + MESSAGES])) for start in range(0, count, MESSAGES)]


def _content(strategy: Strategy, tenant: str) -> bytes:
    headers = None if strategy.headers is None else {**strategy.headers, "tenant": tenant}
    properties = commands.Basic.Properties(headers=headers, delivery_mode=1, **strategy.properties)
    return pamqp_frame.marshal(header.ContentHeader(0, len(BODY), properties), 1) + _body()


def _chunks(octets: bytes) -> list[bytes]:
    return [octets[start : start + CHUNK] for start in range(0, len(octets), CHUNK)]


def _body() -> bytes:
    return b"\x03\x00\x01" + len(BODY).to_bytes(4, "big") + BODY + b"\xce"


def session(strategy: Strategy) -> tuple[Playbook, Callable[[bytes], None]]:
    """An open session with channel 1 open at both links, and what takes its client's octets."""
    config = Config.model_validate(
        {
            "upstreams": [
                {"name": "a", "address": "a:5672"},
                {"name": "b", "address": "b:5672", "routing": {"key_patterns": ["b.#"]}},
            ],
            "routing": dict(strategy.routing) if isinstance(strategy.routing, Mapping) else PATTERNS,
        }
    )
    made = config.routing.make(plugin_context(config)) if isinstance(strategy.routing, Mapping) else strategy.routing
    play = Playbook("a", "b", routing=made)
    play.open()
    play.open_channel(1)
    return play, play.session.client_received


def nanoseconds_per_message(chunks: list[bytes], play: Playbook, feed: Callable[[bytes], None]) -> float:
    """One pass."""
    links = list(play.links.values())
    start = time.process_time_ns()
    for chunk in chunks:
        feed(chunk)
        for link in links:
            link.out.clear()
    spent = time.process_time_ns() - start
    if play.session.actions or play.session.to_client:
        raise AssertionError("the session had something to say")
    return spent / MESSAGES


def main() -> int:
    gc.disable()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    running = [(strategy, cycle(streams(strategy)), *session(strategy)) for strategy in STRATEGIES]
    least = dict.fromkeys((strategy.title for strategy in STRATEGIES), float("inf"))
    for _ in range(rounds):
        for strategy, passes, play, feed in running:
            least[strategy.title] = min(least[strategy.title], nanoseconds_per_message(next(passes), play, feed))
    base = least[STRATEGIES[0].title]
    for title, spent in least.items():
        print(f"{title:40} {spent:6.0f} ns per message {spent - base:+6.0f}  x {spent / base:.2f}", flush=True)
    more = least["headers, one rule"] - base
    print(f"goal: one rule costs at most {GOAL} ns more: {'met' if more <= GOAL else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
