"""Connection policies around a session: who is asked when, what their answers do, and what they break if they break."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator
from typing import Any

import pytest
from pamqp import commands
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.frontend.doubles import Surroundings
from trabbits.interfaces import IConnectionPolicy, IDataPolicy, Refusal, Visitor
from trabbits.log_ids import LogId
from trabbits.upstream.errors import LinkRefused

NO = Refusal(530, "NOT_ALLOWED - not today")


@implementer(IConnectionPolicy)
class Policy:
    """Answers what `answer` gives; `told` is what it was asked and told."""

    def __init__(self, answer: Callable[[], Any] = lambda: None) -> None:
        self.answer = answer
        self.told: list[str] = []
        self.visitors: list[Visitor] = []

    def admit(self, visitor: Visitor) -> Any:
        self.told.append("admit")
        self.visitors.append(visitor)
        return self.answer()

    def left(self, visitor: Visitor) -> None:
        self.told.append("left")
        assert any(visitor is each for each in self.visitors)


@implementer(IDataPolicy)
class DataPolicy(Policy):
    """Holds a client back for `seconds` after each read."""

    seconds: Any = 0.0
    octets = 0

    def received(self, visitor: Visitor, octets: int) -> Any:
        assert visitor is self.visitors[-1]
        self.octets += octets
        return self.seconds() if callable(self.seconds) else self.seconds


def around(*policies: IConnectionPolicy, **options: Any) -> Surroundings:
    named = [(f"policy-{number}", policy) for number, policy in enumerate(policies)]
    return Surroundings(policies=named, **options)


class Neighbours:
    """A client that is there already and one that comes later, who meet the same `policies`."""

    def __init__(self, *policies: Policy) -> None:
        self._policies = policies
        self._early = around(*policies)
        (self._link,) = self._early.open()
        self._early.open_channel(self._link)
        for policy in policies:
            assert policy.told == ["admit"]
            policy.told.clear()

    def assert_undisturbed(self) -> None:
        """The one goes on, the other comes in."""
        self._early.send(commands.Queue.Declare(queue="q"), channel=1)
        assert self._link.sent
        self._link.say(commands.Queue.DeclareOk("q", 0, 0))
        assert [method.name for method in self._early.heard()] == ["Queue.DeclareOk"]
        late = around(*self._policies)
        links = [*late.open(), self._link]
        for surroundings, link in zip((late, self._early), links, strict=True):
            surroundings.lose_client()
            link.gone.callback(None)
            surroundings.assert_over()


def raises() -> None:
    raise LookupError("what?")


def exits(*_: object) -> None:
    sys.exit("what?")


async def exits_later() -> None:
    exits()


class Untold:
    """Nobody can say what it is."""

    def __repr__(self) -> str:
        exits()
        return ""


async def later(wait: Deferred[Any]) -> Any:
    return await wait


class Strange:
    """Something that can be awaited, and is neither Deferred nor coroutine."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __await__(self) -> Generator[Any, None, Any]:
        return succeed(self._answer).__await__()


class Wild(Deferred[Any]):
    def cancel(self) -> None:
        raise RuntimeError("not me")


class Wilder(Deferred[Any]):
    def cancel(self) -> None:
        exits()


def refused_with(surroundings: Surroundings) -> tuple[int, str]:
    (close,) = surroundings.heard()
    assert (close.class_id, close.method_id) == (10, 40)
    assert surroundings.upstreams["a"].requests == []
    return close.reply_code, close.reply_text


def test_the_doubles_are_policies() -> None:
    verifyObject(IConnectionPolicy, Policy())
    verifyObject(IDataPolicy, DataPolicy())


@pytest.mark.parametrize(
    "answer", [lambda: None, lambda: succeed(None), lambda: later(succeed(None)), lambda: Strange(None)]
)
def test_all_say_yes_at_once(answer: Callable[[], Any]) -> None:
    policies = [Policy(answer), Policy(answer), Policy(answer)]
    surroundings = around(*policies)
    (link,) = surroundings.open()
    assert [each.told for each in policies] == [["admit"]] * 3
    visitor = policies[0].visitors[0]
    assert (visitor.user, visitor.virtual_host, visitor.address) == ("guest", "/", "192.0.2.1:50000")
    surroundings.lose_client()
    assert [each.told for each in policies] == [["admit", "left"]] * 3
    link.gone.callback(None)
    surroundings.assert_over()


@pytest.mark.parametrize("answer", [lambda: NO, lambda: succeed(NO), lambda: later(succeed(NO)), lambda: Strange(NO)])
def test_one_says_no_at_once(answer: Callable[[], Any]) -> None:
    """Those behind it are not asked, those before it are told at once that the client is not there."""
    first, second, third = policies = [Policy(), Policy(answer), Policy()]
    surroundings = around(*policies).connect_to_policies()
    assert refused_with(surroundings) == (530, "NOT_ALLOWED - not today")
    assert (first.told, second.told, third.told) == (["admit", "left"], ["admit"], [])
    (fields,) = [fields for entry, fields in surroundings.log if entry is LogId.POLICY_REFUSED]
    assert (fields["plugin"], fields["user"]) == ("policy-1", "guest")
    surroundings.send(commands.Connection.CloseOk())
    surroundings.lose_client()
    assert first.told == ["admit", "left"]
    surroundings.assert_over()


@pytest.mark.parametrize("result", [None, NO])
def test_answers_that_take_their_time(result: Refusal | None) -> None:
    waits: list[Deferred[Any]] = [Deferred(), Deferred()]
    first, second = Policy(lambda: waits[0]), Policy(lambda: later(waits[1]))
    surroundings = around(first, second).connect_to_policies()
    assert second.told == []
    surroundings.clock.advance(4)
    waits[0].callback(None)
    assert second.told == ["admit"]
    # Each has its own time.
    surroundings.clock.advance(4)
    assert surroundings.heard() == []
    waits[1].callback(result)
    if result is None:
        link = surroundings.upstreams["a"].opens()
        assert [method.name for method in surroundings.heard()] == ["Connection.OpenOk"]
        assert (first.told, second.told) == (["admit"], ["admit"])
        surroundings.lose_client()
        link.gone.callback(None)
    else:
        assert refused_with(surroundings) == (530, "NOT_ALLOWED - not today")
        assert (first.told, second.told) == (["admit", "left"], ["admit"])
        surroundings.lose_client()
    surroundings.assert_over()


@pytest.mark.parametrize(
    "forever", [Deferred, lambda: later(Deferred()), lambda: Deferred(lambda _: None), Wild, Wilder]
)
def test_an_answer_that_never_comes(forever: Callable[[], Any]) -> None:
    """The client gets 541, the log names the plugin, and others do not wait: neither meanwhile nor afterwards."""
    first, policy = Policy(), Policy()
    meanwhile, afterwards = Neighbours(first, policy), Neighbours(first, policy)
    policy.answer = forever
    surroundings = around(first, policy, policy_timeout=2.5).connect_to_policies()
    surroundings.clock.advance(2.4)
    assert surroundings.heard() == []
    policy.answer = lambda: None
    meanwhile.assert_undisturbed()
    for each in (first, policy):
        assert each.told == ["admit", "admit", "left", "left"]
        each.told[1:] = []
    surroundings.clock.advance(0.2)
    assert refused_with(surroundings) == (541, "INTERNAL_ERROR - policy 'policy-1' did not answer within 2.5 s")
    (fields, *_) = [fields for entry, fields in surroundings.log if entry is LogId.POLICY_FAILED]
    assert fields["plugin"] == "policy-1"
    assert (first.told, policy.told) == (["admit", "left"], ["admit"])
    surroundings.lose_client()
    surroundings.assert_over()
    afterwards.assert_undisturbed()


def test_one_that_swallows_its_cancellation() -> None:
    """A coroutine that goes on waiting: nobody waits for it."""

    async def stubborn() -> None:
        try:
            await Deferred()
        except CancelledError:
            await wait

    wait: Deferred[None] = Deferred()
    surroundings = around(Policy(stubborn)).connect_to_policies()
    surroundings.clock.advance(5.1)
    assert refused_with(surroundings)[0] == 541
    wait.callback(None)
    assert surroundings.upstreams["a"].requests == []
    surroundings.lose_client()
    surroundings.assert_over()


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (raises, "LookupError"),
        (lambda: fail(LookupError("what?")), "LookupError"),
        (exits, "SystemExit: what?"),
        (exits_later, "SystemExit: what?"),
        (lambda: succeed(None).addCallback(exits), "SystemExit: what?"),
        (Untold, "TypeError: it answered an Untold, neither None nor a Refusal"),
        (lambda: True, "TypeError"),
        (lambda: succeed("no"), "TypeError"),
        (lambda: Refusal(70000, "x"), "TypeError"),
        (lambda: Refusal(530, b"x"), "TypeError"),  # type: ignore[arg-type]
    ],
)
def test_one_that_fails(answer: Callable[[], Any], named: str) -> None:
    """The client gets 541, the log names the plugin, another client comes in by another answer."""
    first, failing = Policy(), Policy()
    neighbours = Neighbours(first, failing)
    failing.answer = answer
    surroundings = around(first, failing).connect_to_policies()
    code, text = refused_with(surroundings)
    assert code == 541
    assert "'policy-1'" in text
    (fields,) = [fields for entry, fields in surroundings.log if entry is LogId.POLICY_FAILED]
    assert fields["plugin"] == "policy-1"
    assert named in fields["text"]
    assert (first.told, failing.told) == (["admit", "left"], ["admit"])
    surroundings.lose_client()
    surroundings.assert_over()
    failing.answer = lambda: None
    neighbours.assert_undisturbed()


@pytest.mark.parametrize("fails", [raises, exits])
def test_left_that_raises_keeps_others_from_nothing(fails: Callable[[], None]) -> None:
    class Bad(Policy):
        def left(self, visitor: Visitor) -> None:
            fails()

    last = Policy()
    surroundings = around(Bad(), last)
    (link,) = surroundings.open()
    surroundings.lose_client()
    link.gone.callback(None)
    assert last.told == ["admit", "left"]
    assert LogId.POLICY_FAILED in surroundings.entries()
    surroundings.assert_over()


@pytest.mark.parametrize("how", ["vanishes", "closes", "is closed", "is dropped"])
def test_a_client_that_goes_while_policies_think(how: str) -> None:
    """The answer is cancelled; who admitted it hears that it left."""
    cancelled: list[Any] = []
    first, second = Policy(), Policy(lambda: Deferred(cancelled.append))
    surroundings = around(first, second).connect_to_policies()
    if how == "closes":
        surroundings.send(commands.Connection.Close(200, "bye", 0, 0))
    elif how == "is closed":
        surroundings.runner.close(320, "CONNECTION_FORCED - bye")
    elif how == "is dropped":
        surroundings.runner.abort()
    else:
        surroundings.lose_client()
    assert len(cancelled) == 1
    surroundings.lose_client()
    assert (first.told, second.told) == (["admit", "left"], ["admit"])
    surroundings.assert_over()


def test_open_and_close_in_one_breath() -> None:
    policy = Policy()
    surroundings = around(policy)
    surroundings.log_in()
    surroundings.send(
        commands.Connection.TuneOk(100, 131072, 0),
        commands.Connection.Open("/"),
        commands.Connection.Close(200, "bye", 0, 0),
    )
    surroundings.lose_client()
    assert policy.told == ["admit", "left"]
    surroundings.assert_over()


def test_a_broker_that_refuses_the_client_that_policies_admitted() -> None:
    policy = Policy()
    surroundings = around(policy).connect()
    surroundings.upstreams["a"].attempts[0].errback(LinkRefused("a", "a:1", 530, "NOT_ALLOWED - no", 10, 40))
    surroundings.lose_client()
    assert policy.told == ["admit", "left"]
    surroundings.assert_over()


class TestMetering:
    def test_costs_nothing_where_there_is_none(self) -> None:
        """Octets go the same way as without policies."""
        for surroundings in (Surroundings(), around(Policy())):
            assert surroundings.runner.receive == surroundings.runner.client_received

    def test_holds_a_client_back_as_long_as_it_says(self) -> None:
        policy = DataPolicy()
        surroundings = around(policy)
        (link,) = surroundings.open()
        surroundings.open_channel(link)
        before = policy.octets
        policy.seconds = 3.0
        surroundings.send(commands.Basic.Qos(prefetch_count=7), channel=1)
        assert policy.octets - before == 19
        assert link.sent
        assert not surroundings.transport.reading
        assert not surroundings.session.client_reading
        surroundings.clock.advance(2.9)
        assert not surroundings.transport.reading
        surroundings.clock.advance(0.2)
        assert surroundings.transport.reading
        surroundings.lose_client()
        link.gone.callback(None)
        surroundings.assert_over()

    def test_the_longest_wait_counts(self) -> None:
        policies = [DataPolicy(), DataPolicy(), DataPolicy()]
        surroundings = around(*policies)
        (link,) = surroundings.open()
        policies[0].seconds, policies[1].seconds = 1.0, 2.0
        surroundings.send(commands.Channel.Open(), channel=1)
        policies[2].seconds = 4.0
        surroundings.send(commands.Channel.Open(), channel=2)
        surroundings.clock.advance(3.9)
        assert not surroundings.transport.reading
        surroundings.clock.advance(0.2)
        assert surroundings.transport.reading
        surroundings.lose_client()
        link.gone.callback(None)
        surroundings.assert_over()

    @pytest.mark.parametrize("how", ["the client vanishes", "a link breaks", "an operator"])
    def test_an_end_waits_for_nothing(self, how: str) -> None:
        policy = DataPolicy()
        surroundings = around(policy)
        (link,) = surroundings.open()
        policy.seconds = 100.0
        surroundings.send(commands.Channel.Open(), channel=1)
        assert not surroundings.transport.reading
        if how == "a link breaks":
            link.events.link_lost("gone")
        elif how == "an operator":
            surroundings.runner.close(320, "CONNECTION_FORCED - bye")
            link.gone.callback(None)
        else:
            surroundings.lose_client()
            link.gone.callback(None)
            surroundings.assert_over()
            return
        assert surroundings.transport.reading
        surroundings.send(commands.Connection.CloseOk())
        assert surroundings.transport.half_closed
        surroundings.lose_client()
        surroundings.clock.advance(1)
        surroundings.assert_over()

    @pytest.mark.parametrize("answer", [-1.0, math.nan, math.inf, "soon", None, raises, exits])
    def test_nonsense_ends_the_session(self, answer: Any) -> None:
        policy = DataPolicy()
        surroundings = around(policy)
        (link,) = surroundings.open()
        policy.seconds = answer
        surroundings.send(commands.Channel.Open(), channel=1)
        (close,) = surroundings.heard()
        assert close.reply_code == 541
        assert "'policy-0'" in close.reply_text
        assert LogId.POLICY_FAILED in surroundings.entries()
        surroundings.lose_client()
        link.gone.callback(None)
        assert policy.told == ["admit", "left"]
        surroundings.assert_over()
