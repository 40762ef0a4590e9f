"""Who the client is: its conversation with the mechanism that it chose.

Lives here: `Authentication`, which asks a mechanism, and `MechanismSettings`.
Must not know: octets of frames (``handshake.py``), what follows from the answer (``opening.py``).

A mechanism may be anybody's code.  Whatever it does ends this client's attempt at most: what it raises, what it
answers, and that it never comes to an end.  What it raises is logged without its text, which may repeat what the client
sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from trabbits.failures import let_through, where_it_failed
from trabbits.interfaces import Challenge, Credentials, IAuthMechanism, Identity, Peer, Refusal
from trabbits.session.refusals import is_refusal
from trabbits.wire.constants import COMMAND_INVALID, FRAME_MIN_SIZE, FRAME_OVERHEAD
from trabbits.wire.errors import Violation

#: What a mechanism's challenge may hold: before tune, no frame is larger than frame-min-size (section 4.2.3).
CHALLENGE_MAX = FRAME_MIN_SIZE - FRAME_OVERHEAD - 4 - 4
#: How often a mechanism may challenge one client.
CHALLENGES = 10

#: RFC 4422 section 3.1.
_NAME = re.compile(r"[A-Z0-9_-]{1,20}")


@frozen
class MechanismSettings:
    """A mechanism, and what was seen of it when the configuration was made; `plugin` is what the configuration says."""

    plugin: str
    mechanism: IAuthMechanism
    name: str
    priority: int = 0
    needs_tls: bool = False
    verifies: bool = False

    @classmethod
    def of(cls, plugin: str, mechanism: IAuthMechanism) -> MechanismSettings:
        """Raises ValueError where the mechanism's attributes are not what they should be."""
        # Whatever the interface promises: others may have made it.
        name: Any = mechanism.name
        priority: Any = mechanism.priority
        needs_tls: Any = mechanism.needs_tls
        verifies: Any = mechanism.verifies
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError("its name is not 1 to 20 capital letters, digits, hyphens and underscores")
        if not isinstance(priority, int) or not isinstance(needs_tls, bool) or not isinstance(verifies, bool):
            raise ValueError("its priority is no integer, or needs_tls or verifies neither true nor false")
        return cls(plugin, mechanism, name, priority, needs_tls, verifies)


class MechanismFailed(Exception):
    """A mechanism did what it may not; the text says what, without secrets."""


class Authentication:
    """One client's.  `peer` may become better known until the client has been offered anything."""

    def __init__(self, mechanisms: Sequence[MechanismSettings], peer: Peer) -> None:
        self.peer = peer
        self._mechanisms = sorted(mechanisms, key=lambda each: -each.priority)
        self._chosen: MechanismSettings | None = None
        #: An `IAuthExchange`, or whatever a mechanism takes for one.
        self._exchange: Any = None
        self._challenges = 0

    @property
    def offered(self) -> list[str]:
        """The names of the mechanisms that this client may choose from, most wanted first."""
        return [each.name for each in self._mechanisms if self.peer.tls or not each.needs_tls]

    @property
    def plugin(self) -> str:
        """The plugin that the client's choice belongs to; empty while there is none."""
        return self._chosen.plugin if self._chosen is not None else ""

    @property
    def mechanism(self) -> str:
        """The name of the mechanism that the client chose; empty while there is none."""
        return self._chosen.name if self._chosen is not None else ""

    def begin(self, mechanism: str, response: bytes) -> Challenge | Identity | Refusal:
        """The client chose a mechanism.  Raises `Violation` for one that was not offered, and `MechanismFailed`."""
        offered = self.offered
        if mechanism not in offered:
            supported = ", ".join(offered) or "none on this connection"
            raise Violation(
                COMMAND_INVALID, f"unsupported authentication mechanism {mechanism!r}; supported are {supported}"
            )
        self._chosen = next(each for each in self._mechanisms if each.name == mechanism)
        try:
            self._exchange = self._chosen.mechanism.begin(self.peer)
        except BaseException as error:
            let_through(error)
            raise MechanismFailed(where_it_failed(error)) from None
        return self.respond(response)

    def respond(self, response: bytes) -> Challenge | Identity | Refusal:
        """The client's next answer.  Raises `MechanismFailed`."""
        try:
            answer: object = self._exchange.respond(response)
        except BaseException as error:
            let_through(error)
            raise MechanismFailed(where_it_failed(error)) from None
        if isinstance(answer, Challenge):
            self._challenges += 1
            self._check_challenge(answer)
        elif isinstance(answer, Identity):
            self._check_identity(answer)
        elif not is_refusal(answer):
            raise MechanismFailed(f"it answered a {type(answer).__name__} that is no Challenge, Identity or Refusal")
        return answer

    def _check_challenge(self, answer: Challenge) -> None:
        octets: object = answer.octets
        if not isinstance(octets, bytes) or len(octets) > CHALLENGE_MAX:
            raise MechanismFailed(f"its challenge is not bytes, at most {CHALLENGE_MAX}")
        if self._challenges > CHALLENGES:
            raise MechanismFailed(f"it came to no end within {CHALLENGES} challenges")

    def _check_identity(self, answer: Identity) -> None:
        assert self._chosen is not None
        user: object = answer.user
        try:
            given = [answer.credentials, *dict(answer.upstream_credentials).values()]
        except BaseException as error:  # of whatever they are made
            let_through(error)
            raise MechanismFailed("its identity's upstream_credentials are no mapping") from None
        if not isinstance(user, str) or not all(map(_is_usable, given)):
            raise MechanismFailed("its identity has no text for a user, or credentials that no upstream can be told")
        if answer.verified is not True and answer.verified is not False:
            raise MechanismFailed("its identity is neither verified nor not verified")
        if not answer.verified and answer.credentials is not None and answer.credentials.username != user:
            # An upstream's word for one user would open what the configuration has for another.
            raise MechanismFailed("its identity is not verified, and its credentials are another user's")
        if answer.verified and not self._chosen.verifies:
            raise MechanismFailed("its identity is verified, though it does not say that it verifies any")


def _is_usable(credentials: object) -> bool:
    if credentials is None:
        return True
    if not isinstance(credentials, Credentials) or credentials.mechanism not in ("PLAIN", "AMQPLAIN"):
        return False
    texts: tuple[object, object] = (credentials.username, credentials.password)
    return all(isinstance(each, str) for each in texts)
