"""Which link of a fan session gets a publish whose properties the routing strategy reads.

Lives here: `MessageRoutes` and `ValueRoutes`: the common publishes of such sessions, and what is remembered of answers.
Must not know: how a strategy decides, what becomes of publishes that are no common case (``fan_publish.py``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from trabbits.failures import let_through
from trabbits.interfaces import (
    Decision,
    IMessageRoutingStrategy,
    IPropertyRoutingStrategy,
    MessageProperties,
    Mirrored,
)
from trabbits.session.fan_channel import FanChannel
from trabbits.session.message_properties import LazyMessageProperties
from trabbits.session.mirroring import Copying
from trabbits.session.named_properties import NamedProperties, RawValues
from trabbits.session.reply_keys import PREFIX
from trabbits.wire import constants as amqp
from trabbits.wire.headers import (
    FLAGS_UP_TO_TABLE,
    HEAD_AND_TABLE,
    PROPERTIES_AT,
    TABLE_AT,
    TABLE_FIRST,
    UNREADABLE,
    headers_table,
    payload_end,
    raw_header,
)
from trabbits.wire.scanner import Destination

if TYPE_CHECKING:
    from trabbits.session.link import Link

#: Distinct (exchange, routing key) pairs remembered per session.
ROUTES_MAX: Final = 10_000
#: Octets of exchanges, keys and values of properties for which answers are remembered per session, of the largest of
#: these, and what each costs besides.
VALUES_MAX: Final = 2 * 1024 * 1024
VALUE_MAX: Final = 1024
VALUE_COST: Final = 300

#: The link that counts a publish, and what its octets are appended to.
Goal: TypeAlias = "tuple[Link, Destination]"
#: What a strategy that names properties decides by: exchange and key, and the values.
Values: TypeAlias = tuple[bytes, RawValues]

K = TypeVar("K")
V = TypeVar("V")

_HEAD: Final = struct.Struct(">BHI").unpack_from


def message_routes(
    strategy: IMessageRoutingStrategy,
    links: Sequence[Link],
    channels: Mapping[int, FanChannel],
    way: Callable[[Decision], Link | Copying | str],
) -> MessageRoutes:
    """Such as the strategy needs them; `way` says what an answer means."""
    if IPropertyRoutingStrategy.providedBy(strategy):
        return ValueRoutes(strategy, links, channels, way)
    return MessageRoutes(strategy, links, channels, way)


class MessageRoutes:
    """The strategy is asked for every message."""

    def __init__(
        self,
        strategy: IMessageRoutingStrategy,
        links: Sequence[Link],
        channels: Mapping[int, FanChannel],
        way: Callable[[Decision], Link | Copying | str],
    ) -> None:
        self.strategy = strategy
        self._channels = channels
        self._way = way
        #: What the strategy may answer with -> where messages go.
        self._goals: dict[str | None, Goal] = {None: (links[0], links[0].out)}
        self._goals.update((link.name, (link, link.out)) for link in links)
        #: (exchange, routing key) as they stand in a frame -> as texts.
        self._addresses: dict[bytes, tuple[str, str]] = {}
        #: The answer for a publish that is no common case, in a tuple, until `take_answer`.
        self._answer: tuple[Any] | None = None

    def publish(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        """The route of publishes whose content header stands whole behind the method, as it almost always does."""
        state = self._channels.get(channel)
        if state is None or state.special or len(octets) < end + PROPERTIES_AT:
            return None
        kind, its_channel, size = _HEAD(octets, end)
        if kind != amqp.FRAME_HEADER or its_channel != channel or end + size + 8 > len(octets):
            return None
        goal = self._asked(octets[start + 13 : end - 2], LazyMessageProperties(octets, end))
        return None if goal is None else _published(state, goal)

    def take_answer(self) -> tuple[Any] | None:
        """What the strategy answered for the publish that its route has just passed up; None if it is to be asked.

        It may answer differently each time, so nobody asks twice about one message, unless it raised.
        """
        answer, self._answer = self._answer, None
        return answer

    def properties(self, header: bytes) -> MessageProperties:
        """What the strategy gets of a content header frame."""
        return LazyMessageProperties(header)

    def _asked(self, raw: bytes, properties: MessageProperties) -> Goal | None:
        """Where a publish with this exchange and key goes, as they stand in its frame; None when it is no common case.

        Its upstream is missing then, or names of queues change on the way there, or the answer is none at all.
        """
        try:
            exchange, key = self._addresses.get(raw) or self._address(raw)
            answer = self.strategy.route_message(exchange, key, properties)
            goal = self._goals.get(answer) if not isinstance(answer, Mirrored) else self._mirrored(answer)
        except BaseException as error:  # it fails again where there is a place to say so
            let_through(error)
            return None
        if goal is None or (not exchange and goal[0].names is not None):
            self._answer = (answer,)
            return None
        return goal

    def _mirrored(self, answer: Mirrored) -> Goal | None:
        way = self._way(answer)
        if isinstance(way, str):
            return None
        return (way.link, way) if isinstance(way, Copying) else (way, way.out)

    def _address(self, raw: bytes) -> tuple[str, str]:
        """Exchange and routing key as texts.  Raises ValueError where the strategy is asked otherwise, if at all."""
        size = raw[0]
        exchange, key = raw[1 : 1 + size], raw[2 + size :]
        if len(key) != raw[1 + size] or (not exchange and key.startswith(PREFIX)):
            raise ValueError(raw)
        address = exchange.decode(), key.decode()
        remember(self._addresses, raw, address)
        return address


class ValueRoutes(MessageRoutes):
    """The strategy names what it reads: it is asked once for the same values there."""

    def __init__(
        self,
        strategy: IPropertyRoutingStrategy,
        links: Sequence[Link],
        channels: Mapping[int, FanChannel],
        way: Callable[[Decision], Link | Copying | str],
    ) -> None:
        super().__init__(strategy, links, channels, way)
        self._named = named = NamedProperties(strategy.header_names, strategy.property_names)
        self._keys, self._places = named.keys, named.places
        #: The header that answers depend on, if they depend on nothing else.
        self._header = self._keys[0] if len(self._keys) == 1 and not self._places else None
        #: Exchange, routing key and values, as they stand in frames -> where messages go.
        self.remembered: dict[Values, Goal] = {}
        #: The same for publishes that are no common case -> the answer.
        self._answers: dict[Values, tuple[Any]] = {}
        self._size = 0

    def publish(self, octets: bytes, start: int, end: int, channel: int) -> Destination | None:
        state = self._channels.get(channel)
        if state is None or state.special:
            return None
        if len(octets) >= end + TABLE_AT:
            kind, its_channel, size, flags, length = HEAD_AND_TABLE(octets, end)
        elif len(octets) >= end + PROPERTIES_AT:  # a message without properties, at the end of a chunk
            kind, its_channel, size = _HEAD(octets, end)
            flags = length = 0
        else:
            return None
        after = end + size + 7
        if kind != amqp.FRAME_HEADER or its_channel != channel or after >= len(octets):
            return None
        raw = octets[start + 13 : end - 2]
        header = self._header
        at = end + TABLE_AT
        stop = at + length
        try:
            if header is None and self._places:
                values: Values = raw, self._named.raw(octets, end, after)
            else:
                if flags & FLAGS_UP_TO_TABLE != TABLE_FIRST or stop > after:
                    at, stop = headers_table(octets, end, after)
                if header is not None:
                    values = raw, raw_header(octets, at, stop, header)
                else:
                    values = raw, tuple([raw_header(octets, at, stop, each) for each in self._keys])
        except UNREADABLE:
            values = raw, self._named.raw(octets, end, after)
        goal = self.remembered.get(values) or self._goal(values)
        if goal is None:
            return None
        confirms = state.confirms  # `_published`, without a call
        if confirms is not None:
            state.links[goal[0]].confirms.published(confirms.published())
        return goal[1]

    def properties(self, header: bytes) -> MessageProperties:
        return self._named.decoded(self._named.raw(header, 0, payload_end(header, 0)))

    def _goal(self, values: Values) -> Goal | None:
        """As `_asked`, and remembered.

        The strategy sees nothing else of the message, so that its answer is right for all with the same values.
        """
        known = self._answers.get(values)
        if known is not None:
            self._answer = known
            return None
        raw, found = values
        goal = self._asked(raw, self._named.decoded(found))
        size = len(raw) + (len(found) if isinstance(found, bytes) else sum(map(len, found)))
        if size <= VALUE_MAX and (goal is not None or self._answer is not None):
            size += self._size + VALUE_COST
            if size > VALUES_MAX:
                self.remembered.clear()
                self._answers.clear()
                size -= self._size
            self._size = size
            if goal is not None:
                self.remembered[values] = goal
            elif self._answer is not None:
                self._answers[values] = self._answer
        return goal


def _published(state: FanChannel, goal: Goal) -> Destination:
    """Count a publish, and say where it goes."""
    confirms = state.confirms
    if confirms is not None:
        state.links[goal[0]].confirms.published(confirms.published())
    return goal[1]


def remember(routes: dict[K, V], key: K, way: V) -> None:
    """Keep a way, and no more than `ROUTES_MAX` of them."""
    if len(routes) >= ROUTES_MAX:
        routes.clear()
    routes[key] = way
