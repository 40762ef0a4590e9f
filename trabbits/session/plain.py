"""A plain session: one link, and everything passes but queue.declare.

Lives here: which channels are open, so that mistakes are answered here and not guessed at from a broker's log, and what
the link gets for a queue.declare.
Must not know: several links.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trabbits.log_ids import LogId
from trabbits.session.declares import for_upstream, named
from trabbits.session.link import Link
from trabbits.session.plain_channel import ChannelState, PlainChannel
from trabbits.session.probing import as_it_is, flow
from trabbits.session.relay import channel_not_open, check_channel_open, check_from_client
from trabbits.wire import constants as amqp
from trabbits.wire.declare import parse_declare
from trabbits.wire.peek import reply_of_close
from trabbits.wire.scanner import DISCARD, STALL, Destination

if TYPE_CHECKING:
    from trabbits.session.session import Session


class PlainRelay:
    """The relay of a session with one link."""

    def __init__(self, session: Session, link: Link) -> None:
        self._session = session
        self._link = link
        self._channels: dict[int, PlainChannel] = {}
        self._to_link = link.out
        self._to_client = session.to_client
        self._rewriter = session.settings.upstreams[link.index].rewriter
        self._probing = session.probing
        self._auto_deletes = session.auto_deletes

    def start(self) -> None:
        if self._probing.enabled:
            self._probing.barrier = self._barrier
        session, link = self._session, self._link
        scanner = session.client_scanner
        scanner.carrying = {amqp.BASIC_PUBLISH: self._publish}
        scanner.bare = {
            amqp.BASIC_ACK: self._client_settles,
            amqp.BASIC_NACK: self._client_settles,
            amqp.BASIC_REJECT: self._client_rejects,
        }
        scanner.observe = session.observation.client_tap(link.name)
        link.scanner.carrying = {
            amqp.BASIC_DELIVER: self._deliver,
            amqp.BASIC_RETURN: self._return,
            amqp.BASIC_GET_OK: self._get_ok,
        }
        link.scanner.bare = {amqp.BASIC_ACK: self._confirm, amqp.BASIC_NACK: self._confirm}
        link.scanner.observe = session.observation.link_tap(link.name)

    # Routes

    def _publish(self, octets: bytes, start: int, end: int, number: int) -> Destination | None:
        channel = self._channels.get(number)
        if channel is None:
            return None
        channel.publishes.issued += 1
        return self._to_link

    def _client_settles(self, octets: bytes, start: int, end: int, number: int) -> Destination | None:
        channel = self._channels.get(number)
        if channel is None or end - start != 21:
            return None
        channel.client_settled(octets, start, multiple=bool(octets[start + 19] & 1))
        return self._to_link

    def _client_rejects(self, octets: bytes, start: int, end: int, number: int) -> Destination | None:
        channel = self._channels.get(number)
        if channel is None or end - start != 21:
            return None
        channel.client_settled(octets, start, multiple=False)
        return self._to_link

    def _deliver(self, octets: bytes, start: int, end: int, number: int) -> Destination | None:
        channel = self._channels.get(number)
        if channel is None:
            return None
        channel.deliveries.issued += 1
        if channel.mixed:
            channel.delivered(octets[start + 12 : start + 12 + octets[start + 11]])
        return self._to_client

    def _get_ok(self, octets: bytes, start: int, end: int, number: int) -> Destination | None:
        channel = self._channels.get(number)
        if channel is None:
            return None
        channel.got()
        return self._to_client

    def _return(self, octets: bytes, start: int, end: int, number: int) -> Destination | None:
        return self._to_client if number in self._channels else None

    def _confirm(self, octets: bytes, start: int, end: int, number: int) -> Destination | None:
        channel = self._channels.get(number)
        if channel is None or end - start != 21:
            return None
        channel.confirmed(octets, start)
        return self._to_client

    # Everything else

    def client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        known = self._channels.get(channel)
        if index == amqp.CHANNEL_OPEN:
            already = known is not None and known.state is ChannelState.OPEN
            check_channel_open(channel, self._session.channel_max, already=already)
            self._channels[channel] = PlainChannel()
            if self._auto_deletes is not None:
                self._auto_deletes.opened(channel)
        elif known is None:
            raise channel_not_open(index, channel)
        elif index == amqp.CHANNEL_CLOSE:
            # When both close at once, the client still owes its close-ok.
            if known.state is ChannelState.OPEN:
                known.state = ChannelState.CLIENT_CLOSING
        elif index == amqp.CHANNEL_CLOSE_OK:
            if known.state is ChannelState.UPSTREAM_CLOSING:
                del self._channels[channel]
        elif index == amqp.QUEUE_DECLARE:
            return self._declare(known, channel, frame)
        else:
            check_from_client(index)
            known.client_method(index, frame)
            if index == amqp.QUEUE_DELETE and self._auto_deletes is not None:
                self._auto_deletes.deletes(channel, frame, (self._link,))
            elif index == amqp.CHANNEL_FLOW and self._probing.enabled:
                known.flows.append(None)
        self._link.send(frame)
        return self._to_link

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        known = self._channels.get(channel)
        if index == amqp.CHANNEL_FLOW_OK and known is not None and known.flows:
            passed = known.flows.popleft()
            if passed is not None:
                passed()
                return DISCARD
        if index == amqp.CHANNEL_CLOSE:
            self._probing.forget(channel)
            code, text, _, _ = reply_of_close(frame)
            self._session.log(
                LogId.CHANNEL_CLOSED_BY_UPSTREAM, upstream=link.name, channel=channel, code=code, text=text
            )
            known = self._channels.setdefault(channel, PlainChannel())
            known.state = ChannelState.UPSTREAM_CLOSING
        elif known is not None:
            if index == amqp.CHANNEL_CLOSE_OK and known.state is ChannelState.CLIENT_CLOSING:
                del self._channels[channel]
            known.link_method(index, frame)
        self._session.send(frame)
        return self._to_client

    def _declare(self, known: PlainChannel, channel: int, frame: bytes) -> Destination:
        original = parse_declare(frame)
        probed = (self._link,) if known.state is ChannelState.OPEN else ()
        existing = self._probing.existing(channel, original, probed)
        if existing is None:
            return STALL
        wish = named(original)
        known.last_queue = wish.queue
        if existing:
            frame = as_it_is(channel, original)
        else:
            frame = for_upstream(channel, original, wish, frame, self._rewriter, self._link)
        if self._auto_deletes is not None:
            self._auto_deletes.declares(channel, wish, {self._link: frame})
        self._link.send(frame)
        return self._to_link

    def _barrier(self, channel: int, link: Link, passed: Callable[[], None]) -> None:
        self._channels[channel].flows.append(passed)
        self._link.send(flow(channel))

    def channels_at(self, link: Link) -> list[tuple[int, bool]]:
        return [
            (number, channel.state is ChannelState.CLIENT_CLOSING)
            for number, channel in self._channels.items()
            if channel.state is not ChannelState.UPSTREAM_CLOSING
        ]

    @property
    def channel_count(self) -> int:
        return sum(channel.state is ChannelState.OPEN for channel in self._channels.values())

    @property
    def consumer_count(self) -> int:
        return sum(len(channel.consumers) for channel in self._channels.values())

    def unacknowledged(self, link: Link) -> int:
        return sum(channel.unacknowledged for channel in self._channels.values())

    def unconfirmed(self, link: Link) -> int:
        return sum(channel.unconfirmed for channel in self._channels.values())

    def messages_counted(self, token: int, count: int) -> None:
        """Never asked for here."""

    def link_full(self, link: Link) -> None:
        """Nothing is held back here that could be the reason."""

    def settle(self) -> None:
        """A declare that waited is taken up."""
        self._session.client_scanner.resume()
