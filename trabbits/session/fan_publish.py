"""Which link of a fan session gets a publish, and what comes back for it: confirms and returns.

Lives here: the cache of routes, direct reply-to, everything about publishes that is not the common case.
Must not know: how a routing strategy decides.
Source: RabbitMQ, "Publisher confirms", "Direct reply-to".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from trabbits.failures import dismissed, error_text, let_through
from trabbits.interfaces import Decision, IHeaderRoutingStrategy, IMessageRoutingStrategy, Mirrored
from trabbits.log_ids import LogId
from trabbits.session.answers import problem_of
from trabbits.session.fan_channel import FanChannel
from trabbits.session.mirroring import Copying
from trabbits.session.named_headers import NamedHeaders, RawHeaders
from trabbits.session.plugin_failed import PluginFailed, it_raised
from trabbits.session.renaming import UnusableName
from trabbits.session.reply_keys import PREFIX
from trabbits.session.tee import Tee
from trabbits.wire import constants as amqp
from trabbits.wire.encode import ack_frame, nack_frame
from trabbits.wire.headers import MessageHeaders, payload_end
from trabbits.wire.peek import ack_flags, delivery_tag, exchange_and_key, publish_is_mandatory
from trabbits.wire.scanner import DISCARD, UNDECIDED, Content, Destination

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay
    from trabbits.session.link import Link

#: Distinct (exchange, routing key) pairs remembered per session.
ROUTES_MAX: Final = 10_000
#: Octets of exchanges, keys and values of headers for which answers are remembered per session, of the largest of
#: these, and what each costs besides.
VALUES_MAX: Final = 2 * 1024 * 1024
VALUE_MAX: Final = 1024
VALUE_COST: Final = 300
#: Reply-to keys for which returns are counted per session.
REPLY_KEYS_MAX: Final = 1_000
_REPLY_TEXT_AT: Final = 13

#: The link that counts a publish, and what its octets are appended to.
Goal: TypeAlias = "tuple[Link, Destination]"
#: What a strategy that names headers decides by: exchange and key, and the values.
Values: TypeAlias = tuple[bytes, RawHeaders]

K = TypeVar("K")
V = TypeVar("V")


class Publishing:
    """Publishes of one session."""

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay
        self._by_name = {link.name: link for link in relay.links}
        routing = relay.session.settings.routing
        #: The strategy, if it is to be asked for every message.
        self.by_headers: IMessageRoutingStrategy | None = (
            routing if IMessageRoutingStrategy.providedBy(routing) else None
        )
        #: What the strategy may answer with -> the link.
        self._by_answer: dict[str | None, Link] = {None: relay.links[0]}
        self._by_answer.update((link.name, link) for link in relay.links)
        #: (exchange, routing key) as they stand in a frame -> as texts, where the strategy is asked for every message.
        self._addresses: dict[bytes, tuple[str, str]] = {}
        #: The headers that answers depend on, if the strategy names them.
        self.named = NamedHeaders(routing.header_names) if IHeaderRoutingStrategy.providedBy(routing) else None
        #: (exchange, routing key) and the values of these headers, as they stand in frames -> where messages go.
        self.by_values: dict[Values, Goal] = {}
        self._values_size = 0
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
        if self.by_headers is not None:
            return self._await_header(state, lambda header: self._decide(state, frame, header))
        raw = frame[13:-2]
        known = self.routes.get(raw) or self.mirrored.get(raw) or self._named.get(raw)
        if known is not None:
            return self._send(state, known, frame)
        way = self._way(self._unattached.get(raw) or self._route(exchange, key))
        if isinstance(way, str):
            _remember(self._unattached, raw, way)
            return self._unroutable(state, way, exchange, key)
        if not exchange and _calls_queues_differently(way):
            _remember(self._named, raw, way)
        elif isinstance(way, Copying):
            _remember(self.mirrored, raw, way)
        else:
            _remember(self.routes, raw, way)
        return self._send(state, way, frame)

    def _way(self, answer: Decision) -> Link | Copying | str:
        """The way of messages with this answer, or the upstream that is missing for it."""
        if isinstance(answer, Mirrored):
            return self._ways.get(_asked(answer)) or self._mirrored_way(answer)
        return self._relay.links[0] if answer is None else self._by_name.get(answer, answer)

    def _mirrored_way(self, answer: Mirrored) -> Link | Copying | str:
        link = self._way(answer.upstream)
        mirroring = self._relay.session.mirroring
        assert mirroring is not None  # checked with the answer
        if isinstance(link, str | Copying):
            return link
        way = mirroring.way(link, answer) or link
        _remember(self._ways, _asked(answer), way)
        return way

    def _await_header(self, state: FanChannel, send: Callable[[bytes], Destination]) -> Destination:
        """Send nothing before the content header is there: `send` gets it, and says where the body goes.

        It may raise `UnusableName` as long as it has done nothing.
        """

        def take(content: Content, header: bytes) -> None:
            content.destination = DISCARD
            if state.closing is None:
                try:
                    content.destination = send(header)
                except UnusableName as error:
                    self._relay.closings.error(state, amqp.PRECONDITION_FAILED, error.text, amqp.BASIC_PUBLISH)

        self._relay.session.client_scanner.await_header(take)
        return UNDECIDED

    def _send(self, state: FanChannel, way: Link | Copying, frame: bytes, header: bytes = b"") -> Destination:
        """The way is known; `header` is the content header if that has come."""
        link = way.link if isinstance(way, Copying) else way
        if link.names is not None and not header:
            return self._await_header(state, lambda header: self._send(state, way, frame, header))
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

    def goal_by_headers(self, raw: bytes, octets: bytes, at: int, end: int) -> Goal | None:
        """Where a publish with this exchange and key goes, as they stand in its frame.

        Its content header is `octets[at:end]`, without the end octet.  None when it is no common case.  Then the
        strategy is asked again: it has failed, or its upstream is missing.
        """
        if self.named is None:
            return self._asked(raw, MessageHeaders(octets, at))
        values = raw, self.named.raw(octets, at, end)
        return self.by_values.get(values) or self.goal_by_values(values)

    def goal_by_values(self, values: Values) -> Goal | None:
        """The same for a publish with these values of the headers that the answer depends on; it is remembered.

        The strategy sees nothing else of the message, so that its answer is right for all with the same values.
        """
        raw, found = values
        assert self.named is not None
        goal = self._asked(raw, self.named.decoded(found))
        size = len(raw) + (len(found) if isinstance(found, bytes) else sum(map(len, found)))
        if goal is not None and size <= VALUE_MAX:
            self._values_size += size + VALUE_COST
            if self._values_size > VALUES_MAX:
                self.by_values.clear()
                self._values_size = size + VALUE_COST
            self.by_values[values] = goal
        return goal

    def _asked(self, raw: bytes, headers: Mapping[str, Any]) -> Goal | None:
        strategy = self.by_headers
        assert strategy is not None
        try:
            exchange, key = self._addresses.get(raw) or self._address(raw)
            answer = strategy.route_message(exchange, key, headers)
            way = self._by_answer.get(answer) if not isinstance(answer, Mirrored) else self._way(answer)
        except BaseException as error:  # it fails again where there is a place to say so
            let_through(error)
            return None
        if way is None:
            dismissed(answer)  # it may be a coroutine, and this one is dropped: the next is what is told of
            return None
        if isinstance(way, str) or (not exchange and _calls_queues_differently(way)):
            return None
        return (way.link, way) if isinstance(way, Copying) else (way, way.out)

    def _address(self, raw: bytes) -> tuple[str, str]:
        """Exchange and routing key as texts.  Raises ValueError where the strategy is asked otherwise, if at all."""
        size = raw[0]
        exchange, key = raw[1 : 1 + size], raw[2 + size :]
        if len(key) != raw[1 + size] or (not exchange and key.startswith(PREFIX)):
            raise ValueError(raw)
        address = exchange.decode(), key.decode()
        _remember(self._addresses, raw, address)
        return address

    def _decide(self, state: FanChannel, frame: bytes, octets: bytes) -> Destination:
        """The content header is there: `octets`."""
        exchange, key = exchange_and_key(frame, 0, len(frame))
        headers: Mapping[str, Any] = MessageHeaders(octets)
        if self.named is not None:
            headers = self.named.decoded(self.named.raw(octets, 0, payload_end(octets, 0)))
        way = self._way(self._route(exchange, key, headers))
        if isinstance(way, str):
            return self._unroutable(state, way, exchange, key, under_way=True)
        return self._send(state, way, frame, octets)

    def _route(self, exchange: bytes, key: bytes, headers: Mapping[str, Any] | None = None) -> Decision:
        """What the strategy says.  Raises `PluginFailed` if that cannot be followed."""
        strategy = self._relay.session.settings.routing
        arguments = exchange.decode("utf-8", "surrogateescape"), key.decode("utf-8", "surrogateescape")
        try:
            if headers is not None and self.by_headers is not None:
                answer = self.by_headers.route_message(*arguments, headers)
            else:
                answer = strategy.route(*arguments)
            mirrors = self._relay.session.mirroring is not None
            problem = problem_of(answer, self._configured, mirrors=mirrors)
        except BaseException as error:
            let_through(error)
            raise self._routing_failed(exchange, key, error_text(error), it_raised(error)) from error
        if problem:
            raise self._routing_failed(exchange, key, problem, problem)
        return answer

    def _routing_failed(self, exchange: bytes, key: bytes, text: str, told: str) -> PluginFailed:
        plugin = self._relay.session.settings.routing_plugin
        shown = {"exchange": exchange.decode("utf-8", "replace"), "key": key.decode("utf-8", "replace")}
        return PluginFailed(
            LogId.ROUTING_FAILED,
            f"routing strategy '{plugin}' failed: {told}",
            {"plugin": plugin, **shown, "text": text},
            amqp.BASIC_PUBLISH,
        )

    def _reply(self, state: FanChannel, frame: bytes, key: bytes, header: bytes = b"") -> Destination:
        """A direct reply goes to the link whose broker made the key, to every link if that is not known."""
        upstream = self.unattached_for_reply(key)
        if upstream is not None:
            return self._unroutable(state, upstream, b"", key)
        links = self.links_for_reply(key)
        if not header and any(link.names is not None for link in links):
            return self._await_header(state, lambda header: self._reply(state, frame, key, header))
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
        self, state: FanChannel, upstream: str, exchange: bytes, key: bytes, *, under_way: bool = False
    ) -> Destination:
        """A publish for an upstream that the session opened without: rejected, its content is swallowed.

        `under_way`: its content has begun.
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
        if under_way:
            self._reject(state, tag)
            return DISCARD

        def begin(content: Content) -> None:
            # Rejected when its content has come, as every confirm.
            content.done = lambda: self._reject(state, tag)

        self._relay.session.client_scanner.at_content(begin)
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


def _asked(answer: Mirrored) -> tuple[str | None, tuple[str, ...], int]:
    return answer.upstream, answer.copies, answer.max_size


def _remember(routes: dict[K, V], key: K, way: V) -> None:
    if len(routes) >= ROUTES_MAX:
        routes.clear()
    routes[key] = way
