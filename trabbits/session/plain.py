"""A plain session: one link, and everything passes but the name of a server-named queue.

Lives here: which channels are open, so that mistakes are answered here and not guessed at from a broker's log,
and the rewriting of queue.declare.
Must not know: several links.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from trabbits.log_ids import LogId
from trabbits.session.declares import for_upstream, named
from trabbits.session.link import Link
from trabbits.session.relay import channel_not_open, check_channel_open, check_from_client
from trabbits.wire import constants as amqp
from trabbits.wire.declare import parse_declare
from trabbits.wire.peek import reply_of_close
from trabbits.wire.scanner import Destination

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

    def start(self) -> None:
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
        elif state is None:
            raise channel_not_open(index, channel)
        elif index == amqp.CHANNEL_CLOSE:
            self._channels[channel] = ChannelState.CLIENT_CLOSING
        elif index == amqp.CHANNEL_CLOSE_OK:
            if state is ChannelState.UPSTREAM_CLOSING:
                del self._channels[channel]
        elif index == amqp.QUEUE_DECLARE:
            original = parse_declare(frame)
            frame = for_upstream(channel, original, named(original), frame, self._rewriter)
        else:
            check_from_client(index)
        self._to_link.append(frame)
        return self._to_link

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        if index == amqp.CHANNEL_CLOSE:
            code, text, _, _ = reply_of_close(frame)
            self._session.log(
                LogId.CHANNEL_CLOSED_BY_UPSTREAM, upstream=link.name, channel=channel, code=code, text=text
            )
            self._channels[channel] = ChannelState.UPSTREAM_CLOSING
        elif index == amqp.CHANNEL_CLOSE_OK and self._channels.get(channel) is ChannelState.CLIENT_CLOSING:
            del self._channels[channel]
        self._to_client.append(frame)
        return self._to_client

    def messages_counted(self, token: int, count: int) -> None:
        """Never asked for here."""

    def settle(self) -> None:
        """Nothing is ever left for later here."""
