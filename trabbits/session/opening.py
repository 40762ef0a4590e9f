"""How a session comes to be open: the steps of the handshake, and how far the upstreams have come meanwhile.

Lives here: what follows from the client's and the upstreams' part of the handshake, and which upstreams the session
opens without because they are not required and cannot be used now.
Must not know: the octets of the handshake (``handshake.py``), how a link is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trabbits.interfaces import Challenge, Identity, Refusal, Visitor
from trabbits.log_ids import LogId
from trabbits.session import timers
from trabbits.session.actions import AskPolicies, CancelTimer, LoginRequest, OpenLinks, OpenVirtualHost, SetTimer
from trabbits.session.authentication import Authentication, MechanismFailed
from trabbits.session.credentials import NotProven, Plan, plan
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

    def __init__(
        self, session: Session, handshake: Handshake, authentication: Authentication, done: Callable[[], None]
    ) -> None:
        self._session = session
        self._handshake = handshake
        self._authentication = authentication
        self._done = done
        #: The upstreams that the session is going to have -> whether it can do without.
        self._left = {upstream.name: not upstream.required for upstream in session.settings.upstreams}
        #: The upstreams that accepted user and password.
        self._authenticated: set[str] = set()
        #: Who the client is, as far as is known.
        self.user = ""
        #: What upstreams are told of it.
        self.plan = Plan({}, frozenset(), proven=False)
        #: What those are going to be told that prove nothing, while nobody else has proved the client.
        self._withheld: dict[str, LoginRequest] = {}

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
            self._hear(lambda response: self._authentication.begin(self._handshake.mechanism, response))
        elif index == amqp.CONNECTION_SECURE_OK:
            self._hear(self._authentication.respond)
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

    def refused_by(self, name: str, node: str, code: int, text: str, class_id: int, method_id: int) -> None:
        """An upstream refused the client with this reply."""
        session = self._session
        if unavailable(code, text) and self.skips(name, f"{name} at {node} refused: {code} {text}"):
            return
        session.log(LogId.LINK_REFUSED, upstream=name, node=node, code=code, text=text)
        if session.phase is Phase.AUTHENTICATING:
            session.ending.refuse_login(code, text, class_id, method_id)
        elif session.phase is Phase.CONNECTING:
            session.close(code, text, class_id, method_id)
        elif session.phase in BEFORE_OPEN:
            # No answer to anything the client said.
            session.close(code, f"{text} (upstream '{name}')", class_id, method_id)

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
        if session.phase is Phase.AUTHENTICATING:
            self._go_on_logging_in()
        elif session.phase is Phase.CONNECTING and self._left.keys() <= {link.name for link in session.links}:
            self._done()

    # The steps

    def _hear(self, mechanism: Callable[[bytes], Challenge | Identity | Refusal]) -> None:
        """The client said something about who it is; the mechanism says what follows."""
        session = self._session
        try:
            answer = mechanism(self._handshake.take_response())
        except MechanismFailed as error:
            plugin = self._authentication.plugin
            session.log(LogId.MECHANISM_FAILED, plugin=plugin, text=str(error))
            text = f"INTERNAL_ERROR - authentication mechanism '{plugin}' failed; the log of trabbits has more"
            session.close(amqp.INTERNAL_ERROR, text)
            return
        match answer:
            case Challenge():
                self._handshake.challenge(answer.octets)
                session.actions.append(SetTimer(timers.HANDSHAKE, session.settings.handshake_timeout))
            case Identity():
                self._log_in(answer)
            case Refusal():
                self._refuse(answer.text, answer)

    def _log_in(self, identity: Identity) -> None:
        """The client said who it is; unless the mechanism is sure, whether that is so is the upstreams' to say."""
        session = self._session
        self.user = identity.user
        try:
            self.plan = plan(identity, ((each.name, each.credentials) for each in session.settings.upstreams))
        except NotProven as error:
            self._refuse_unproven(error)
            return
        session.phase = Phase.AUTHENTICATING
        # The client is not waited for any more, and every upstream has a timeout of its own.
        session.actions.append(CancelTimer(timers.HANDSHAKE))
        shown = {"trabbits_client_address": session.address, "trabbits_session": session.id}
        requests = {name: self._handshake.login(each, shown) for name, each in self.plan.by_upstream.items()}
        if not self.plan.proven:
            # What the configuration has for a user is not for strangers to use, in whatever way.
            self._withheld = {name: requests.pop(name) for name in list(requests) if name not in self.plan.own}
        session.actions.append(OpenLinks(requests))

    def _go_on_logging_in(self) -> None:
        """An upstream accepted what it was told, or is not waited for any more."""
        if not self.plan.proven and not self._authenticated & self.plan.own:
            if not self._left.keys() & self.plan.own:
                self._refuse_unprovable()
        elif self._withheld:
            requests, self._withheld = self._withheld, {}
            self._session.actions.append(OpenLinks(requests))
        elif self._left.keys() <= self._authenticated:
            self._tune()

    def _refuse_unprovable(self) -> None:
        """The session could open without the upstreams that are out of order; but they alone know the password."""
        missing = ", ".join(sorted(f"'{each}'" for each in self.plan.own))
        self._refuse_unproven(
            NotProven(
                f"nobody could check the password of user '{self.user}': {missing} cannot be reached, "
                "and all other upstreams have mapped credentials"
            )
        )

    def _refuse_unproven(self, error: NotProven) -> None:
        more = f": {error}" if error.told else ". For details see the log of trabbits."
        mechanism = self._authentication.mechanism
        text = f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}{more}"
        self._refuse(str(error), Refusal(amqp.ACCESS_REFUSED, text))

    def _refuse(self, why: str, refusal: Refusal) -> None:
        session = self._session
        mechanism = self._authentication.mechanism
        session.log(
            LogId.LOGIN_REFUSED,
            user=self.user,
            address=session.address,
            mechanism=mechanism,
            code=refusal.code,
            text=why,
        )
        session.ending.refuse_login(refusal.code, refusal.text)

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
