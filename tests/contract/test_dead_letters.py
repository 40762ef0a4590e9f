"""Dead letters: which messages become one and why, what ``x-death`` tells of it, and that none goes round for ever."""

from __future__ import annotations

from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from tests.contract.receiving import Inbox
from tests.contract.target import Target, unique, unproxied

pytestmark = unproxied

FIRST = ("reason", "queue", "exchange")


def dying(channel: BlockingChannel, exchange: str, key: str | None = None, **arguments: Any) -> str:
    """A queue whose dead letters go to `exchange`, under `key` or their own."""
    table = {"x-dead-letter-exchange": exchange}
    if key is not None:
        table["x-dead-letter-routing-key"] = key
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    return str(channel.queue_declare(unique("dying"), exclusive=True, arguments={**table, **named}).method.queue)


def morgue(channel: BlockingChannel) -> str:
    return str(channel.queue_declare("", exclusive=True).method.queue)


def deaths(properties: pika.BasicProperties) -> list[dict[str, Any]]:
    """What ``x-death`` says, without the times."""
    found = []
    for death in (properties.headers or {})["x-death"]:
        assert death["time"] is not None
        found.append({name: value for name, value in death.items() if name != "time"})
    return found


def test_x_death_counts_what_happened_at_one_queue_for_one_reason(target: Target) -> None:
    """A message that a client rejects may come back to the queue that it left."""
    channel = target.channel()
    queue = unique("round")
    dying_into_itself = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
    channel.queue_declare(queue, exclusive=True, arguments=dying_into_itself)
    channel.queue_bind(queue, "amq.topic", queue)
    inbox = Inbox.consuming(channel, queue)
    channel.basic_publish("amq.topic", queue, b"again", pika.BasicProperties(headers={"mine": 5}))
    for count in (1, 2, 3):
        inbox.wait_for(count)[-1].nack(requeue=False)
    last = inbox.wait_for(4)[-1]
    assert (last.method.exchange, last.method.routing_key, last.method.redelivered) == ("", queue, False)
    # The entry is that of the first time, counted up.
    first = {"reason": "rejected", "queue": queue, "exchange": "amq.topic", "routing-keys": [queue]}
    assert deaths(last.properties) == [{"count": 3, **first}]
    assert last.properties.headers is not None
    assert last.properties.headers["mine"] == 5


def test_an_expired_message_tells_its_expiration_and_has_none_any_more(target: Target) -> None:
    channel = target.channel()
    grave = morgue(channel)
    queue = dying(channel, "", grave)
    inbox = Inbox.consuming(channel, grave)
    properties = pika.BasicProperties(expiration="1", content_type="text/plain", headers={"CC": ["nobody"]})
    channel.basic_publish("", queue, b"late", properties)
    (letter,) = inbox.wait_for(1)
    told = {"exchange": "", "routing-keys": [queue, "nobody"], "original-expiration": "1"}
    assert deaths(letter.properties) == [{"count": 1, "reason": "expired", "queue": queue, **told}]
    assert (letter.properties.expiration, letter.properties.content_type) == (None, "text/plain")
    assert "CC" not in letter.properties.headers, "it would go to these keys again"


def test_what_a_full_queue_drops_is_a_dead_letter(target: Target) -> None:
    channel = target.channel()
    channel.exchange_declare(exchange := unique("dead"), "topic", auto_delete=True)
    grave = morgue(channel)
    channel.queue_bind(grave, exchange, "#")
    queue = dying(channel, exchange, x_max_length=2)
    inbox = Inbox.consuming(channel, grave)
    for body in (b"1", b"2", b"3", b"4"):
        channel.basic_publish("", queue, body)
    inbox.wait_for(2)
    assert inbox.bodies == [b"1", b"2"]
    for letter in inbox.deliveries:
        assert (letter.method.exchange, letter.method.routing_key) == (exchange, queue)
        why = {"count": 1, "reason": "maxlen", "queue": queue, "exchange": "", "routing-keys": [queue]}
        assert deaths(letter.properties) == [why]
        assert [letter.properties.headers[f"x-first-death-{name}"] for name in FIRST] == ["maxlen", queue, ""]


def test_each_queue_that_a_message_died_in_is_told_the_latest_first(target: Target) -> None:
    channel = target.channel()
    grave = morgue(channel)
    second = dying(channel, "", grave, x_message_ttl=1)
    first = dying(channel, "", second, x_max_length=0)
    inbox = Inbox.consuming(channel, grave)
    channel.basic_publish("", first, b"twice")
    (letter,) = inbox.wait_for(1)
    story = [(death["queue"], death["reason"], death["count"]) for death in deaths(letter.properties)]
    assert story == [(second, "expired", 1), (first, "maxlen", 1)]
    assert [letter.properties.headers[f"x-first-death-{name}"] for name in FIRST] == ["maxlen", first, ""]


def test_a_message_that_no_client_rejected_does_not_come_back_to_where_it_died(target: Target) -> None:
    channel = target.channel()
    channel.exchange_declare(exchange := unique("circle"), "fanout", auto_delete=True)
    grave = morgue(channel)
    queue = dying(channel, exchange, x_max_length=1)
    for destination in (queue, grave):
        channel.queue_bind(destination, exchange)
    dead = Inbox.consuming(channel, grave)
    for body in (b"1", b"2", b"3"):
        channel.basic_publish("", queue, body)
    dead.wait_for(2)
    alive = Inbox.consuming(channel, queue)
    alive.wait_for(1)
    # A dead letter that came round would have been the newest here, and have pushed out another one.
    assert (dead.bodies, alive.bodies) == ([b"1", b"2"], [b"3"])
