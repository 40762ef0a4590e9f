"""Decoding one whole method frame to one of pamqp's method objects: for the rare frames.

Lives here: `decode_method`.  Must not know: the stream; content headers and bodies; what a method means.

The fields are walked here, tables in ``table.py``, and only their values are left to pamqp, whose own ``unmarshal``
slices a string that is longer than the frame silently short, ignores octets left over and reads an array past its end.

Source: AMQP 0-9-1 section 4.2 (wire-level format).
"""

from __future__ import annotations

from typing import Any

from pamqp import base

from trabbits.wire.arguments import Arguments
from trabbits.wire.constants import NOT_IMPLEMENTED
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS, name_of
from trabbits.wire.table import decode_table


def unknown_method(channel: int, index: int) -> Violation:
    """The violation (to be raised) of sending a method that AMQP does not define."""
    return Violation(
        NOT_IMPLEMENTED,
        f"unknown method: {name_of(index)}",
        channel=channel,
        class_id=index >> 16,
        method_id=index & 0xFFFF,
    )


def decode_method(frame: bytes | bytearray | memoryview) -> base.Frame:
    """The method in `frame`, which must be one whole method frame.

    Short strings become `str`, long strings `str` or, where they are not UTF-8, `bytes`.  Where RabbitMQ sends or
    takes short strings that are not UTF-8, in the methods with content and in reply texts (it cuts long ones in
    the middle of a character), such octets become lone surrogates (``surrogateescape``); `method_frame` turns
    them back.

    Raises `Violation`: for arguments that do not fill the frame exactly or cannot be decoded, and 540
    NOT_IMPLEMENTED for an unknown method.  Any other exception is our bug.
    """
    arguments = Arguments(frame)
    info = METHODS.get(arguments.index)
    if info is None:
        raise unknown_method(arguments.channel, arguments.index)
    # Not called: a constructor would only set defaults and warn about deprecated methods.
    method = info.frame_class.__new__(info.frame_class)
    bits = count = 0
    for field, kind in info.fields:
        if kind == "bit":
            if not count:
                bits = arguments.octet(field)
            setattr(method, field, bool(bits >> count & 1))
            count += 1
        else:
            strict = not info.has_content and field != "reply_text"
            setattr(method, field, _read(arguments, field, kind, strict=strict))
    arguments.finish()
    return method


def _read(arguments: Arguments, field: str, kind: str, *, strict: bool) -> Any:
    """One argument that is no bit."""
    match kind:
        case "shortstr":
            if strict:
                return arguments.utf8(field).decode("utf-8")
            return arguments.short_string(field).decode("utf-8", "surrogateescape")
        case "longstr":
            octets = arguments.long_string(field)
            try:
                return octets.decode("utf-8")
            except UnicodeDecodeError:
                return octets
        case "table":
            return _read_table(arguments, field)
        case "octet":
            return arguments.octet(field)
        case "short":
            return arguments.short(field)
        case "long":
            return arguments.long(field)
        case _:
            return arguments.longlong(field)


def _read_table(arguments: Arguments, field: str) -> Any:
    octets = arguments.long_string(field)
    try:
        return decode_table(octets)
    except Violation as violation:
        raise arguments.malformed(f"{field}: {violation.text}") from None
    except ValueError as error:
        raise arguments.malformed(f"{field}: {error}") from error
