"""Which link of a fan session gets a publish, and what comes back for it: confirms and returns.

Lives here: the cache of routes, direct reply-to, everything about publishes that is not the common case.
Must not know: how a routing strategy decides.
Source: RabbitMQ, "Publisher confirms", "Direct reply-to".
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from trabbits.log_ids import LogId
from trabbits.session.fan_channel import FanChannel
from trabbits.session.reply_keys import PREFIX
from trabbits.session.tee import Tee
from trabbits.wire import constants as amqp
from trabbits.wire.encode import ack_frame, nack_frame
from trabbits.wire.errors import Violation
from trabbits.wire.peek import ack_flags, delivery_tag, exchange_and_key, publish_is_mandatory
from trabbits.wire.scanner import DISCARD, Destination

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay
    from trabbits.session.link import Link

#: Distinct (exchange, routing key) pairs remembered per session.
ROUTES_MAX: Final = 10_000
#: Reply-to keys for which returns are counted per session.
REPLY_KEYS_MAX: Final = 1_000
_REPLY_TEXT_AT: Final = 13


class Publishing:
    """Publishes of one session."""

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay
        self._by_name = {link.name: link for link in relay.links}
        #: (exchange, routing key) as they stand in a frame -> the link.
        self.routes: dict[bytes, Link] = {}
        #: Reply-to key -> how many mandatory messages for it each link returned.
        self._returned: OrderedDict[bytes, dict[Link, int]] = OrderedDict()

    def publish(self, state: FanChannel, index: int, frame: bytes) -> Destination:
        """A publish that the route did not take; returns where its content goes."""
        exchange, key = exchange_and_key(frame, 0, len(frame))
        if not exchange and key.startswith(PREFIX):
            return self._reply(state, frame, key)
        raw = frame[13:-2]
        link = self.routes.get(raw)
        if link is None:
            if len(self.routes) >= ROUTES_MAX:
                self.routes.clear()
            link = self.routes[raw] = self._route(exchange, key)
        if state.tx is not None:
            state.tx.links.add(link)
        if state.confirms is not None:
            state.links[link].confirms.published(state.confirms.published())
        link.out.append(frame)
        return link.out

    def _route(self, exchange: bytes, key: bytes) -> Link:
        strategy = self._relay.session.settings.routing
        try:
            name = strategy.route(exchange.decode("utf-8", "surrogateescape"), key.decode("utf-8", "surrogateescape"))
            return self._relay.links[0] if name is None else self._by_name[name]
        except Exception as error:
            self._relay.session.log(
                LogId.ROUTING_FAILED,
                plugin=type(strategy).__name__,
                exchange=exchange.decode("utf-8", "replace"),
                key=key.decode("utf-8", "replace"),
                text=f"{type(error).__name__}: {error}",
            )
            raise Violation(
                amqp.INTERNAL_ERROR,
                f"routing strategy {type(strategy).__name__} failed for this message",
                class_id=60,
                method_id=40,
            ) from error

    def _reply(self, state: FanChannel, frame: bytes, key: bytes) -> Destination:
        """A direct reply goes to the link whose broker made the key, to every link if that is not known."""
        links = self.links_for_reply(key)
        if state.tx is not None:
            state.tx.links.update(links)
        if state.confirms is not None:
            tag = state.confirms.published()
            if len(links) > 1:
                state.confirms.broadcast(tag, len(links))
            for link in links:
                state.links[link].confirms.published(tag)
        if len(links) > 1 and publish_is_mandatory(frame, len(frame)):
            self._returned.setdefault(key, dict.fromkeys(links, 0))
            self._returned.move_to_end(key)
            if len(self._returned) > REPLY_KEYS_MAX:
                self._returned.popitem(last=False)
        destination = Tee([link.out for link in links])
        destination.append(frame)
        return destination

    def links_for_reply(self, key: bytes) -> list[Link]:
        """The links that a direct reply-to key may belong to."""
        link = self._by_name.get(self._relay.session.settings.reply_keys.upstream_of(key) or "")
        return self._relay.links if link is None else [link]

    def confirm_early(self, state: FanChannel) -> None:
        """confirm.select is answered: now the client may have what was confirmed before."""
        assert state.confirms is not None
        early, state.confirms.early = state.confirms.early, []
        for confirmed, rejected in early:
            self._confirm(state, confirmed, rejected)

    def link_confirmed(self, state: FanChannel, link: Link, index: int, frame: bytes) -> None:
        """basic.ack or basic.nack of a link, mapped to the client's sequence."""
        confirms = state.confirms
        if confirms is None:
            return
        tags = state.links[link].confirms.confirmed(delivery_tag(frame, 0), bool(ack_flags(frame, 0) & 1))
        confirmed, rejected = confirms.due(tags, rejected=index == amqp.BASIC_NACK)
        if confirms.started:
            self._confirm(state, confirmed, rejected)
        else:
            confirms.early.append((confirmed, rejected))

    def _confirm(self, state: FanChannel, confirmed: list[int], rejected: list[int]) -> None:
        confirms = state.confirms
        assert confirms is not None
        # One by one: a multiple nack might cover what was or will be acknowledged.
        confirms.settle(rejected)
        for tag in rejected:
            self._relay.to_client(state, nack_frame(state.number, tag, False, False))
        for tag, multiple in confirms.settle(confirmed):
            self._relay.to_client(state, ack_frame(state.number, tag, multiple))

    def link_returned(self, state: FanChannel, link: Link, index: int, frame: bytes) -> Destination:
        """basic.return: passed on, but for a direct reply that another link may have taken."""
        counts = self._returned.get(_returned_key(frame)) if self._returned else None
        if counts is not None:
            before = min(counts.values())
            counts[link] += 1
            if min(counts.values()) == before:
                return DISCARD
        destination = state.turns.destination(link)
        destination.append(frame)
        return destination


def _returned_key(frame: bytes) -> bytes:
    """The routing key of a basic.return to the default exchange, else nothing.

    Layout: reply code (2 octets at 11), reply text, exchange, routing key (short strings).
    """
    exchange_at = _REPLY_TEXT_AT + 1 + frame[_REPLY_TEXT_AT]
    if frame[exchange_at]:
        return b""
    size = frame[exchange_at + 1]
    return frame[exchange_at + 2 : exchange_at + 2 + size]
