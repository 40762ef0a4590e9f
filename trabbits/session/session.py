"""One client connection together with its links: the events that reach it, and its life from first octet to last.

Lives here: the way from one phase to the next, channel 0, and which part of the session hears of what.
What happens to methods on channels is the relay's business (``plain.py``, ``fan.py``), how it ends is `Ending`'s.
Must not know: sockets, clocks, Twisted.  Surroundings call an event, then carry out what waits in `to_client`,
in every link's `Link.out` and `Link.control`, and in `actions`, in this order.

Source: AMQP 0-9-1 sections 1.4 and 2.2.4; RabbitMQ's rabbit_reader for codes and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pamqp import commands

from trabbits.interfaces import ClientCertificate, Peer
from trabbits.log_ids import LogId
from trabbits.session import blocked, timers
from trabbits.session.actions import (
    Action,
    CloseLink,
    Deletion,
    SetTimer,
)
from trabbits.session.authentication import Authentication
from trabbits.session.auto_delete import AutoDeletes
from trabbits.session.ending import Ending
from trabbits.session.fan import FanRelay
from trabbits.session.handshake import Handshake, State
from trabbits.session.link import Link
from trabbits.session.mirroring import Mirroring
from trabbits.session.observation import Observation
from trabbits.session.opening import Opening, unavailable
from trabbits.session.phase import BEFORE_OPEN, ENDING, Phase
from trabbits.session.plain import PlainRelay
from trabbits.session.plain_renaming import RenamingPlainRelay
from trabbits.session.plain_rewriting import RewritingPlainRelay
from trabbits.session.probing import Probing
from trabbits.session.relay import Relay
from trabbits.session.renamed_content import rename_back
from trabbits.session.renaming import QueueNames
from trabbits.session.secrets import SecretUpdates
from trabbits.session.settings import SessionSettings
from trabbits.session.timers import Supervision
from trabbits.session.topology import Topology
from trabbits.session.visible import Visible
from trabbits.wire import constants as amqp
from trabbits.wire.encode import empty_method, method_frame
from trabbits.wire.errors import Violation
from trabbits.wire.methods import name_of
from trabbits.wire.scanner import STALL, Destination, Scanner

#: The largest frame taken before anything is agreed; a bound on what a stranger can make us hold.
_HANDSHAKE_FRAME_MAX = 65536


class Session(Visible):
    """One client and its links.

    `address` is the client's, for people and for the upstreams.  `log` takes an entry of the catalogue and its
    fields.  `clock` gives seconds since the epoch, for onlookers only.  `guarded`: connection policies are asked before
    the client comes in.  Every public method but `send` and what is in `Visible` is an event.
    """

    def __init__(
        self,
        id: str,
        address: str,
        settings: SessionSettings,
        log: Callable[..., None],
        clock: Callable[[], float] = lambda: 0.0,
        *,
        guarded: bool = False,
    ) -> None:
        self.id = id
        self.address = address
        self.settings = settings
        self.log = log
        self.guarded = guarded
        self.phase = Phase.HANDSHAKE
        #: What onlookers may see of the methods.
        self.observation = Observation(clock)
        #: Whole frames on their way to the client.
        self.to_client: list[bytes] = []
        self.actions: list[Action] = []
        self.links: list[Link] = []
        #: Kept by the surroundings: whether the client is being read, so that its silence means something.
        self.client_reading = True
        #: Kept by the surroundings: whether the client does not take what it is sent, so that links are not read.
        self.client_full = False
        #: Something waits for `Relay.settle`.
        self.settle_due = False
        self.client_scanner = Scanner(min(settings.frame_max, _HANDSHAKE_FRAME_MAX), self._client_method)
        self.authentication = Authentication(settings.mechanisms, Peer(address))
        self.handshake = Handshake(settings, self.send, lambda: self.authentication.offered)
        self.opening = Opening(self, self.handshake, self.authentication, self._open)
        self.probing = Probing(self)
        #: None where no upstream wants it.
        self.auto_deletes = AutoDeletes(self) if any(each.emulate_auto_delete for each in settings.upstreams) else None
        #: What takes the client's octets now.
        self.feed: Callable[[bytes], None] = self.opening.header_octets
        self.ending = Ending(self)
        self.relay: Relay | None = None
        #: None where nothing is ever copied, and before the session is open.
        self.mirroring: Mirroring | None = None
        self._heard = True
        self._supervision = Supervision()
        self._secrets = SecretUpdates()
        #: Whether it ended, and not because the client closed its connection.
        self.ended_badly = False
        #: Whether the client's transport is gone.
        self.client_gone = False

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.phase.name}>"

    # What surroundings may ask

    @property
    def spoken(self) -> bool:
        """Whether the client has shown that it speaks AMQP, so that it understands connection.close."""
        return self.handshake.state is not State.HEADER

    @property
    def channel_max(self) -> int:
        """The highest channel number the client may use: never one that is trabbits' own on a link."""
        return min([self.handshake.agreement.channel_max, *(link.client_channel_max for link in self.links)])

    @property
    def finished(self) -> bool:
        """Whether nothing of the session is left: the client is gone and so is every link."""
        return self.client_gone and not any(link.open for link in self.links)

    def send(self, frame: bytes) -> None:
        """Send the client a frame that trabbits makes, behind everything else."""
        self.observation.sent_to_client(frame)
        self.to_client.append(frame)

    def channels_at(self, link: Link) -> list[tuple[int, bool]]:
        """The client's channels that are open at a link, each with whether it was asked to close."""
        return self.relay.channels_at(link) if self.relay is not None else []

    # Events of the client

    def client_connected(self) -> None:
        """The client's transport is there."""
        self.log(LogId.CLIENT_CONNECTED, address=self.address)
        self.actions.append(SetTimer(timers.HANDSHAKE, self.settings.handshake_timeout))

    def client_secured(self, certificate: ClientCertificate | None) -> None:
        """The client's transport turned out to be encrypted; before any octets of AMQP came through it.

        `certificate` is the client's, verified.
        """
        self.authentication.peer = Peer(self.address, tls=True, certificate=certificate)

    def client_received(self, octets: bytes) -> None:
        """Octets came from the client."""
        self._heard = True
        self.observation.discreet = False
        try:
            self.feed(octets)
            if self.settle_due:
                self._settle()
        except Violation as violation:
            self.ending.client_violated(violation)
        except Exception as error:
            self.ending.failed(error)

    def client_lost(self, reason: str) -> None:
        """The client's transport is gone."""
        if self.client_gone:
            return
        self.client_gone = True
        if self.phase not in ENDING:
            self.log(LogId.CLIENT_VANISHED, reason=reason)
        self.ending.client_lost()

    def close(self, code: int, text: str, class_id: int = 0, method_id: int = 0) -> None:
        """Close the client's connection properly, with this reply, and the links with it."""
        self.ending.close(code, text, class_id, method_id)

    def timer_fired(self, name: str) -> None:
        """A timer set by `SetTimer` ran out."""
        if name == timers.HANDSHAKE:
            self.opening.timed_out()
        elif name == timers.HEARTBEAT:
            self._heartbeat()
        elif name == timers.PROBE:
            self._guarded(self.probing.timed_out)
            if self.settle_due:
                self._settle()
        elif name == timers.CLOSE:
            self.ending.timed_out()
        elif name == timers.CLEAN_UP:
            self.ending.clean_up.timed_out()
        else:
            self.ending.clean_up.try_again()

    # Events of the policies

    def admitted(self) -> None:
        """The answer to `AskPolicies`: the client may come in."""
        self.opening.admitted()

    def refused(self, code: int, text: str) -> None:
        """The answer to `AskPolicies`: it may not, and gets this reply."""
        self.opening.refused(code, text)

    # Events of the links

    def link_authenticated(self, name: str, node: str, properties: Mapping[str, Any]) -> None:
        """An upstream accepted user and password; `properties` are its server properties."""
        self.settings.announced.note(name, properties)
        self.log(LogId.LINK_AUTHENTICATED, upstream=name, node=node)
        self.opening.authenticated(name)

    def link_opened(self, name: str, node: str, frame_max: int, own_channel: int) -> Link:
        """An upstream opened the virtual host; returns the link whose octets are to be reported from now on."""
        index = next(i for i, upstream in enumerate(self.settings.upstreams) if upstream.name == name)
        upstream = self.settings.upstreams[index]
        client_frame_max = self.handshake.agreement.frame_max
        link = Link(
            name,
            node,
            frame_max=frame_max,
            own_channel=own_channel,
            client_frame_max=client_frame_max,
            method=self._link_method,
            observation=self.observation,
            index=index,
            patching=len(self.settings.upstreams) > 1,
            names=None
            if upstream.renamer is None
            else QueueNames(upstream.renamer, name, frame_max, client_frame_max, self.log),
            topology=Topology(upstream.topology, name, frame_max) if upstream.topology is not None else None,
            mirrors=self.settings.mirrors,
        )
        self.links.append(link)
        self.log(LogId.LINK_OPENED, upstream=name, node=node)
        if self.phase is not Phase.CONNECTING:
            self.actions.append(CloseLink(link))
        self.opening.go_on()
        return link

    def link_refused(self, name: str, node: str, code: int, text: str, class_id: int, method_id: int) -> None:
        """An upstream refused the client with this reply."""
        self.opening.refused_by(name, node, code, text, class_id, method_id)

    def link_unreachable(self, name: str, node: str, text: str) -> None:
        """An upstream could not be reached in time, or its link broke before it was open; `text` names it."""
        if self.opening.skips(name, text):
            return
        self.log(LogId.LINK_UNREACHABLE, upstream=name, node=node, text=text)
        if self.phase in BEFORE_OPEN:
            self.close(amqp.CONNECTION_FORCED, f"CONNECTION_FORCED - {text}")

    def link_received(self, link: Link, octets: bytes) -> None:
        """Octets came from a node."""
        try:
            link.scanner.feed(octets)
            if self.settle_due:
                self._settle()
        except Violation as violation:
            self.ending.link_violated(link, violation)
        except Exception as error:
            self.ending.failed(error)

    def link_lost(self, link: Link, reason: str) -> None:
        """A link broke; `reason` is a sentence that names upstream and node."""
        self.log(LogId.LINK_LOST, upstream=link.name, node=link.node, reason=reason)
        self.ending.link_gone(link)
        if not self.opening.skips(link.name, reason):
            self.close(amqp.CONNECTION_FORCED, f"CONNECTION_FORCED - {reason}")

    def link_closed(self, link: Link, code: int, text: str, class_id: int, method_id: int) -> None:
        """A node sent connection.close; it is answered already."""
        self.log(LogId.LINK_CLOSED_BY_UPSTREAM, upstream=link.name, node=link.node, code=code, text=text)
        self.ending.link_gone(link)
        if not unavailable(code, text) or not self.opening.skips(link.name, f"{code} {text}"):
            if link.names is not None:
                text = link.names.text_for_client(text)
            self.close(code, f"{text} (upstream '{link.name}')", class_id, method_id)

    def link_gone(self, link: Link) -> None:
        """A link asked to close by `CloseLink` is closed, one way or the other."""
        self.ending.link_gone(link)

    def link_full(self, link: Link) -> None:
        """A node does not take octets as fast as they come; the client is not read until `link_drained`.

        Comes in the middle of writing what waits: it may ask for actions, but emits nothing.
        """
        link.full = True
        if self.phase is Phase.RUNNING and self.relay is not None:
            self.relay.link_full(link)

    def link_drained(self, link: Link) -> None:
        """A node took everything."""
        link.full = False

    def link_blocked(self, link: Link, reason: str) -> None:
        """A node sent connection.blocked."""
        self._tell_blocked(blocked.blocked(self.links, link, reason))

    def link_unblocked(self, link: Link) -> None:
        """A node sent connection.unblocked."""
        self._tell_blocked(blocked.unblocked(self.links, link))

    def messages_counted(self, token: int, count: int) -> None:
        """The answer to `CountMessages`."""
        if self.phase is Phase.RUNNING and self.relay is not None:
            relay = self.relay
            self._guarded(lambda: relay.messages_counted(token, count))

    def queue_probed(self, token: int, exists: bool, failure: str = "") -> None:
        """The answer to `ProbeQueue`; `failure` says why there is none."""
        self._guarded(lambda: self.probing.answered(token, exists, failure))
        if self.settle_due:
            self._settle()

    def queue_deleted(self, link: Link, outcome: Deletion, text: str = "") -> None:
        """The answer to `DeleteQueue`; `text` says why not."""
        self.ending.clean_up.queue_deleted(link, outcome, text)

    def secret_updated(self, link: Link) -> None:
        """A node took the new secret."""
        for _ in range(self._secrets.taken(link)):
            if self.phase is Phase.RUNNING:
                self.send(empty_method(0, amqp.CONNECTION_UPDATE_SECRET_OK))

    def awaits_secret(self, link: Link) -> bool:
        """Whether a link has a new secret to take."""
        return self._secrets.awaited(link)

    def octets_for(self, link: Link) -> bytes:
        """Take what waits for a node, cut to what it takes."""
        try:
            return link.take()
        except Violation as violation:
            self.ending.client_violated(violation)
            return b""

    # Channel 0 and the phases

    def _client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        return self.observation.taking(index, frame, lambda: self._client_acts(index, channel, frame))

    def _client_acts(self, index: int, channel: int, frame: bytes) -> Destination | None:
        if self.phase is Phase.AUTHENTICATING and not (channel == 0 and index == amqp.CONNECTION_CLOSE):
            # It is judged by what is expected after tune.
            return STALL
        if channel == 0:
            return self._control_method(index, frame)
        if self.phase is Phase.RUNNING and self.relay is not None:
            return self.relay.client_method(index, channel, frame)
        if self.phase in (Phase.ADMITTING, Phase.CONNECTING):
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
            self.ending.client_closed(frame)
        elif self.phase in (Phase.HANDSHAKE, Phase.TUNING):
            self.opening.client_method(index, frame)
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

    def _update_secret(self, frame: bytes) -> None:
        # The others know nothing of the secret that the client has.
        concerned = [link for link in self.links if link.name in self.opening.plan.own]
        if concerned:
            self.actions += self._secrets.asked(frame, concerned)
        else:
            self.send(empty_method(0, amqp.CONNECTION_UPDATE_SECRET_OK))

    def _open(self) -> None:
        """All links are there: the client may begin.  A plugin may fail that is looked at for that."""
        self._guarded(self._begin)

    def _begin(self) -> None:
        self.links.sort(key=lambda link: link.index)
        if len(self.settings.upstreams) == 1:
            self.relay = self._plain_relay(self.links[0])
        else:
            self.client_scanner.patching = True
            if self.settings.mirrors:
                self.mirroring = Mirroring(self)
            self.relay = FanRelay(self)
        self.phase = Phase.RUNNING
        self.relay.start()
        self.send(method_frame(0, commands.Connection.OpenOk()))
        self.log(
            LogId.CLIENT_OPENED,
            user=self.user,
            vhost=self.virtual_host,
            address=self.address,
            upstreams=[link.name for link in self.links],
        )
        self._tell_blocked(blocked.notice(self.links))
        self.scan_on()

    def _plain_relay(self, link: Link) -> PlainRelay:
        if link.names is not None:
            return RenamingPlainRelay(self, link)
        rewrites = self.settings.upstreams[link.index].rewriter is not None
        return RewritingPlainRelay(self, link) if rewrites else PlainRelay(self, link)

    def _link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        if self.mirroring is not None and channel == link.mirror_channel and channel:
            self.mirroring.link_method(link, index, frame)
            return None
        if channel != link.own_channel:
            self.observation.taken_from_link(link.name, index, frame)
        if channel in (0, link.own_channel):
            link.control.append(frame)
            return link.control
        if self.auto_deletes is not None:
            self.auto_deletes.answered(link, index, channel, frame)
        if self.phase is Phase.RUNNING and self.relay is not None:
            if link.names is not None:
                frame = link.names.frame_for_client(index, frame)
                rename_back(link, index, frame)
            return self.relay.link_method(link, index, channel, frame)
        self.ending.clean_up.link_method(link, index, channel)
        return None

    def _tell_blocked(self, notice: list[bytes]) -> None:
        if self.phase is Phase.RUNNING and self.client_capabilities.get("connection.blocked"):
            for frame in notice:
                self.send(frame)

    def scan_on(self) -> None:
        """Take up what the client sent too early."""
        self._guarded(self.client_scanner.resume)
        if self.settle_due:
            self._settle()

    def _settle(self) -> None:
        self.settle_due = False
        if self.phase is Phase.RUNNING and self.relay is not None:
            self._guarded(self.relay.settle)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do something that may scan the client's octets or ask a plugin, outside `client_received`."""
        try:
            step()
        except Violation as violation:
            self.ending.client_violated(violation)
        except Exception as error:
            self.ending.failed(error)

    # Timers

    def _heartbeat(self) -> None:
        interval = self.handshake.agreement.heartbeat
        heard, self._heard = self._heard, False
        if not self._supervision.half_an_interval_passed(heard=heard, reading=self.client_reading):
            self.log(LogId.HEARTBEAT_MISSED, peer="client", seconds=2 * interval)
            self.ending.abort()
            return
        self.send(amqp.HEARTBEAT_FRAME)
        self.actions.append(SetTimer(timers.HEARTBEAT, interval / 2))
