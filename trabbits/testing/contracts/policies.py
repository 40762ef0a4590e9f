"""The contract of connection policies.

Lives here: `ConnectionPolicyTestsMixIn`.  Must not know: whom any policy lets in.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from inspect import isawaitable
from itertools import count
from typing import Any, ClassVar, Final

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface.interface import InterfaceClass

from trabbits.interfaces import IConnectionPolicy, IDataPolicy, Refusal, Visitor
from trabbits.testing.contracts.plugin import PluginTestsMixIn
from trabbits.testing.contracts.rules import ODD_TEXTS, ODD_VALUES, OpenMapping, require, require_prompt

_sessions = count(1)
#: What a broker may close a connection with (AMQP 0-9-1 section 1.1, and RabbitMQ's uses of it).
CLOSE_CODES: Final = frozenset({320, 402, 403, 404, 405, 406, 501, 502, 503, 504, 505, 506, 530, 540, 541})
#: Clients that come together.
_CROWD: Final = 40


class ConnectionPolicyTestsMixIn(PluginTestsMixIn):
    """For what provides `IConnectionPolicy`, `IDataPolicy` included.

    A policy that answers with Deferreds or coroutines is waited for: the time of the test's reactor passes, up to
    `patience` seconds of it.  What the policy asks of others has to be answered by then; override `make_plugin` or
    `make_reactor` for that.
    """

    interface: ClassVar[InterfaceClass] = IConnectionPolicy
    #: Clients that it has rules about.
    visitors: Sequence[Visitor] = ()
    #: Seconds of the reactor's time that an answer may take; trabbits has `policy_timeout` for it.
    patience: float = 10.0
    #: Seconds after which nothing of what was before counts any more, once all clients have left; None: it never ends.
    forgets_after: float | None = 3600.0

    def test_answers_are_none_or_refusals(self) -> None:
        """Whatever a client says about itself, it is admitted with None or gets a `Refusal` that can be sent."""
        reactor = self.make_reactor()
        policy = self.make_plugin(reactor)
        for visitor in self._all_visitors():
            answer = self.answer(reactor, policy.admit(visitor))
            if answer is None:
                policy.left(visitor)
                continue
            asked = f"admit({visitor!r:.200})"
            require(isinstance(answer, Refusal), f"{asked} answered {answer!r:.200}, neither None nor a Refusal")
            code, text = answer.code, answer.text
            require(code in CLOSE_CODES, f"{asked} refuses with {code!r}, with which no connection is closed")
            require(isinstance(text, str) and bool(text), f"{asked} refuses with the text {text!r}")

    def test_visitors_are_left_alone(self) -> None:
        """What a client said about itself is what the upstreams are told, too."""
        reactor = self.make_reactor()
        policy = self.make_plugin(reactor)
        for visitor in self._all_visitors():
            given = OpenMapping(visitor.properties)
            guest = evolve(visitor, properties=given)
            if self.answer(reactor, policy.admit(guest)) is None:
                policy.left(guest)
            require(given.unchanged, f"it changes the properties of {visitor!r:.200}")

    def test_who_has_left_is_forgotten(self) -> None:
        """When all clients have left, and some time has passed, as many may come as the first time, again and again."""
        if self.forgets_after is None:
            return
        reactor = self.make_reactor()
        policy = self.make_plugin(reactor)
        first = self._crowd(reactor, policy)
        for _ in range(3):
            reactor.advance(self.forgets_after)
            again = self._crowd(reactor, policy)
            text = f"of {len(first)} clients {sum(first)} came in the first time; after they left it is {sum(again)}"
            require(again == first, text)

    def test_clients_may_leave_in_any_order(self) -> None:
        """`left` is told once of each that was admitted; it answers nothing and never fails."""
        reactor = self.make_reactor()
        policy = self.make_plugin(reactor)
        for step in (1, -1, 3):
            inside = [guest for guest in self._guests() if self.answer(reactor, policy.admit(guest)) is None]
            for start in range(abs(step)):
                for guest in inside[start::step] if step > 0 else reversed(inside):
                    answer = policy.left(guest)
                    require(answer is None, f"left() answered {answer!r:.200}; nobody waits for that")

    def test_a_question_may_be_cancelled(self) -> None:
        """A client that goes cancels the answer: it ends then, and those who come later get theirs."""
        reactor = self.make_reactor()
        policy = self.make_plugin(reactor)
        for guest in self._guests():
            answer = policy.admit(guest)
            if not isawaitable(answer):
                if answer is None:
                    policy.left(guest)
                continue
            waiting = _deferred(answer)
            came: list[object] = []
            waiting.addBoth(came.append)
            had_come = bool(came)
            waiting.cancel()
            require(bool(came), f"admit({guest!r:.200}) goes on after it was cancelled")
            if had_come and came == [None]:
                policy.left(guest)
        reactor.advance(self.patience)
        last = self._visitor()
        if self.answer(reactor, policy.admit(last)) is None:
            policy.left(last)

    def test_admitting_does_not_block(self) -> None:
        """Every call is over at once; what takes time is awaited."""
        reactor = self.make_reactor()
        policy = self.make_plugin(reactor)
        guests = list(self._guests())[:5]
        answers: list[object] = []

        def admit(guest: Visitor) -> None:
            answers.append(policy.admit(guest))

        require_prompt("admit()", self.time_limit, [partial(admit, each) for each in guests])
        inside = [guest for guest, answer in zip(guests, answers, strict=True) if self.answer(reactor, answer) is None]
        require_prompt("left()", self.time_limit, [partial(policy.left, each) for each in inside] or [lambda: None])

    def test_bounding_data_is_declared(self) -> None:
        """trabbits tells of octets only policies that provide `IDataPolicy`."""
        policy = self.make_plugin(self.make_reactor())
        has_it = callable(getattr(policy, "received", None))
        require(IDataPolicy.providedBy(policy) or not has_it, "it has received() but does not provide IDataPolicy")

    def test_pauses_are_seconds(self) -> None:
        """For any number of octets, in any rhythm, the answer is a finite number of seconds, 0 or more."""
        for reactor, policy in self._data_policies():
            for guest in self._guests():
                if self.answer(reactor, policy.admit(guest)) is not None:
                    continue
                for octets in (1, 65536, 1, 65536, 65536):
                    seconds = policy.received(guest, octets)
                    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
                    good = number and 0 <= seconds < math.inf
                    require(good, f"received({octets}) answered {seconds!r:.100}, which is no number of seconds")
                    reactor.advance(0.5)
                policy.left(guest)

    def test_measuring_does_not_block(self) -> None:
        """It is told of every read of a socket."""
        for reactor, policy in self._data_policies():
            guest = self._visitor()
            if self.answer(reactor, policy.admit(guest)) is None:
                calls: list[Callable[[], object]] = [partial(policy.received, guest, 65536)] * 5
                require_prompt("received()", self.time_limit, calls)

    def answer(self, reactor: Any, answer: Any) -> Any:
        """What `answer` is in the end, after as much time of `reactor` as it takes."""
        if not isawaitable(answer):
            return answer
        came: list[object] = []
        _deferred(answer).addBoth(came.append)
        steps = 100
        for _ in range(steps):
            if came:
                break
            reactor.advance(self.patience / steps)
        require(bool(came), f"admit() has no answer within {self.patience:g} s")
        result = came[0]
        if isinstance(result, Failure):
            raise AssertionError(f"admit() failed: {result.getErrorMessage()}") from result.value
        return result

    def _crowd(self, reactor: Any, policy: Any) -> list[bool]:
        """Which of many clients are let in; all have left when this returns."""
        guests = list(self._guests())
        admitted = [self.answer(reactor, policy.admit(guest)) is None for guest in guests]
        for guest, inside in zip(guests, admitted, strict=True):
            if inside:
                policy.left(guest)
        return admitted

    def _data_policies(self) -> Iterator[tuple[Any, Any]]:
        """The policy with its reactor, if it is one that bounds data."""
        reactor = self.make_reactor()
        policy = self.make_plugin(reactor)
        if IDataPolicy.providedBy(policy):
            yield reactor, policy

    def _visitor(self, like: Visitor | None = None) -> Visitor:
        session = f"contract-{next(_sessions)}"
        if like is not None:
            return evolve(like, session=session)
        return Visitor(session, "192.0.2.1:50000", "guest", "/", {"product": "contract"})

    def _guests(self) -> Iterator[Visitor]:
        """Clients like those that it has rules about, or like any other, each in a session of its own."""
        kinds: Sequence[Visitor | None] = self.visitors or [None]
        for number in range(_CROWD):
            yield self._visitor(kinds[number % len(kinds)])

    def _all_visitors(self) -> Iterator[Visitor]:
        for like in self.visitors:
            yield self._visitor(like)
        usual = self._visitor()
        for text in ODD_TEXTS:
            yield self._visitor(evolve(usual, user=text))
            yield self._visitor(evolve(usual, virtual_host=text))
        yield self._visitor(evolve(usual, address="[2001:db8::1]:50000", properties={}))
        for name in ("product", "connection_name", "capabilities", "x"):
            for value in ODD_VALUES:
                yield self._visitor(evolve(usual, properties=OpenMapping({name: value})))


def _deferred(answer: Awaitable[Any]) -> Deferred[Any]:
    if isinstance(answer, Deferred):
        return answer
    return Deferred.fromCoroutine(_result_of(answer))


async def _result_of(answer: Awaitable[Any]) -> Any:
    return await answer
