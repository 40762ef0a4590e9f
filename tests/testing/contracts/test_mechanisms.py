"""`AuthMechanismTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import time
from typing import Any

import pytest
from zope.interface import implementer

from tests.testing.contracts.wrong import Wrong, assert_noticed, making, rules_of
from trabbits.interfaces import Challenge, Credentials, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal
from trabbits.testing.contracts import AuthMechanismTestsMixIn, PluginTestsMixIn

case = making(AuthMechanismTestsMixIn, conversations=[[b"ann", b"42"], [b"\0ann"]])
REFUSED = Refusal(403, "ACCESS_REFUSED - no")


@implementer(IAuthExchange)
class Exchange:
    """Two steps: a name, then a number."""

    def __init__(self) -> None:
        self.name = ""

    def respond(self, response: bytes) -> Any:
        if self.name:
            return Identity(self.name, verified=True) if response == b"42" else REFUSED
        if response.startswith(b"\0"):
            return Identity("ann", Credentials("ann", "pass"), {"new": Credentials("a", "b", "AMQPLAIN")})
        self.name = "ann" if response == b"ann" else "nobody"
        return Challenge(b"the answer?")


@implementer(IAuthMechanism)
class Sound:
    name: Any = "RIDDLE-1"
    priority: Any = 5
    needs_tls: Any = False
    verifies: Any = True

    def begin(self, peer: Peer) -> Any:
        return Exchange()


def answering(answer: Any, **attributes: Any) -> Any:
    """A mechanism that has one answer, made from the response, for everything."""

    @implementer(IAuthExchange)
    class Simple:
        def respond(self, response: bytes) -> Any:
            return answer(response)

    return case(type("Simple", (Sound,), {"begin": lambda self, peer: Simple(), **attributes}))


class Hollow(Sound):
    def begin(self, peer: Peer) -> Any:
        return object()


class OneForAll(Sound):
    """All clients share an exchange."""

    def __init__(self) -> None:
        self.exchange = Exchange()

    def begin(self, peer: Peer) -> Any:
        if peer.tls and not self.exchange.name:
            return self.exchange
        self.exchange.name = ""
        return self.exchange


class SlowToBegin(Sound):
    def begin(self, peer: Peer) -> Any:
        time.sleep(0.03)
        return Exchange()


def slowly(response: bytes) -> Any:
    time.sleep(0.03)
    return REFUSED


ATTRIBUTES = "test_its_attributes_are_sound"
ANSWERS = "test_answers_can_be_used"
BLOCKING = "test_answering_does_not_block"
WRONG = [
    Wrong(ATTRIBUTES, "its name is 'riddle'", case(type("W", (Sound,), {"name": "riddle"}))),
    Wrong(ATTRIBUTES, "its priority is True", case(type("W", (Sound,), {"priority": True}))),
    Wrong(ATTRIBUTES, "its verifies is 1", case(type("W", (Sound,), {"verifies": 1}))),
    Wrong("test_it_begins_exchanges", "no exchange", case(Hollow)),
    Wrong(ANSWERS, "it answers NoneType", answering(lambda _: None)),
    Wrong(ANSWERS, "challenge is not octets", answering(lambda _: Challenge(bytes(4081)))),
    Wrong(ANSWERS, "more than 10 challenges", answering(lambda _: Challenge(b"again"))),
    Wrong(ANSWERS, "it refuses with 200", answering(lambda _: Refusal(200, "no"))),
    Wrong(ANSWERS, "without a text", answering(lambda _: Refusal(403, ""))),
    Wrong(ANSWERS, "the user is bytes", answering(lambda _: Identity(b"ann"))),  # type: ignore[arg-type]  # that is it
    Wrong(ANSWERS, "verified is 1", answering(lambda _: Identity("a", verified=1))),  # type: ignore[arg-type]  # too
    Wrong(ANSWERS, "verifies none", answering(lambda _: Identity("a", verified=True), verifies=False)),
    Wrong(ANSWERS, "another user's", answering(lambda _: Identity("a", Credentials("b", "b")))),
    Wrong(ANSWERS, "no mapping", answering(lambda _: Identity("a", None, ["a"]))),  # type: ignore[arg-type]  # too
    Wrong(ANSWERS, "for ['moon']", answering(lambda _: Identity("a", None, {"moon": Credentials("a", "b")}))),
    Wrong(ANSWERS, "no upstream has", answering(lambda _: Identity("a", Credentials("a", "b", "EXTERNAL")))),
    Wrong(ANSWERS, "not texts", answering(lambda _: Identity("a", Credentials("a", b"b")))),  # type: ignore[arg-type]
    Wrong("test_clients_are_identified", "the answer is Refusal", answering(lambda _: REFUSED)),
    Wrong("test_clients_do_not_get_into_each_others_way", "several clients at once", case(OneForAll)),
    Wrong(
        "test_secrets_are_not_repeated",
        "shows what the client sent",
        answering(lambda response: Refusal(403, f"no: {response.decode('utf-8', 'replace')}")),
    ),
    Wrong(BLOCKING, "begin() takes", case(SlowToBegin)),
    Wrong(BLOCKING, "respond() takes", answering(slowly)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_noticed(wrong: Wrong) -> None:
    assert_noticed(wrong)


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(AuthMechanismTestsMixIn, PluginTestsMixIn)


@pytest.mark.parametrize("rule", sorted(rules_of(AuthMechanismTestsMixIn, PluginTestsMixIn)))
def test_what_is_right_passes(rule: str) -> None:
    getattr(case(Sound)(), rule)()
