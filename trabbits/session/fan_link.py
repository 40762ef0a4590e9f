"""The common methods that a link of a fan session sends: deliveries, confirms.

Lives here: `LinkRoutes`, and `delivered` for deliveries that are no common case.
Must not know: what else links say (``fan.py``).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from trabbits.session.consumers import Held
from trabbits.session.fan_channel import FanChannel
from trabbits.session.link import Link
from trabbits.session.reply_keys import PREFIX
from trabbits.wire.encode import reject_frame
from trabbits.wire.peek import deliver_consumer_tag, deliver_delivery_tag_offset
from trabbits.wire.scanner import DISCARD, Content, Destination

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay

_TAG = Struct(">Q").unpack_from
_SET_TAG = Struct(">Q").pack_into


class LinkRoutes:
    """The routes of what one link sends."""

    __slots__ = ("_channels", "_link", "_out", "_relay")

    def __init__(self, relay: FanRelay, link: Link) -> None:
        self._relay = relay
        self._link = link
        self._channels = relay.channels
        self._out = relay.session.to_client

    def deliver(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        state = self._channels.get(channel)
        if state is None or state.closing is not None:
            return DISCARD
        offset = start + 12 + octets[start + 11]
        consumer = state.consumers.get(octets[start + 12 : offset])
        # Behind the consumer tag there must be room for the rest of the frame: nothing beyond it is ever patched.
        if consumer is None or offset + 12 > end:
            return None
        link = self._link
        if state.links[link].recovering and not consumer.no_ack:
            return DISCARD
        tag = _TAG(octets, offset)[0]
        if state.must_hold(consumer):
            return self._relay.hold(state, link, consumer, tag, offset - start)
        _SET_TAG(link.scanner.patchable, offset, state.issue(link, tag, consumer, no_ack=consumer.no_ack))
        turns = state.turns
        return self._out if turns.occupant is None else turns.destination(link)

    def ack(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        state = self._channels.get(channel)
        if state is None or state.confirms is None or state.muted:
            return DISCARD
        confirms = state.confirms
        if end - start != 21 or octets[start + 19] or not confirms.started or confirms.broadcasts:
            return None
        tags = state.links[self._link].confirms.confirmed(_TAG(octets, start + 11)[0], False)
        if not tags:
            return DISCARD
        ((tag, _),) = confirms.settle(tags)
        _SET_TAG(self._link.scanner.patchable, start + 11, tag)
        turns = state.turns
        return self._out if turns.occupant is None else turns.destination(self._link)

    def note_reply_keys(self, octets: bytes) -> None:
        """Octets of the link, before anything is decided about them."""
        if PREFIX in octets:
            self._relay.session.settings.reply_keys.note(octets, self._link.name)

    def began(self, channel: int, content: Content) -> None:
        """A message of the link is not whole in one chunk."""
        state = self._channels.get(channel)
        if state is None or content.destination is DISCARD:
            return
        for consumer in state.consumers.values():
            if consumer.held and consumer.held[-1].octets is content.destination:
                self._hold_whole(state, consumer.held[-1], content)
                return
        state.turns.began(self._link, content, content.destination)

    def _hold_whole(self, state: FanChannel, held: Held, content: Content) -> None:
        relay = self._relay
        held.content = content

        def whole() -> None:
            held.content = None
            relay.fresh.append(held)
            relay.session.settle_due = True
            relay.release(state)

        content.done = whole
        if held in relay.fresh:
            relay.fresh.remove(held)


def delivered(relay: FanRelay, state: FanChannel, link: Link, frame: bytes) -> Destination:
    """A delivery that the route did not take; returns where its content goes.

    For a consumer that is gone on our side it goes back to its queue.
    """
    offset = deliver_delivery_tag_offset(frame, 0)
    tag = _TAG(frame, offset)[0]
    consumer = state.consumers.get(deliver_consumer_tag(frame, 0))
    if consumer is None:
        relay.to_link(state, link, reject_frame(state.number, tag, True))
        return DISCARD
    if state.closing is not None or (state.links[link].recovering and not consumer.no_ack):
        return DISCARD
    if state.must_hold(consumer):
        destination = relay.hold(state, link, consumer, tag, offset)
        if destination is not DISCARD:
            relay.session.observation.own_frames += 1
        destination.append(frame)
        return destination
    changed = bytearray(frame)
    _SET_TAG(changed, offset, state.issue(link, tag, consumer, no_ack=consumer.no_ack))
    frame = bytes(changed)
    relay.session.observation.sent_to_client(frame)
    destination = state.turns.destination(link)
    destination.append(frame)
    return destination
