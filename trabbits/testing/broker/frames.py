"""The octets of one client, cut into frames; the common methods are carried out where they stand.

Lives here: `FrameReader`, the order of content, and the three methods that make up nearly all traffic: basic.publish
with its content, basic.ack.  Must not know: what is to be done about what is refused, all other methods.

Source: AMQP 0-9-1 sections 2.3.5 and 4.2; what RabbitMQ makes of broken frames: ``rabbit_reader``,
``rabbit_command_assembler``.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from trabbits.testing.broker.channel import Channel, Content
from trabbits.testing.broker.errors import Refused, failed, frame_error, undecodable, unexpected
from trabbits.testing.broker.publishing import publish
from trabbits.testing.broker.settling import ack
from trabbits.wire import constants as c

if TYPE_CHECKING:
    from trabbits.testing.broker.connection import BrokerConnection

_HEAD: Final = Struct(">BHI").unpack_from
_HEAD_AND_INDEX: Final = Struct(">BHII").unpack_from
_HEAD_AND_SIZE: Final = Struct(">BHIIQ").unpack_from
_U16: Final = Struct(">H").unpack_from
_TAG_AND_BITS: Final = Struct(">QB").unpack_from
_HEADER: Final = Struct(">HHQ")
#: Class 60 and weight 0: the beginning of each content header.
_BASIC: Final = 0x003C0000
_PUBLISH_IDS: Final = (c.BASIC_PUBLISH >> 16, c.BASIC_PUBLISH & 0xFFFF)
#: The shortest payload of each type of frame.
_LEAST: Final = {c.FRAME_METHOD: 4, c.FRAME_HEADER: _HEADER.size, c.FRAME_BODY: 0, c.FRAME_HEARTBEAT: 0}


class FrameReader:
    """Walks what a client sends.

    `room` is the largest payload; RabbitMQ forgives a frame that is larger than agreed by its framing.  `held` stops
    the walk behind the frame at hand: what follows is kept until `feed` is called again.
    """

    __slots__ = ("_at", "_connection", "_have", "_number", "_parts", "_want", "alarmed", "held", "room")

    def __init__(self, connection: BrokerConnection) -> None:
        self._connection = connection
        self.room = c.FRAME_MIN_SIZE
        self.held = False
        #: Whether the client must not publish.
        self.alarmed = False
        self._parts: list[bytes] = []
        self._have = 0
        #: Octets that must be there before it is worth looking.
        self._want = 7
        self._at = 0
        self._number = 0

    def take_rest(self) -> bytes:
        """What was not looked at yet; it is forgotten."""
        rest = b"".join(self._parts)
        self._parts.clear()
        self._have = 0
        self._want = 7
        return rest

    def feed(self, octets: bytes) -> None:
        """Go on with these octets; all that is refused on the way goes to the connection."""
        self._parts.append(octets)
        self._have += len(octets)
        if self.held or self._have < self._want:
            return
        data = octets if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._at = 0
        while True:
            try:
                self._walk(data)
                break
            except Refused as refused:
                self._connection.refuse(self._number, refused)
                if self._connection.ending:
                    # What follows is for whoever waits for the end.
                    self.held = True
                    break
        rest = data[self._at :] if self._at else data
        self._have = len(rest)
        if rest:
            self._parts.append(rest)

    def _walk(self, data: bytes) -> None:  # noqa: C901, PLR0912, PLR0915 - one loop: the hot path
        channels = self._connection.channels
        pos = self._at
        end = len(data)
        room = self.room
        self._want = 7
        while not self.held:
            if end - pos < 11:
                if end - pos < 7:
                    break
                kind, number, size = _HEAD(data, pos)
                index = 0
            else:
                kind, number, size, index = _HEAD_AND_INDEX(data, pos)
            after = pos + size + 8
            self._number = number
            if size > room:
                self._at = after
                raise frame_error(kind, b"", f"{{frame_too_large,{size},{room - 8}}}")
            if after > end:
                self._want = size + 8
                break
            self._at = after
            if data[after - 1] != c.FRAME_END:
                why = f"{{invalid_frame_end_marker,{data[after - 1]}}}"
                raise frame_error(kind, data[pos + 7 : after - 1], why)
            channel = channels.get(number)
            if kind != 1 or channel is None or channel.content is not None or channel.closing:
                self._frame(kind, number, channel, data[pos:after])
                pos = after
                room = self.room
                continue
            if index == c.BASIC_PUBLISH and after - pos > 14:
                start = pos
                if self.alarmed:
                    self.held = True
                    self._connection.hold()
                    break
                # The common case: header and one body frame stand right behind, whole.
                if end - after >= 30:
                    kind, number2, size, ids, body = _HEAD_AND_SIZE(data, after)
                    head, pos2 = after + 7, after + size + 8
                    if kind == 2 and number2 == number and ids == _BASIC and 14 <= size <= room and pos2 + 8 <= end:
                        pos = pos2 + body + 8
                        if body and body + 8 <= room and pos <= end and data[pos2 - 1] == 0xCE == data[pos - 1]:
                            kind, number2, size = _HEAD(data, pos2)
                            if kind == 3 and number2 == number and size == body:
                                self._at = pos
                                route = data[start + 13 : after - 2]
                                if 2 + route[0] > len(route) or route[0] + route[1 + route[0]] + 2 != len(route):
                                    raise undecodable(index, data[start + 11 : after - 1])
                                try:
                                    publish(
                                        channel,
                                        route,
                                        data[after - 2],
                                        data[head : pos2 - 1],
                                        data[pos2 + 7 : pos - 1],
                                    )
                                except Refused as refused:
                                    raise _of_publish(refused) from None
                                continue
                channel.content = _begin(data, start, after)
                pos = after
            elif index == c.BASIC_ACK and size == 13:
                pos = after
                tag, bits = _TAG_AND_BITS(data, after - 10)
                try:
                    ack(channel, tag, bits & 1 == 1)
                except Refused as refused:
                    refused.class_id, refused.method_id = index >> 16, index & 0xFFFF
                    raise
            else:
                self._frame(kind, number, channel, data[pos:after])
                pos = after
                room = self.room
        self._at = pos

    def _frame(self, kind: int, number: int, channel: Channel | None, frame: bytes) -> None:
        """One frame that is not of the common kind."""
        payload = frame[7:-1]
        connection = self._connection
        if number and not connection.opened:
            raise unexpected(kind, payload)
        least = _LEAST.get(kind)
        if least is None or len(payload) < least or (payload and kind == c.FRAME_HEARTBEAT):
            raise frame_error(kind, payload, "unknown_frame")
        if not number:
            if kind == c.FRAME_METHOD:
                connection.method(frame)
            elif kind != c.FRAME_HEARTBEAT:
                raise unexpected(kind, payload)
            return
        if kind == c.FRAME_HEARTBEAT:
            raise unexpected(kind, payload)
        if channel is not None and channel.closing:
            connection.leftover(number, kind, frame)
        elif channel is not None and channel.content is not None:
            self._content(channel, channel.content, kind, payload)
        elif kind != c.FRAME_METHOD:
            if channel is None:
                connection.check_count()
            raise Refused(c.UNEXPECTED_FRAME, "expected method frame, got non method frame instead")
        elif channel is not None and frame[7:11] == b"\x00\x3c\x00\x28":
            channel.content = _begin(frame, 0, len(frame))
        else:
            connection.channel_method(number, channel, frame)

    def _content(self, channel: Channel, content: Content, kind: int, payload: bytes) -> None:
        """A frame on a channel that is in the middle of a message."""
        if content.left is None:
            self._header(content, kind, payload)
        elif kind != c.FRAME_BODY:
            text = "expected content body, got non content body frame instead"
            raise Refused(c.UNEXPECTED_FRAME, text, *_PUBLISH_IDS)
        else:
            content.left -= len(payload)
            if content.left < 0:
                # RabbitMQ waits for an end that never comes; what has come need not be kept for that.
                content.parts.clear()
            # Frames without octets would be kept for as many as there are.
            elif payload and content.size <= self._connection.limits.message_size:
                content.parts.append(payload)
        if content.left:
            return
        channel.content = None
        limit = self._connection.limits.message_size
        try:
            if content.size > limit:
                raise failed(f"message size {content.size} is larger than configured max size {limit}")
            publish(channel, content.route, content.bits, content.header, b"".join(content.parts))
        except Refused as refused:
            raise _of_publish(refused) from None

    @staticmethod
    def _header(content: Content, kind: int, payload: bytes) -> None:
        # With a weight it is no content header to RabbitMQ.
        if kind != c.FRAME_HEADER or payload[2:4] != b"\0\0":
            text = "expected content header for class 60, got non content header frame instead"
            raise Refused(c.UNEXPECTED_FRAME, text, *_PUBLISH_IDS)
        class_id, _, size = _HEADER.unpack_from(payload)
        if class_id != 60:
            text = f"expected content header for class 60, got one for class {class_id} instead"
            raise Refused(c.UNEXPECTED_FRAME, text, *_PUBLISH_IDS)
        content.header = payload
        content.left = content.size = size


def _begin(octets: bytes, start: int, after: int) -> Content:
    """The content that the basic.publish between these offsets announces.  Raises `Refused` 501."""
    route = octets[start + 13 : after - 2]
    exchange = route[0] if route else 0
    if len(route) < 2 + exchange or len(route) != 2 + exchange + route[1 + exchange]:
        raise undecodable(c.BASIC_PUBLISH, octets[start + 11 : after - 1])
    return Content(route, octets[after - 2])


def _of_publish(refused: Refused) -> Refused:
    if refused.code == c.INTERNAL_ERROR:
        return refused
    refused.class_id, refused.method_id = _PUBLISH_IDS
    return refused
