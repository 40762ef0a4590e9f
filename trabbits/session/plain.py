"""A plain session: one link, and everything passes but queue.declare.

Lives here: which channels are open, so that mistakes are answered here and not guessed at from a broker's log, and what
the link gets for a queue.declare.
Must not know: several links.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from trabbits.log_ids import LogId
from trabbits.session.declares import for_upstream, named
from trabbits.session.link import Link
from trabbits.session.probing import as_it_is, flow
from trabbits.session.relay import channel_not_open, check_channel_open, check_from_client
from trabbits.wire import constants as amqp
from trabbits.wire.declare import parse_declare
from trabbits.wire.peek import reply_of_close
from trabbits.wire.scanner import DISCARD, STALL, Destination

if TYPE_CHECKING:
    from trabbits.session.session import Session


class ChannelState(Enum):
    """What is known of one channel."""

    OPEN = "open"
    CLIENT_CLOSING = "the client asked to close it"
    UPSTREAM_CLOSING = "the upstream closed it"


class PlainRelay:
    """The relay of a session with one link."""

    def __init__(self, session: Session, link: Link) -> None:
        self._session = session
        self._link = link
        self._channels: dict[int, ChannelState] = {}
        self._to_link = link.out
        self._to_client = session.to_client
        self._rewriter = session.settings.upstreams[link.index].rewriter
        self._probing = session.probing
        self._auto_deletes = session.auto_deletes
        #: Kept while queues are probed: whose channel.flow is not answered yet, None for the client's.
        self._flows: dict[int, deque[Callable[[], None] | None]] = {}

    def start(self) -> None:
        if self._probing.enabled:
            self._probing.barrier = self._barrier
        up, down = self._route_up, self._route_down
        scanner = self._session.client_scanner
        scanner.carrying = {amqp.BASIC_PUBLISH: up}
        scanner.bare = {amqp.BASIC_ACK: up, amqp.BASIC_NACK: up, amqp.BASIC_REJECT: up}
        self._link.scanner.carrying = {amqp.BASIC_DELIVER: down, amqp.BASIC_RETURN: down, amqp.BASIC_GET_OK: down}
        self._link.scanner.bare = {amqp.BASIC_ACK: down, amqp.BASIC_NACK: down}

    def _route_up(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        return self._to_link if channel in self._channels else None

    def _route_down(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        return self._to_client if channel in self._channels else None

    def client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        state = self._channels.get(channel)
        if index == amqp.CHANNEL_OPEN:
            already = state is ChannelState.OPEN
            check_channel_open(channel, self._session.channel_max, already=already)
            self._channels[channel] = ChannelState.OPEN
            self._flows[channel] = deque()
            if self._auto_deletes is not None:
                self._auto_deletes.opened(channel)
        elif state is None:
            raise channel_not_open(index, channel)
        elif index == amqp.CHANNEL_CLOSE:
            self._channels[channel] = ChannelState.CLIENT_CLOSING
        elif index == amqp.CHANNEL_CLOSE_OK:
            if state is ChannelState.UPSTREAM_CLOSING:
                del self._channels[channel]
        elif index == amqp.QUEUE_DECLARE:
            return self._declare(channel, frame, probed=state is ChannelState.OPEN)
        else:
            check_from_client(index)
            if index == amqp.QUEUE_DELETE and self._auto_deletes is not None:
                self._auto_deletes.deletes(channel, frame, (self._link,))
            elif index == amqp.CHANNEL_FLOW and self._probing.enabled:
                self._flows[channel].append(None)
        self._to_link.append(frame)
        return self._to_link

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        if index == amqp.CHANNEL_FLOW_OK and self._flows.get(channel):
            passed = self._flows[channel].popleft()
            if passed is not None:
                passed()
                return DISCARD
        if index == amqp.CHANNEL_CLOSE:
            self._probing.forget(channel)
            code, text, _, _ = reply_of_close(frame)
            self._session.log(
                LogId.CHANNEL_CLOSED_BY_UPSTREAM, upstream=link.name, channel=channel, code=code, text=text
            )
            self._channels[channel] = ChannelState.UPSTREAM_CLOSING
        elif index == amqp.CHANNEL_CLOSE_OK and self._channels.get(channel) is ChannelState.CLIENT_CLOSING:
            del self._channels[channel]
        self._to_client.append(frame)
        return self._to_client

    def _declare(self, channel: int, frame: bytes, *, probed: bool) -> Destination:
        original = parse_declare(frame)
        existing = self._probing.existing(channel, original, (self._link,) if probed else ())
        if existing is None:
            return STALL
        wish = named(original)
        if existing:
            frame = as_it_is(channel, original)
        else:
            frame = for_upstream(channel, original, wish, frame, self._rewriter)
        if self._auto_deletes is not None:
            self._auto_deletes.declares(channel, wish, {self._link: frame})
        self._to_link.append(frame)
        return self._to_link

    def _barrier(self, channel: int, link: Link, passed: Callable[[], None]) -> None:
        self._flows[channel].append(passed)
        self._to_link.append(flow(channel))

    def channels_at(self, link: Link) -> list[tuple[int, bool]]:
        return [
            (channel, state is ChannelState.CLIENT_CLOSING)
            for channel, state in self._channels.items()
            if state is not ChannelState.UPSTREAM_CLOSING
        ]

    def messages_counted(self, token: int, count: int) -> None:
        """Never asked for here."""

    def settle(self) -> None:
        """A declare that waited is taken up."""
        self._session.client_scanner.resume()
