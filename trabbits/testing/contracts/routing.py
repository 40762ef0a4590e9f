"""The contract of routing strategies.

Lives here: `RoutingStrategyTestsMixIn`.  Must not know: what any strategy decides by.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, ClassVar, Final

from attrs import evolve, fields
from zope.interface.interface import InterfaceClass

from trabbits.interfaces import (
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IPropertyRoutingStrategy,
    IRoutingStrategy,
    MessageProperties,
    Mirrored,
)
from trabbits.testing.contracts.plugin import PluginTestsMixIn
from trabbits.testing.contracts.rules import ODD_TEXTS, ODD_VALUES, OpenProperties, require, require_prompt

#: An exchange and a key like any other.
ORDER: Final = ("orders", "order.created")
#: The names of properties but the headers, those of numbers, and what may stand there.
_NAMES: Final = tuple(each.name for each in fields(MessageProperties) if each.name != "headers")
_NUMBERS: Final = {"delivery_mode": (0, 1, 2, 255), "priority": (0, 9, 255), "timestamp": (0, 2**64 - 1)}


class RoutingStrategyTestsMixIn(PluginTestsMixIn):
    """For what provides `IRoutingStrategy`, those that read properties or mirror included.

    What a strategy reads is found out by handing it some; `keys` and `messages` are what it should be asked besides.
    Strategies that answer with text that is not in `upstreams`, with a Deferred or with anything else fail.
    """

    interface: ClassVar[InterfaceClass] = IRoutingStrategy
    #: Pairs of exchange and routing key that this strategy has rules about.
    keys: Sequence[tuple[str, str]] = ()
    #: Properties of messages that it has rules about.
    messages: Sequence[MessageProperties] = ()

    def test_answers_name_upstreams(self) -> None:
        """The answer for any exchange and key is an upstream's name, None, or `Mirrored` of such; nothing raises."""
        strategy = self.make_plugin(self.make_reactor())
        for exchange, key in self._all_keys():
            self._require_upstream(strategy, strategy.route(exchange, key), f"route({exchange!r}, {key!r})")

    def test_the_same_key_gets_the_same_answer(self) -> None:
        """trabbits asks once for each session and remembers: whatever was asked in between, the answer stays."""
        strategy = self.make_plugin(self.make_reactor())
        pairs = list(self._all_keys())
        first = {pair: strategy.route(*pair) for pair in pairs}
        for pair in (*reversed(pairs), *pairs):
            again = strategy.route(*pair)
            require(again == first[pair], f"route{pair!r} was {first[pair]!r} and is {again!r} now")

    def test_routing_does_not_block(self) -> None:
        """Being asked for keys that were never seen takes no time to speak of."""
        strategy = self.make_plugin(self.make_reactor())
        exchange, key = next(iter(self.keys), ORDER)
        keys = [f"{key}.{number}" for number in range(5)]
        require_prompt("route()", self.time_limit, [partial(strategy.route, exchange, each) for each in keys])

    def test_reading_properties_is_declared(self) -> None:
        """trabbits asks `route_message` only of strategies that provide `IMessageRoutingStrategy`."""
        strategy = self.make_plugin(self.make_reactor())
        says_so = IMessageRoutingStrategy.providedBy(strategy)
        has_it = callable(getattr(strategy, "route_message", None))
        require(says_so or not has_it, "it has route_message but does not provide IMessageRoutingStrategy")

    def test_answers_for_messages_name_upstreams(self) -> None:
        """The same for properties of every kind, and for headers in mappings that can do no more than mappings."""
        for strategy in self._readers():
            for message, (exchange, key) in product(self._all_messages(strategy), (("", ""), ORDER, *self.keys)):
                answer = strategy.route_message(exchange, key, OpenProperties(message))
                self._require_upstream(strategy, answer, f"route_message({exchange!r}, {key!r}, {_shown(message)})")

    def test_properties_that_are_not_named_do_not_matter(self) -> None:
        """trabbits asks one that provides `IPropertyRoutingStrategy` once for the same values of what it names."""
        for strategy in self._readers():
            if not IPropertyRoutingStrategy.providedBy(strategy):
                continue
            every = list(self._all_messages(strategy))
            others = [_part(strategy, each, named=False) for each in every]
            others = [each for each in others if _shown(each) != _shown(MessageProperties())]
            some = MessageProperties(), *self.messages
            for message, (exchange, key) in product(some, (("", ""), ORDER, *self.keys)):
                named = _part(strategy, message, named=True)
                answer = strategy.route_message(exchange, key, OpenProperties(named))
                for more in others:
                    again = strategy.route_message(exchange, key, OpenProperties(_together(named, more)))
                    call = f"route_message({exchange!r}, {key!r}, {_shown(named)})"
                    besides = f"besides {_shown(more)}, which it does not name"
                    require(again == answer, f"{call} is {answer!r}, but {again!r} {besides}")

    def test_headers_are_left_alone(self) -> None:
        """They are the message's, and others read them, too."""
        for strategy in self._readers():
            for message in self._all_messages(strategy):
                given = OpenProperties(message)
                strategy.route_message(*ORDER, given)
                require(given.unchanged, f"it changes the headers {_shown(message)}")

    def test_properties_are_not_kept(self) -> None:
        """They belong to one message, whose octets go when it has gone."""
        for strategy in self._readers():
            for message in (MessageProperties(), *self.messages):
                given = OpenProperties(message)
                kept = weakref.ref(given), weakref.ref(given.headers)
                strategy.route_message(*ORDER, given)
                del given
                if any(each() is not None for each in kept):
                    gc.collect()
                require(all(each() is None for each in kept), "it keeps the properties of a message after its answer")

    def test_routing_by_properties_does_not_block(self) -> None:
        """It may be asked for every single message."""
        for strategy in self._readers():
            every = [(number, each) for number in range(5) for each in (MessageProperties(), *self.messages)]
            given = [evolve(each, headers={**each.headers, "number": number}) for number, each in every]
            calls = [
                partial(strategy.route_message, "orders", f"order.{number}", OpenProperties(each))
                for number, each in enumerate(given)
            ]
            require_prompt("route_message()", self.time_limit, calls)

    def _all_keys(self) -> Iterator[tuple[str, str]]:
        yield from self.keys
        yield from product(("", "orders"), ODD_TEXTS)
        yield from product(ODD_TEXTS, ("", ORDER[1]))

    def _all_messages(self, strategy: Any) -> Iterator[MessageProperties]:
        yield MessageProperties()
        yield MessageProperties({name: "text" for name in ODD_TEXTS if name})
        headers, names = set[str](), set[str]()
        for message in (MessageProperties(), *self.messages):
            watched = OpenProperties(message)
            strategy.route_message(*ORDER, watched)
            headers |= watched.headers.asked.union(message.headers)
            names |= watched.asked.union(name for name in _NAMES if getattr(message, name) is not None)
            yield message
        for header, odd in product(sorted(headers), ODD_VALUES):
            yield MessageProperties({header: odd})
        for name in sorted(names):
            values: tuple[Any, ...] = _NUMBERS.get(name, ODD_TEXTS)
            for value in values:
                yield MessageProperties(**{name: value})

    def _readers(self) -> Iterator[Any]:
        """The strategy, if it is one that is asked about messages."""
        strategy = self.make_plugin(self.make_reactor())
        if IMessageRoutingStrategy.providedBy(strategy):
            yield strategy

    def _require_upstream(self, strategy: object, answer: object, call: str) -> None:
        if isinstance(answer, Mirrored):
            said = IMirroringStrategy.providedBy(strategy)
            require(said, f"{call} answered with copies, but it does not provide IMirroringStrategy")
            strangers = [name for name in answer.copies if name not in self.upstreams]
            require(not strangers, f"{call} wants copies at {strangers}, which are none of {list(self.upstreams)}")
            size: object = answer.max_size
            sized = isinstance(size, int) and size >= 0
            require(sized, f"{call} copies bodies of at most {size!r:.100} octets")
            answer = answer.upstream
        if answer is None:
            return
        require(isinstance(answer, str), f"{call} answered {answer!r:.200}, neither a name nor None")
        require(answer in self.upstreams, f"{call} answered {answer!r}, which is none of {list(self.upstreams)}")


def _shown(message: MessageProperties) -> str:
    set_ones = {name: value for name, value in _values(message).items() if value is not None}
    return f"{dict(message.headers)!r:.200}" + (f" with {set_ones!r:.200}" if set_ones else "")


def _values(message: MessageProperties) -> dict[str, Any]:
    return {name: getattr(message, name) for name in _NAMES}


def _part(strategy: Any, message: MessageProperties, *, named: bool) -> MessageProperties:
    """What the strategy names of a message, or what it does not."""
    headers, names = frozenset(strategy.header_names), frozenset(strategy.property_names)
    return MessageProperties(
        {name: value for name, value in message.headers.items() if (name in headers) == named},
        **{name: value for name, value in _values(message).items() if (name in names) == named},
    )


def _together(message: MessageProperties, more: MessageProperties) -> MessageProperties:
    """Both; `message` counts where both have something."""
    set_ones = {name: value for name, value in _values(message).items() if value is not None}
    return MessageProperties({**more.headers, **message.headers}, **{**_values(more), **set_ones})
