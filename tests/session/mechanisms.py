"""Mechanisms for tests: one of several steps, and one that does whatever it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zope.interface import implementer

from trabbits.interfaces import Challenge, Credentials, IAuthExchange, IAuthMechanism, Identity, Peer, Refusal


@implementer(IAuthMechanism)
class TwoSteps:
    """Asks for the password when it knows the user, as RabbitMQ's RABBIT-CR-DEMO does."""

    name = "TWO-STEPS"
    priority = 5
    needs_tls = False
    verifies = False

    def begin(self, peer: Peer) -> _TwoSteps:
        return _TwoSteps()


@implementer(IAuthExchange)
class _TwoSteps:
    def __init__(self) -> None:
        self._user = ""

    def respond(self, response: bytes) -> Challenge | Identity:
        if not self._user:
            self._user = response.decode()
            return Challenge(b"password of " + response + b"\xff?")
        return Identity(self._user, Credentials(self._user, response.decode()))


@implementer(IAuthMechanism, IAuthExchange)
class Odd:
    """Answers what it is told to answer; one answer stands for all that follow.  A callable one is called."""

    def __init__(self, *answers: Any, name: str = "ODD", verifies: bool = True, **attributes: Any) -> None:
        self._answers: Sequence[Any] = answers
        self.name = name
        self.priority = 0
        self.needs_tls = False
        self.verifies = verifies
        self.heard: list[bytes] = []
        self.peers: list[Peer] = []
        for key, value in attributes.items():
            setattr(self, key, value)

    def begin(self, peer: Peer) -> Odd:
        self.peers.append(peer)
        return self

    def respond(self, response: bytes) -> Challenge | Identity | Refusal:
        self.heard.append(response)
        answer = self._answers[0]
        self._answers = self._answers[1:] or self._answers
        return answer() if isinstance(answer, Callable) else answer  # type: ignore[arg-type]
