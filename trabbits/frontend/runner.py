"""Carries out what a session asks for: the only place where a session meets transports, timers and upstreams.

Lives here: moving octets from a session to the transports, its actions, and flow control end to end: a full link
pauses the client, a full client pauses all links.
Must not know: AMQP; every decision is the session's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from trabbits.frontend.admission import Admission, Metering, NamedPolicy, data_policies
from trabbits.frontend.client_transport import ClientTransport
from trabbits.frontend.link_requests import LinkRequests
from trabbits.frontend.openings import Openings
from trabbits.log_ids import LogId
from trabbits.session import actions
from trabbits.session.link import Link
from trabbits.session.session import Session
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.upstream import Upstream

_STALLED = object()
_CLIENT_FULL = object()
_ASKED = object()
_TOO_FAST = object()


class SessionRunner:
    """The surroundings of one session.  `finished` is called once, when nothing of the session is left.

    `policies` are asked if the session is guarded.  `receive` takes the client's octets, from the first to the last.
    """

    def __init__(
        self,
        session: Session,
        client: ClientTransport,
        upstreams: Mapping[str, Upstream],
        clock: IReactorTime,
        finished: Callable[[], None],
        policies: Sequence[NamedPolicy] = (),
    ) -> None:
        self.session = session
        self._client = client
        self._write_client = client.write
        self._clock = clock
        #: Seconds since the epoch.
        self.connected_at: float = clock.seconds()
        #: From the client, and to it.
        self.received_octets = 0
        self.sent_octets = 0
        #: What an operator's wish to close the session said; empty while there is none.
        self.shutdown_reason = ""
        self._finished: Callable[[], None] | None = finished
        self._admission = self._admission_by(policies) if policies else None
        self._metering = self._metering_by(policies) if data_policies(policies) else None
        # Where nothing is metered, nobody asks for each chunk whether it is.
        self.receive = self.client_received if self._metering is None else self._received_metered
        self._openings = Openings(
            session, upstreams, opened=self._link_opened, changed=self.flush, unexpected=self._unexpected
        )
        self._protocols: dict[Link, LinkProtocol] = {}
        self._requests = LinkRequests(
            session, self._protocols, changed=self.flush, dropped=self._drop_link, unexpected=self._unexpected
        )
        #: What `flush` needs of each link: its octets and where they go.
        self._outlets: list[tuple[Link, list[bytes], Callable[[Sequence[bytes]], None]]] = []
        self._timers: dict[str, Any] = {}
        #: Why the client is not read.
        self._client_paused_by: set[object] = set()
        #: Why a link is not read.
        self._link_paused_by: dict[Link, set[object]] = {}
        #: Links that are read to their end.
        self._drained: set[Link] = set()
        self._acts: dict[type[actions.Action], Callable[[Any], None]] = {
            actions.OpenLinks: self._openings.open_links,
            actions.AskPolicies: self._ask_policies,
            actions.DismissPolicies: lambda _: self._dismiss_policies(),
            actions.OpenVirtualHost: self._openings.open_virtual_host,
            actions.CancelLinks: self._openings.cancel,
            actions.CloseLink: self._close_link,
            actions.CloseClient: lambda _: self._client.close(session.settings.connection_close_timeout),
            actions.AbortClient: lambda _: self._client.abort(),
            actions.SetTimer: self._set_timer,
            actions.CancelTimer: lambda action: self._cancel_timer(action.name),
            actions.PauseLink: lambda action: self._pause_link(action.link, _ASKED),
            actions.ResumeLink: lambda action: self._resume_link(action.link, _ASKED),
            actions.DrainLink: self._drain_link,
            actions.CountMessages: self._requests.count_messages,
            actions.ProbeQueue: self._requests.probe_queue,
            actions.DeleteQueue: self._requests.delete_queue,
            actions.UpdateSecret: self._requests.update_secret,
        }

    # The client

    def client_connected(self) -> None:
        """The client's transport is ready."""
        self.session.client_connected()
        self.flush()

    def client_received(self, data: bytes) -> None:
        """Octets of the client."""
        self.received_octets += len(data)
        self.session.client_received(data)
        self.flush()

    def client_lost(self, reason: str) -> None:
        """The client's transport is gone."""
        self.session.client_lost(reason)
        self._tell_policies_it_left()
        self.flush()

    def client_full(self) -> None:
        """The client does not take octets as fast as they come."""
        self.session.client_full = True
        for link in list(self._protocols):
            self._pause_link(link, _CLIENT_FULL)

    def client_drained(self) -> None:
        """The client took everything."""
        self.session.client_full = False
        for link in list(self._protocols):
            self._resume_link(link, _CLIENT_FULL)

    def close(self, code: int, text: str) -> None:
        """Close the session properly, because an operator wants it."""
        self.shutdown_reason = text
        self.session.close(code, text)
        self.flush()

    def abort(self) -> None:
        """Drop the client and all links at once."""
        self._client.abort()
        self._tell_policies_it_left()
        dropped = list(self._protocols.items())
        for link, protocol in dropped:
            protocol.abort()
            self._forget(link)
        self.session.client_lost("dropped")
        for link, _ in dropped:
            self.session.link_gone(link)
        self.flush()

    # Everything a session asks for

    def flush(self) -> None:
        """Carry out what waits in the session.  Called after every event."""
        session = self.session
        to_client = session.to_client
        while True:
            for link, out, write in self._outlets:
                if out:
                    if link.resplits:
                        write((session.octets_for(link),))
                    else:
                        write(out)
                        out.clear()
                if link.control:
                    self._control(link)
            if to_client:
                self.sent_octets += sum(map(len, to_client))
                self._write_client(to_client)
                to_client.clear()
            if not session.actions:
                break
            due = session.actions[:]
            session.actions.clear()
            for action in due:
                self._acts[type(action)](action)
        if session.client_scanner.stalled:
            self._pause_client(_STALLED)
        elif self._client_paused_by:
            self._resume_client(_STALLED)
        if session.client_gone and session.finished:
            self._finish()

    def _control(self, link: Link) -> None:
        frames = link.control[:]
        link.control.clear()
        for frame in frames:
            if link.open:
                self._protocols[link].control_received(frame)

    def _finish(self) -> None:
        finished, self._finished = self._finished, None
        if finished is not None and not self._openings:
            for name in list(self._timers):
                self._cancel_timer(name)
            self._requests.cancel()
            finished()
        elif finished is not None:
            self._finished = finished

    # Policies

    def _admission_by(self, policies: Sequence[NamedPolicy]) -> Admission:
        session = self.session
        return Admission(
            policies,
            session.settings.policy_timeout,
            self._clock,
            session.log,
            admitted=session.admitted,
            refused=session.refused,
            changed=self.flush,
            unexpected=self._unexpected,
        )

    def _metering_by(self, policies: Sequence[NamedPolicy]) -> Metering:
        return Metering(
            policies,
            self._clock,
            self.session.log,
            pause=lambda: self._pause_client(_TOO_FAST),
            resume=lambda: self._resume_client(_TOO_FAST),
            broken=self._break_off,
        )

    def _ask_policies(self, action: actions.AskPolicies) -> None:
        assert self._admission is not None  # the session is guarded only then
        self._admission.ask(action.visitor)

    def _dismiss_policies(self) -> None:
        if self._admission is not None:
            self._admission.stop()
        if self._metering is not None:
            self._metering.stop()

    def _tell_policies_it_left(self) -> None:
        self._dismiss_policies()
        if self._admission is not None:
            self._admission.left()

    def _received_metered(self, data: bytes) -> None:
        self.client_received(data)
        assert self._admission is not None
        assert self._metering is not None
        # Nothing before it is asked for: it has hardly sent anything.
        if visitor := self._admission.visitor:
            self._metering.received(visitor, len(data))

    def _break_off(self, code: int, text: str) -> None:
        self.session.close(code, text)
        self.flush()

    # Links

    def _link_opened(self, name: str, protocol: LinkProtocol) -> None:
        session = self.session
        frame_max = protocol.frame_max or session.settings.frame_max
        link = session.link_opened(name, protocol.node, frame_max, protocol.own_channel)
        self._protocols[link] = protocol
        self._outlets = [*self._outlets, (link, link.out, protocol.write_pieces)]
        self._link_paused_by[link] = set()
        if self._client.full:
            self._pause_link(link, _CLIENT_FULL)
        protocol.attach(_LinkReceiver(self, link))
        self.flush()

    def _close_link(self, action: actions.CloseLink) -> None:
        link = action.link
        protocol = self._protocols.get(link)
        if protocol is None:
            return  # it is gone already
        self._resume_client(link)
        closing = protocol.close_link(self.session.settings.connection_close_timeout)
        closing.addCallback(lambda _: self._link_gone(link))
        closing.addErrback(self._unexpected)

    def _drop_link(self, link: Link) -> None:
        self._protocols[link].abort()
        self.link_ended(link)

    def _link_gone(self, link: Link) -> None:
        if self._forget(link):
            self.session.link_gone(link)
            self.flush()

    def link_ended(self, link: Link) -> None:
        """A link ended by itself; the session knows."""
        self._forget(link)
        self.flush()

    def _forget(self, link: Link) -> bool:
        """Nothing is written to the link any more; whether it was known."""
        known = self._protocols.pop(link, None) is not None
        self._drained.discard(link)
        self._outlets = [outlet for outlet in self._outlets if outlet[0] is not link]
        self._resume_client(link)
        return known

    # Flow control

    def link_full(self, link: Link) -> None:
        """A node does not take octets as fast as the client sends them."""
        if link not in self._drained:
            self._pause_client(link)
        # While octets are being written; the flush that does it carries out what this asks for.
        self.session.link_full(link)

    def link_drained(self, link: Link) -> None:
        """A node took everything."""
        self.session.link_drained(link)
        self._resume_client(link)

    def _pause_client(self, reason: object) -> None:
        if not self._client_paused_by:
            self._client.pause_reading()
        self._client_paused_by.add(reason)
        self.session.client_reading = False

    def _resume_client(self, reason: object) -> None:
        if reason not in self._client_paused_by:
            return
        self._client_paused_by.discard(reason)
        if not self._client_paused_by:
            self.session.client_reading = True
            self._client.resume_reading()

    def _pause_link(self, link: Link, reason: object) -> None:
        if link in self._drained:
            return
        reasons = self._link_paused_by[link]
        if not reasons and link in self._protocols:
            self._protocols[link].pause_reading()
        reasons.add(reason)

    def _resume_link(self, link: Link, reason: object) -> None:
        reasons = self._link_paused_by[link]
        if reason in reasons:
            reasons.discard(reason)
            if not reasons and link in self._protocols:
                self._protocols[link].resume_reading()

    def _drain_link(self, action: actions.DrainLink) -> None:
        link = action.link
        if link in self._protocols:
            self._drained.add(link)
        self._resume_client(link)
        for reason in list(self._link_paused_by[link]):
            self._resume_link(link, reason)

    # Timers

    def _set_timer(self, action: actions.SetTimer) -> None:
        self._cancel_timer(action.name)
        self._timers[action.name] = self._clock.callLater(action.seconds, self._timer_fired, action.name)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None and timer.active():
            timer.cancel()

    def _timer_fired(self, name: str) -> None:
        self._timers.pop(name, None)
        self.session.timer_fired(name)
        self.flush()

    def _unexpected(self, failure: Failure) -> None:
        """What no one else took: never lost, never fatal for others."""
        text = f"unexpected failure: {failure.getErrorMessage()}"
        self.session.log(LogId.INTERNAL_ERROR, text=text, error=failure)


class _LinkReceiver:
    """Hears of one link and tells the session."""

    def __init__(self, runner: SessionRunner, link: Link) -> None:
        self._runner = runner
        self._session = runner.session
        self._link = link

    def link_received(self, data: bytes) -> None:
        self._session.link_received(self._link, data)
        self._runner.flush()

    def link_lost(self, reason: str) -> None:
        self._session.link_lost(self._link, reason)
        self._runner.link_ended(self._link)

    def link_closed(self, code: int, text: str, class_id: int, method_id: int) -> None:
        self._session.link_closed(self._link, code, text, class_id, method_id)
        self._runner.link_ended(self._link)

    def link_blocked(self, reason: str) -> None:
        self._session.link_blocked(self._link, reason)
        self._runner.flush()

    def link_unblocked(self) -> None:
        self._session.link_unblocked(self._link)
        self._runner.flush()

    def link_full(self) -> None:
        self._runner.link_full(self._link)

    def link_drained(self) -> None:
        self._runner.link_drained(self._link)
