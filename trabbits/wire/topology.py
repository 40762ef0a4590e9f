"""exchange.declare and the methods about bindings with their fields apart, to be rebuilt with some of them changed.

Lives here: `ExchangeDeclareFields` and `BindingFields` and how they are read from and written to frames.
Whatever is not changed comes out as the octets that went in, the argument table and unused bits included.
Must not know: why something is changed.

Source: AMQP 0-9-1 sections 1.6.2.1 (exchange.declare), 1.7.2.3 (queue.bind) and 1.7.2.5 (queue.unbind);
https://www.rabbitmq.com/docs/e2e for exchange.bind and exchange.unbind.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from trabbits.wire.constants import EXCHANGE_BIND, EXCHANGE_DECLARE, EXCHANGE_UNBIND, QUEUE_BIND, QUEUE_UNBIND
from trabbits.wire.method_fields import arguments_of, build_method, last_table

#: The methods that make a binding or undo one.
BINDING_METHODS: Final = frozenset({QUEUE_BIND, QUEUE_UNBIND, EXCHANGE_BIND, EXCHANGE_UNBIND})

_PASSIVE, _DURABLE, _AUTO_DELETE, _INTERNAL = 1, 2, 4, 8


@frozen(kw_only=True)
class ExchangeDeclareFields:
    """The fields of an exchange.declare; change some with `attrs.evolve`.

    `arguments` is the raw table without its length (see `trabbits.wire.table`), `exchange` and `type` are UTF-8,
    `other_bits` are those of nowait and those that mean nothing.
    """

    ticket: int = 0
    exchange: bytes = b""
    type: bytes = b"direct"
    passive: bool = False
    durable: bool = False
    auto_delete: bool = False
    internal: bool = False
    arguments: bytes = b""
    other_bits: int = 0


@frozen(kw_only=True)
class BindingFields:
    """The fields of one of `BINDING_METHODS`, which `index` says; see `ExchangeDeclareFields`.

    `destination` is the queue of queue.bind and queue.unbind.  `bits` are those of nowait and those that mean nothing;
    None for queue.unbind, which has none.
    """

    index: int
    ticket: int = 0
    destination: bytes = b""
    source: bytes = b""
    routing_key: bytes = b""
    bits: int | None = 0
    arguments: bytes = b""


def parse_exchange_declare(frame: bytes | bytearray | memoryview) -> ExchangeDeclareFields:
    """The fields of a whole exchange.declare frame.

    Raises `Violation` when they do not fill the frame, a name is not UTF-8 or the argument table is corrupt.
    """
    read = arguments_of(frame, EXCHANGE_DECLARE)
    ticket, exchange, kind, bits = read.short("ticket"), read.utf8("exchange"), read.utf8("type"), read.octet("bits")
    return ExchangeDeclareFields(
        ticket=ticket,
        exchange=exchange,
        type=kind,
        passive=bool(bits & _PASSIVE),
        durable=bool(bits & _DURABLE),
        auto_delete=bool(bits & _AUTO_DELETE),
        internal=bool(bits & _INTERNAL),
        arguments=last_table(read),
        other_bits=bits & ~(_PASSIVE | _DURABLE | _AUTO_DELETE | _INTERNAL),
    )


def build_exchange_declare(channel: int, declare: ExchangeDeclareFields) -> bytes:
    """The frame with these fields.  Raises `ValueError` for a name or type of more than 255 octets."""
    bits = (
        declare.other_bits
        | (_PASSIVE if declare.passive else 0)
        | (_DURABLE if declare.durable else 0)
        | (_AUTO_DELETE if declare.auto_delete else 0)
        | (_INTERNAL if declare.internal else 0)
    )
    names = (declare.exchange, declare.type)
    return build_method(channel, EXCHANGE_DECLARE, declare.ticket, names, bits, declare.arguments)


def parse_binding(frame: bytes | bytearray | memoryview) -> BindingFields:
    """The fields of a whole frame of one of `BINDING_METHODS`.  Raises `Violation` as `parse_exchange_declare` does."""
    read = arguments_of(frame, *BINDING_METHODS)
    ticket, destination = read.short("ticket"), read.utf8("destination")
    source, routing_key = read.utf8("source"), read.utf8("routing_key")
    return BindingFields(
        index=read.index,
        ticket=ticket,
        destination=destination,
        source=source,
        routing_key=routing_key,
        bits=None if read.index == QUEUE_UNBIND else read.octet("bits"),
        arguments=last_table(read),
    )


def build_binding(channel: int, binding: BindingFields) -> bytes:
    """The frame with these fields.  Raises `ValueError` for names and keys of more than 255 octets."""
    names = (binding.destination, binding.source, binding.routing_key)
    return build_method(channel, binding.index, binding.ticket, names, binding.bits, binding.arguments)
