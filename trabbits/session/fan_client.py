"""The common methods that the client of a fan session sends: publishes and acknowledgements.

Lives here: `ClientRoutes`.
Must not know: how the way of a publish is found (``fan_publish.py``), what else clients say (``fan.py``).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from trabbits.session.fan_channel import FanChannel
from trabbits.session.fan_publish import Goal, Values
from trabbits.wire import constants as amqp
from trabbits.wire.headers import (
    FLAGS_UP_TO_TABLE,
    HEAD_AND_TABLE,
    PROPERTIES_AT,
    TABLE_AT,
    TABLE_FIRST,
    UNREADABLE,
    headers_table,
    raw_header,
)
from trabbits.wire.scanner import Destination, Route

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay

_TAG: Final = struct.Struct(">Q").unpack_from
_SET_TAG: Final = struct.Struct(">Q").pack_into
_HEAD: Final = struct.Struct(">BHI").unpack_from


class ClientRoutes:
    """The routes of what the client sends."""

    __slots__ = ("_by_values", "_channels", "_header", "_headers", "_publishing", "_relay", "_routes", "_scanner")

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay
        self._channels = relay.channels
        self._scanner = relay.session.client_scanner
        self._publishing = publishing = relay.publishing
        self._routes = publishing.routes
        self._by_values = publishing.by_values
        self._headers = () if publishing.named is None else publishing.named.keys
        #: The one that answers depend on, if it is one only.
        self._header = self._headers[0] if len(self._headers) == 1 else None

    def publish(self) -> Route:
        """The route of publishes, such as the strategy needs it."""
        if self._publishing.by_headers is not None:
            return self._publish_by_headers if self._publishing.named is None else self._publish_by_values
        return self._publish if self._relay.session.mirroring is None else self._publish_mirrored

    def _publish(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        state = self._channels.get(channel)
        if state is None or state.special:
            return None
        # Exchange and routing key as they stand in the frame, without the ticket before and the bits behind.
        link = self._routes.get(octets[start + 13 : end - 2])
        if link is None:
            return None
        confirms = state.confirms
        if confirms is not None:
            state.links[link].confirms.published(confirms.published())
        return link.out

    def _publish_mirrored(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        """As `_publish`, where some messages are copied."""
        state = self._channels.get(channel)
        if state is None or state.special:
            return None
        key = octets[start + 13 : end - 2]
        link = self._routes.get(key)
        if link is not None:
            return _published(state, (link, link.out))
        way = self._publishing.mirrored.get(key)
        return None if way is None else _published(state, (way.link, way))

    def _publish_by_headers(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        """As `_publish`, where the content header stands whole behind the method, as it almost always does."""
        state = self._channels.get(channel)
        if state is None or state.special or len(octets) < end + PROPERTIES_AT:
            return None
        kind, its_channel, size = _HEAD(octets, end)
        if kind != amqp.FRAME_HEADER or its_channel != channel or end + size + 8 > len(octets):
            return None
        goal = self._publishing.goal_by_headers(octets[start + 13 : end - 2], octets, end, end + size + 7)
        return None if goal is None else _published(state, goal)

    def _publish_by_values(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        """As `_publish_by_headers`, where only some headers matter: the strategy is asked once for all their values."""
        state = self._channels.get(channel)
        if state is None or state.special:
            return None
        if len(octets) < end + TABLE_AT:  # a message without properties, at the end of a chunk
            return self._publish_by_headers(octets, start, end, channel)
        kind, its_channel, size, flags, length = HEAD_AND_TABLE(octets, end)
        after = end + size + 7
        if kind != amqp.FRAME_HEADER or its_channel != channel or after >= len(octets):
            return None
        raw = octets[start + 13 : end - 2]
        at = end + TABLE_AT
        stop = at + length
        try:
            if flags & FLAGS_UP_TO_TABLE != TABLE_FIRST or stop > after:
                at, stop = headers_table(octets, end, after)
            header = self._header
            if header is not None:
                values: Values = raw, raw_header(octets, at, stop, header)
            else:
                values = raw, tuple([raw_header(octets, at, stop, each) for each in self._headers])
        except UNREADABLE:
            goal = self._publishing.goal_by_headers(raw, octets, end, after)
        else:
            goal = self._by_values.get(values) or self._publishing.goal_by_values(values)
        if goal is None:
            return None
        confirms = state.confirms  # `_published`, without a call
        if confirms is not None:
            state.links[goal[0]].confirms.published(confirms.published())
        return goal[1]

    def ack(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        state = self._channels.get(channel)
        if state is None or state.special or end - start != 21 or octets[start + 19]:
            return None
        entry = state.deliveries.outstanding.pop(_TAG(octets, start + 11)[0], None)
        if entry is None:
            return None
        link, tag, consumer = entry
        _SET_TAG(self._scanner.patchable, start + 11, tag)
        if consumer is not None:
            consumer.unacked -= 1
            state.unacked -= 1
            if consumer.held or state.limit:
                self._relay.release(state)
        return link.out


def _published(state: FanChannel, goal: Goal) -> Destination:
    """Count a publish, and say where it goes."""
    confirms = state.confirms
    if confirms is not None:
        state.links[goal[0]].confirms.published(confirms.published())
    return goal[1]
