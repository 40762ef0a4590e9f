"""The octets of a method's arguments, for txamqp, by pamqp's field encoders.

Lives here: `encode_method` and `decode_method`.  txamqp's own codec knows only strings and 32-bit integers in tables
and counts a string's characters instead of its octets; pamqp's method classes refuse names that RabbitMQ accepts
(a queue "grün", a virtual host of 200 octets).  So txamqp's specification walks the arguments and pamqp's field
functions encode each.  Must not know: frames' heads and ends (``protocol.py``), connections.

Source: AMQP 0-9-1 sections 4.2.4 (method payload) and 4.2.5 (data fields), RabbitMQ's table of field types.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pamqp import decode, encode
from txamqp.connection import Method

from trabbits.upstream.errors import UnexpectedFrame

_LONG = struct.Struct("!I")
_INDEX = struct.Struct("!HH")

#: Everything that pamqp's decoders raise for octets that are no such field.
_DECODE_ERRORS = (ValueError, TypeError, KeyError, IndexError, OverflowError, OSError, RecursionError, struct.error)


def encode_method(method: Any, arguments: Sequence[Any]) -> bytes:
    """The payload of a method frame.  Raises TypeError or ValueError for an argument that its field cannot hold."""
    parts = [_INDEX.pack(method.klass.id, method.id)]
    bits: list[bool] = []
    for field, value in zip(method.fields, arguments, strict=True):
        if field.type == "bit":
            bits.append(bool(value))
            continue
        if bits:
            parts.append(_pack_bits(bits))
            bits = []
        parts.append(encode_field(field.type, value))
    if bits:
        parts.append(_pack_bits(bits))
    return b"".join(parts)


def encode_field(kind: str, value: Any) -> bytes:
    """One argument that is not a bit.  A longstr may be text, octets (secrets are opaque), or an AMQPLAIN table."""
    if kind == "table":
        return encode_table(value)
    if kind == "longstr":
        if isinstance(value, bytes):
            return _LONG.pack(len(value)) + value
        if isinstance(value, dict):
            # AMQPLAIN: the response is a table's entries, the length octets serve both.
            return encode_table(value)
    return encode.by_type(value, kind)


def encode_table(table: Mapping[str, Any]) -> bytes:
    """A field table, with three things that pamqp's lacks.

    Octets that are no UTF-8 stay a long string (pamqp decodes them to bytes, but does not encode bytes), floats keep
    their 64 bits, and a field name may have up to 255 octets as its shortstr allows.
    """
    entries = b"".join(encode.short_string(name) + _encode_value(value) for name, value in table.items())
    return _LONG.pack(len(entries)) + entries


def _encode_value(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"S" + _LONG.pack(len(value)) + value
    if isinstance(value, float):
        return b"d" + encode.double(value)
    if isinstance(value, Mapping):
        return b"F" + encode_table(value)
    if isinstance(value, list | tuple):
        items = b"".join(_encode_value(item) for item in value)
        return b"A" + _LONG.pack(len(items)) + items
    return encode.encode_table_value(value)


def decode_method(spec: Any, payload: bytes) -> Any:
    """A method frame's payload as a `txamqp.connection.Method`.  Raises UnexpectedFrame."""
    try:
        class_id, method_id = _INDEX.unpack_from(payload)
        method = spec.classes.byid[class_id].methods.byid[method_id]
    except (struct.error, KeyError):
        raise UnexpectedFrame(f"unknown method {payload[:4].hex()}") from None
    try:
        return Method(method, *_decode_arguments(method, payload))
    except _DECODE_ERRORS as error:
        raise UnexpectedFrame(f"broken arguments of {method.klass.name}.{method.name}: {error}") from None


def _decode_arguments(method: Any, payload: bytes) -> list[Any]:
    arguments: list[Any] = []
    offset = _INDEX.size
    bit = 0
    for field in method.fields:
        if field.type == "bit":
            if bit == 8:
                offset, bit = offset + 1, 0
            arguments.append(bool(payload[offset] >> bit & 1))
            bit += 1
            continue
        if bit:
            offset, bit = offset + 1, 0
        if field.type == "shortstr":
            size = 1 + payload[offset]
            # Reply texts quote names that need not be UTF-8 and are cut at 255 octets anywhere.  "ignore" never makes
            # a text longer than it was, so it fits into a shortstr again when a client is told.
            value: Any = payload[offset + 1 : offset + size].decode("utf-8", "ignore")
        else:
            size, value = decode.by_type(payload[offset:], field.type)
        offset += size
        if offset > len(payload):
            raise ValueError(f"'{field.name}' is cut off")
        arguments.append(value)
    return arguments


def _pack_bits(bits: list[bool]) -> bytes:
    octets = bytearray((len(bits) + 7) // 8)
    for position, bit in enumerate(bits):
        octets[position // 8] |= bit << position % 8
    return bytes(octets)
