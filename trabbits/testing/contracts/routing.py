"""The contract of routing strategies.

Lives here: `RoutingStrategyTestsMixIn`.  Must not know: what any strategy decides by.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, ClassVar, Final

from zope.interface.interface import InterfaceClass

from trabbits.interfaces import (
    IHeaderRoutingStrategy,
    IMessageRoutingStrategy,
    IMirroringStrategy,
    IRoutingStrategy,
    Mirrored,
)
from trabbits.testing.contracts.plugin import PluginTestsMixIn
from trabbits.testing.contracts.rules import ODD_TEXTS, ODD_VALUES, OpenMapping, require, require_prompt

#: An exchange and a key like any other.
ORDER: Final = ("orders", "order.created")


class RoutingStrategyTestsMixIn(PluginTestsMixIn):
    """For what provides `IRoutingStrategy`, those that read headers or mirror included.

    Which headers a strategy reads is found out by handing it some; `keys` and `headers` are what it should be asked
    besides.  Strategies that answer with text that is not in `upstreams`, with a Deferred or with anything else fail.
    """

    interface: ClassVar[InterfaceClass] = IRoutingStrategy
    #: Pairs of exchange and routing key that this strategy has rules about.
    keys: Sequence[tuple[str, str]] = ()
    #: Headers that it has rules about.
    headers: Sequence[Mapping[str, Any]] = ()

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

    def test_reading_headers_is_declared(self) -> None:
        """trabbits asks `route_message` only of strategies that provide `IMessageRoutingStrategy`."""
        strategy = self.make_plugin(self.make_reactor())
        says_so = IMessageRoutingStrategy.providedBy(strategy)
        has_it = callable(getattr(strategy, "route_message", None))
        require(says_so or not has_it, "it has route_message but does not provide IMessageRoutingStrategy")

    def test_answers_for_messages_name_upstreams(self) -> None:
        """The same for headers of every kind, in mappings that can do no more than mappings."""
        for strategy in self._readers_of_headers():
            for headers, (exchange, key) in product(self._all_headers(strategy), (("", ""), ORDER, *self.keys)):
                answer = strategy.route_message(exchange, key, OpenMapping(headers))
                self._require_upstream(strategy, answer, f"route_message({exchange!r}, {key!r}, {_shown(headers)})")

    def test_headers_that_are_not_named_do_not_matter(self) -> None:
        """trabbits asks strategies that provide `IHeaderRoutingStrategy` once for the same values of named headers."""
        for strategy in self._readers_of_headers():
            if not IHeaderRoutingStrategy.providedBy(strategy):
                continue
            names = frozenset(strategy.header_names)
            every = list(self._all_headers(strategy))
            named = [{name: value for name, value in headers.items() if name in names} for headers in every]
            others = [{name: value for name, value in headers.items() if name not in names} for headers in every]
            for headers, (exchange, key) in product(named, (("", ""), ORDER, *self.keys)):
                answer = strategy.route_message(exchange, key, OpenMapping(headers))
                for more in filter(None, others):
                    again = strategy.route_message(exchange, key, OpenMapping({**more, **headers}))
                    call = f"route_message({exchange!r}, {key!r}, {_shown(headers)})"
                    besides = f"besides {_shown(more)}, of which header_names says nothing"
                    require(again == answer, f"{call} is {answer!r}, but {again!r} {besides}")

    def test_headers_are_left_alone(self) -> None:
        """They are the message's, and others read them, too."""
        for strategy in self._readers_of_headers():
            for headers in self._all_headers(strategy):
                given = OpenMapping(headers)
                strategy.route_message(*ORDER, given)
                require(given.unchanged, f"it changes the headers {_shown(headers)}")

    def test_headers_are_not_kept(self) -> None:
        """They belong to one message, whose octets go when it has gone."""
        for strategy in self._readers_of_headers():
            for headers in ({}, *self.headers):
                given = OpenMapping(headers)
                kept = weakref.ref(given)
                strategy.route_message(*ORDER, given)
                del given
                if kept() is not None:
                    gc.collect()
                require(kept() is None, "it keeps the headers of a message after its answer")

    def test_routing_by_headers_does_not_block(self) -> None:
        """It is asked for every single message."""
        for strategy in self._readers_of_headers():
            given = [OpenMapping({**each, "number": number}) for number in range(5) for each in ({}, *self.headers)]
            calls = [
                partial(strategy.route_message, "orders", f"order.{number}", each) for number, each in enumerate(given)
            ]
            require_prompt("route_message()", self.time_limit, calls)

    def _all_keys(self) -> Iterator[tuple[str, str]]:
        yield from self.keys
        yield from product(("", "orders"), ODD_TEXTS)
        yield from product(ODD_TEXTS, ("", ORDER[1]))

    def _all_headers(self, strategy: Any) -> Iterator[Mapping[str, Any]]:
        yield {}
        yield {name: "text" for name in ODD_TEXTS if name}
        asked: set[str] = set()
        for headers in ({}, *self.headers):
            watched = OpenMapping(headers)
            strategy.route_message(*ORDER, watched)
            asked |= watched.asked
            yield headers
        for name in sorted(asked.union(*self.headers)):
            for value in ODD_VALUES:
                yield {name: value}

    def _readers_of_headers(self) -> Iterator[Any]:
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


def _shown(headers: Mapping[str, Any]) -> str:
    return f"{dict(headers)!r:.200}"
