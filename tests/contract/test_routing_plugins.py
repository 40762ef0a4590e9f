"""The routing strategies, each in front of two brokers: what they decide is where the messages are."""

from __future__ import annotations

from typing import Any

import pika
import pytest

from tests.proxy import ProxyFactory
from trabbits.testing.rabbitmq import RabbitNode

RULES = [{"match": {"tenant": "new"}, "upstream": "b"}]
STRATEGIES: dict[str, dict[str, Any]] = {
    "weighted": {"weights": {"a": 50, "b": 50}},
    "weighted by header": {"weights": {"a": 50, "b": 50}, "header": "customer"},
    "hash": {"upstreams": ["a", "b"]},
    "hash by header": {"upstreams": ["a", "b"], "header": "customer"},
    "headers": {"rules": RULES},
    "headers with a property": {"rules": [{"properties": {"type": "audit", "priority": 3}, "upstream": "b"}]},
    "headers with a header or a property": {
        "rules": [{"match": {"tenant": "new"}, "properties": {"app_id": "shop"}, "any": True, "upstream": "b"}]
    },
    "exchange": {"rules": [{"exchange": "to-b", "upstream": "b"}]},
    "first_match": {
        "strategies": [{"plugin": "headers", "options": {"rules": RULES}}, {"plugin": "key_patterns"}],
    },
}


def decided(name: str, options: dict[str, Any], exchange: str, key: str, properties: pika.BasicProperties) -> str:
    """What the strategy says by itself, asked as the proxy is to ask it."""
    from trabbits.assembly import session_settings
    from trabbits.config import validate_config
    from trabbits.interfaces import IMessageRoutingStrategy, MessageProperties, Mirrored

    upstreams = [{"name": each, "address": f"{each}:1"} for each in "ab"]
    upstreams[1]["routing"] = {"key_patterns": ["to-b.#"]}  # type: ignore[assignment]
    routing = {"plugin": name.partition(" ")[0], "options": options}
    strategy = session_settings(validate_config({"upstreams": upstreams, "routing": routing}, "test")).routing
    if IMessageRoutingStrategy.providedBy(strategy):
        set_ones = {each: value for each, value in vars(properties).items() if value is not None}
        decision = strategy.route_message(exchange, key, MessageProperties(**set_ones))
    else:
        decision = strategy.route(exchange, key)
    assert not isinstance(decision, Mirrored)
    return decision or "a"


@pytest.mark.parametrize("name", STRATEGIES)
def test_messages_are_where_the_strategy_says(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode, vhost: str, name: str
) -> None:
    options = STRATEGIES[name]
    proxy = trabbits(
        {
            "upstreams": [
                {"name": "a", "address": rabbit_a.address},
                {"name": "b", "address": rabbit_b.address, "routing": {"key_patterns": ["to-b.#"]}},
            ],
            "routing": {"plugin": name.partition(" ")[0], "options": options},
        }
    )
    messages = [
        (exchange, key, properties(number))
        for number in range(40)
        for exchange, key in [("to-b" if number % 4 == 0 else "to-a", f"{'to-b' if number % 5 == 0 else 'x'}.{number}")]
    ]
    with pika.BlockingConnection(pika.URLParameters(proxy.url(vhost))) as connection:
        channel = connection.channel()
        channel.queue_declare("all")
        for exchange in ("to-a", "to-b"):
            channel.exchange_declare(exchange, "fanout")
            channel.queue_bind("all", exchange)
        channel.confirm_delivery()
        for exchange, key, each in messages:
            channel.basic_publish(exchange, key, key.encode(), each)
    expected: dict[str, set[str]] = {"a": set(), "b": set()}
    for exchange, key, each in messages:
        expected[decided(name, options, exchange, key, each)].add(key)
    assert all(expected.values()), "a test that sends everything to one broker shows nothing"
    assert {"a": bodies(rabbit_a, vhost), "b": bodies(rabbit_b, vhost)} == expected


def properties(number: int) -> pika.BasicProperties:
    """What a message carries; some have nothing but headers."""
    headers = {"tenant": "new" if number % 3 else "old", "customer": f"c{number}", "n": number}
    if number % 7 == 0:
        return pika.BasicProperties(headers=headers)
    return pika.BasicProperties(
        "text/plain",
        headers=headers,
        delivery_mode=1,
        priority=3 if number % 2 else 4,
        message_id=f"m{number}",
        timestamp=1_800_000_000 + number,
        type="audit" if number % 5 else "order",
        app_id="shop" if number % 4 else "desk",
    )


def bodies(node: RabbitNode, vhost: str) -> set[str]:
    """What is in the queue of one broker."""
    with pika.BlockingConnection(pika.URLParameters(node.url_of(vhost))) as connection:
        channel = connection.channel()
        found: set[str] = set()
        while True:
            method, _, body = channel.basic_get("all", auto_ack=True)
            if method is None:
                return found
            found.add(body.decode())
