"""The common methods that the client of a fan session sends: publishes and acknowledgements.

Lives here: `ClientRoutes`.
Must not know: how the way of a publish is found (``fan_publish.py``, ``fan_message_routes.py``), what else clients say
(``fan.py``).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from trabbits.wire.scanner import Destination, Route

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay

_TAG: Final = struct.Struct(">Q").unpack_from
_SET_TAG: Final = struct.Struct(">Q").pack_into


class ClientRoutes:
    """The routes of what the client sends."""

    __slots__ = ("_channels", "_mirrored", "_relay", "_routes", "_scanner")

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay
        self._channels = relay.channels
        self._scanner = relay.session.client_scanner
        self._routes = relay.publishing.routes
        self._mirrored = relay.publishing.mirrored

    def publish(self) -> Route:
        """The route of publishes, such as the strategy needs it."""
        if self._relay.publishing.by_message is not None:
            return self._relay.publishing.by_message.publish
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
        goal: Destination
        if link is not None:
            goal = link.out
        else:
            way = self._mirrored.get(key)
            if way is None:
                return None
            link, goal = way.link, way
        confirms = state.confirms
        if confirms is not None:
            state.links[link].confirms.published(confirms.published())
        return goal

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
