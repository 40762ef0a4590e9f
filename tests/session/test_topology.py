"""`Topology` and `TopologyChain`: what rewriters of exchanges and bindings are asked, and what becomes of frames.

Covered: every attribute, chains, octets that stay, what the empty name means, what does not fit.
Not covered: sessions (test_topology_sessions.py), answers that are none (test_plugins_that_fail.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base
from zope.interface import implementer

from tests.session.frames import Exchange, Queue, decoded, on
from trabbits.interfaces import (
    Binding,
    BindingAttributes,
    ExchangeAttributes,
    ExchangeDeclare,
    ITopologyRewriter,
    QueueAttributes,
    QueueDeclare,
)
from trabbits.plugins.queue_attributes import FixedQueueAttributes
from trabbits.session.rewriting import chained
from trabbits.session.topology import Topology
from trabbits.session.unusable import UnusableMethod
from trabbits.wire import constants as amqp
from trabbits.wire.encode import frame
from trabbits.wire.table import encode_table
from trabbits.wire.topology import BINDING_METHODS, BindingFields, build_binding


@implementer(ITopologyRewriter)
class Answering:
    """Always answers the same; what it was asked."""

    def __init__(self, exchange: ExchangeAttributes | None = None, binding: BindingAttributes | None = None) -> None:
        self._exchange = exchange or ExchangeAttributes()
        self._binding = binding or BindingAttributes()
        self.asked: list[ExchangeDeclare | Binding] = []

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        """See `IQueueAttributeRewriter`."""
        return QueueAttributes()

    def rewrite_exchange(self, declare: ExchangeDeclare) -> ExchangeAttributes:
        """See `ITopologyRewriter`."""
        self.asked.append(declare)
        return self._exchange

    def rewrite_binding(self, binding: Binding) -> BindingAttributes:
        """See `ITopologyRewriter`."""
        self.asked.append(binding)
        return self._binding


class Prefixing(Answering):
    """Puts something in front of every routing key."""

    def __init__(self, prefix: str = "new.") -> None:
        super().__init__()
        self._prefix = prefix

    def rewrite_binding(self, binding: Binding) -> BindingAttributes:
        """See `ITopologyRewriter`."""
        super().rewrite_binding(binding)
        return BindingAttributes(routing_key=self._prefix + binding.routing_key)


def topology(*rewriters: ITopologyRewriter, frame_max: int = 4096) -> Topology:
    chain = chained("b", [(type(each).__name__, each) for each in rewriters])
    assert chain is not None
    assert chain.topology is not None
    return Topology(chain.topology, "b", frame_max)


def up(method: base.Frame, by: Topology, last_queue: bytes = b"") -> dict[str, Any]:
    return dict(decoded(by.frame_for_link(on(1, method), last_queue)))


# Exchanges

ATTRIBUTES: list[tuple[ExchangeAttributes, dict[str, Any]]] = [
    (ExchangeAttributes(type="x-delayed-message"), {"exchange_type": "x-delayed-message"}),
    (ExchangeAttributes(durable=False), {"durable": False}),
    (ExchangeAttributes(auto_delete=True), {"auto_delete": True}),
    (ExchangeAttributes(internal=True), {"internal": True}),
    (ExchangeAttributes(arguments={"a": 2, "c": "d"}), {"arguments": {"a": 2, "b": "x", "c": "d"}}),
    (ExchangeAttributes(arguments={"a": None, "c": None}), {"arguments": {"b": "x"}}),
]
DECLARE = Exchange.Declare(exchange="x", exchange_type="topic", durable=True, arguments={"a": 1, "b": "x"})


@pytest.mark.parametrize(("wanted", "changes"), ATTRIBUTES)
def test_an_exchange_is_declared_with_what_is_wanted(wanted: ExchangeAttributes, changes: dict[str, Any]) -> None:
    rewriter = Answering(wanted)
    assert up(DECLARE, topology(rewriter)) == {**dict(DECLARE), **changes}
    assert rewriter.asked == [ExchangeDeclare("x", "topic", durable=True, arguments={"a": 1, "b": "x"})]


def test_nobody_is_asked_about_a_passive_declare() -> None:
    rewriter = Answering(ExchangeAttributes(type="fanout"))
    passive = on(1, Exchange.Declare(exchange="x", passive=True))
    assert topology(rewriter).frame_for_link(passive, b"") is passive
    assert not rewriter.asked


# Bindings

BINDINGS = [
    Queue.Bind(queue="d", exchange="s", routing_key="k", arguments={"a": 1}, nowait=True),
    Queue.Unbind(queue="d", exchange="s", routing_key="k", arguments={"a": 1}),
    Exchange.Bind(destination="d", source="s", routing_key="k", arguments={"a": 1}, nowait=True),
    Exchange.Unbind(destination="d", source="s", routing_key="k", arguments={"a": 1}, nowait=True),
]


@pytest.mark.parametrize("method", BINDINGS, ids=lambda method: str(method.name))
def test_a_binding_is_what_is_wanted(method: base.Frame) -> None:
    rewriter = Answering(binding=BindingAttributes(routing_key="other", arguments={"a": None, "b": True}))
    changes = {"routing_key": "other", "arguments": {"b": True}}
    assert up(method, topology(rewriter)) == {**dict(method), **changes}
    kind = "queue" if method.name.startswith("Queue") else "exchange"
    assert rewriter.asked == [Binding("s", "d", kind, "k", {"a": 1})]  # type: ignore[arg-type]


#: What the client leaves empty, and what of it a rewriter sees and the upstream gets, if the key gets a prefix.
EMPTY: list[tuple[str, str, Binding, tuple[str, str]]] = [
    ("", "", Binding("s", "last", routing_key="last"), ("last", "new.last")),
    ("", "k", Binding("s", "last", routing_key="k"), ("last", "new.k")),
    ("q", "", Binding("s", "q", routing_key=""), ("q", "new.")),
]


@pytest.mark.parametrize("kind", [Queue.Bind, Queue.Unbind], ids=["bind", "unbind"])
@pytest.mark.parametrize(("queue", "key", "seen", "got"), EMPTY)
def test_the_empty_name_is_the_queue_declared_last(
    kind: type[Queue.Bind | Queue.Unbind], queue: str, key: str, seen: Binding, got: tuple[str, str]
) -> None:
    rewriter = Prefixing()
    method = kind(queue=queue, exchange="s", routing_key=key)
    changed = up(method, topology(rewriter), b"last")
    assert rewriter.asked == [seen]
    assert (changed["queue"], changed["routing_key"]) == got


def test_what_the_client_leaves_to_the_broker_stays_so_if_the_key_does() -> None:
    bind = on(1, Queue.Bind(queue="", exchange="s", routing_key=""))
    for wanted in (BindingAttributes(), BindingAttributes(routing_key="last")):
        assert topology(Answering(binding=wanted)).frame_for_link(bind, b"last") is bind
    with_more = topology(Answering(binding=BindingAttributes(arguments={"a": 1})))
    changed = dict(decoded(with_more.frame_for_link(bind, b"last")))
    assert (changed["queue"], changed["routing_key"], changed["arguments"]) == ("", "", {"a": 1})


def test_an_empty_key_that_is_wanted_is_empty() -> None:
    """Not the queue's name, which it would mean without the name of the queue."""
    changed = up(
        Queue.Bind(queue="", exchange="s", routing_key=""),
        topology(Answering(binding=BindingAttributes(routing_key=""))),
        b"last",
    )
    assert (changed["queue"], changed["routing_key"]) == ("last", "")


def test_nobody_is_asked_where_no_queue_was_declared() -> None:
    rewriter = Prefixing()
    for key in ("", "k"):
        bind = on(1, Queue.Bind(queue="", exchange="s", routing_key=key))
        assert topology(rewriter).frame_for_link(bind, b"") is bind
    assert not rewriter.asked
    exchanges = Exchange.Bind(destination="", source="s", routing_key="k")
    assert up(exchanges, topology(rewriter), b"last")["destination"] == ""
    assert rewriter.asked == [Binding("s", "", "exchange", "k")]


# Octets

#: Values that decoding and encoding again would change: a float, a short-short, two keys in no order.
AWKWARD = b"\x01zf\x3f\x80\0\0\x01yb\x05\x01aL\0\0\0\0\0\0\0\x05"


@pytest.mark.parametrize("index", sorted(BINDING_METHODS))
def test_arguments_that_nobody_touches_keep_their_octets(index: int) -> None:
    bits = None if index == amqp.QUEUE_UNBIND else 0xFF
    fields = BindingFields(
        index=index, ticket=7, destination=b"d", source=b"s", routing_key=b"k", bits=bits, arguments=AWKWARD
    )
    octets = build_binding(1, fields)
    assert topology(Answering()).frame_for_link(octets, b"") is octets
    wanted = topology(Answering(binding=BindingAttributes(arguments={"y": None, "new": True})))
    left = AWKWARD.replace(b"\x01yb\x05", b"") + b"\x03newt\x01"
    assert wanted.frame_for_link(octets, b"") == build_binding(1, evolve(fields, arguments=left))


def test_a_declare_of_which_nothing_changes_is_the_same_frame() -> None:
    octets = frame(1, 1, b"\0\x28\0\x0a\0\x07\x01x\x05topic\xf2" + len(AWKWARD).to_bytes(4, "big") + AWKWARD)
    same = ExchangeAttributes(type="topic", durable=True, auto_delete=False, internal=False, arguments={"w": None})
    for wanted in (ExchangeAttributes(), same):
        assert topology(Answering(wanted)).frame_for_link(octets, b"") is octets


# Chains

ARGUMENTS = st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(-5, 5) | st.text(max_size=3), max_size=3)
FLAGS = st.none() | st.booleans()
EXCHANGES = st.builds(
    ExchangeAttributes, st.none() | st.sampled_from(["topic", "fanout"]), FLAGS, FLAGS, FLAGS, ARGUMENTS
)
KEYS = st.builds(BindingAttributes, st.none() | st.text(max_size=3), ARGUMENTS)
GIVEN = st.dictionaries(st.sampled_from("abcd"), st.integers(-5, 5), max_size=3)


def laid_over(arguments: dict[str, Any], wanted: Any) -> dict[str, Any]:
    for name, value in wanted.items():
        arguments.pop(name, None)
        if value is not None:
            arguments[name] = value
    return arguments


@given(GIVEN, st.lists(EXCHANGES, min_size=1, max_size=4))
def test_each_rewriter_gets_the_exchange_as_those_before_it_made_it(
    arguments: dict[str, Any], answers: list[ExchangeAttributes]
) -> None:
    """And the upstream gets what the last one makes of it."""
    rewriters = [Answering(answer) for answer in answers]
    changed = up(Exchange.Declare(exchange="x", arguments=arguments), topology(*rewriters))
    expected = ExchangeDeclare("x", arguments=arguments)
    for rewriter, answer in zip(rewriters, answers, strict=True):
        assert rewriter.asked == [expected]
        given = {
            name: value
            for name in ("type", "durable", "auto_delete", "internal")
            if (value := getattr(answer, name)) is not None
        }
        expected = evolve(expected, **given, arguments=laid_over(dict(expected.arguments), answer.arguments))
    assert changed["exchange_type"] == expected.type
    for name in ("durable", "auto_delete", "internal", "arguments"):
        assert changed[name] == getattr(expected, name)


@given(GIVEN, st.lists(KEYS, min_size=1, max_size=4), st.sampled_from(BINDINGS), st.booleans())
def test_each_rewriter_gets_the_binding_as_those_before_it_made_it(
    arguments: dict[str, Any], answers: list[BindingAttributes], method: base.Frame, unnamed: bool
) -> None:
    """However the client names the queue, the upstream's binding is the one that comes of it."""
    fields: dict[str, Any] = {**dict(method), "arguments": arguments}
    fields.pop("ticket")
    queue = method.name.startswith("Queue")
    if queue and unnamed:
        fields |= {"queue": "", "routing_key": ""}
    rewriters = [Answering(binding=answer) for answer in answers]
    changed = up(type(method)(**fields), topology(*rewriters), b"d")
    key = "d" if queue and unnamed else "k"
    expected = Binding("s", "d", "queue" if queue else "exchange", key, arguments)
    for rewriter, answer in zip(rewriters, answers, strict=True):
        assert rewriter.asked == [expected]
        wanted = expected.routing_key if answer.routing_key is None else answer.routing_key
        over = laid_over(dict(expected.arguments), answer.arguments)
        expected = evolve(expected, routing_key=wanted, arguments=over)
    assert changed["arguments"] == expected.arguments
    named = changed["queue" if queue else "destination"]
    assert named in ("", "d")
    # What an upstream makes of two empty names.
    meant = changed["routing_key"] if named or changed["routing_key"] else "d"
    assert meant == expected.routing_key


def test_those_that_rewrite_queues_only_are_not_asked() -> None:
    queues = "queue_attributes", FixedQueueAttributes(durable=True)
    alone, both = chained("b", [queues]), chained("b", [queues, ("topology", Prefixing())])
    assert alone is not None
    assert alone.topology is None
    assert both is not None
    assert both.topology is not None
    assert both.topology.rewrite_binding(Binding("s", "d"), amqp.QUEUE_BIND) == BindingAttributes(routing_key="new.")
    assert both.rewrite(QueueDeclare("q")) == QueueAttributes(durable=True)


# What does not fit


def test_a_routing_key_that_is_too_long_is_unusable() -> None:
    fits = Exchange.Bind(destination="d", source="s", routing_key="k" * 251)
    assert up(fits, topology(Prefixing()))["routing_key"] == "new." + "k" * 251
    for method in (
        Exchange.Bind(destination="d", source="s", routing_key="k" * 252),
        Queue.Unbind(queue="q", exchange="s", routing_key="k" * 252),
    ):
        text = "upstream 'b' rewrites exchanges and bindings, and its routing key for 'k+' would have 256 octets"
        with pytest.raises(UnusableMethod, match=text) as caught:
            topology(Prefixing()).frame_for_link(on(1, method), b"")
        assert caught.value.code == 406


def test_a_key_that_the_next_rewriter_makes_shorter_is_none_too_long() -> None:
    short = Answering(binding=BindingAttributes(routing_key="short"))
    method = Exchange.Bind(destination="d", source="s", routing_key="k")
    assert up(method, topology(Prefixing("n" * 300), short))["routing_key"] == "short"


GROWING: list[tuple[base.Frame, Callable[[dict[str, Any]], Answering]]] = [
    (DECLARE, lambda more: Answering(ExchangeAttributes(arguments=more))),
    *((method, lambda more: Answering(binding=BindingAttributes(arguments=more))) for method in BINDINGS),
]


@pytest.mark.parametrize(("method", "growing"), GROWING)
def test_a_method_that_grows_too_large_is_unusable(
    method: base.Frame, growing: Callable[[dict[str, Any]], Answering]
) -> None:
    more = {"more": "x" * 300}
    size = len(on(1, method)) + len(encode_table(more))
    assert len(topology(growing(more), frame_max=size).frame_for_link(on(1, method), b"")) == size
    with pytest.raises(UnusableMethod, match=f"a method of {size} octets is too large for it"):
        topology(growing(more), frame_max=size - 1).frame_for_link(on(1, method), b"")
