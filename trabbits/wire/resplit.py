"""Making frames smaller for a peer that agreed to less than the other one.

Lives here: `resplit`.  Must not know: why the sizes differ, whose frames they are.

Source: AMQP 0-9-1 sections 4.2.3 (frame_max counts the framing) and 4.2.6.2 (content may be cut into body
frames of any size).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from trabbits.wire.constants import FRAME_BODY, FRAME_ERROR, FRAME_OVERHEAD
from trabbits.wire.errors import Violation

_HEAD: Final = Struct(">BHI")


def resplit(chunk: bytes | bytearray | memoryview, frame_max: int) -> bytes:
    """`chunk`, which holds whole frames, with none larger than `frame_max` octets (framing included; 0: no limit).

    Body frames are cut into several, as large as possible; all others pass, untouched and in order.

    Raises `Violation` 501 for a method, header or heartbeat frame that is too large, and for a chunk that does
    not consist of whole frames.
    """
    if not frame_max:
        return bytes(chunk)
    payload_max = frame_max - FRAME_OVERHEAD
    parts: list[bytes] = []
    view = memoryview(chunk)
    at = run = 0
    end = len(view)
    while at < end:
        if end - at < FRAME_OVERHEAD:
            raise Violation(FRAME_ERROR, "a chunk ends inside the head of a frame")
        kind, channel, size = _HEAD.unpack_from(view, at)
        after = at + size + FRAME_OVERHEAD
        if after > end:
            raise Violation(FRAME_ERROR, "a chunk ends inside a frame", channel=channel)
        if size > payload_max:
            if kind != FRAME_BODY or payload_max < 1:
                raise Violation(
                    FRAME_ERROR,
                    f"frame of type {kind} with {size + FRAME_OVERHEAD} octets is larger than the frame_max of "
                    f"{frame_max} on the other side, and cannot be split",
                    channel=channel,
                )
            parts.append(bytes(view[run:at]))
            for offset in range(at + 7, after - 1, payload_max):
                piece = view[offset : min(offset + payload_max, after - 1)]
                parts += (_HEAD.pack(kind, channel, len(piece)), bytes(piece), b"\xce")
            run = after
        at = after
    if not run:
        return bytes(chunk)
    parts.append(bytes(view[run:end]))
    return b"".join(parts)
