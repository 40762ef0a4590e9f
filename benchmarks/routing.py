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
from pathlib import Path
from typing import Any

from attrs import frozen
from pamqp import commands, header
from pamqp import frame as pamqp_frame

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.session.frames import on
from tests.session.playbook import Playbook
from trabbits.config.making import plugin_context
from trabbits.config.model import Config

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
    routing: Mapping[str, Any]
    headers: Mapping[str, Any] | None = HEADERS


def _rule(**match: Any) -> dict[str, Any]:
    return {"match": match, "upstream": "b"}


PATTERNS: dict[str, Any] = {"plugin": "key_patterns"}
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
    Strategy(
        "weighted by header (asked per message)",
        {"plugin": "weighted", "options": {"weights": {"a": 50, "b": 50}, "header": "tenant"}},
    ),
    Strategy(
        "headers, messages without headers", {"plugin": "headers", "options": {"rules": [_rule(tenant="x")]}}, None
    ),
)


def stream(headers: Mapping[str, Any] | None) -> list[bytes]:
    """Chunks of whole publishes, as large as a read of a busy socket; keys alternate between the links."""
    properties = commands.Basic.Properties(headers=dict(headers) if headers else None, delivery_mode=1)
    content = pamqp_frame.marshal(header.ContentHeader(0, len(BODY), properties), 1) + _body()
    messages = [on(1, commands.Basic.Publish(exchange="x", routing_key=key)) + content for key in KEYS]
    octets = b"".join(messages) * (MESSAGES // len(messages))
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
            "routing": dict(strategy.routing),
        }
    )
    play = Playbook("a", "b", routing=config.routing.make(plugin_context(config)))
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
    running = [(strategy, stream(strategy.headers), *session(strategy)) for strategy in STRATEGIES]
    least = dict.fromkeys((strategy.title for strategy in STRATEGIES), float("inf"))
    for _ in range(rounds):
        for strategy, chunks, play, feed in running:
            least[strategy.title] = min(least[strategy.title], nanoseconds_per_message(chunks, play, feed))
    base = least[STRATEGIES[0].title]
    for title, spent in least.items():
        print(f"{title:40} {spent:6.0f} ns per message {spent - base:+6.0f}  x {spent / base:.2f}", flush=True)
    more = least["headers, one rule"] - base
    print(f"goal: one rule costs at most {GOAL} ns more: {'met' if more <= GOAL else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
