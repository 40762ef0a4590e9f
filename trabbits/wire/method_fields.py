"""The shape that methods of clients with an argument table share: ticket, names, maybe bits, and the table at the end.

Lives here: reading and building it.  Must not know: which method has which fields.

Source: AMQP 0-9-1 sections 1.6 to 1.8; the errata of RabbitMQ for exchange.bind and exchange.unbind.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from trabbits.wire.arguments import Arguments
from trabbits.wire.constants import FRAME_METHOD
from trabbits.wire.encode import SHORT_STRING_MAX
from trabbits.wire.encode import frame as build_frame
from trabbits.wire.errors import Violation
from trabbits.wire.table import check_table

_HEAD: Final = Struct(">IH").pack
_U32: Final = Struct(">I").pack


def arguments_of(frame: bytes | bytearray | memoryview, *indices: int) -> Arguments:
    """A cursor at the first argument; raises `Violation` if the frame is none of these methods."""
    arguments = Arguments(frame)
    if arguments.index not in indices:
        raise arguments.malformed("it is another method")
    return arguments


def last_table(arguments: Arguments) -> bytes:
    """The argument table, checked; it must be the last field."""
    octets = arguments.long_string("arguments")
    arguments.finish()
    try:
        check_table(octets)
    except Violation as violation:
        raise arguments.malformed(violation.text) from None
    return octets


def build_method(
    channel: int, index: int, ticket: int, names: tuple[bytes, ...], bits: int | None, arguments: bytes
) -> bytes:
    """The whole frame; None for a method without bits.  Raises `ValueError` for names of more than 255 octets."""
    parts = [_HEAD(index, ticket)]
    for name in names:
        if len(name) > SHORT_STRING_MAX:
            raise ValueError(f"name of {len(name)} octets, {SHORT_STRING_MAX} are possible")
        parts += (bytes((len(name),)), name)
    if bits is not None:
        parts.append(bytes((bits,)))
    parts += (_U32(len(arguments)), arguments)
    return build_frame(FRAME_METHOD, channel, b"".join(parts))
