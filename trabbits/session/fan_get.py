"""basic.get over several links: asked in rotating order until one has a message; the count is the sum of all.

Nothing else of the client's is taken on the channel meanwhile, so that replies keep their order.  How much the other
links hold is asked first, on trabbits' own channel: then a message that is found streams through without waiting.
Must not know: how messages are counted.
Source: AMQP 0-9-1 section 1.8.3.10.
"""

from __future__ import annotations

from itertools import count
from struct import Struct
from typing import TYPE_CHECKING

from pamqp import commands

from trabbits.session.actions import CountMessages
from trabbits.session.fan_channel import FanChannel
from trabbits.wire import constants as amqp
from trabbits.wire.decode import decode_method
from trabbits.wire.patch import set_delivery_tag, set_message_count
from trabbits.wire.peek import get_ok_message_count, get_ok_message_count_offset
from trabbits.wire.scanner import DISCARD, STALL, Destination

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay
    from trabbits.session.link import Link

_TAG = Struct(">Q").unpack_from
_TAG_AT = 11


class Get:
    """One basic.get under way."""

    __slots__ = ("counts", "frame", "no_ack", "order", "tokens")

    def __init__(self, frame: bytes, no_ack: bool, order: list[Link]) -> None:
        self.frame = frame
        self.no_ack = no_ack
        #: The links still to be asked; the first one is being asked.
        self.order = order
        #: What is asked for each token, while it is not answered.
        self.tokens: dict[int, Link] = {}
        self.counts: dict[Link, int] = {}


class Gets:
    """The basic.gets of one session."""

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay
        self._tokens = count(1)
        self._counting: dict[int, FanChannel] = {}

    def asked(self, state: FanChannel, index: int, frame: bytes) -> Destination | None:
        """The client's basic.get; STALL while earlier requests are not answered."""
        if len(state.requests):
            return STALL
        method = decode_method(frame)
        assert isinstance(method, commands.Basic.Get)
        links = self._relay.links
        first = state.get_turn % len(links)
        state.get_turn = first + 1
        state.get = Get(frame, method.no_ack, links[first:] + links[:first])
        state.mark()
        queue = (method.queue or "").encode() or state.last_queue
        if queue:
            for link in state.get.order[1:]:
                token = next(self._tokens)
                state.get.tokens[token] = link
                self._counting[token] = state
                self._relay.act(CountMessages(link, link.queue_name(queue).decode(), token))
        if not state.get.tokens:
            self._ask(state)
        return None

    def counted(self, token: int, messages: int) -> None:
        """How many messages one link holds."""
        state = self._counting.pop(token, None)
        get = state.get if state is not None else None
        if state is None or get is None or token not in get.tokens:
            return
        get.counts[get.tokens.pop(token)] = messages
        if not get.tokens:
            self._ask(state)

    def answered(self, state: FanChannel, link: Link, index: int, frame: bytes) -> Destination:
        """get-ok or get-empty of the link that was asked; returns where the content goes."""
        get = state.get
        if get is None or get.order[0] is not link:
            return DISCARD
        if index == amqp.BASIC_GET_EMPTY:
            get.order.pop(0)
            if get.order:
                self._ask(state)
            else:
                self._done(state)
                self._relay.to_client(state, frame)
            return DISCARD
        reply = bytearray(frame)
        others = sum(get.counts.get(each, 0) for each in get.order[1:])
        set_message_count(reply, get_ok_message_count_offset(frame, 0), get_ok_message_count(frame, 0) + others)
        set_delivery_tag(reply, _TAG_AT, state.issue(link, _TAG(frame, _TAG_AT)[0], None, no_ack=get.no_ack))
        self._done(state)
        changed = bytes(reply)
        self._relay.session.observation.sent_to_client(changed)
        destination = state.turns.destination(link)
        destination.append(changed)
        return destination

    def _ask(self, state: FanChannel) -> None:
        assert state.get is not None
        self._relay.to_link(state, state.get.order[0], state.get.frame)

    def _done(self, state: FanChannel) -> None:
        state.get = None
        state.mark()
        self._relay.session.settle_due = True
