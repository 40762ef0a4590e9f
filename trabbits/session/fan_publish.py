"""Which link of a fan session gets a publish, and what comes back for it: confirms and returns.

Lives here: the cache of routes, direct reply-to, everything about publishes that is not the common case.
Must not know: how a routing strategy decides.
Source: RabbitMQ, "Publisher confirms", "Direct reply-to".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from trabbits.failures import error_text, let_through
from trabbits.interfaces import Decision, IMessageRoutingStrategy, Mirrored
from trabbits.log_ids import LogId
from trabbits.session.answers import problem_of
from trabbits.session.fan_channel import FanChannel
from trabbits.session.fan_message_routes import MessageRoutes, message_routes, remember
from trabbits.session.mirroring import Copying
from trabbits.session.plugin_failed import PluginFailed, it_raised
from trabbits.session.renaming import UnusableName
from trabbits.session.reply_keys import PREFIX
from trabbits.session.tee import Tee
from trabbits.wire import constants as amqp
from trabbits.wire.encode import ack_frame, nack_frame
from trabbits.wire.peek import ack_flags, delivery_tag, exchange_and_key, publish_is_mandatory
from trabbits.wire.scanner import DISCARD, UNDECIDED, Content, Destination

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay
    from trabbits.session.link import Link

#: Reply-to keys for which returns are counted per session.
REPLY_KEYS_MAX: Final = 1_000
_REPLY_TEXT_AT: Final = 13


class Publishing:
    """Publishes of one session."""

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay
        self._by_name = {link.name: link for link in relay.links}
        self._strategy = routing = relay.session.settings.routing
        #: What is decided by properties, if the strategy reads any.
        self.by_message: MessageRoutes | None = None
        if IMessageRoutingStrategy.providedBy(routing):
            try:
                self.by_message = message_routes(routing, relay.links, relay.channels, self._way)
            except BaseException as error:  # what it says that it reads
                let_through(error)
                raise self._routing_failed(b"", b"", error_text(error), it_raised(error), 0) from error
        #: The names of all upstreams, in the configuration's order.
        self._configured = tuple(upstream.name for upstream in relay.session.settings.upstreams)
        #: (exchange, routing key) as they stand in a frame -> the link.
        self.routes: dict[bytes, Link] = {}
        #: The same for messages that are copied -> their way.
        self.mirrored: dict[bytes, Copying] = {}
        #: The same for publishes that name a queue, at links that call it differently: no common case.
        self._named: dict[bytes, Link | Copying] = {}
        #: The same for upstreams that the session opened without -> the upstream's name.
        self._unattached: dict[bytes, str] = {}
        #: The parts of a `Mirrored` -> what it means in this session.
        self._ways: dict[tuple[str | None, tuple[str, ...], int], Link | Copying] = {}
        #: The upstreams that were missed by a publish, so that the log says so once.
        self._missed: set[str] = set()
        #: Reply-to key -> how many mandatory messages for it each link returned.
        self._returned: OrderedDict[bytes, dict[Link, int]] = OrderedDict()

    def publish(self, state: FanChannel, index: int, frame: bytes) -> Destination:
        """A publish that the route did not take; returns where its content goes."""
        exchange, key = exchange_and_key(frame, 0, len(frame))
        if not exchange and key.startswith(PREFIX):
            return self._reply(state, frame, key)
        by_message = self.by_message
        if by_message is not None:
            answer = by_message.take_answer()
            return self._await_header(
                state, lambda content, header: self._decide(by_message, answer, state, frame, content, header)
            )
        raw = frame[13:-2]
        known = self.routes.get(raw) or self.mirrored.get(raw) or self._named.get(raw)
        if known is not None:
            return self._send(state, known, frame)
        way = self._way(self._unattached.get(raw) or self._route(exchange, key, self._strategy.route))
        if isinstance(way, str):
            remember(self._unattached, raw, way)
            return self._unroutable(state, way, exchange, key)
        if not exchange and _calls_queues_differently(way):
            remember(self._named, raw, way)
        elif isinstance(way, Copying):
            remember(self.mirrored, raw, way)
        else:
            remember(self.routes, raw, way)
        return self._send(state, way, frame)

    def _way(self, answer: Decision) -> Link | Copying | str:
        """The way of messages with this answer, or the upstream that is missing for it."""
        if isinstance(answer, Mirrored):
            return self._ways.get(_parts(answer)) or self._mirrored_way(answer)
        return self._relay.links[0] if answer is None else self._by_name.get(answer, answer)

    def _mirrored_way(self, answer: Mirrored) -> Link | Copying | str:
        link = self._way(answer.upstream)
        mirroring = self._relay.session.mirroring
        assert mirroring is not None  # checked with the answer
        if isinstance(link, str | Copying):
            return link
        way = mirroring.way(link, answer) or link
        remember(self._ways, _parts(answer), way)
        return way

    def _await_header(self, state: FanChannel, send: Callable[[Content, bytes], Destination]) -> Destination:
        """Send and count nothing before the content header is there: `send` gets it, and says where the body goes.

        It may raise `UnusableName` as long as it has done nothing.
        """

        def take(content: Content, header: bytes) -> None:
            content.destination = DISCARD
            if state.closing is None:
                try:
                    content.destination = send(content, header)
                except UnusableName as error:
                    self._relay.closings.error(state, amqp.PRECONDITION_FAILED, error.text, amqp.BASIC_PUBLISH)

        self._relay.session.client_scanner.await_header(take)
        return UNDECIDED

    def _send(self, state: FanChannel, way: Link | Copying, frame: bytes, header: bytes = b"") -> Destination:
        """The way is known; `header` is the content header if that has come."""
        link = way.link if isinstance(way, Copying) else way
        if link.names is not None and not header:
            return self._await_header(state, lambda _, header: self._send(state, way, frame, header))
        message = link.message(frame, header)
        if state.tx is not None:
            state.tx.links.add(link)
        if state.confirms is not None:
            state.links[link].confirms.published(state.confirms.published())
        link.begin(*message)
        if isinstance(way, Copying):
            way.begin(frame, header, None if state.tx is None else state.tx.copies)
            return way
        return link.out

    def _decide(
        self,
        routes: MessageRoutes,
        answer: tuple[Any] | None,
        state: FanChannel,
        frame: bytes,
        content: Content,
        header: bytes,
    ) -> Destination:
        """A publish whose properties decide, up to its content header; `answer` if that is known already."""

        def ask(exchange: str, key: str) -> Decision:
            if answer is not None:
                known: Decision = answer[0]
                return known
            return routes.strategy.route_message(exchange, key, routes.properties(header))

        exchange, key = exchange_and_key(frame, 0, len(frame))
        way = self._way(self._route(exchange, key, ask))
        if isinstance(way, str):
            return self._unroutable(state, way, exchange, key, content)
        return self._send(state, way, frame, header)

    def _route(self, exchange: bytes, key: bytes, ask: Callable[[str, str], Decision]) -> Decision:
        """What the strategy says.  Raises `PluginFailed` if that cannot be followed."""
        try:
            answer = ask(exchange.decode("utf-8", "surrogateescape"), key.decode("utf-8", "surrogateescape"))
            mirrors = self._relay.session.mirroring is not None
            problem = problem_of(answer, self._configured, mirrors=mirrors)
        except BaseException as error:
            let_through(error)
            raise self._routing_failed(exchange, key, error_text(error), it_raised(error)) from error
        if problem:
            raise self._routing_failed(exchange, key, problem, problem)
        return answer

    def _routing_failed(
        self, exchange: bytes, key: bytes, text: str, told: str, index: int = amqp.BASIC_PUBLISH
    ) -> PluginFailed:
        plugin = self._relay.session.settings.routing_plugin
        shown = {"exchange": exchange.decode("utf-8", "replace"), "key": key.decode("utf-8", "replace")}
        return PluginFailed(
            LogId.ROUTING_FAILED,
            f"routing strategy '{plugin}' failed: {told}",
            {"plugin": plugin, **shown, "text": text},
            index,
        )

    def _reply(
        self, state: FanChannel, frame: bytes, key: bytes, content: Content | None = None, header: bytes = b""
    ) -> Destination:
        """A direct reply goes to the link whose broker made the key, to every link if that is not known.

        `content` and `header` if the content header has come.
        """
        upstream = self.unattached_for_reply(key)
        if upstream is not None:
            return self._unroutable(state, upstream, b"", key, content)
        links = self.links_for_reply(key)
        if not header and any(link.names is not None for link in links):
            return self._await_header(state, lambda content, header: self._reply(state, frame, key, content, header))
        messages = [link.message(frame, header) for link in links]
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
        for link, message in zip(links, messages, strict=True):
            link.begin(*message)
        return Tee([link.out for link in links])

    def links_for_reply(self, key: bytes) -> list[Link]:
        """The links that a direct reply-to key may belong to."""
        link = self._by_name.get(self._relay.session.settings.reply_keys.upstream_of(key) or "")
        return self._relay.links if link is None else [link]

    def unattached_for_reply(self, key: bytes) -> str | None:
        """The upstream that a direct reply-to key is known to belong to, if the session opened without it."""
        name = self._relay.session.settings.reply_keys.upstream_of(key)
        return None if name in self._by_name else name

    def _unroutable(
        self, state: FanChannel, upstream: str, exchange: bytes, key: bytes, content: Content | None = None
    ) -> Destination:
        """A publish for an upstream that the session opened without: rejected, its `content` is swallowed.

        None: it has not begun.
        """
        shown = {"exchange": exchange.decode("utf-8", "replace"), "key": key.decode("utf-8", "replace")}
        if upstream not in self._missed:
            self._missed.add(upstream)
            self._relay.session.log(LogId.UPSTREAM_NOT_ATTACHED, upstream=upstream, **shown)
        confirms = state.confirms
        if confirms is None:
            text = "upstream '{}' is not attached to this connection: no way to exchange '{}' with key '{}'"
            text = text.format(upstream, *shown.values())
            self._relay.closings.error(state, amqp.NOT_FOUND, text, amqp.BASIC_PUBLISH)
            return DISCARD
        tag = confirms.published()

        def begin(content: Content) -> None:
            # Rejected when its content has come, as every confirm.
            content.done = lambda: self._reject(state, tag)

        if content is None:
            self._relay.session.client_scanner.at_content(begin)
        else:
            begin(content)
        return DISCARD

    def _reject(self, state: FanChannel, tag: int) -> None:
        confirms = state.confirms
        assert confirms is not None
        if not state.muted:
            self._settle(state, *confirms.due([tag], rejected=True))

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
        self._settle(state, *confirms.due(tags, rejected=index == amqp.BASIC_NACK))

    def _settle(self, state: FanChannel, confirmed: list[int], rejected: list[int]) -> None:
        """Confirm and reject, but nothing before confirm.select-ok."""
        assert state.confirms is not None
        if state.confirms.started:
            self._confirm(state, confirmed, rejected)
        else:
            state.confirms.early.append((confirmed, rejected))

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
        self._relay.session.observation.sent_to_client(frame)
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


def _calls_queues_differently(way: Link | Copying) -> bool:
    link = way.link if isinstance(way, Copying) else way
    return link.names is not None


def _parts(answer: Mirrored) -> tuple[str | None, tuple[str, ...], int]:
    return answer.upstream, answer.copies, answer.max_size
