"""exchange.declare, delete, bind and unbind; queue.bind and unbind.

Lives here: what they do, in RabbitMQ's order of checks.  Must not know: frames, how exchanges route.

Source: AMQP 0-9-1 sections 1.6 and 1.7; https://www.rabbitmq.com/docs/e2e, /ae.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trabbits.testing.broker.errors import Refused, default_exchange, failed, not_found, reserved, resource
from trabbits.testing.broker.exchanges import MATCHES, TYPES, Binding, Exchange
from trabbits.testing.broker.fields import Fields
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.queue_arguments import check_equivalence, check_field
from trabbits.testing.broker.queue_methods import find_queue
from trabbits.testing.broker.tables import Table
from trabbits.wire import constants as c

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Channel

_ALTERNATE: Final = "alternate-exchange"


def declare_exchange(channel: Channel, fields: Fields) -> None:
    """Make an exchange, or find it as it is."""
    name, vhost = fields.name("exchange"), channel.vhost
    if fields.flag("passive"):
        _no_default(name)
        if name not in vhost.exchanges:
            raise not_found("exchange", name, vhost.name)
    else:
        kind = fields.text("exchange_type")
        if kind not in TYPES:
            raise Refused(c.COMMAND_INVALID, f"unknown exchange type '{kind}'")
        _no_default(name)
        channel.check("configure", "exchange", name)
        arguments = fields.table("arguments")
        exchange = vhost.exchanges.get(name)
        if exchange is None:
            exchange = _new_exchange(channel, name, fields, arguments)
            vhost.add_exchange(exchange)
        text = resource("exchange", name, vhost.name)
        for field, current in (
            ("type", exchange.kind),
            ("durable", exchange.durable),
            ("auto_delete", exchange.auto_delete),
            ("internal", exchange.internal),
        ):
            received = kind if field == "type" else fields.flag(field)
            check_field(text, field, current, received)
        check_equivalence(text, exchange.arguments, arguments, (_ALTERNATE,))
    if not fields.flag("nowait"):
        channel.reply(c.EXCHANGE_DECLARE_OK)


def _new_exchange(channel: Channel, name: str, fields: Fields, arguments: Table) -> Exchange:
    if name.startswith("amq."):
        raise reserved("exchange", name)
    alternate = arguments.get(_ALTERNATE)
    if alternate is not None:
        if alternate.kind != "longstr":
            text = resource("exchange", name, channel.vhost.name)
            raise failed(f"invalid type '{alternate.kind}' for arg '{_ALTERNATE}' in {text}")
        channel.check("read", "exchange", name)
        channel.check("write", "exchange", alternate.value)
    return TYPES[fields.text("exchange_type")](
        name,
        durable=fields.flag("durable"),
        auto_delete=fields.flag("auto_delete"),
        internal=fields.flag("internal"),
        arguments=arguments,
    )


def delete_exchange(channel: Channel, fields: Fields) -> None:
    """Delete an exchange; one that is not there is no mistake."""
    name, vhost = fields.name("exchange"), channel.vhost
    _no_default(name)
    if name.startswith("amq."):
        raise Refused(c.ACCESS_REFUSED, f"deletion of system {resource('exchange', name, vhost.name)} not allowed")
    channel.check("configure", "exchange", name)
    exchange = vhost.exchanges.get(name)
    if exchange is not None:
        if fields.flag("if_unused") and exchange.bindings:
            raise failed(f"{resource('exchange', name, vhost.name)} in use")
        vhost.delete_exchange(exchange)
    if not fields.flag("nowait"):
        channel.reply(c.EXCHANGE_DELETE_OK)


def bind_exchange(channel: Channel, fields: Fields) -> None:
    """Messages go from one exchange to another."""
    source, destination = _exchange_ends(channel, fields)
    _bind(channel, fields, source, destination, fields.text("routing_key"))
    if not fields.flag("nowait"):
        channel.reply(c.EXCHANGE_BIND_OK)


def unbind_exchange(channel: Channel, fields: Fields) -> None:
    """Take such a binding away; one that is not there is no mistake."""
    source, destination = _exchange_ends(channel, fields)
    _unbind(channel, fields, source, destination, fields.text("routing_key"))
    if not fields.flag("nowait"):
        channel.reply(c.EXCHANGE_UNBIND_OK)


def bind_queue(channel: Channel, fields: Fields) -> None:
    """Messages go from an exchange to a queue."""
    source, name, key = _queue_ends(channel, fields)
    queue = find_queue(channel, name) if source in channel.vhost.exchanges else None
    _bind(channel, fields, source, queue, key)
    if not fields.flag("nowait"):
        channel.reply(c.QUEUE_BIND_OK)


def unbind_queue(channel: Channel, fields: Fields) -> None:
    """Take such a binding away; one that is not there is no mistake."""
    source, name, key = _queue_ends(channel, fields)
    vhost = channel.vhost
    queue = vhost.queues.get(name)
    if queue is not None and source in vhost.exchanges:
        binding = Binding(queue, key, fields.octets("arguments"))
        # Somebody else's queue is in the way only where there is something to take away.
        if binding in vhost.exchanges[source].bindings:
            find_queue(channel, name)
    _unbind(channel, fields, source, queue, key)
    channel.reply(c.QUEUE_UNBIND_OK)


def _exchange_ends(channel: Channel, fields: Fields) -> tuple[str, Exchange | None]:
    """The name of the source, and the destination if it is there."""
    source, destination = fields.name("source"), fields.name("destination")
    channel.check("write", "exchange", destination)
    _no_default(destination)
    _no_default(source)
    channel.check("read", "exchange", source)
    return source, channel.vhost.exchanges.get(destination)


def _queue_ends(channel: Channel, fields: Fields) -> tuple[str, str, str]:
    """The names of exchange and queue, and the routing key; without any name the key is the queue's name as well."""
    source, name, key = fields.name("exchange"), fields.name("queue"), fields.text("routing_key")
    if not name:
        name = channel.last_queue
        if not name:
            raise Refused(c.NOT_FOUND, "no previously declared queue")
        key = key or name
    channel.check("write", "queue", name)
    _no_default(source)
    channel.check("read", "exchange", source)
    return source, name, key


def _bind(channel: Channel, fields: Fields, source: str, destination: Queue | Exchange | None, key: str) -> None:
    exchange = channel.vhost.exchanges.get(source)
    if exchange is None:
        raise not_found("exchange", source, channel.vhost.name)
    if destination is None:
        raise not_found("exchange", fields.name("destination"), channel.vhost.name)
    channel.vhost.bind(exchange, _binding(destination, fields, key))


def _unbind(channel: Channel, fields: Fields, source: str, destination: Queue | Exchange | None, key: str) -> None:
    exchange = channel.vhost.exchanges.get(source)
    if exchange is not None and destination is not None:
        channel.vhost.unbind(exchange, Binding(destination, key, fields.octets("arguments")))


def _binding(destination: Queue | Exchange, fields: Fields, key: str) -> Binding:
    arguments = fields.table("arguments")
    match = arguments.get("x-match")
    if match is not None and match.kind != "longstr":
        raise failed(f"Invalid x-match field type {match.kind} (value {match.value}); expected longstr")
    if match is not None and match.value not in MATCHES:
        wanted = "all, any, all-with-x, or any-with-x"
        raise failed(f'Invalid x-match field value <<"{match.value}">>; expected {wanted}')
    return Binding(destination, key, fields.octets("arguments"), arguments)


def _no_default(name: str) -> None:
    if not name:
        raise default_exchange()


METHODS: Final[dict[int, Callable[[Channel, Fields], None]]] = {
    c.EXCHANGE_DECLARE: declare_exchange,
    c.EXCHANGE_DELETE: delete_exchange,
    c.EXCHANGE_BIND: bind_exchange,
    c.EXCHANGE_UNBIND: unbind_exchange,
    c.QUEUE_BIND: bind_queue,
    c.QUEUE_UNBIND: unbind_queue,
}
