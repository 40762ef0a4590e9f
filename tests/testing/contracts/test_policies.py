"""`ConnectionPolicyTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from zope.interface import implementer

from tests.testing.contracts.wrong import Wrong, assert_noticed, rules_of
from trabbits.interfaces import IConnectionPolicy, IDataPolicy, Refusal, Visitor
from trabbits.testing.contracts import ConnectionPolicyTestsMixIn, PluginTestsMixIn


def case(policy: Any) -> Any:
    return type(
        "Case",
        (ConnectionPolicyTestsMixIn,),
        {"make_plugin": lambda self, reactor=None: policy(self.make_reactor() if reactor is None else reactor)},
    )


@implementer(IConnectionPolicy)
class Sound:
    """At most ten."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.inside = 0

    def admit(self, visitor: Visitor) -> Any:
        if self.inside == 10:
            return Refusal(530, "NOT_ALLOWED - ten are enough")
        self.inside += 1
        return None

    def left(self, visitor: Visitor) -> Any:
        self.inside -= 1


class SoundAndSlow(Sound):
    """Says the same a second later."""

    def admit(self, visitor: Visitor) -> Any:
        answer: Deferred[Any] = Deferred(lambda _: later.cancel())
        later = self.reactor.callLater(1, lambda: answer.callback(Sound.admit(self, visitor)))
        return answer


def come(pause: Deferred[None]) -> None:
    if not pause.called:
        pause.callback(None)


class SoundCoroutine(Sound):
    async def admit(self, visitor: Visitor) -> Any:
        pause: Deferred[None] = Deferred()
        self.reactor.callLater(1, partial(come, pause))
        await pause
        return Sound.admit(self, visitor)


@implementer(IDataPolicy)
class SoundAboutData(Sound):
    def received(self, visitor: Visitor, octets: int) -> Any:
        return octets / 1e6


class SaysTrue(Sound):
    def admit(self, visitor: Visitor) -> Any:
        return True


class OddCode(Sound):
    def admit(self, visitor: Visitor) -> Any:
        return Refusal(200, "come back later")


class NoText(Sound):
    def admit(self, visitor: Visitor) -> Any:
        return Refusal(530, "")


class NeverAnswers(Sound):
    def admit(self, visitor: Visitor) -> Any:
        return Deferred()


class Fails(Sound):
    async def admit(self, visitor: Visitor) -> Any:
        raise ValueError("no idea")


class Meddler(Sound):
    def admit(self, visitor: Visitor) -> Any:
        for value in visitor.properties.values():
            if isinstance(value, list):
                value.append("was here")


class NeverForgets(Sound):
    def left(self, visitor: Visitor) -> Any:
        pass


class LeavesSlowly(Sound):
    def left(self, visitor: Visitor) -> Any:
        super().left(visitor)
        return Deferred()


class WillNotStop(Sound):
    async def admit(self, visitor: Visitor) -> Any:
        while True:
            pause: Deferred[None] = Deferred()
            self.reactor.callLater(1, partial(come, pause))
            try:
                await pause
                return None
            except CancelledError:
                pass


class KeepsTheLock(Sound):
    """Whoever gives up takes the lock along."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.lock = DeferredLock()

    async def admit(self, visitor: Visitor) -> Any:
        await self.lock.acquire()
        pause: Deferred[None] = Deferred()
        self.reactor.callLater(0.01, partial(come, pause))
        await pause
        self.lock.release()


class Sleepy(Sound):
    def admit(self, visitor: Visitor) -> Any:
        time.sleep(0.03)


class LeavesSleepily(Sound):
    def left(self, visitor: Visitor) -> Any:
        time.sleep(0.03)


class Silent(Sound):
    def received(self, visitor: Visitor, octets: int) -> float:
        return 0


class ForEver(SoundAboutData):
    def received(self, visitor: Visitor, octets: int) -> Any:
        return float("inf")


class Before(SoundAboutData):
    def received(self, visitor: Visitor, octets: int) -> Any:
        return -1.0


class NoNumber(SoundAboutData):
    def received(self, visitor: Visitor, octets: int) -> Any:
        return None


class Counting(SoundAboutData):
    def received(self, visitor: Visitor, octets: int) -> Any:
        time.sleep(0.03)
        return 0


ANSWERS = "test_answers_are_none_or_refusals"
CANCELLED = "test_a_question_may_be_cancelled"
WRONG = [
    Wrong(ANSWERS, "answered True, neither None nor a Refusal", case(SaysTrue)),
    Wrong(ANSWERS, "refuses with 200", case(OddCode)),
    Wrong(ANSWERS, "refuses with the text ''", case(NoText)),
    Wrong(ANSWERS, "no answer within 10 s", case(NeverAnswers)),
    Wrong(ANSWERS, "failed: no idea", case(Fails)),
    Wrong("test_visitors_are_left_alone", "changes the properties", case(Meddler)),
    Wrong("test_who_has_left_is_forgotten", "10 came in the first time; after they left it is 0", case(NeverForgets)),
    Wrong("test_clients_may_leave_in_any_order", "left() answered <Deferred", case(LeavesSlowly)),
    Wrong(CANCELLED, "goes on after it was cancelled", case(WillNotStop)),
    Wrong(CANCELLED, "no answer within 10 s", case(KeepsTheLock)),
    Wrong("test_admitting_does_not_block", "admit() takes", case(Sleepy)),
    Wrong("test_admitting_does_not_block", "left() takes", case(LeavesSleepily)),
    Wrong("test_bounding_data_is_declared", "does not provide IDataPolicy", case(Silent)),
    Wrong("test_pauses_are_seconds", "answered inf", case(ForEver)),
    Wrong("test_pauses_are_seconds", "answered -1.0", case(Before)),
    Wrong("test_pauses_are_seconds", "answered None", case(NoNumber)),
    Wrong("test_measuring_does_not_block", "received() takes", case(Counting)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_noticed(wrong: Wrong) -> None:
    assert_noticed(wrong)


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(ConnectionPolicyTestsMixIn, PluginTestsMixIn)


@pytest.mark.parametrize("policy", [Sound, SoundAndSlow, SoundCoroutine, SoundAboutData])
@pytest.mark.parametrize("rule", sorted(rules_of(ConnectionPolicyTestsMixIn, PluginTestsMixIn)))
def test_what_is_right_passes(rule: str, policy: Any) -> None:
    getattr(case(policy)(), rule)()
