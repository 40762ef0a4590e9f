"""Strategies and rewriters that do what they may not: the client is told which one, and nobody blames the client.

Covered: every kind of answer that is none, in plain and fan sessions; names there and back.
Not covered here: mechanisms (test_authentication.py), policies (tests/frontend/test_admission.py), copies
(test_mirroring.py), running processes (tests/contract/test_plugins_that_fail.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp import base
from zope.interface import implementer

from tests.session.conftest import Opening
from tests.session.frames import Basic, Channel, Connection, Exchange, Queue, connection_close, on, publish
from tests.session.playbook import Playbook
from tests.session.test_renaming import Prefixed
from trabbits.interfaces import (
    Binding,
    BindingAttributes,
    ExchangeAttributes,
    ExchangeDeclare,
    IMessageRoutingStrategy,
    IPropertyRoutingStrategy,
    ITopologyRewriter,
    MessageProperties,
    QueueAttributes,
    QueueDeclare,
)
from trabbits.log_ids import LogId
from trabbits.plugins.combining import PartFailed

SESSIONS = pytest.mark.parametrize("upstreams", ["a", "ab"])
pytestmark = pytest.mark.filterwarnings("error")


class Deferred:
    """Twisted's goes by this name, too."""


class Unequal:
    """Cannot be compared, let alone be told."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise LookupError("what?")


async def later() -> str:
    return "a"


def raises() -> Any:
    raise LookupError("hunter2")


def exits() -> Any:
    sys.exit("hunter2")


def exits_in_a_part() -> Any:
    try:
        exits()
    except BaseException as error:
        raise PartFailed("strategies[0]", error) from error


def raises_in_a_part() -> Any:
    try:
        raises()
    except LookupError as error:
        raise PartFailed("strategies[0]", error) from error


def raises_by_itself() -> Any:
    error = LookupError("hunter2")
    raise error from error


class Strategy:
    """Answers what it is told to, but for exchange ``sound``."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def route(self, exchange: str, routing_key: str) -> Any:
        """See `IRoutingStrategy`."""
        return "b" if exchange == "sound" else self.answer()


@implementer(IMessageRoutingStrategy)
class StrategyByMessage(Strategy):
    """The same for every message."""

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> Any:
        """See `IMessageRoutingStrategy`."""
        return self.route(exchange, routing_key)


@implementer(IPropertyRoutingStrategy)
class StrategyByNames(StrategyByMessage):
    """The same, once for the same values of what it names."""

    header_names = ("tenant",)
    property_names = ("type",)


STRATEGIES = pytest.mark.parametrize("strategy", [Strategy, StrategyByMessage, StrategyByNames])


def no_name(kind: str) -> str:
    return f"it answered with {kind}, which is not the name of an upstream"


#: What a strategy does, and what the client is told of it.
ROUTING: list[tuple[Callable[[], Any], str]] = [
    (raises, "it raised LookupError"),
    (raises_in_a_part, "it raised LookupError"),
    (raises_by_itself, "it raised LookupError"),
    (exits, "it raised SystemExit"),
    (exits_in_a_part, "it raised SystemExit"),
    (lambda: "nowhere", "it answered with 'nowhere', which is no upstream of the configuration (a, b)"),
    (Deferred, no_name("a Deferred")),
    (lambda: ["a"], no_name("a list")),
    (lambda: b"a", no_name("a bytes")),
    (lambda: 7, no_name("an int")),
    (Unequal, no_name("an Unequal")),
]


@STRATEGIES
@pytest.mark.parametrize(("answer", "told"), ROUTING, ids=[told for _, told in ROUTING])
def test_a_strategy(opened: Opening, strategy: type[Strategy], answer: Callable[[], Any], told: str) -> None:
    play = opened("a", "b", routing=strategy(answer), routing_plugin="by_tenant")
    sound = publish(1, "k", b"sound", exchange="sound")
    play.client(sound, publish(1, "k", b"not"))
    play.expect_link("b", sound)
    text = f"INTERNAL_ERROR - routing strategy 'by_tenant' failed: {told}"
    play.expect_client(connection_close(541, text, Basic.Publish))
    assert play.logged[0][1]["plugin"] == "by_tenant"
    assert play.logged[0][1]["text"].endswith("hunter2" if "raised" in told else told)
    play.expect_log(LogId.ROUTING_FAILED, LogId.CLIENT_CLOSED)
    play.skip()
    play.client(sound)


@STRATEGIES
def test_a_strategy_that_fails_right_before_the_client_closes(opened: Opening, strategy: type[Strategy]) -> None:
    """Whoever closes first, the log says that a message went nowhere."""
    play = opened("a", "b", routing=strategy(raises))
    play.client(publish(1, "k"), publish(1, "k"), on(0, Connection.Close(200, "bye", 0, 0)))
    play.expect_log(LogId.ROUTING_FAILED, LogId.CLIENT_CLOSED)
    play.skip()


@pytest.mark.parametrize(("fails", "kind"), [(raises, "LookupError"), (exits, "SystemExit")])
@pytest.mark.parametrize("what", ["header_names", "property_names"])
def test_a_strategy_that_does_not_say_what_it_reads(
    fresh: Opening, what: str, fails: Callable[[], Any], kind: str
) -> None:
    """Looked at when a session opens; it may have been sound when the configuration was read."""

    class Mute(StrategyByNames):
        pass

    setattr(Mute, what, property(lambda _: fails()))
    play = fresh("a", "b", routing=Mute(raises), routing_plugin="by_tenant")
    play.negotiate()
    play.link_opens("a")
    play.skip()
    play.link_opens("b")
    text = f"INTERNAL_ERROR - routing strategy 'by_tenant' failed: it raised {kind}"
    play.expect_client(connection_close(541, text))
    play.expect_log(LogId.LINK_OPENED, LogId.ROUTING_FAILED, LogId.CLIENT_CLOSED)
    play.skip()


NOT = publish(1, "k", b"no")
#: Where the content header of `NOT` ends.
NOT_BODY = len(NOT) - len(b"no") - 8
#: What stands behind a publish that a strategy fails for, the rest of it included.
BEHIND = {
    "on the same channel": [NOT, publish(1, "k", b"3", exchange="sound"), on(1, Basic.Qos(prefetch_count=1))],
    "on another channel": [NOT, publish(2, "k", b"3", exchange="sound"), publish(1, "k", b"4", exchange="sound")],
    "in the middle of it": [NOT[:NOT_BODY], publish(2, "k", b"3", exchange="sound"), NOT[NOT_BODY:]],
    "the client's farewell": [NOT, on(0, Connection.Close(200, "bye", 0, 0))],
}


@STRATEGIES
@pytest.mark.parametrize("behind", BEHIND.values(), ids=list(BEHIND))
def test_nothing_behind_a_publish_that_fails_goes_anywhere(strategy: type[Strategy], behind: list[bytes]) -> None:
    """However the client's octets are cut."""
    sound = publish(1, "k", b"1", exchange="sound"), publish(2, "k", b"2", exchange="sound")
    octets = b"".join((*sound, *behind))
    first = sum(map(len, sound))
    text = "INTERNAL_ERROR - routing strategy 'by_tenant' failed: it raised LookupError"
    for at in range(first, len(octets), 1 if len(octets) - first < 120 else 2):
        routing: Any = strategy(raises)
        play = Playbook("a", "b", routing=routing, routing_plugin="by_tenant")
        play.open()
        for channel in (1, 2):
            play.open_channel(channel)
        play.session.client_received(octets[:at])
        play.session.client_received(octets[at:])
        play.do(lambda: None)
        play.expect_link("b", *sound)
        assert play.taken("a") == []
        assert connection_close(541, text, Basic.Publish) == play.taken("client")[0]
        assert [entry for entry, _ in play.logged] == [LogId.ROUTING_FAILED, LogId.CLIENT_CLOSED]


@STRATEGIES
def test_the_client_may_close_behind_a_publish_that_fails(opened: Opening, strategy: type[Strategy]) -> None:
    """In pieces: what is left of a frame is not taken for another one."""
    octets = NOT + publish(1, "k", b"3", exchange="sound") + on(0, Connection.CloseOk())
    for at in range(1, len(octets)):
        play = opened("a", "b", routing=strategy(raises))
        play.session.client_received(octets[:at])
        play.session.client_received(octets[at:])
        play.do(lambda: None)
        assert play.taken_actions()[-2:] == ["CancelTimer close", "CloseClient"]
        play.skip()


def test_a_coroutine_is_closed(opened: Opening) -> None:
    """So that nothing but our own text comes of it."""
    play = opened("a", "b", routing=Strategy(later), routing_plugin="by_tenant")
    play.client(publish(1, "k"))
    text = f"INTERNAL_ERROR - routing strategy 'by_tenant' failed: {no_name('a coroutine')}"
    play.expect_client(connection_close(541, text, Basic.Publish))
    play.skip()


class Rewriter:
    """Answers what it is told to for queue ``q``."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def rewrite(self, declare: QueueDeclare) -> Any:
        """See `IQueueAttributeRewriter`."""
        return self.answer() if declare.queue == "q" else QueueAttributes()


def wants(**attributes: Any) -> Callable[[], Any]:
    return lambda: QueueAttributes(**attributes)


#: What a rewriter does, and what the client is told of it.
REWRITING: list[tuple[Callable[[], Any], str]] = [
    (raises, "it raised LookupError"),
    (exits, "it raised SystemExit"),
    (lambda: None, "it answered with None, not with QueueAttributes"),
    (Deferred, "it answered with a Deferred, not with QueueAttributes"),
    (later, "it answered with a coroutine, not with QueueAttributes"),
    (lambda: {"durable": True}, "it answered with a dict, not with QueueAttributes"),
    (wants(durable="yes"), "its durable is a str, neither true nor false nor None"),
    (wants(exclusive=1), "its exclusive is an int, neither true nor false nor None"),
    (wants(arguments=None), "its arguments are None, not a mapping"),
    (wants(arguments=[("x-expires", 1)]), "its arguments are a list, not a mapping"),
    (wants(arguments={7: 1}), "the name of one of its arguments is an int, not a text"),
    (wants(arguments={"x" * 300: 1}), f"its argument '{'x' * 59} cannot be sent (ValueError)"),
    (wants(arguments={"x" * 300: None}), f"its argument '{'x' * 59} cannot be sent (ValueError)"),
    (wants(arguments={"x-own": object()}), "its argument 'x-own' cannot be sent (TypeError)"),
    (wants(arguments={"x-own": 2**64}), "its argument 'x-own' cannot be sent (ValueError)"),
]


@SESSIONS
@pytest.mark.parametrize(("answer", "told"), REWRITING)
def test_a_rewriter(opened: Opening, upstreams: str, answer: Callable[[], Any], told: str) -> None:
    play = opened(*upstreams, rewriters={"a": Rewriter(answer)})
    sound = on(1, Queue.Declare(queue="sound", nowait=True))
    play.client(sound, on(1, Queue.Declare(queue="q")), sound)
    play.expect_links(sound)
    text = f"INTERNAL_ERROR - rewriter 'Rewriter' of upstream 'a' failed: {told}"
    play.expect_client(connection_close(541, text, Queue.Declare))
    (_, fields), _ = play.logged
    assert {**fields, "text": ""} == {
        "plugin": "Rewriter",
        "upstream": "a",
        "subject": "queue q",
        "queue": "q",
        "text": "",
    }
    if told.startswith("it raised"):
        assert fields["text"].startswith(f"{told.removeprefix('it raised ')} in test_plugins_that_fail.py, line ")
        assert fields["text"].endswith(": hunter2")
    else:
        assert fields["text"] == told
    play.expect_log(LogId.REWRITER_FAILED, LogId.CLIENT_CLOSED)
    play.skip()


def test_everything_that_may_be_wanted_is_sent(opened: Opening) -> None:
    """The other side of that table: what the documentation allows."""
    wanted = {"s": "x", "t": True, "i": 2**40, "d": 0.5, "A": [1, {"deep": []}], "b": b"\xff", "T": datetime.now(UTC)}
    play = opened("a", rewriters={"a": Rewriter(wants(durable=True, arguments={**wanted, "gone": None}))})
    play.client(on(1, Queue.Declare(queue="q", arguments={"gone": 1})))
    (declare,) = play.taken("a")
    assert b"gone" not in declare
    assert b"deep" in declare


@implementer(ITopologyRewriter)
class Topology(Rewriter):
    """Answers what it is told to for exchange ``x``."""

    def rewrite_exchange(self, declare: ExchangeDeclare) -> Any:
        """See `ITopologyRewriter`."""
        return self.answer() if declare.exchange == "x" else ExchangeAttributes()

    def rewrite_binding(self, binding: Binding) -> Any:
        """See `ITopologyRewriter`."""
        return self.answer() if binding.source == "x" else BindingAttributes()


SOUND = Exchange.Declare(exchange="sound", nowait=True), Queue.Unbind(queue="q", exchange="sound", routing_key="k")
#: Methods that are rewritten, and what of them is logged.
TOPOLOGY: list[tuple[base.Frame, dict[str, str]]] = [
    (Exchange.Declare(exchange="x"), {"subject": "exchange x", "exchange": "x"}),
    *(
        (
            method(queue="q", exchange="x", routing_key="k"),
            {"subject": "the binding of queue q to exchange x", "exchange": "x", "destination": "q"},
        )
        for method in (Queue.Bind, Queue.Unbind)
    ),
    *(
        (
            method(destination="y", source="x", routing_key="k"),
            {"subject": "the binding of exchange y to exchange x", "exchange": "x", "destination": "y"},
        )
        for method in (Exchange.Bind, Exchange.Unbind)
    ),
]


def wants_exchange(**attributes: Any) -> Callable[[], Any]:
    return lambda: ExchangeAttributes(**attributes)


def wants_binding(**attributes: Any) -> Callable[[], Any]:
    return lambda: BindingAttributes(**attributes)


#: What a rewriter does with any of them, or with a binding or a declare only; and what the client is told of it.
TOPOLOGY_ANSWERS: list[tuple[Callable[[], Any], str]] = [
    (raises, "it raised LookupError"),
    (lambda: None, "it answered with None, not with {}"),
    (Deferred, "it answered with a Deferred, not with {}"),
    (later, "it answered with a coroutine, not with {}"),
    (wants(durable=True), "it answered with a QueueAttributes, not with {}"),
]
EXCHANGE_ANSWERS: list[tuple[Callable[[], Any], str]] = [
    (BindingAttributes, "it answered with a BindingAttributes, not with ExchangeAttributes"),
    (wants_exchange(type=b"topic"), "its type is a bytes, not a text"),
    (wants_exchange(type=""), "its type has 0 octets, 1 to 255 are possible"),
    (wants_exchange(type="t" * 256), "its type has 256 octets, 1 to 255 are possible"),
    (wants_exchange(type="\ud800"), "its type is no UTF-8"),
    (wants_exchange(internal=0), "its internal is an int, neither true nor false nor None"),
    (wants_exchange(arguments=None), "its arguments are None, not a mapping"),
    (wants_exchange(arguments={"x-own": 2**64}), "its argument 'x-own' cannot be sent (ValueError)"),
]
BINDING_ANSWERS: list[tuple[Callable[[], Any], str]] = [
    (ExchangeAttributes, "it answered with an ExchangeAttributes, not with BindingAttributes"),
    (wants_binding(routing_key=7), "its routing_key is an int, not a text"),
    (wants_binding(routing_key="\ud800"), "its routing_key is no UTF-8"),
    (wants_binding(arguments={7: 1}), "the name of one of its arguments is an int, not a text"),
    (wants_binding(arguments={"x": object()}), "its argument 'x' cannot be sent (TypeError)"),
]
TOPOLOGY_CASES = [
    *((method, logged, *each) for method, logged in TOPOLOGY for each in TOPOLOGY_ANSWERS),
    *((*TOPOLOGY[0], *each) for each in EXCHANGE_ANSWERS),
    *((*TOPOLOGY[1], *each) for each in BINDING_ANSWERS),
]


@SESSIONS
@pytest.mark.parametrize(("method", "logged", "answer", "told"), TOPOLOGY_CASES)
def test_a_topology_rewriter(
    opened: Opening, upstreams: str, method: base.Frame, logged: dict[str, str], answer: Callable[[], Any], told: str
) -> None:
    play = opened(*upstreams, rewriters={"a": Topology(answer)})
    sound = on(1, *SOUND)
    play.client(sound, on(1, method), sound)
    play.expect_links(sound)
    told = told.format("ExchangeAttributes" if logged["subject"] == "exchange x" else "BindingAttributes")
    text = f"INTERNAL_ERROR - rewriter 'Topology' of upstream 'a' failed: {told}"
    play.expect_client(connection_close(541, text, type(method)))
    (_, fields), _ = play.logged
    assert {**fields, "text": ""} == {"plugin": "Topology", "upstream": "a", "text": "", **logged}
    assert fields["text"].endswith("hunter2" if "raised" in told else told)
    play.expect_log(LogId.REWRITER_FAILED, LogId.CLIENT_CLOSED)
    play.skip()


class Renamer(Prefixed):
    """Answers what it is told to for queue ``q``, there and back."""

    def __init__(self, renamed: Callable[[], Any] | None = None, original: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self._answers = renamed, original

    def renamed(self, queue: str) -> Any:
        """See `IQueueRenamer`."""
        answer = self._answers[0]
        return answer() if answer and queue == "q" else super().renamed(queue)

    def original(self, queue: str) -> Any:
        """See `IQueueRenamer`."""
        answer = self._answers[1]
        return answer() if answer and queue.endswith("q") else super().original(queue)


RENAMING: list[tuple[Callable[[], Any], str]] = [
    (raises, "it raised LookupError"),
    (exits, "it raised SystemExit"),
    (lambda: None, "it answered with None, not with the name of a queue"),
    (Deferred, "it answered with a Deferred, not with the name of a queue"),
    (lambda: "\ud800", "it answered with a name of a queue that is no UTF-8"),
]


def ended_by_renamer(play: Playbook, told: str) -> None:
    text = f"INTERNAL_ERROR - rewriter 'Renamer' of upstream 'a' failed: {told}"
    assert play.taken("client")[-1] == connection_close(541, text)
    assert LogId.REWRITER_FAILED in [entry for entry, _ in play.logged]
    blamed = {LogId.CLIENT_VIOLATION, LogId.LINK_VIOLATION, LogId.INTERNAL_ERROR}
    assert blamed.isdisjoint(entry for entry, _ in play.logged)
    play.skip()


@SESSIONS
@pytest.mark.parametrize(("answer", "told"), RENAMING)
def test_a_renamer(opened: Opening, upstreams: str, answer: Callable[[], Any], told: str) -> None:
    for renamer in (Renamer(renamed=answer), Renamer(original=answer)):
        play = opened(*upstreams, rewriters={"a": renamer})
        play.client(on(1, Queue.Purge(queue="q")))
        ended_by_renamer(play, told)


@SESSIONS
def test_a_renamer_that_fails_for_what_a_link_says(opened: Opening, upstreams: str) -> None:
    """It is neither the client's nor the upstream's fault then."""
    play = opened(*upstreams, rewriters={"a": Renamer(original=raises)})
    play.client(on(1, Queue.Declare()))
    play.skip()
    play.link("a", on(1, Queue.DeclareOk("theirs.q", 0, 0)))
    ended_by_renamer(play, "it raised LookupError")
    # What still comes is not looked at.
    play.link("a", on(1, Queue.DeclareOk("theirs.q", 0, 0)), on(1, Channel.CloseOk()))
    play.expect_nothing()
