"""One client connection together with its links: the events that reach it, and its life from first octet to last.

Lives here: the phases of a session, channel 0, closing in both directions, and who is told about what failed.
What happens to methods on channels is the relay's business (``plain.py``, ``fan.py``).
Must not know: sockets, clocks, Twisted.  Surroundings call an event, then carry out what waits in `to_client`,
in every link's `Link.out` and `Link.control`, and in `actions`, in this order.

Source: AMQP 0-9-1 sections 1.4 and 2.2.4; RabbitMQ's rabbit_reader for codes and texts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from pamqp import commands

from trabbits.log_ids import LogId
from trabbits.session.actions import (
    AbortClient,
    Action,
    CancelLinks,
    CancelTimer,
    CloseClient,
    CloseLink,
    LoginRequest,
    OpenLinks,
    OpenVirtualHost,
    SetTimer,
    UpdateSecret,
    VirtualHostRequest,
)
from trabbits.session.fan import FanRelay
from trabbits.session.handshake import BadProtocolHeader, Handshake, State
from trabbits.session.link import Link
from trabbits.session.plain import PlainRelay
from trabbits.session.relay import Relay
from trabbits.session.settings import SessionSettings
from trabbits.wire import constants as amqp
from trabbits.wire.decode import decode_method
from trabbits.wire.drain import Drain
from trabbits.wire.encode import connection_close, cut_text, empty_method, method_frame
from trabbits.wire.errors import Violation
from trabbits.wire.methods import name_of
from trabbits.wire.peek import reply_of_close
from trabbits.wire.scanner import STALL, Destination, Scanner

_HANDSHAKE = "handshake"
_CLOSE = "close"
_HEARTBEAT = "heartbeat"
#: A client that is silent for so many half intervals is taken for dead (section 4.2.7: two intervals).
_SILENT_HALVES = 4
#: The largest frame taken before anything is agreed; a bound on what a stranger can make us hold.
_HANDSHAKE_FRAME_MAX = 65536


class Phase(Enum):
    """Where in its life a session is."""

    HANDSHAKE = "beginning"
    #: Links are on their way; their upstreams have not all accepted user and password.
    AUTHENTICATING = "authenticating"
    #: They have; the client says what it wants.
    TUNING = "tuning"
    #: The upstreams are asked for the virtual host.
    CONNECTING = "opening links"
    RUNNING = "open"
    #: We sent connection.close and wait for close-ok.
    CLOSING = "closing"
    #: The client sent connection.close; its close-ok waits for the links.
    CLIENT_CLOSING = "closed by the client"
    CLOSED = "closed"


#: There may be links that are not open yet.
_BEFORE_OPEN = (Phase.AUTHENTICATING, Phase.TUNING, Phase.CONNECTING)


class Session:
    """One client and its links.

    `address` is the client's, for people and for the upstreams.  `log` takes an entry of the catalogue and its
    fields.  Every public method but the properties is an event.
    """

    def __init__(self, id: str, address: str, settings: SessionSettings, log: Callable[..., None]) -> None:
        self.id = id
        self.address = address
        self.settings = settings
        self.log = log
        self.phase = Phase.HANDSHAKE
        #: Whole frames on their way to the client.
        self.to_client: list[bytes] = []
        self.actions: list[Action] = []
        self.links: list[Link] = []
        #: Kept by the surroundings: whether the client is being read, so that its silence means something.
        self.client_reading = True
        #: Something waits for `Relay.settle`.
        self.settle_due = False
        self.client_scanner = Scanner(min(settings.frame_max, _HANDSHAKE_FRAME_MAX), self._client_method)
        self._handshake = Handshake(settings, self.to_client.append)
        #: The upstreams that accepted user and password.
        self._authenticated: set[str] = set()
        self._feed: Callable[[bytes], None] = self._header_octets
        self._drain = Drain()
        self._relay: Relay | None = None
        self._heard = True
        self._silent_halves = 0
        #: The links that have not taken a new secret yet, for each connection.update-secret, oldest first.
        self._secrets_due: deque[set[Link]] = deque()
        #: Whether the client's transport is gone.
        self.client_gone = False

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.phase.name}>"

    # What surroundings may ask

    @property
    def channel_max(self) -> int:
        """The highest channel number the client may use: never one that is trabbits' own on a link."""
        return min([self._handshake.agreement.channel_max, *(link.own_channel - 1 for link in self.links)])

    @property
    def client_capabilities(self) -> dict[str, Any]:
        """What the client said it understands."""
        return self._handshake.client_capabilities

    @property
    def user(self) -> str:
        """The user name the client gave, empty before it did."""
        credentials = self._handshake.credentials
        return credentials.username if credentials else ""

    @property
    def virtual_host(self) -> str:
        """The virtual host the client asked for, empty before it did."""
        return self._handshake.virtual_host

    @property
    def finished(self) -> bool:
        """Whether nothing of the session is left: the client is gone and so is every link."""
        return self.client_gone and not any(link.open for link in self.links)

    # Events of the client

    def client_connected(self) -> None:
        """The client's transport is there."""
        self.log(LogId.CLIENT_CONNECTED, address=self.address)
        self.actions.append(SetTimer(_HANDSHAKE, self.settings.handshake_timeout))

    def client_received(self, octets: bytes) -> None:
        """Octets came from the client."""
        self._heard = True
        try:
            self._feed(octets)
            if self.settle_due:
                self._settle()
        except Violation as violation:
            self._client_violated(violation)
        except Exception as error:
            self._failed(error)

    def client_lost(self, reason: str) -> None:
        """The client's transport is gone."""
        if self.client_gone:
            return
        self.client_gone = True
        if self.phase not in (Phase.CLOSING, Phase.CLIENT_CLOSING, Phase.CLOSED):
            self.log(LogId.CLIENT_VANISHED, reason=reason)
        self._shut()

    def close(self, code: int, text: str, class_id: int = 0, method_id: int = 0) -> None:
        """Close the client's connection properly, with this reply, and the links with it."""
        if self.phase in (Phase.CLOSING, Phase.CLIENT_CLOSING, Phase.CLOSED):
            return
        self.log(LogId.CLIENT_CLOSED, by="trabbits", code=code, text=text)
        spoken = self._handshake.state is not State.HEADER
        self._give_up_links()
        self.phase = Phase.CLOSING
        if spoken:
            self.to_client.append(connection_close(code, text, class_id, method_id))
            self.actions.append(SetTimer(_CLOSE, self.settings.connection_close_timeout))
            # Not before: the client's own connection.close may be among what was not read yet.
            self._read_to_the_end()
        else:
            self._feed = _ignore
            self.actions.append(CloseClient())

    def timer_fired(self, name: str) -> None:
        """A timer set by `SetTimer` ran out."""
        if name == _HANDSHAKE:
            self._handshake_timed_out()
        elif name == _HEARTBEAT:
            self._heartbeat()
        elif self.phase is Phase.CLIENT_CLOSING:
            self._answer_close()
        elif self.phase is Phase.CLOSING:
            timeout = self.settings.connection_close_timeout
            self.log(LogId.CLOSE_TIMEOUT, peer="client", timeout=timeout)
            self.actions.append(AbortClient())

    # Events of the links

    def link_authenticated(self, name: str, node: str, properties: Mapping[str, Any]) -> None:
        """An upstream accepted user and password; `properties` are its server properties."""
        self.settings.announced.note(name, properties)
        self.log(LogId.LINK_AUTHENTICATED, upstream=name, node=node)
        if self.phase is not Phase.AUTHENTICATING:
            return
        self._authenticated.add(name)
        if len(self._authenticated) == len(self.settings.upstreams):
            self._tune()

    def link_opened(self, name: str, node: str, frame_max: int, own_channel: int) -> Link:
        """An upstream opened the virtual host; returns the link whose octets are to be reported from now on."""
        index = next(i for i, upstream in enumerate(self.settings.upstreams) if upstream.name == name)
        link = Link(
            name,
            node,
            frame_max=frame_max,
            own_channel=own_channel,
            client_frame_max=self._handshake.agreement.frame_max,
            method=self._link_method,
            index=index,
            patching=len(self.settings.upstreams) > 1,
        )
        self.links.append(link)
        self.log(LogId.LINK_OPENED, upstream=name, node=node)
        if self.phase is not Phase.CONNECTING:
            self.actions.append(CloseLink(link))
        elif len(self.links) == len(self.settings.upstreams):
            self._open()
        return link

    def link_refused(self, name: str, node: str, code: int, text: str, class_id: int, method_id: int) -> None:
        """An upstream refused the client with this reply."""
        self.log(LogId.LINK_REFUSED, upstream=name, node=node, code=code, text=text)
        if self.phase not in _BEFORE_OPEN:
            return
        if self.phase is Phase.TUNING:
            # No answer to anything the client said.
            self.close(code, f"{text} (upstream '{name}')", class_id, method_id)
            return
        spoken = self.phase is Phase.CONNECTING or self.client_capabilities.get("authentication_failure_close")
        if code == amqp.ACCESS_REFUSED and not spoken:
            # Such a client takes a closed socket for "login failed", as from RabbitMQ.
            self.log(LogId.CLIENT_CLOSED, by="trabbits", code=code, text=text)
            self._give_up_links()
            self.phase = Phase.CLOSING
            self.actions.append(CloseClient())
            return
        self.close(code, text, class_id, method_id)

    def link_unreachable(self, name: str, node: str, text: str) -> None:
        """An upstream could not be reached in time, or its link broke before it was open; `text` names it."""
        self.log(LogId.LINK_UNREACHABLE, upstream=name, node=node, text=text)
        if self.phase in _BEFORE_OPEN:
            self.close(amqp.CONNECTION_FORCED, f"CONNECTION_FORCED - {text}")

    def link_received(self, link: Link, octets: bytes) -> None:
        """Octets came from a node."""
        try:
            link.scanner.feed(octets)
            if self.settle_due:
                self._settle()
        except Violation as violation:
            self._link_violated(link, violation)
        except Exception as error:
            self._failed(error)

    def link_lost(self, link: Link, reason: str) -> None:
        """A link broke."""
        self.log(LogId.LINK_LOST, upstream=link.name, node=link.node, reason=reason)
        self._drop(link)
        self.close(amqp.CONNECTION_FORCED, f"CONNECTION_FORCED - lost upstream '{link.name}' ({link.node}): {reason}")

    def link_closed(self, link: Link, code: int, text: str, class_id: int, method_id: int) -> None:
        """A node sent connection.close; it is answered already."""
        self.log(LogId.LINK_CLOSED_BY_UPSTREAM, upstream=link.name, node=link.node, code=code, text=text)
        self._drop(link)
        self.close(code, f"{text} (upstream '{link.name}')", class_id, method_id)

    def link_gone(self, link: Link) -> None:
        """A link asked to close by `CloseLink` is closed, one way or the other."""
        self._drop(link)
        if self.phase is Phase.CLIENT_CLOSING and not any(each.open for each in self.links):
            self._answer_close()

    def link_blocked(self, link: Link, reason: str) -> None:
        """A node sent connection.blocked."""
        before = any(each.blocked for each in self.links)
        link.blocked = True
        if not before and self._tells_blocked:
            text = cut_text(f"{reason} (upstream '{link.name}')").decode()
            self.to_client.append(method_frame(0, commands.Connection.Blocked(text)))

    def link_unblocked(self, link: Link) -> None:
        """A node sent connection.unblocked."""
        before = link.blocked
        link.blocked = False
        if before and self._tells_blocked and not any(each.blocked for each in self.links):
            self.to_client.append(empty_method(0, amqp.CONNECTION_UNBLOCKED))

    def messages_counted(self, token: int, count: int) -> None:
        """The answer to `CountMessages`."""
        if self.phase is Phase.RUNNING and self._relay is not None:
            self._guarded(lambda relay: relay.messages_counted(token, count))

    def secret_updated(self, link: Link) -> None:
        """A node took the new secret."""
        next((due for due in self._secrets_due if link in due), set()).discard(link)
        while self._secrets_due and not self._secrets_due[0]:
            self._secrets_due.popleft()
            if self.phase is Phase.RUNNING:
                self.to_client.append(empty_method(0, amqp.CONNECTION_UPDATE_SECRET_OK))

    def awaits_secret(self, link: Link) -> bool:
        """Whether a link has a new secret to take."""
        return any(link in due for due in self._secrets_due)

    def octets_for(self, link: Link) -> bytes:
        """Take what waits for a node, cut to what it takes."""
        try:
            return link.take()
        except Violation as violation:
            self._client_violated(violation)
            return b""

    # Channel 0 and the phases

    def _header_octets(self, octets: bytes) -> None:
        try:
            rest = self._handshake.header_received(octets)
        except BadProtocolHeader as error:
            self.log(LogId.BAD_PROTOCOL_HEADER, received=repr(error.octets))
            self.phase = Phase.CLOSING
            self._feed = _ignore
            # Section 4.2.2: the server answers with the header it would have liked and closes the socket.
            self.to_client.append(amqp.PROTOCOL_HEADER)
            self.actions += (CancelTimer(_HANDSHAKE), CloseClient())
            return
        if rest is not None:
            self._feed = self.client_scanner.feed
            if rest:
                self._feed(rest)

    def _client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        if self.phase is Phase.AUTHENTICATING and not (channel == 0 and index == amqp.CONNECTION_CLOSE):
            # It is judged by what is expected after tune.
            return STALL
        if channel == 0:
            return self._control_method(index, frame)
        if self.phase is Phase.RUNNING and self._relay is not None:
            return self._relay.client_method(index, channel, frame)
        if self.phase is Phase.CONNECTING:
            return STALL
        raise Violation(
            amqp.UNEXPECTED_FRAME,
            f"{name_of(index)} on channel {channel} before the connection is open",
            channel=channel,
            class_id=index >> 16,
            method_id=index & 0xFFFF,
        )

    def _control_method(self, index: int, frame: bytes) -> Destination | None:
        if index == amqp.CONNECTION_CLOSE:
            self._client_closes(frame)
        elif self.phase in (Phase.HANDSHAKE, Phase.TUNING):
            self._handshake.method_received(index, frame)
            agreement = self._handshake.agreement
            if index == amqp.CONNECTION_START_OK:
                self._log_in()
            elif index == amqp.CONNECTION_TUNE_OK:
                self.client_scanner.frame_max = agreement.frame_max
                if agreement.heartbeat:
                    self.actions.append(SetTimer(_HEARTBEAT, agreement.heartbeat / 2))
            elif index == amqp.CONNECTION_OPEN:
                self._connect()
        elif index == amqp.CONNECTION_UPDATE_SECRET and self.phase is Phase.RUNNING:
            self._update_secret(frame)
        else:
            # RabbitMQ's code; the specification would have 503.
            raise Violation(
                amqp.CHANNEL_ERROR,
                f"unexpected method {name_of(index)} on channel 0, the connection is {self.phase.value}",
                class_id=index >> 16,
                method_id=index & 0xFFFF,
            )
        return None

    def _log_in(self) -> None:
        """The client said who it is; whether that is so is the upstreams' to say."""
        handshake = self._handshake
        credentials = handshake.credentials
        assert credentials is not None
        self.phase = Phase.AUTHENTICATING
        # The client is not waited for any more, and every upstream has a timeout of its own.
        self.actions.append(CancelTimer(_HANDSHAKE))
        properties = dict(handshake.client_properties)
        properties["trabbits_client_address"] = self.address
        properties["trabbits_session"] = self.id
        self.actions.append(
            OpenLinks(
                LoginRequest(
                    mechanism=credentials.mechanism,
                    username=credentials.username,
                    password=credentials.password,
                    client_properties=properties,
                    locale=handshake.locale,
                )
            )
        )

    def _tune(self) -> None:
        """All upstreams accepted the client; it is its turn again."""
        self.phase = Phase.TUNING
        self._handshake.tune()
        self.actions.append(SetTimer(_HANDSHAKE, self.settings.handshake_timeout))
        self._scan_on()

    def _connect(self) -> None:
        """The client wants a virtual host."""
        agreement = self._handshake.agreement
        self.phase = Phase.CONNECTING
        self.actions.append(CancelTimer(_HANDSHAKE))
        self.actions.append(
            OpenVirtualHost(
                VirtualHostRequest(
                    virtual_host=self._handshake.virtual_host,
                    frame_max=agreement.frame_max,
                    channel_max=agreement.channel_max,
                    heartbeat=agreement.heartbeat,
                )
            )
        )

    def _open(self) -> None:
        """All links are there: the client may begin."""
        self.phase = Phase.RUNNING
        self.links.sort(key=lambda link: link.index)
        if len(self.settings.upstreams) == 1:
            self._relay = PlainRelay(self, self.links[0])
        else:
            self.client_scanner.patching = True
            self._relay = FanRelay(self)
        self._relay.start()
        self.to_client.append(method_frame(0, commands.Connection.OpenOk()))
        self.log(
            LogId.CLIENT_OPENED,
            user=self.user,
            vhost=self.virtual_host,
            address=self.address,
            upstreams=[link.name for link in self.links],
        )
        self._scan_on()

    def _scan_on(self) -> None:
        """Take up what the client sent too early."""
        try:
            self.client_scanner.resume()
            if self.settle_due:
                self._settle()
        except Violation as violation:
            self._client_violated(violation)
        except Exception as error:
            self._failed(error)

    def _update_secret(self, frame: bytes) -> None:
        method = decode_method(frame)
        assert isinstance(method, commands.Connection.UpdateSecret)
        given = method.new_secret or b""
        secret = given if isinstance(given, str) else given.decode("utf-8", "surrogateescape")
        self._secrets_due.append(set(self.links))
        self.actions += [UpdateSecret(link, secret, method.reason or "") for link in self.links]

    def _link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        if channel in (0, link.own_channel):
            link.control.append(frame)
            return link.control
        if self.phase is Phase.RUNNING and self._relay is not None:
            return self._relay.link_method(link, index, channel, frame)
        return None

    @property
    def _tells_blocked(self) -> bool:
        return self.phase is Phase.RUNNING and bool(self.client_capabilities.get("connection.blocked"))

    # The end, in all its forms

    def _client_closes(self, frame: bytes) -> None:
        code, text, _, _ = reply_of_close(frame)
        self.log(LogId.CLIENT_CLOSED, by="client", code=code, text=text)
        self._give_up_links()
        self.phase = Phase.CLIENT_CLOSING
        self._feed = _ignore
        self.client_scanner.stop()
        if any(link.open for link in self.links):
            # Like RabbitMQ's, our close-ok means that exclusive queues are gone; but we do not wait forever.
            self.actions.append(SetTimer(_CLOSE, self.settings.connection_close_timeout))
        else:
            self._answer_close()

    def _answer_close(self) -> None:
        self.to_client.append(empty_method(0, amqp.CONNECTION_CLOSE_OK))
        self.phase = Phase.CLOSED
        self.actions += (CancelTimer(_CLOSE), CloseClient())

    def _read_to_the_end(self) -> None:
        """Look for the client's close-ok from now on, whatever else it sends."""
        self.client_scanner.stop()
        self._feed = self._closing_octets
        self.client_reading = True
        rest = self.client_scanner.take_rest()
        if rest:
            self._closing_octets(rest)

    def _closing_octets(self, octets: bytes) -> None:
        found = self._drain.feed(octets)
        if found is None or self.phase is not Phase.CLOSING:
            return
        if found == amqp.CONNECTION_CLOSE:
            # Both closed at once (section 1.4.2.9): it gets its answer, and that is the end.
            self.to_client.append(empty_method(0, amqp.CONNECTION_CLOSE_OK))
        self.phase = Phase.CLOSED
        self._feed = _ignore
        self.actions += (CancelTimer(_CLOSE), CloseClient())

    def _give_up_links(self) -> None:
        if self.phase in _BEFORE_OPEN:
            self.actions.append(CancelLinks())
        self.actions += (CancelTimer(_HANDSHAKE), CancelTimer(_HEARTBEAT))
        self.actions += [CloseLink(link) for link in self.links if link.open]
        for link in self.links:
            # Its close-ok must still be seen, by trabbits' own conversation with the node.
            link.scanner.mute()

    def _shut(self) -> None:
        """The client is gone: so is everything else."""
        if self.phase is not Phase.CLOSED and self.phase not in (Phase.CLOSING, Phase.CLIENT_CLOSING):
            self._give_up_links()
        self.phase = Phase.CLOSED
        self._feed = _ignore
        self.actions += (CancelTimer(_HANDSHAKE), CancelTimer(_HEARTBEAT), CancelTimer(_CLOSE))

    def _drop(self, link: Link) -> None:
        link.open = False
        link.out.clear()
        link.control.clear()
        link.scanner.stop()

    def _client_violated(self, violation: Violation) -> None:
        if self.phase in (Phase.CLOSING, Phase.CLIENT_CLOSING, Phase.CLOSED):
            return
        self.log(LogId.CLIENT_VIOLATION, channel=violation.channel, code=violation.code, text=violation.reply_text)
        self.close(violation.code, violation.reply_text, violation.class_id, violation.method_id)

    def _link_violated(self, link: Link, violation: Violation) -> None:
        link.scanner.stop()
        self.log(
            LogId.LINK_VIOLATION,
            upstream=link.name,
            node=link.node,
            channel=violation.channel,
            code=violation.code,
            text=violation.reply_text,
        )
        # It was not the client's fault, so it is told about a lost upstream, not about a frame error.
        self.close(
            amqp.CONNECTION_FORCED,
            f"CONNECTION_FORCED - upstream '{link.name}' ({link.node}) broke the protocol: {violation.text}",
        )

    def _failed(self, error: Exception) -> None:
        """The core raised what it should not: close everything rather than leave it half alive."""
        self.log(LogId.INTERNAL_ERROR, text=f"the session raised {type(error).__name__}", error=error)
        if self.phase in (Phase.CLOSING, Phase.CLIENT_CLOSING, Phase.CLOSED):
            self.actions.append(AbortClient())
            return
        self.close(
            amqp.INTERNAL_ERROR, f"INTERNAL_ERROR - trabbits failed on this connection; its log has more on {self.id}"
        )

    def _settle(self) -> None:
        self.settle_due = False
        if self.phase is Phase.RUNNING and self._relay is not None:
            self._guarded(lambda relay: relay.settle())

    def _guarded(self, step: Callable[[Relay], None]) -> None:
        """Do something that scans the client's octets outside `client_received`."""
        assert self._relay is not None
        try:
            step(self._relay)
        except Violation as violation:
            self._client_violated(violation)
        except Exception as error:
            self._failed(error)

    # Timers

    def _handshake_timed_out(self) -> None:
        if self.phase not in (Phase.HANDSHAKE, Phase.TUNING):
            return
        self.log(LogId.HANDSHAKE_TIMEOUT, timeout=self.settings.handshake_timeout)
        self._give_up_links()
        self.phase = Phase.CLOSING
        self._feed = _ignore
        self.actions.append(CloseClient())

    def _heartbeat(self) -> None:
        interval = self._handshake.agreement.heartbeat
        if self._heard or not self.client_reading:
            self._silent_halves = 0
        else:
            self._silent_halves += 1
        self._heard = False
        if self._silent_halves >= _SILENT_HALVES:
            self.log(LogId.HEARTBEAT_MISSED, peer="client", seconds=2 * interval)
            self._give_up_links()
            self.phase = Phase.CLOSED
            self._feed = _ignore
            self.actions.append(AbortClient())
            return
        self.to_client.append(amqp.HEARTBEAT_FRAME)
        self.actions.append(SetTimer(_HEARTBEAT, interval / 2))


def _ignore(octets: bytes) -> None:
    """Octets that nobody needs any more."""
