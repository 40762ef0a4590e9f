"""queue.declare, purge and delete.

Lives here: what they do, in RabbitMQ's order of checks.  Must not know: frames.

Source: AMQP 0-9-1 section 1.7; https://www.rabbitmq.com/docs/queues.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trabbits.testing.broker.errors import Refused, failed, locked, not_found, reserved, resource
from trabbits.testing.broker.fields import Fields
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.queue_arguments import CHECKS, check_arguments, check_equivalence, check_field
from trabbits.testing.broker.reply_to import REPLY_TO
from trabbits.wire import constants as c
from trabbits.wire.constants import NOT_IMPLEMENTED

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Channel


def declare_queue(channel: Channel, fields: Fields) -> None:
    """Make a queue, or find it as it is."""
    name = fields.name("queue")
    messages = consumers = 0
    if name.startswith(REPLY_TO):
        if channel.connection.broker.reply_consumers.find(name) is None:
            raise not_found("queue", name, channel.vhost.name)
        consumers = 1
    else:
        queue = find_queue(channel, name) if fields.flag("passive") else _declared(channel, fields, name)
        queue.used()
        name, messages, consumers = queue.name, len(queue.ready), len(queue.consumers)
    channel.last_queue = name
    if not fields.flag("nowait"):
        octets = name.encode("utf-8", "surrogateescape")
        counts = messages.to_bytes(4, "big") + consumers.to_bytes(4, "big")
        channel.reply(c.QUEUE_DECLARE_OK, bytes((len(octets),)) + octets + counts)


def _declared(channel: Channel, fields: Fields, name: str) -> Queue:
    """The queue, made if it was not there."""
    connection, vhost = channel.connection, channel.vhost
    arguments = fields.table("arguments")
    kind = arguments.get("x-queue-type")
    exclusive, auto_delete = fields.flag("exclusive"), fields.flag("auto_delete")
    durable = fields.flag("durable") and not exclusive
    if not name:
        if kind is not None and kind.value in {"quorum", "stream"}:
            raise failed(f"Cannot declare a server-named queue for type rabbit_{kind.value}_queue")
        name = connection.broker.unique_name("amq.gen")
    elif name.startswith("amq."):
        raise reserved("queue", name)
    channel.check("configure", "queue", name)
    text = resource("queue", name, vhost.name)
    queue = vhost.queues.get(name)
    if queue is not None:
        if queue.owner is not (connection if exclusive else None):
            raise locked(name, vhost.name)
        check_field(text, "durable", queue.durable, durable)
        check_field(text, "auto_delete", queue.auto_delete, auto_delete)
        check_equivalence(text, queue.arguments, arguments, CHECKS)
        return queue
    exchange = arguments.get("x-dead-letter-exchange")
    if exchange is not None:
        if exchange.kind != "longstr":
            raise failed(f"invalid type '{exchange.kind}' for arg 'x-dead-letter-exchange' in {text}")
        channel.check("read", "queue", name)
        channel.check("write", "exchange", exchange.value)
    check_arguments(text, arguments)
    if kind is not None and kind.value != "classic":
        _check_replicated(text, kind.value, durable=durable, exclusive=exclusive, auto_delete=auto_delete)
    queue = Queue(
        name,
        durable=durable,
        auto_delete=auto_delete,
        owner=connection if exclusive else None,
        arguments=arguments,
        clock=connection.broker.clock,
        timers=connection.broker.timers,
        memory=connection.broker.memory,
    )
    queue.unused = vhost.delete_queue
    vhost.add_queue(queue)
    return queue


def _check_replicated(text: str, kind: str, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """What quorum queues cannot be; this broker has them in name only, and streams not at all."""
    if kind == "stream":
        raise Refused(NOT_IMPLEMENTED, f"{text}: the embedded broker has no streams")
    wrong = {"auto-delete": auto_delete, "exclusive-owner": exclusive, "non-durable": not durable}
    for name, is_so in wrong.items():
        if is_so:
            raise failed(f"invalid property '{name}' for {text}")


def purge_queue(channel: Channel, fields: Fields) -> None:
    """Drop what is ready in a queue."""
    queue = named_queue(channel, fields)
    count = queue.purge()
    if not fields.flag("nowait"):
        channel.reply(c.QUEUE_PURGE_OK, count.to_bytes(4, "big"))


def delete_queue(channel: Channel, fields: Fields) -> None:
    """Delete a queue; one that is not there is no mistake."""
    vhost = channel.vhost
    name = queue_name(channel, fields)
    channel.check("configure", "queue", name)
    queue = find_queue(channel, name) if name in vhost.queues else None
    if queue is not None:
        text = resource("queue", name, vhost.name)
        if fields.flag("if_unused") and queue.consumers:
            raise failed(f"{text} in use")
        if fields.flag("if_empty") and queue.ready:
            raise failed(f"{text} not empty")
    # The reply comes before what consumers hear of it.
    if not fields.flag("nowait"):
        channel.reply(c.QUEUE_DELETE_OK, (len(queue.ready) if queue is not None else 0).to_bytes(4, "big"))
    if queue is not None:
        vhost.delete_queue(queue)


def queue_name(channel: Channel, fields: Fields) -> str:
    """The queue that a method names, or the last one declared on the channel."""
    name = fields.name("queue") or channel.last_queue
    if not name:
        raise Refused(c.NOT_FOUND, "no previously declared queue")
    return name


def named_queue(channel: Channel, fields: Fields) -> Queue:
    """The queue that a method names, if the user may read it."""
    name = queue_name(channel, fields)
    channel.check("read", "queue", name)
    return find_queue(channel, name)


def find_queue(channel: Channel, name: str) -> Queue:
    """A queue that this connection may use.  Raises `Refused` 404 or 405."""
    queue = channel.vhost.queues.get(name)
    if queue is None:
        raise not_found("queue", name, channel.vhost.name)
    if queue.owner not in (None, channel.connection):
        raise locked(name, channel.vhost.name)
    return queue


METHODS: Final[dict[int, Callable[[Channel, Fields], None]]] = {
    c.QUEUE_DECLARE: declare_queue,
    c.QUEUE_PURGE: purge_queue,
    c.QUEUE_DELETE: delete_queue,
}
