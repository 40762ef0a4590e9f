"""Building frames.

Lives here: whole frames as octets, the common ones by `struct`, the rare ones from pamqp's method objects.
Must not know: when a frame is sent, or to whom.

pamqp's own ``marshal`` is not used for methods: it refuses what RabbitMQ takes (names of more than 127
characters or with unusual ones, tickets, ``insist``) and it cannot encode strings that are not UTF-8,
although it decodes them.  A method that `decode_method` returned can always be encoded again.

Source: AMQP 0-9-1 section 4.2 (wire-level format).
"""

from __future__ import annotations

import struct
from typing import Any, Final

from pamqp import base

from trabbits.wire import constants as c
from trabbits.wire.methods import METHODS
from trabbits.wire.table import encode_table

_HEAD: Final = struct.Struct(">BHI").pack
_EMPTY: Final = struct.Struct(">BHIIB").pack
_TAG: Final = struct.Struct(">BHIIQBB").pack
_NUMBERS: Final[dict[str, Any]] = {
    "octet": struct.Struct(">B").pack,
    "short": struct.Struct(">H").pack,
    "long": struct.Struct(">I").pack,
    "longlong": struct.Struct(">Q").pack,
}

#: Octets that a short string, such as a reply text, can have.
SHORT_STRING_MAX: Final = 255
_ELLIPSIS: Final = b"..."


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame of any type around `payload`."""
    return _HEAD(kind, channel, len(payload)) + payload + b"\xce"


def ack_frame(channel: int, delivery_tag: int, multiple: bool) -> bytes:
    """A basic.ack."""
    return _TAG(1, channel, 13, 0x003C0050, delivery_tag, multiple, 0xCE)


def nack_frame(channel: int, delivery_tag: int, multiple: bool, requeue: bool) -> bytes:
    """A basic.nack."""
    return _TAG(1, channel, 13, 0x003C0078, delivery_tag, (2 if requeue else 0) | (1 if multiple else 0), 0xCE)


def reject_frame(channel: int, delivery_tag: int, requeue: bool) -> bytes:
    """A basic.reject."""
    return _TAG(1, channel, 13, 0x003C005A, delivery_tag, requeue, 0xCE)


def empty_method(channel: int, index: int) -> bytes:
    """A method without arguments: channel.close-ok, tx.commit-ok and the like.

    Raises `ValueError` for an index whose method has arguments (our mistake, never the peer's).
    """
    info = METHODS.get(index)
    if info is None or not info.is_empty:
        raise ValueError(f"{index:#010x} is no method without arguments")
    return _EMPTY(1, channel, 4, index, 0xCE)


def channel_close(channel: int, code: int, text: str, class_id: int = 0, method_id: int = 0) -> bytes:
    """A channel.close; `text` is cut to 255 octets."""
    return _close(channel, c.CHANNEL_CLOSE, code, text, class_id, method_id)


def connection_close(code: int, text: str, class_id: int = 0, method_id: int = 0) -> bytes:
    """A connection.close; `text` is cut to 255 octets."""
    return _close(0, c.CONNECTION_CLOSE, code, text, class_id, method_id)


def _close(channel: int, index: int, code: int, text: str, class_id: int, method_id: int) -> bytes:
    octets = cut_text(text)
    payload = b"%b%b%b%b%b" % (
        _NUMBERS["long"](index),
        _NUMBERS["short"](code),
        bytes((len(octets),)) + octets,
        _NUMBERS["short"](class_id),
        _NUMBERS["short"](method_id),
    )
    return frame(c.FRAME_METHOD, channel, payload)


def cut_text(text: str) -> bytes:
    """`text` as UTF-8 that fits a short string.

    A longer one ends with ``...`` as RabbitMQ's do, but never inside a character.
    """
    octets = text.encode("utf-8", "replace")
    if len(octets) <= SHORT_STRING_MAX:
        return octets
    kept = octets[: SHORT_STRING_MAX - len(_ELLIPSIS)].decode("utf-8", "ignore")
    return kept.encode("utf-8") + _ELLIPSIS


def method_frame(channel: int, method: base.Frame) -> bytes:
    """A whole method frame from one of pamqp's method objects, which is not validated.

    None stands for pamqp's "not given": 0, an empty string, an empty table.  Strings may be `bytes`.
    Raises `ValueError` or `TypeError` for values that AMQP cannot express (our mistake, never the peer's).
    """
    parts = [_NUMBERS["long"](method.index)]
    bits = count = 0
    for field, kind in METHODS[method.index].fields:
        value: Any = getattr(method, field)
        if kind == "bit":
            bits |= bool(value) << count
            count += 1
            continue
        if count:
            parts.append(bytes((bits,)))
            bits = count = 0
        parts.append(_encode(kind, value))
    if count:
        parts.append(bytes((bits,)))
    return frame(c.FRAME_METHOD, channel, b"".join(parts))


def _encode(kind: str, value: Any) -> bytes:
    """One argument that is no bit."""
    if kind == "table":
        table = encode_table(value or {})
        return bytes(_NUMBERS["long"](len(table)) + table)
    if kind not in ("shortstr", "longstr"):
        try:
            return bytes(_NUMBERS[kind](value or 0))
        except struct.error as error:
            raise ValueError(f"{value!r} is no {kind}") from error
    octets = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value or b"")
    if kind == "longstr":
        return bytes(_NUMBERS["long"](len(octets)) + octets)
    if len(octets) > SHORT_STRING_MAX:
        raise ValueError(f"short string of {len(octets)} octets, {SHORT_STRING_MAX} are possible")
    return bytes((len(octets),)) + octets
