"""Settling deliveries: basic.ack, basic.nack, basic.reject, basic.recover.

Lives here: which deliveries a tag means, and what becomes of them.  Must not know: frames.

Source: AMQP 0-9-1 sections 1.8.3.13 to 1.8.3.16; https://www.rabbitmq.com/docs/confirms, /nack.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from trabbits.testing.broker.channel import Delivery
from trabbits.testing.broker.errors import failed
from trabbits.testing.broker.fields import Fields
from trabbits.wire import constants as c

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Channel


def ack(channel: Channel, tag: int, multiple: bool) -> None:
    """Acknowledge one delivery, or all up to `tag`.  Raises `Refused` 406 for an unknown tag."""
    if not multiple and channel.transaction is None:
        delivery = channel.unacked.pop(tag, None)
        if delivery is None:
            raise failed(f"unknown delivery tag {tag}")
        entry, queue, consumer = delivery
        queue.settle(entry)
        if consumer is not None:
            consumer.unacked -= 1
            channel.held -= 1
            if consumer.waiting or channel.global_prefetch:
                channel.pump([delivery])
        return
    taken = _take(channel, tag, multiple)
    if channel.transaction is None:
        _acknowledge(channel, list(taken.values()))
    else:
        channel.transaction.settlements.append((lambda deliveries: _acknowledge(channel, deliveries), taken))


def reject(channel: Channel, tag: int, multiple: bool, requeue: bool) -> None:
    """Give one delivery back, or all up to `tag`; or have done with them.  Raises `Refused` 406 for an unknown tag."""
    taken = _take(channel, tag, multiple)

    def settle(deliveries: list[Delivery]) -> None:
        if requeue:
            channel.requeue(deliveries)
        else:
            for entry, queue, _ in deliveries:
                queue.discard(entry)
            channel.make_room(deliveries)
        channel.pump(deliveries)

    if channel.transaction is None:
        settle(list(taken.values()))
    else:
        channel.transaction.settlements.append((settle, taken))


def recover(channel: Channel) -> None:
    """Give everything back that is not settled."""
    taken, channel.unacked = list(channel.unacked.values()), {}
    channel.requeue(taken)
    channel.pump(taken)


def _acknowledge(channel: Channel, deliveries: list[Delivery]) -> None:
    for entry, queue, _ in deliveries:
        queue.settle(entry)
    channel.make_room(deliveries)
    channel.pump(deliveries)


def _take(channel: Channel, tag: int, multiple: bool) -> dict[int, Delivery]:
    """The deliveries that a tag means; they are the channel's no longer."""
    unacked = channel.unacked
    if multiple and not tag:
        channel.unacked = {}
        return unacked
    if tag not in unacked:
        raise failed(f"unknown delivery tag {tag}")
    if not multiple:
        return {tag: unacked.pop(tag)}
    tags = list(takewhile(lambda other: other <= tag, unacked))
    return {each: unacked.pop(each) for each in tags}


METHODS: Final[dict[int, Callable[[Channel, Fields], None]]] = {
    c.BASIC_ACK: lambda channel, fields: ack(channel, fields.number("delivery_tag"), fields.flag("multiple")),
    c.BASIC_NACK: lambda channel, fields: reject(
        channel, fields.number("delivery_tag"), fields.flag("multiple"), fields.flag("requeue")
    ),
    c.BASIC_REJECT: lambda channel, fields: reject(
        channel, fields.number("delivery_tag"), False, fields.flag("requeue")
    ),
}
