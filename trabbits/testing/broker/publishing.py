"""Publishing: from the three frames of a message to its queues.

Lives here: `publish`.  Must not know: how the frames were found in the stream.

Source: AMQP 0-9-1 section 1.8.3.7 (basic.publish); https://www.rabbitmq.com/docs/publishers; the order of checks is
that of RabbitMQ 3.10.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from trabbits.testing.broker.errors import Refused, failed, not_found, resource
from trabbits.testing.broker.message import Message, route_octets
from trabbits.testing.broker.properties import (
    HEADERS,
    NONE,
    REPLY_TO,
    Malformed,
    Properties,
    read_properties,
    short_string,
    split_properties,
    table,
    with_properties,
)
from trabbits.testing.broker.queue import Queue
from trabbits.testing.broker.queue_arguments import EXPIRY_MAX
from trabbits.testing.broker.reply_to import REPLY_PREFIX
from trabbits.testing.broker.reply_to import REPLY_TO as REPLY_QUEUE
from trabbits.testing.broker.routing_keys import further_keys, without_blind
from trabbits.wire import constants as c

if TYPE_CHECKING:
    from trabbits.testing.broker.channel import Channel

_MANDATORY: Final = 1
_IMMEDIATE: Final = 2
_INTEGER: Final = re.compile(rb"([+-]?[0-9]+)(.*)", re.DOTALL)
#: Routes that a channel remembers.
_ROUTES_MAX: Final = 1000


def publish(channel: Channel, route: bytes, bits: int, header: bytes, body: bytes) -> None:
    """A whole message has come.  `header` is the payload of its content header frame, which is well formed.

    Raises `Refused`, without a method's number.
    """
    if bits & _IMMEDIATE:
        raise Refused(c.NOT_IMPLEMENTED, "immediate=true")
    vhost = channel.vhost
    if channel.routes_version != vhost.version:
        channel.routes_version = vhost.version
        channel.routes.clear()
    queues = channel.routes.get(route)
    if queues is None:
        _check_exchange(channel, Message(route, header, b""))
    properties = NONE if header[12:] == b"\x00\x00" else _read(header)
    message = Message(route, header, body)
    keys: list[str] | None = None
    ttl = None
    if properties is not NONE:
        message, keys = _prepared(channel, message, properties)
        ttl = _ttl(properties)
    if queues is None or keys is not None:
        queues = _route(channel, message, keys)
    if channel.transaction is not None:
        channel.transaction.publish(message, partial(_hand_out, channel, message, queues, bits, ttl))
    else:
        _hand_out(channel, message, queues, bits, ttl)


def _hand_out(channel: Channel, message: Message, queues: list[Queue], bits: int, ttl: float | None) -> None:
    """Into the queues, or back to the client; and confirmed."""
    taken = True
    for queue in queues:
        if not queue.deleted and not queue.publish(message, ttl):
            taken = False
    if not queues and bits & _MANDATORY:
        channel.return_message(c.NO_ROUTE, c.REPLY_NAMES[c.NO_ROUTE], message)
    if channel.confirms is not None:
        channel.confirms.add(taken)


def _check_exchange(channel: Channel, message: Message) -> None:
    name = message.exchange
    vhost = channel.vhost
    channel.check("write", "exchange", name)
    exchange = vhost.exchanges.get(name)
    if exchange is None:
        raise not_found("exchange", name, vhost.name)
    if exchange.internal:
        raise Refused(c.ACCESS_REFUSED, f"cannot publish to internal {resource('exchange', name, vhost.name)}")


def _read(header: bytes) -> Properties:
    try:
        return read_properties(header[12:])
    except Malformed as malformed:
        # RabbitMQ's channel process dies of these, and the connection with it.
        raise Refused(c.INTERNAL_ERROR, str(malformed)) from None


def _prepared(channel: Channel, message: Message, properties: Properties) -> tuple[Message, list[str] | None]:
    """The message as queues get it; and all keys to route it by, if it has several."""
    claimed = properties.user_id
    if claimed is not None:
        user = claimed.decode("utf-8", "replace")
        if user != channel.connection.user_name:
            actual = channel.connection.user_name
            raise failed(f"user_id property set to '{user}' but authenticated user was '{actual}'")
    header = message.header
    if properties.reply_to == REPLY_QUEUE.encode():
        if not channel.reply_name:
            raise failed("fast reply consumer does not exist")
        header = _changed(header, REPLY_TO, short_string(channel.reply_name.encode()))
    keys: list[str] | None = None
    further = further_keys(properties.headers, blind=True)
    if further:
        keys = [message.routing_key, *further]
        header = _changed(header, HEADERS, table(without_blind(properties.headers)))
    if header is not message.header:
        message = Message(message.route, header, message.body)
    return message, keys


def _changed(header: bytes, flag: int, value: bytes) -> bytes:
    return with_properties(header, {**split_properties(header[12:]), flag: value})


def _ttl(properties: Properties) -> float | None:
    """The seconds in the ``expiration`` property."""
    text = properties.expiration
    if text is None:
        return None
    found = _INTEGER.fullmatch(text)
    if found is None or found[2]:
        why = f'{{leftover_string,"{found[2].decode("latin-1")}"}}' if found is not None else "no_integer"
    elif (value := int(found[1])) < 0:
        why = f"{{value_negative,{value}}}"
    elif value > EXPIRY_MAX:
        why = f"{{value_too_large,{value}}}"
    else:
        return value / 1000
    raise failed(f"invalid expiration '{text.decode('utf-8', 'replace')}': {why}")


def _route(channel: Channel, message: Message, keys: list[str] | None) -> list[Queue]:
    """The queues of a message; answers to waiting channels are delivered on the way."""
    vhost = channel.vhost
    exchange = message.exchange
    if keys is None:
        key = message.routing_key
        if not exchange and key.startswith(REPLY_PREFIX):
            _answer(channel, key, message)
            return []
        queues = vhost.route(exchange, key, message.headers)
        if vhost.routes_last:
            if len(channel.routes) >= _ROUTES_MAX:
                channel.routes.clear()
            channel.routes[message.route] = queues
        return queues
    found: dict[Queue, None] = {}
    for key in keys:
        if not exchange and key.startswith(REPLY_PREFIX):
            _answer(channel, key, message)
        else:
            found.update(dict.fromkeys(vhost.route(exchange, key, message.headers)))
    return list(found)


def _answer(channel: Channel, name: str, message: Message) -> None:
    waiting = channel.connection.broker.reply_consumers.find(name)
    if waiting is not None:
        waiting.deliver_answer(Message(route_octets("", name), message.header, message.body))
