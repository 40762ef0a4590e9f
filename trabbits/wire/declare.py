"""queue.declare and basic.consume with their fields apart, to be rebuilt with some of them changed.

Lives here: `QueueDeclareFields` and `BasicConsumeFields` and how they are read from and written to frames.
Whatever is not changed comes out as the octets that went in, the argument table and unused bits included.
Must not know: why something is changed.

Source: AMQP 0-9-1 sections 1.7.2.1 (queue.declare) and 1.8.3.3 (basic.consume).
"""

from __future__ import annotations

from attrs import frozen

from trabbits.wire.constants import BASIC_CONSUME, QUEUE_DECLARE
from trabbits.wire.method_fields import arguments_of, build_method, last_table

_PASSIVE, _DURABLE, _EXCLUSIVE, _AUTO_DELETE, _DECLARE_NOWAIT = 1, 2, 4, 8, 16
_NO_LOCAL, _NO_ACK, _CONSUME_EXCLUSIVE, _CONSUME_NOWAIT = 1, 2, 4, 8


@frozen(kw_only=True)
class QueueDeclareFields:
    """The fields of a queue.declare; change some with `attrs.evolve`.

    `arguments` is the raw table without its length (see `trabbits.wire.table`), `queue` is UTF-8, `spare_bits`
    are the bits that mean nothing.
    """

    ticket: int = 0
    queue: bytes = b""
    passive: bool = False
    durable: bool = False
    exclusive: bool = False
    auto_delete: bool = False
    nowait: bool = False
    arguments: bytes = b""
    spare_bits: int = 0


@frozen(kw_only=True)
class BasicConsumeFields:
    """The fields of a basic.consume; see `QueueDeclareFields`."""

    ticket: int = 0
    queue: bytes = b""
    consumer_tag: bytes = b""
    no_local: bool = False
    no_ack: bool = False
    exclusive: bool = False
    nowait: bool = False
    arguments: bytes = b""
    spare_bits: int = 0


def parse_declare(frame: bytes | bytearray | memoryview) -> QueueDeclareFields:
    """The fields of a whole queue.declare frame.

    Raises `Violation` when they do not fill the frame, the name is not UTF-8 or the argument table is corrupt.
    """
    read = arguments_of(frame, QUEUE_DECLARE)
    ticket, queue, bits = read.short("ticket"), read.utf8("queue"), read.octet("bits")
    return QueueDeclareFields(
        ticket=ticket,
        queue=queue,
        passive=bool(bits & _PASSIVE),
        durable=bool(bits & _DURABLE),
        exclusive=bool(bits & _EXCLUSIVE),
        auto_delete=bool(bits & _AUTO_DELETE),
        nowait=bool(bits & _DECLARE_NOWAIT),
        arguments=last_table(read),
        spare_bits=bits & ~(_PASSIVE | _DURABLE | _EXCLUSIVE | _AUTO_DELETE | _DECLARE_NOWAIT),
    )


def build_declare(channel: int, declare: QueueDeclareFields) -> bytes:
    """The queue.declare frame with these fields.  Raises `ValueError` for a name of more than 255 octets."""
    bits = (
        declare.spare_bits
        | (_PASSIVE if declare.passive else 0)
        | (_DURABLE if declare.durable else 0)
        | (_EXCLUSIVE if declare.exclusive else 0)
        | (_AUTO_DELETE if declare.auto_delete else 0)
        | (_DECLARE_NOWAIT if declare.nowait else 0)
    )
    return build_method(channel, QUEUE_DECLARE, declare.ticket, (declare.queue,), bits, declare.arguments)


def parse_consume(frame: bytes | bytearray | memoryview) -> BasicConsumeFields:
    """The fields of a whole basic.consume frame.  Raises `Violation` as `parse_declare` does."""
    read = arguments_of(frame, BASIC_CONSUME)
    ticket, queue, tag, bits = read.short("ticket"), read.utf8("queue"), read.utf8("consumer_tag"), read.octet("bits")
    return BasicConsumeFields(
        ticket=ticket,
        queue=queue,
        consumer_tag=tag,
        no_local=bool(bits & _NO_LOCAL),
        no_ack=bool(bits & _NO_ACK),
        exclusive=bool(bits & _CONSUME_EXCLUSIVE),
        nowait=bool(bits & _CONSUME_NOWAIT),
        arguments=last_table(read),
        spare_bits=bits & ~(_NO_LOCAL | _NO_ACK | _CONSUME_EXCLUSIVE | _CONSUME_NOWAIT),
    )


def build_consume(channel: int, consume: BasicConsumeFields) -> bytes:
    """The basic.consume frame with these fields.  Raises `ValueError` for names of more than 255 octets."""
    bits = (
        consume.spare_bits
        | (_NO_LOCAL if consume.no_local else 0)
        | (_NO_ACK if consume.no_ack else 0)
        | (_CONSUME_EXCLUSIVE if consume.exclusive else 0)
        | (_CONSUME_NOWAIT if consume.nowait else 0)
    )
    names = (consume.queue, consume.consumer_tag)
    return build_method(channel, BASIC_CONSUME, consume.ticket, names, bits, consume.arguments)
