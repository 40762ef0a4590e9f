"""Octets and frames: a codec that is not ours (pamqp) with a memory, and by hand what is most of the traffic.

Lives here: cutting octets into frames, putting contents together, making frames.
Must not know: trabbits, brokers, clients.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pamqp import base, commands, frame

from tests.simulation.failure import Broken

Basic = commands.Basic
Channel = commands.Channel
Confirm = commands.Confirm
Connection = commands.Connection
Exchange = commands.Exchange
Queue = commands.Queue
Tx = commands.Tx

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

PUBLISH: Final = Basic.Publish.index
RETURN: Final = Basic.Return.index
DELIVER: Final = Basic.Deliver.index
GET_OK: Final = Basic.GetOk.index
ACK: Final = Basic.Ack.index
NACK: Final = Basic.Nack.index
REJECT: Final = Basic.Reject.index
CARRYING: Final = frozenset({PUBLISH, RETURN, DELIVER, GET_OK})

_HEADERS, _REPLY_TO, _EXPIRATION, _MESSAGE_ID, _APP_ID = 0x2000, 0x0200, 0x0100, 0x0080, 0x0008
_ID: Final = re.compile(rb"m#(\d+)#")
_TAG: Final = struct.Struct(">Q").unpack_from


class Frames:
    """Cuts octets into frames, over any chunk boundary.  A protocol header is one, too."""

    __slots__ = ("_rest", "whose")

    def __init__(self, whose: str) -> None:
        self._rest = b""
        self.whose = whose

    @property
    def rest(self) -> bytes:
        """The unfinished frame."""
        return self._rest

    def feed(self, octets: bytes) -> list[bytes]:
        data = self._rest + octets if self._rest else octets
        frames: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= 8:
            size = 8 if data[at] == 0x41 else int.from_bytes(data[at + 3 : at + 7], "big") + 8
            if at + size > end:
                break
            if data[at] != 0x41 and data[at + size - 1] != 0xCE:
                raise Broken("framing", f"a frame of {self.whose} has no end octet: {data[at : at + size]!r}")
            frames.append(data[at : at + size])
            at += size
        self._rest = data[at:] if at else data
        return frames


class Whole(NamedTuple):
    """A whole method: its class and method id, its frame; of content, the header's payload and the body."""

    channel: int
    kind: int
    frame: bytes
    header: bytes
    body: bytes


class Contents:
    """Puts methods and their contents together, and sees that nothing comes between them (section 4.2.6)."""

    __slots__ = ("_open", "whose")

    def __init__(self, whose: str) -> None:
        self._open: dict[int, list[Any]] = {}
        self.whose = whose

    def forget(self, channel: int) -> None:
        """The channel is opened anew."""
        self._open.pop(channel, None)

    def take(self, octets: bytes) -> Whole | None:
        """A frame; the method that is whole with it, None while its content lacks."""
        kind = octets[0]
        channel = octets[1] << 8 | octets[2]
        opened = self._open.get(channel)
        if kind == 1:
            index = int.from_bytes(octets[7:11], "big")
            if opened is not None:
                raise Broken("framing", f"{self.whose}: a method within a message: {describe(octets)}")
            if index not in CARRYING:
                return Whole(channel, index, octets, b"", b"")
            # Method frame, header payload, octets of body to come, pieces of body.
            self._open[channel] = [octets, b"", -1, []]
            return None
        if kind == 8:
            return None
        if opened is None:
            raise Broken("framing", f"{self.whose}: content without a method: {describe(octets)}")
        if kind == 2:
            if opened[2] >= 0:
                raise Broken("framing", f"{self.whose}: a second content header: {describe(octets)}")
            opened[1] = octets[7:-1]
            opened[2] = int.from_bytes(octets[11:19], "big")
        else:
            size = len(octets) - 8
            if not 0 < size <= opened[2]:
                raise Broken("framing", f"{self.whose}: no body, or less, was due: {describe(octets)}")
            opened[2] -= size
            opened[3].append(octets[7:-1])
        if opened[2]:
            return None
        del self._open[channel]
        method = opened[0]
        return Whole(channel, int.from_bytes(method[7:11], "big"), method, opened[1], b"".join(opened[3]))


@lru_cache(maxsize=4096)
def decoded(octets: bytes) -> Any:
    """The method in a frame.  Not to be changed: it is remembered."""
    return frame.unmarshal(octets)[2]


@lru_cache(maxsize=4096)
def _marshalled(kind: type[base.Frame], *arguments: Any) -> bytes:
    return frame.marshal(kind(*arguments), 0)


def call(channel: int, kind: type[base.Frame], *arguments: Any) -> bytes:
    """A method frame; the arguments in the order of the specification, without tables."""
    octets = _marshalled(kind, *arguments)  # type: ignore[arg-type]  # mypy looks at the class's own instances
    return octets[:1] + channel.to_bytes(2, "big") + octets[3:]


def on(channel: int, method: base.Frame) -> bytes:
    """A method frame."""
    return frame.marshal(method, channel)


_tabled: dict[str, bytes] = {}


def start_ok(properties: Any, response: str, locale: str) -> bytes:
    """connection.start-ok with PLAIN; remembered, for every simulation begins with the same few of them."""
    key = repr((properties, response, locale))
    octets = _tabled.get(key)
    if octets is None:
        if len(_tabled) > 1000:
            _tabled.clear()
        octets = _tabled[key] = on(0, Connection.StartOk(properties, "PLAIN", response, locale))
    return octets


def short(text: str) -> bytes:
    octets = text.encode()
    return bytes((len(octets),)) + octets


def content_header(
    number: int, size: int, *, headers: bytes = b"", reply_to: str = "", expiration: str = "", app_id: str = ""
) -> bytes:
    """The payload of a content header whose message id is this number."""
    flags, values = _MESSAGE_ID, b""
    if headers:
        flags |= _HEADERS
        values += headers
    if reply_to:
        flags |= _REPLY_TO
        values += short(reply_to)
    if expiration:
        flags |= _EXPIRATION
        values += short(expiration)
    values += short(f"m#{number}#")
    if app_id:
        flags |= _APP_ID
        values += short(app_id)
    return b"\x00\x3c\x00\x00" + size.to_bytes(8, "big") + flags.to_bytes(2, "big") + values


def number_of(header: bytes) -> int:
    """The number that a message was published with, by its content header; -1 for none of ours."""
    found = _ID.search(header)
    return int(found[1]) if found else -1


def publish(
    channel: int, exchange: str, key: str, header: bytes, body: bytes, room: int, *, mandatory: bool
) -> list[bytes]:
    """The frames of a basic.publish; `room` is the largest payload of a body frame."""
    arguments = b"\x00\x00" + short(exchange) + short(key) + bytes((mandatory,))
    number = channel.to_bytes(2, "big")
    frames = [
        b"\x01" + number + (4 + len(arguments)).to_bytes(4, "big") + b"\x00\x3c\x00\x28" + arguments + b"\xce",
        b"\x02" + number + len(header).to_bytes(4, "big") + header + b"\xce",
    ]
    for at in range(0, len(body), room):
        piece = body[at : at + room]
        frames.append(b"\x03" + number + len(piece).to_bytes(4, "big") + piece + b"\xce")
    return frames


def tag_at(octets: bytes, at: int = 11) -> int:
    """A delivery tag."""
    tag: int = _TAG(octets, at)[0]
    return tag


def describe(octets: bytes) -> str:
    """One frame for people, on one line."""
    if octets[:4] == b"AMQP":
        return "protocol header"
    channel = octets[1] << 8 | octets[2]
    if octets[0] == 8:
        return f"[{channel}] heartbeat"
    if octets[0] == 2:
        return f"[{channel}] header m{number_of(octets)} of {int.from_bytes(octets[11:19], 'big')} octets"
    if octets[0] == 3:
        return f"[{channel}] body of {len(octets) - 8}"
    try:
        method = decoded(octets)
        fields = " ".join(
            f"{name}={value!r}" for name, value in method if name != "ticket" and value not in (False, "")
        )
    except Exception:
        return f"[{channel}] {octets!r}"
    return f"[{channel}] {method.name} {fields}".rstrip()
