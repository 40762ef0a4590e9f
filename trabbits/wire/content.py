"""The order of content: a method that carries some, its header, bodies until the announced size (section 4.2.6).

Lives here: what is wrong with a frame that breaks it, and reading a content header.  ``left`` is what is still to
come: -1 for the header, else octets of body, None where no content is under way.
Must not know: how frames are walked (``scanner.py``).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from trabbits.wire.constants import FRAME_ERROR, FRAME_HEADER, UNEXPECTED_FRAME
from trabbits.wire.errors import Violation

_BASIC_CLASS: Final = 60
_HEADER_PAYLOAD = Struct(">HHQ").unpack_from
#: Class, weight, body size and property flags: no content header is shorter.
_HEADER_MIN: Final = 14


def method_in_content(channel: int, left: int) -> Violation:
    """A method frame in the middle of content."""
    text = f"expected content {_part(left)} on channel {channel}, got a method frame instead"
    return Violation(UNEXPECTED_FRAME, text, channel=channel)


def content_out_of_order(channel: int, kind: int, left: int | None) -> Violation:
    """A content frame that is not the one expected."""
    got = "header" if kind == FRAME_HEADER else "body"
    wanted = "a method frame" if left is None else f"content {_part(left)}"
    text = f"expected {wanted} on channel {channel}, got a content {got} instead"
    return Violation(UNEXPECTED_FRAME, text, channel=channel)


def body_too_long(channel: int, excess: int) -> Violation:
    """More body than the header announced."""
    text = f"content body is {excess} octets longer than its header announced"
    return Violation(UNEXPECTED_FRAME, text, channel=channel)


def body_size(octets: bytes, start: int, size: int, channel: int) -> int:
    """The body size that the content header frame at `start` announces; `size` is its payload's (section 4.2.6.1)."""
    if size < _HEADER_MIN:
        raise Violation(FRAME_ERROR, f"content header of {size} octets is too short", channel=channel)
    class_id, _weight, body = _HEADER_PAYLOAD(octets, start + 7)
    if class_id != _BASIC_CLASS:
        raise Violation(
            UNEXPECTED_FRAME,
            f"expected content header for class {_BASIC_CLASS}, got one for class {class_id} instead",
            channel=channel,
        )
    return int(body)


def _part(left: int) -> str:
    return "header" if left < 0 else "body"
