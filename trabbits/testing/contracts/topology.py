"""The contract of rewriters of exchanges and bindings.

Lives here: `TopologyRewriterTestsMixIn`.  Must not know: what any rewriter changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, Final, Literal

from attrs import evolve

from trabbits.interfaces import Binding, BindingAttributes, ExchangeAttributes, ExchangeDeclare, ITopologyRewriter
from trabbits.testing.contracts.rewriters import (
    LONE_SURROGATE,
    QueueAttributeRewriterTestsMixIn,
    require_arguments,
    require_attributes,
)
from trabbits.testing.contracts.rules import ODD_TEXTS, ODD_VALUES, OpenMapping, require, require_prompt

#: Texts as they get here: what is no UTF-8 never does.
_TEXTS: Final = tuple(text for text in ODD_TEXTS if not LONE_SURROGATE.search(text))
_TYPES: Final = ("direct", "fanout", "topic", "headers", "x-delayed-message", "x-consistent-hash", "x-odd")
_DESTINATION_TYPES: Final[tuple[Literal["queue", "exchange"], ...]] = ("queue", "exchange")
#: Arguments that RabbitMQ knows, as clients give them.
_OF_EXCHANGES: Final[tuple[dict[str, Any], ...]] = ({}, {"alternate-exchange": "lost"}, {"x-delayed-type": "topic"})
_OF_BINDINGS: Final[tuple[dict[str, Any], ...]] = ({}, {"x-match": "all", "tenant": "eu"}, {"x-match": b"any", "n": 1})

_Asked = ExchangeDeclare | Binding


class TopologyRewriterTestsMixIn(QueueAttributeRewriterTestsMixIn):
    """For what provides `ITopologyRewriter`, besides what holds for any rewriter.

    `exchanges` and `bindings` are those that it has rules about; the bindings have to be usable.
    """

    exchanges: Sequence[ExchangeDeclare] = ()
    bindings: Sequence[Binding] = ()

    def test_it_says_that_it_rewrites_topology(self) -> None:
        """trabbits looks for the interface, not for the methods."""
        provided = ITopologyRewriter.providedBy(self.make_plugin(self.make_reactor()))
        require(provided, "it does not provide ITopologyRewriter")

    def test_answers_about_exchanges_are_attributes(self) -> None:
        """The answer to any declare is an `ExchangeAttributes` that can be sent."""
        rewriter = self.make_plugin(self.make_reactor())
        for declare in self._all_exchanges():
            asked, answer = f"rewrite_exchange({declare!r:.200})", rewriter.rewrite_exchange(declare)
            require_attributes(asked, answer, ExchangeAttributes, "durable", "auto_delete", "internal")
            fits = answer.type is None or (isinstance(answer.type, str) and 0 < len(answer.type.encode()) <= 255)
            require(fits, f"{asked} answered type {answer.type!r:.100}, no text of 1 to 255 octets and not None")
            require_arguments(asked, answer.arguments)

    def test_answers_about_bindings_are_attributes(self) -> None:
        """The answer to any binding is a `BindingAttributes` that can be sent, but for the length of the key."""
        rewriter = self.make_plugin(self.make_reactor())
        for binding in self._all_bindings():
            asked, answer = f"rewrite_binding({binding!r:.200})", rewriter.rewrite_binding(binding)
            require_attributes(asked, answer, BindingAttributes)
            key = answer.routing_key
            require(key is None or isinstance(key, str), f"{asked} answered routing_key {key!r:.100}, no text or None")
            require_arguments(asked, answer.arguments)

    def test_usable_bindings_have_room(self) -> None:
        """The routing keys of `bindings` have room for what becomes of them."""
        rewriter = self.make_plugin(self.make_reactor())
        for binding in self.bindings:
            size = len((rewriter.rewrite_binding(binding).routing_key or "").encode())
            require(size <= 255, f"{binding!r:.200} becomes one with a key of {size} octets; there is room for 255")

    def test_the_same_exchange_and_binding_get_the_same_answer(self) -> None:
        """Brokers compare exchanges that are declared again, and to unbind is to name what a bind made."""
        rewriter = self.make_plugin(self.make_reactor())
        asked = list(self._all_topology(rewriter))
        first = [repr(ask(each)) for ask, each in asked]
        again = [repr(ask(each)) for ask, each in reversed(asked)]
        for (ask, each), one, other in zip(asked, first, reversed(again), strict=True):
            require(one == other, f"{ask.__name__}({each!r:.200}) was {one} and is {other} now")

    def test_exchanges_and_bindings_are_left_alone(self) -> None:
        """They are what the other upstreams are asked for, and what the rewriters after this one get."""
        rewriter = self.make_plugin(self.make_reactor())
        for ask, each in self._all_topology(rewriter):
            given = OpenMapping(each.arguments)
            ask(evolve(each, arguments=given))
            require(given.unchanged, f"it changes the arguments of {each!r:.200}")
            given_as_dict = dict(each.arguments)
            ask(evolve(each, arguments=given_as_dict))
            require(repr(given_as_dict) == repr(dict(each.arguments)), f"it changes the arguments of {each!r:.200}")

    def test_rewriting_topology_does_not_block(self) -> None:
        """What was never seen takes no time to speak of."""
        rewriter = self.make_plugin(self.make_reactor())
        exchange = next(iter(self.exchanges), ExchangeDeclare("orders"))
        binding = next(iter(self.bindings), Binding("orders", "orders.eu"))
        declares = [evolve(exchange, exchange=f"{exchange.exchange}.{number}") for number in range(5)]
        bindings = [evolve(binding, routing_key=f"{binding.routing_key}.{number}") for number in range(5)]
        limit = self.time_limit
        require_prompt("rewrite_exchange()", limit, [partial(rewriter.rewrite_exchange, each) for each in declares])
        require_prompt("rewrite_binding()", limit, [partial(rewriter.rewrite_binding, each) for each in bindings])

    def _all_topology(self, rewriter: Any) -> Iterator[tuple[Callable[[_Asked], object], _Asked]]:
        for declare in self._all_exchanges():
            yield rewriter.rewrite_exchange, declare
        for binding in self._all_bindings():
            yield rewriter.rewrite_binding, binding

    def _all_exchanges(self) -> Iterator[ExchangeDeclare]:
        yield from self.exchanges
        for name in _TEXTS:
            yield ExchangeDeclare(name, durable=True)
            yield ExchangeDeclare("orders", name)
        for kind, durable, auto_delete, internal in product(_TYPES, *((True, False),) * 3):
            yield ExchangeDeclare("orders", kind, durable=durable, auto_delete=auto_delete, internal=internal)
        for arguments in _known(_OF_EXCHANGES, self.exchanges):
            yield ExchangeDeclare("orders", durable=True, arguments=arguments)

    def _all_bindings(self) -> Iterator[Binding]:
        yield from self.bindings
        for kind, text in product(_DESTINATION_TYPES, _TEXTS):
            if text or kind == "exchange":
                # Nobody is asked about queues whose name is not known.
                yield Binding("orders", text, kind, "created")
            yield Binding(text, "audit", kind, "created")
            yield Binding("orders", "audit", kind, text)
        for kind, arguments in product(_DESTINATION_TYPES, _known(_OF_BINDINGS, self.bindings)):
            yield Binding("orders", "audit", kind, "", arguments)


def _known(usual: Sequence[dict[str, Any]], own: Sequence[_Asked]) -> Iterator[OpenMapping]:
    """Arguments as clients give them, and each of their names with values of all kinds."""
    names: dict[str, None] = {}
    for arguments in (*usual, *(each.arguments for each in own)):
        names |= dict.fromkeys(arguments)
        yield OpenMapping(arguments)
    yield OpenMapping(dict.fromkeys(filter(None, _TEXTS), 1))
    for name, value in product(names, ODD_VALUES):
        yield OpenMapping({name: value})
