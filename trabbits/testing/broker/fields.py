"""The arguments of one method, read where they are rare enough to be read by name.

Lives here: `Fields`.  Must not know: what they mean.  The common methods are read where they stand (``frames.py``).
"""

from __future__ import annotations

from typing import Any

from trabbits.testing.broker.errors import Refused, undecodable
from trabbits.testing.broker.tables import Table, read_table
from trabbits.wire.arguments import Arguments
from trabbits.wire.constants import FRAME_ERROR, NOT_IMPLEMENTED
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS


class Fields:
    """The fields of a whole method frame; names as in pamqp's method objects.

    Raises `Refused`: 501 for arguments that cannot be read, 540 for a method that AMQP does not have.
    """

    __slots__ = ("_values", "index")

    def __init__(self, frame: bytes) -> None:
        self.index = int.from_bytes(frame[7:11], "big")
        info = METHODS.get(self.index)
        if info is None:
            raise Refused(NOT_IMPLEMENTED, f"unknown method: {{{self.index >> 16},{self.index & 0xFFFF}}}")
        try:
            self._values = _read(Arguments(frame), info.fields, strict=not info.has_content)
        except Violation:
            raise undecodable(self.index, frame[11:-1]) from None

    def text(self, name: str) -> str:
        value: str = self._values[name]
        return value

    def name(self, name: str) -> str:
        """The name of a queue or exchange; RabbitMQ drops line ends."""
        return self.text(name).replace("\r", "").replace("\n", "")

    def flag(self, name: str) -> bool:
        value: bool = self._values[name]
        return value

    def number(self, name: str) -> int:
        value: int = self._values[name]
        return value

    def octets(self, name: str) -> bytes:
        """A long string, or a table as it came."""
        value: bytes = self._values[name]
        return value

    def table(self, name: str) -> Table:
        try:
            return read_table(self._values[name])
        except Violation:
            raise undecodable(self.index, self._values[name]) from None


def _text(octets: bytes, strict: bool) -> str:
    try:
        return octets.decode("utf-8", "strict" if strict else "surrogateescape")
    except UnicodeDecodeError:
        raise Refused(FRAME_ERROR, "Malformed UTF-8 in shortstr") from None


def _read(arguments: Arguments, fields: tuple[tuple[str, str], ...], *, strict: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    bits = count = 0
    for name, kind in fields:
        if kind == "bit":
            if not count:
                bits = arguments.octet(name)
            values[name] = bool(bits >> count & 1)
            count += 1
            continue
        count = 0
        match kind:
            case "shortstr":
                values[name] = _text(arguments.short_string(name), strict and name != "reply_text")
            case "octet":
                values[name] = arguments.octet(name)
            case "short":
                values[name] = arguments.short(name)
            case "long":
                values[name] = arguments.long(name)
            case "longlong":
                values[name] = arguments.longlong(name)
            case _:  # a long string, or a table
                values[name] = arguments.long_string(name)
    arguments.finish()
    return values
