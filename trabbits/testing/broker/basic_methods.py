"""basic.qos, consume, cancel, get and recover; confirm.select, tx, channel.flow and access.request.

Lives here: what they do.  Must not know: frames; the common methods (``publishing.py``, ``settling.py``).

Source: AMQP 0-9-1 sections 1.5, 1.8 and 1.9; https://www.rabbitmq.com/docs/specification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trabbits.testing.broker.channel import Delivery
from trabbits.testing.broker.confirms import Confirms
from trabbits.testing.broker.consumers import Consumer
from trabbits.testing.broker.errors import Refused, failed, resource
from trabbits.testing.broker.fields import Fields
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.queue_methods import named_queue
from trabbits.testing.broker.reply_to import REPLY_PREFIX, REPLY_TO
from trabbits.testing.broker.settling import recover
from trabbits.testing.broker.tables import INTEGERS, Table
from trabbits.testing.broker.transactions import Transaction
from trabbits.wire import constants as c

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Channel


def qos(channel: Channel, fields: Fields) -> None:
    """How much may be unsettled: for each consumer to come, or for all of the channel."""
    size, count = fields.number("prefetch_size"), fields.number("prefetch_count")
    if size:
        raise Refused(c.NOT_IMPLEMENTED, f"prefetch_size!=0 ({size})")
    if fields.flag("global_"):
        channel.global_prefetch = count
    else:
        # RabbitMQ lifts the limit of the channel as well.
        channel.prefetch, channel.global_prefetch = count, 0
    channel.reply(c.BASIC_QOS_OK)
    channel.pump_all()


def consume(channel: Channel, fields: Fields) -> None:
    """A consumer for a queue, or for answers."""
    tag = fields.text("consumer_tag")
    if tag in channel.consumers:
        raise Refused(c.NOT_ALLOWED, f"attempt to reuse consumer tag '{tag}'")
    if fields.text("queue") == REPLY_TO:
        tag = _consume_answers(channel, fields, tag)
        if not fields.flag("nowait"):
            channel.reply(c.BASIC_CONSUME_OK, _short(tag))
        return
    queue = named_queue(channel, fields)
    arguments = fields.table("arguments")
    _check_consumer(channel, queue, arguments, exclusive=fields.flag("exclusive"))
    consumer = Consumer(
        tag or channel.connection.broker.unique_name("amq.ctag"),
        channel,
        queue,
        no_ack=fields.flag("no_ack"),
        exclusive=fields.flag("exclusive"),
        prefetch=channel.prefetch,
        arguments=arguments,
    )
    channel.consumers[consumer.tag] = consumer
    queue.add(consumer)
    if not fields.flag("nowait"):
        channel.reply(c.BASIC_CONSUME_OK, _short(consumer.tag))
    queue.pump()


def _consume_answers(channel: Channel, fields: Fields, tag: str) -> str:
    if not fields.flag("no_ack"):
        raise failed("reply consumer cannot acknowledge")
    if channel.reply_name:
        raise failed("reply consumer already set")
    broker = channel.connection.broker
    channel.reply_tag = tag or broker.unique_name("amq.ctag")
    channel.reply_name = REPLY_PREFIX + broker.unique_name(f"channel-{channel.number}")
    broker.reply_consumers.add(channel.reply_name, channel)
    return channel.reply_tag


def _check_consumer(channel: Channel, queue: Queue, arguments: Table, *, exclusive: bool) -> None:
    text = resource("queue", queue.name, channel.vhost.name)
    priority = arguments.get("x-priority")
    if priority is not None and priority.kind not in INTEGERS:
        raise failed(f"invalid arg 'x-priority' for {text}: \"expected integer, got {priority.kind}\"")
    if queue.settings.quorum and channel.global_prefetch:
        raise Refused(c.NOT_IMPLEMENTED, f"{text} does not support global qos")
    if any(other.exclusive for other in queue.consumers) or (exclusive and queue.consumers):
        raise Refused(c.ACCESS_REFUSED, f"{text} in exclusive use")
    if exclusive and queue.settings.single_active:
        raise Refused(c.ACCESS_REFUSED, f"{text} in exclusive use")


def cancel(channel: Channel, fields: Fields) -> None:
    """The end of a consumer; one that is not there is cancelled all the same."""
    tag = fields.text("consumer_tag")
    consumer = channel.consumers.pop(tag, None)
    if consumer is not None:
        consumer.queue.remove(consumer)
    elif tag == channel.reply_tag:
        channel.forget_reply_consumer()
    if not fields.flag("nowait"):
        channel.reply(c.BASIC_CANCEL_OK, _short(tag))
    if consumer is not None:
        consumer.queue.pump()
        channel.vhost.delete_if_unused(consumer.queue)


def get(channel: Channel, fields: Fields) -> None:
    """The first message of a queue."""
    queue = named_queue(channel, fields)
    no_ack = fields.flag("no_ack")
    entry = queue.get(keep=not no_ack)
    if entry is None:
        channel.reply(c.BASIC_GET_EMPTY, b"\x00")
        return
    tag = channel.next_tag
    channel.next_tag = tag + 1
    if not no_ack:
        channel.unacked[tag] = Delivery(entry, queue, None)
    head = c.BASIC_GET_OK.to_bytes(4, "big") + tag.to_bytes(8, "big") + bytes((entry.redelivered,))
    channel.send_content(head + entry.message.route + len(queue.ready).to_bytes(4, "big"), entry.message)


def recover_all(channel: Channel, fields: Fields) -> None:
    """Everything that is not settled goes back to its queue."""
    if not fields.flag("requeue"):
        raise Refused(c.NOT_IMPLEMENTED, "requeue=false")
    if fields.index == c.BASIC_RECOVER:
        channel.reply(c.BASIC_RECOVER_OK)
    recover(channel)


def select_confirms(channel: Channel, fields: Fields) -> None:
    """From now on each publish is confirmed."""
    if channel.transaction is not None:
        raise failed("cannot switch from tx to confirm mode")
    if channel.confirms is None:
        channel.confirms = Confirms(channel)
    if not fields.flag("nowait"):
        channel.reply(c.CONFIRM_SELECT_OK)


def select_transactions(channel: Channel, fields: Fields) -> None:
    """From now on publishes and settlements wait for a commit."""
    if channel.confirms is not None:
        raise failed("cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = Transaction(channel.connection.broker.memory)
    channel.reply(c.TX_SELECT_OK)


def commit(channel: Channel, fields: Fields) -> None:
    """Carry out what has waited."""
    if channel.transaction is None:
        raise failed("channel is not transactional")
    channel.transaction.commit()
    channel.reply(c.TX_COMMIT_OK)


def roll_back(channel: Channel, fields: Fields) -> None:
    """Forget what was published; what was settled is not, and may be settled again."""
    if channel.transaction is None:
        raise failed("channel is not transactional")
    taken = {**channel.transaction.settled(), **channel.unacked}
    channel.unacked = {tag: taken[tag] for tag in sorted(taken)}
    channel.transaction.roll_back()
    channel.reply(c.TX_ROLLBACK_OK)


def flow(channel: Channel, fields: Fields) -> None:
    """Clients may ask for what is so anyway, and nothing else."""
    if not fields.flag("active"):
        raise Refused(c.NOT_IMPLEMENTED, "active=false")
    channel.reply(c.CHANNEL_FLOW_OK, b"\x01")


def request_access(channel: Channel, fields: Fields) -> None:
    """AMQP 0-8: a ticket that means nothing."""
    channel.reply(c.ACCESS_REQUEST_OK, b"\x00\x01")


def _short(text: str) -> bytes:
    octets = text.encode("utf-8", "surrogateescape")
    return bytes((len(octets),)) + octets


METHODS: Final[dict[int, Callable[[Channel, Fields], None]]] = {
    c.BASIC_QOS: qos,
    c.BASIC_CONSUME: consume,
    c.BASIC_CANCEL: cancel,
    c.BASIC_GET: get,
    c.BASIC_RECOVER: recover_all,
    c.BASIC_RECOVER_ASYNC: recover_all,
    c.CONFIRM_SELECT: select_confirms,
    c.TX_SELECT: select_transactions,
    c.TX_COMMIT: commit,
    c.TX_ROLLBACK: roll_back,
    c.CHANNEL_FLOW: flow,
    c.ACCESS_REQUEST: request_access,
}
