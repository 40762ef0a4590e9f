"""Checked steps through the arguments of one method frame.

Lives here: `Arguments`, a cursor that never reads outside the frame, and `malformed`, the one violation for
arguments that cannot be read.
Must not know: what the fields mean; which fields a method has.

Source: AMQP 0-9-1 sections 2.3.5.1 and 4.2.5 (data types, framing of strings).
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final

from trabbits.wire.constants import FRAME_END, FRAME_ERROR, FRAME_METHOD
from trabbits.wire.errors import Violation
from trabbits.wire.methods import name_of

#: The reply code for arguments that cannot be read: RabbitMQ's (``rabbit_misc:frame_error/2``, "cannot decode"), which
#: clients know, and not 502, the specification's word for illegal values in fields (section 1.2).
MALFORMED: Final = FRAME_ERROR

_HEAD: Final = Struct(">BHIHH")
_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")


def malformed(frame: bytes | bytearray | memoryview, start: int, why: str) -> Violation:
    """The violation (to be raised) that the arguments of the method frame at `start` cannot be decoded."""
    try:
        _, channel, _, class_id, method_id = _HEAD.unpack_from(frame, start)
    except error:
        return Violation(MALFORMED, f"cannot decode a method frame: {why}")
    text = f"cannot decode {name_of(class_id << 16 | method_id)}: {why}"
    return Violation(MALFORMED, text, channel=channel, class_id=class_id, method_id=method_id)


class Arguments:
    """A cursor over the arguments of one whole method frame; every step raises `Violation` where octets lack.

    The frame must be just one: type method, size as announced, end octet in place, else `Violation` at once.
    """

    __slots__ = ("_at", "_end", "frame")

    def __init__(self, frame: bytes | bytearray | memoryview) -> None:
        #: The frame, as octets that nobody can change.
        self.frame = bytes(frame)
        self._at = 11
        self._end = len(self.frame) - 1
        if self._end < 11:
            raise malformed(self.frame, 0, f"{len(self.frame)} octets are no whole method frame")
        kind, _, size, _, _ = _HEAD.unpack_from(self.frame)
        if kind != FRAME_METHOD or size != self._end - 7 or self.frame[self._end] != FRAME_END:
            raise malformed(self.frame, 0, "type, size or end octet is wrong")

    @property
    def channel(self) -> int:
        return int(_U16.unpack_from(self.frame, 1)[0])

    @property
    def index(self) -> int:
        """The method index."""
        return int(_U32.unpack_from(self.frame, 7)[0])

    def malformed(self, why: str) -> Violation:
        """The violation (to be raised) that these arguments cannot be decoded."""
        return malformed(self.frame, 0, why)

    def _take(self, count: int, field: str) -> int:
        """Step over `count` octets; answer with the offset where they begin."""
        at = self._at
        self._at = at + count
        if self._at > self._end:
            raise self.malformed(f"{field} needs {count} octets, {self._end - at} are left")
        return at

    def octet(self, field: str) -> int:
        return self.frame[self._take(1, field)]

    def short(self, field: str) -> int:
        return int(_U16.unpack_from(self.frame, self._take(2, field))[0])

    def long(self, field: str) -> int:
        return int(_U32.unpack_from(self.frame, self._take(4, field))[0])

    def longlong(self, field: str) -> int:
        return int(_U64.unpack_from(self.frame, self._take(8, field))[0])

    def short_string(self, field: str) -> bytes:
        """A string of at most 255 octets, whatever they are."""
        length = self.octet(field)
        at = self._take(length, field)
        return self.frame[at : at + length]

    def utf8(self, field: str) -> bytes:
        """A short string that must be UTF-8, as RabbitMQ wants names to be (``rabbit_binary_parser:assert_utf8/1``)."""
        value = self.short_string(field)
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            raise self.malformed(f"{field} is not UTF-8") from None
        return value

    def long_string(self, field: str) -> bytes:
        """A string or a field table without its length: up to 2**32 - 1 octets."""
        length = self.long(field)
        at = self._take(length, field)
        return self.frame[at : at + length]

    def finish(self) -> None:
        """Raise `Violation` when octets are left: every method fills its frame exactly."""
        if self._at != self._end:
            raise self.malformed(f"{self._end - self._at} octets too many")
