"""Acknowledgements of a fan session that are not the common case: multiple, negative, in a transaction, wrong.

Lives here: spreading one acknowledgement over the links that delivered.
Must not know: publishes and their confirms (``fan_publish.py``).
Source: AMQP 0-9-1 sections 1.8.3.13 and 1.8.3.14, RabbitMQ's basic.nack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.session.deliveries import Entry, UnknownTag
from trabbits.session.fan_channel import FanChannel
from trabbits.wire import constants as amqp
from trabbits.wire.encode import ack_frame, nack_frame, reject_frame
from trabbits.wire.peek import tag_and_flags

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay
    from trabbits.session.link import Link

_MULTIPLE, _NACK_REQUEUE, _REJECT_REQUEUE = 1, 2, 1


class Settling:
    """Acknowledgements of one session's client."""

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay

    def client_settled(self, state: FanChannel, index: int, frame: bytes) -> None:
        """basic.ack, basic.nack or basic.reject of the client."""
        tag, flags = tag_and_flags(frame, 0, len(frame))
        multiple = bool(flags & _MULTIPLE) and index != amqp.BASIC_REJECT
        requeue = bool(flags & (_REJECT_REQUEUE if index == amqp.BASIC_REJECT else _NACK_REQUEUE))
        try:
            if multiple:
                found = state.deliveries.settle_upto(tag)
            else:
                found = [(tag, state.deliveries.settle_one(tag))]
        except UnknownTag:
            # RabbitMQ's text, so that people find it explained.
            self._relay.closings.error(state, amqp.PRECONDITION_FAILED, f"unknown delivery tag {tag}", index)
            return
        if state.tx is not None:
            state.tx.settled += found
            state.tx.links.update(entry[0] for _, entry in found)
        else:
            freed(state, found)
        by_link: dict[Link, list[int]] = {}
        for _, entry in found:
            by_link.setdefault(entry[0], []).append(entry[1])
        for link, tags in by_link.items():
            for link_tag, many in self._spread(state, link, tags):
                self._relay.to_link(state, link, _frame(index, state.number, link_tag, many, requeue))
        self._relay.release(state)

    def _spread(self, state: FanChannel, link: Link, tags: list[int]) -> list[tuple[int, bool]]:
        """The acknowledgements for one link: one if it covers nothing else, else one each."""
        if len(tags) == 1:
            return [(tags[0], False)]
        highest = max(tags)
        if state.holds(link, highest) or (state.links[link].reordered and state.outstanding(link, highest)):
            return [(tag, False) for tag in tags]
        return [(highest, True)]


def freed(state: FanChannel, settled: list[tuple[int, Entry]]) -> None:
    """The places of these in the windows are free; what was settled in a transaction keeps its place to the commit."""
    for _, entry in settled:
        state.settled(entry)


def _frame(index: int, channel: int, tag: int, multiple: bool, requeue: bool) -> bytes:
    if index == amqp.BASIC_ACK:
        return ack_frame(channel, tag, multiple)
    if index == amqp.BASIC_REJECT and not multiple:
        return reject_frame(channel, tag, requeue)
    return nack_frame(channel, tag, multiple, requeue)
