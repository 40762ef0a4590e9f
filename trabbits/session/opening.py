"""How a session comes to be open: the steps of the handshake, and how far the upstreams have come meanwhile.

Lives here: what follows from the client's and the upstreams' part of the handshake, and which upstreams the session
opens without because they are not required and cannot be used now.
Must not know: the octets of the handshake (``handshake.py``), how a link is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trabbits.interfaces import Visitor
from trabbits.log_ids import LogId
from trabbits.session import timers
from trabbits.session.actions import AskPolicies, CancelTimer, OpenLinks, OpenVirtualHost, SetTimer
from trabbits.session.handshake import BadProtocolHeader, Handshake
from trabbits.session.phase import BEFORE_OPEN, Phase
from trabbits.wire import constants as amqp

if TYPE_CHECKING:
    from trabbits.session.session import Session

#: Reply codes by which a node says that it cannot serve anybody at present.
_UNAVAILABLE: Final = frozenset({amqp.CONNECTION_FORCED, amqp.INTERNAL_ERROR, amqp.RESOURCE_ERROR})


def unavailable(code: int, text: str) -> bool:
    """Whether a refusal with this reply speaks of the node, not of the client: another node may well accept it."""
    # RabbitMQ's limit for a node has the code of those for users and virtual hosts, which hold everywhere.
    return code in _UNAVAILABLE or (code == amqp.NOT_ALLOWED and "node connection limit" in text)


class Opening:
    """The beginning of one session.  `done` is called when all links are there."""

    def __init__(self, session: Session, handshake: Handshake, done: Callable[[], None]) -> None:
        self._session = session
        self._handshake = handshake
        self._done = done
        #: The upstreams that the session is going to have -> whether it can do without.
        self._left = {upstream.name: not upstream.required for upstream in session.settings.upstreams}
        #: The upstreams that accepted user and password.
        self._authenticated: set[str] = set()

    # The client's part

    def header_octets(self, octets: bytes) -> None:
        """The client's first octets."""
        session = self._session
        try:
            rest = self._handshake.header_received(octets)
        except BadProtocolHeader as error:
            session.log(LogId.BAD_PROTOCOL_HEADER, received=repr(error.octets))
            # Section 4.2.2: the server answers with the header it would have liked and closes the socket.
            session.to_client.append(amqp.PROTOCOL_HEADER)
            session.ending.hang_up()
            return
        if rest is not None:
            session.feed = session.client_scanner.feed
            if rest:
                session.feed(rest)

    def client_method(self, index: int, frame: bytes) -> None:
        """A method on channel 0 while the client has to speak."""
        session = self._session
        self._handshake.method_received(index, frame)
        agreement = self._handshake.agreement
        if index == amqp.CONNECTION_START_OK:
            self._log_in()
        elif index == amqp.CONNECTION_TUNE_OK:
            session.client_scanner.frame_max = agreement.frame_max
            if agreement.heartbeat:
                session.actions.append(SetTimer(timers.HEARTBEAT, agreement.heartbeat / 2))
        elif index == amqp.CONNECTION_OPEN:
            session.actions.append(CancelTimer(timers.HANDSHAKE))
            if session.guarded:
                session.phase = Phase.ADMITTING
                session.actions.append(AskPolicies(self._visitor()))
            else:
                self._open_virtual_host()

    def timed_out(self) -> None:
        """The client took too long."""
        session = self._session
        if session.phase in (Phase.HANDSHAKE, Phase.TUNING):
            session.log(LogId.HANDSHAKE_TIMEOUT, timeout=session.settings.handshake_timeout)
            session.ending.hang_up()

    def _visitor(self) -> Visitor:
        session = self._session
        return Visitor(
            session=session.id,
            address=session.address,
            user=session.user,
            virtual_host=session.virtual_host,
            properties=session.client_properties,
        )

    # The policies' part

    def admitted(self) -> None:
        """They let the client in."""
        if self._session.phase is Phase.ADMITTING:
            self._open_virtual_host()

    def refused(self, code: int, text: str) -> None:
        """They do not, or one of them failed."""
        if self._session.phase is Phase.ADMITTING:
            self._session.close(code, text, *divmod(amqp.CONNECTION_OPEN, 1 << 16))

    # The upstreams' part

    def authenticated(self, name: str) -> None:
        """An upstream accepted user and password."""
        self._authenticated.add(name)
        self.go_on()

    def skips(self, name: str, text: str) -> bool:
        """An upstream is out of order, says `text`: whether the session opens without it.

        Not without one that is required, nor without any; and once the session is open, it is too late.
        """
        session = self._session
        optional = self._left.get(name, True)
        if session.phase not in BEFORE_OPEN or not optional or list(self._left) == [name]:
            return False
        if self._left.pop(name, None) is not None:
            session.log(LogId.UPSTREAM_SKIPPED, upstream=name, text=text)
        session.links[:] = [link for link in session.links if link.open]
        self.go_on()
        return True

    def go_on(self) -> None:
        """Take the next step if no upstream is waited for."""
        session = self._session
        if session.phase is Phase.AUTHENTICATING and self._left.keys() <= self._authenticated:
            self._tune()
        elif session.phase is Phase.CONNECTING and self._left.keys() <= {link.name for link in session.links}:
            self._done()

    # The steps

    def _log_in(self) -> None:
        """The client said who it is; whether that is so is the upstreams' to say."""
        session = self._session
        session.phase = Phase.AUTHENTICATING
        # The client is not waited for any more, and every upstream has a timeout of its own.
        session.actions.append(CancelTimer(timers.HANDSHAKE))
        shown = {"trabbits_client_address": session.address, "trabbits_session": session.id}
        session.actions.append(OpenLinks(self._handshake.login(shown)))

    def _tune(self) -> None:
        """All upstreams accepted the client; it is its turn again."""
        session = self._session
        session.phase = Phase.TUNING
        self._handshake.tune()
        session.actions.append(SetTimer(timers.HANDSHAKE, session.settings.handshake_timeout))
        session.scan_on()

    def _open_virtual_host(self) -> None:
        """The client may come in, as far as trabbits is concerned."""
        self._session.phase = Phase.CONNECTING
        self._session.actions.append(OpenVirtualHost(self._handshake.virtual_host_request()))
