"""What surrounds one session: exactly what ``frontend/runner.py`` and its neighbours do, without Twisted.

Lives here: carrying out a session's actions, flow control end to end, the client's transport.
Must not know: AMQP (but for the requests of trabbits' own), what is simulated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.codec import Contents
from tests.simulation.failure import Broken, demand
from tests.simulation.link_end import LinkEnd, Stage
from tests.simulation.own_requests import OwnRequests
from tests.simulation.pipe import READ_MAX, Pipe, nothing
from trabbits.log_ids import LogId
from trabbits.session import actions
from trabbits.session.link import Link
from trabbits.session.session import Session

if TYPE_CHECKING:
    from tests.simulation.clock import Call
    from tests.simulation.world import World
    from trabbits.session.settings import SessionSettings

_STALLED, _CLIENT_FULL, _ASKED = "stalled", "client full", "asked"


class Surroundings:
    """The surroundings of one session; `client` gets what is sent to the client, and `gone` when that ends."""

    def __init__(
        self,
        world: World,
        who: str,
        settings: SessionSettings,
        client: Callable[[bytes], None],
        gone: Callable[[], None],
    ) -> None:
        self.world = world
        self.who = who
        self.session = Session(who, "192.0.2.1:50000", settings, self._log, world.clock.seconds, guarded=False)
        room = world.options.room
        self.from_client = Pipe(f"{who} c->t", self._client_received, self._client_hung_up, room=1 << 30)
        self.to_client = Pipe(f"{who} c<-t", client, gone, room=room)
        self.to_client.on_full = self._client_full
        self.to_client.on_drained = self._client_drained
        world.pipes += (self.from_client, self.to_client)
        #: Links that are not open yet: those that log in or open, and those that wait for the client.
        self.attempts: dict[str, LinkEnd | None] = {}
        self.waiting: dict[str, LinkEnd] = {}
        self._given_up = False
        self.ends: dict[Link, LinkEnd] = {}
        #: Every link that ever was.
        self.every_end: list[LinkEnd] = []
        self._links: dict[LinkEnd, Link] = {}
        self.timers: dict[str, Call] = {}
        self.client_paused_by: set[object] = set()
        self.link_paused_by: dict[Link, set[object]] = {}
        self._drained: set[Link] = set()
        self.finished = False
        self._gauge = True
        self._end: Call | None = None
        #: Called when something happened that may end the session, by no fault of trabbits.
        self.on_trouble: Callable[[], None] = nothing
        self._failed: set[str] = set()
        self._sent = Contents(f"{who} c<-t")
        self.logged: list[LogId] = []
        #: Methods of both directions, by class and method id, as they stand in frames.
        self.methods: Counter[bytes] = Counter()
        #: What may have gone wrong without trabbits being to blame: the ids of log entries that are no surprise.
        self.excused: set[LogId] = set()
        self._requests = OwnRequests(self)
        self._acts: dict[type[actions.Action], Callable[[Any], None]] = {
            actions.OpenLinks: self._open_links,
            actions.OpenVirtualHost: self._open_virtual_host,
            actions.CancelLinks: self._cancel_links,
            actions.CloseLink: self._close_link,
            actions.CloseClient: lambda _: self._close_client(),
            actions.AbortClient: lambda _: self._abort_client(),
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
        self.session.client_connected()
        self.flush()

    # The client

    def _client_received(self, octets: bytes) -> None:
        for frame in self.world.frames_of(self.from_client.name, octets):
            self.world.trace.frame(self.who, "c->t", frame)
            if frame[0] == 1:
                self.methods[frame[7:11]] += 1
        self.session.client_received(octets)
        self.flush()
        pending, most = self.session.client_scanner.pending, READ_MAX + self.world.options.frame_max
        demand(pending <= most, "bounds", f"{pending} octets of the client wait to be read")

    def _client_hung_up(self) -> None:
        self.client_lost("closed")

    def client_lost(self, reason: str) -> None:
        """The client's transport is gone."""
        if self.session.client_gone:
            return
        self._gauge = False
        self.from_client.over = self.to_client.over = True
        if self._end is not None:
            self._end.cancel()
        self.world.trace.event(self.who, f"the client is gone: {reason}")
        self.session.client_lost(reason)
        self.flush()

    def _client_full(self) -> None:
        self.session.client_full = True
        self.world.ledger.count("client full")
        for link in list(self.ends):
            self._pause_link(link, _CLIENT_FULL)

    def _client_drained(self) -> None:
        if not self._gauge:
            return
        self.session.client_full = False
        for link in list(self.ends):
            self._resume_link(link, _CLIENT_FULL)

    def _close_client(self) -> None:
        if not self._gauge:
            return
        self._gauge = False
        self.from_client.reading = True
        self._end = self.world.clock.later(self.session.settings.connection_close_timeout, self._client_aborted)
        self.to_client.close()

    def _abort_client(self) -> None:
        self._gauge = False
        self._client_aborted()

    def _client_aborted(self) -> None:
        if self.to_client.over and self.session.client_gone:
            return
        octets = self.to_client.cut(self.world.random.randint(0, len(self.to_client.octets)))
        if octets:
            self.to_client.deliver(octets)
        self.to_client.ended()
        self.from_client.cut(0)
        # Twisted tells in its next turn.
        self.world.soon(lambda: self.client_lost("aborted"))

    # Everything a session asks for

    def flush(self) -> None:
        """See `SessionRunner.flush`."""
        session = self.session
        to_client = session.to_client
        while True:
            for link, end in list(self.ends.items()):
                self._flush_link(link, end)
            if to_client:
                octets = b"".join(to_client)
                to_client.clear()
                self._write_client(octets)
            if not session.actions:
                break
            due = session.actions[:]
            session.actions.clear()
            for action in due:
                self._acts[type(action)](action)
        if session.client_scanner.stalled:
            self._pause_client(_STALLED)
        elif self.client_paused_by:
            self._resume_client(_STALLED)
        if session.client_gone and session.finished and not self.attempts:
            self.finished = True
            for name in list(self.timers):
                self._cancel_timer(name)

    def _flush_link(self, link: Link, end: LinkEnd) -> None:
        if link.out:
            if link.resplits:
                octets = self.session.octets_for(link)
            else:
                octets = b"".join(link.out)
                link.out.clear()
            if octets:
                end.write(octets)
        if link.control:
            frames = link.control[:]
            link.control.clear()
            for frame in frames:
                if link.open:
                    self.ends[link].control(frame)

    def _write_client(self, octets: bytes) -> None:
        if not self._gauge:
            return
        for frame in self.world.whole_frames(self.to_client.name, octets):
            self.world.trace.frame(self.who, "c<-t", frame)
            if frame[0] == 1:
                self.methods[frame[7:11]] += 1
            self._sent.take(frame)
            if frame[7:11] == b"\x00\x14\x00\x0b":
                self._sent.forget(frame[1] << 8 | frame[2])
        self.to_client.write(octets)

    def _log(self, id: LogId, **fields: Any) -> None:
        self.logged.append(id)
        text = f"log {id.event}: {id.format.format(**fields)}"
        self.world.trace.event(self.who, text)
        self.world.ledger.count(f"log {id.event}")
        if id is LogId.INTERNAL_ERROR:
            raise Broken("no internal errors", text) from fields.get("error")
        if id in (LogId.HEARTBEAT_MISSED, LogId.HANDSHAKE_TIMEOUT, LogId.CLOSE_TIMEOUT):
            # Time passes faster than octets do.
            self.on_trouble()
        if id in (LogId.LINK_VIOLATION, LogId.CLIENT_VIOLATION, LogId.ROUTING_FAILED):
            demand(id in self.excused, "no false accusations", text)

    # Links that are not open

    def _open_links(self, action: actions.OpenLinks) -> None:
        self._given_up = False
        for name, request in action.requests.items():
            if self._given_up:
                return
            broker = self.world.brokers[name]
            if name in self.world.down:
                self.attempts[name] = None
                self.world.soon(lambda name=name: self._down(name))  # type: ignore[misc]  # its type is known
                continue
            end = self.attempts[name] = LinkEnd(self.world, self.who, name, broker, self)
            self.every_end.append(end)
            end.log_in(request)

    def _down(self, name: str) -> None:
        if name in self.attempts and self.attempts[name] is None:
            del self.attempts[name]
            self._failed_at(name)
            self.session.link_unreachable(name, "", f"upstream '{name}' is down")
            self.flush()

    def _open_virtual_host(self, action: actions.OpenVirtualHost) -> None:
        for name in list(self.waiting):
            end = self.waiting.pop(name, None)
            if end is not None:
                self.attempts[name] = end
                end.open(action.request)

    def _cancel_links(self, action: actions.CancelLinks) -> None:
        self._given_up = True
        ends = [*self.waiting.values(), *self.attempts.values()]
        self.waiting.clear()
        self.attempts.clear()
        for end in ends:
            if end is not None:
                end.abort()

    def authenticated(self, end: LinkEnd, properties: dict[str, Any]) -> None:
        del self.attempts[end.name]
        self.waiting[end.name] = end
        self.session.link_authenticated(end.name, end.node, properties)
        self.flush()

    def refused(self, end: LinkEnd, close: Any) -> None:
        self._not_opened(end)
        arguments = close.reply_code, close.reply_text, close.class_id, close.method_id
        self.session.link_refused(end.name, end.node, *arguments)
        self.flush()

    def unreachable(self, end: LinkEnd, text: str) -> None:
        self._not_opened(end)
        self._failed_at(end.name)
        self.session.link_unreachable(end.name, end.node, text)
        self.flush()

    def _failed_at(self, name: str) -> None:
        self._failed.add(name)
        options = self.world.options
        if name not in options.optional or self._failed == set(options.names):
            self.on_trouble()

    def _not_opened(self, end: LinkEnd) -> None:
        self.attempts.pop(end.name, None)
        self.waiting.pop(end.name, None)

    def opened(self, end: LinkEnd) -> None:
        del self.attempts[end.name]
        link = self.session.link_opened(end.name, end.node, end.frame_max, end.own_channel)
        self.ends[link] = end
        self._links[end] = link
        self.link_paused_by[link] = set()
        if self.to_client.full and self._gauge:
            self._pause_link(link, _CLIENT_FULL)
        self.flush()

    # Links

    def received(self, end: LinkEnd, octets: bytes) -> None:
        self.session.link_received(self._links[end], octets)
        self.flush()

    def lost(self, end: LinkEnd, reason: str) -> None:
        link = self._links[end]
        self.on_trouble()
        self.session.link_lost(link, reason)
        self.forget(link)
        self.flush()

    def closed(self, end: LinkEnd, close: Any) -> None:
        link = self._links[end]
        self.session.link_closed(link, close.reply_code, close.reply_text, close.class_id, close.method_id)
        self.forget(link)
        self.flush()

    def blocked(self, end: LinkEnd, reason: str | None) -> None:
        link = self._links[end]
        if reason is None:
            self.session.link_unblocked(link)
        else:
            self.session.link_blocked(link, reason)
        self.flush()

    def _close_link(self, action: actions.CloseLink) -> None:
        link = action.link
        end = self.ends.get(link)
        if end is None:
            return
        self._resume_client(link)
        end.close(self.session.settings.connection_close_timeout, lambda: self._link_gone(link))

    def _link_gone(self, link: Link) -> None:
        if self.forget(link):
            self.session.link_gone(link)
            self.flush()

    def forget(self, link: Link) -> bool:
        """Nothing is written to the link any more; whether it was known."""
        known = self.ends.pop(link, None) is not None
        self._drained.discard(link)
        self._resume_client(link)
        return known

    # Flow control

    def full(self, end: LinkEnd) -> None:
        link = self._links[end]
        self.world.ledger.count("link full")
        if link not in self._drained:
            self._pause_client(link)
        self.session.link_full(link)

    def drained(self, end: LinkEnd) -> None:
        self.session.link_drained(self._links[end])
        self._resume_client(self._links[end])

    def _pause_client(self, reason: object) -> None:
        if not self.client_paused_by:
            self.from_client.reading = False
        self.client_paused_by.add(reason)
        self.session.client_reading = False

    def _resume_client(self, reason: object) -> None:
        if reason not in self.client_paused_by:
            return
        self.client_paused_by.discard(reason)
        if not self.client_paused_by:
            self.session.client_reading = True
            if self._gauge:
                self.from_client.reading = True

    def _pause_link(self, link: Link, reason: object) -> None:
        if link in self._drained:
            return
        reasons = self.link_paused_by[link]
        if not reasons and link in self.ends and not self.ends[link].over:
            self.ends[link].down.reading = False
        reasons.add(reason)
        if reason is _ASKED:
            self.world.ledger.count("link paused by the session")

    def _resume_link(self, link: Link, reason: object) -> None:
        reasons = self.link_paused_by[link]
        if reason in reasons:
            reasons.discard(reason)
            if not reasons and link in self.ends:
                self.ends[link].down.reading = True

    def _drain_link(self, action: actions.DrainLink) -> None:
        link = action.link
        if link in self.ends:
            self._drained.add(link)
        self._resume_client(link)
        for reason in list(self.link_paused_by[link]):
            self._resume_link(link, reason)

    # Timers

    def _set_timer(self, action: actions.SetTimer) -> None:
        self._cancel_timer(action.name)
        self.timers[action.name] = self.world.clock.later(action.seconds, lambda: self._timer_fired(action.name))

    def _cancel_timer(self, name: str) -> None:
        timer = self.timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _timer_fired(self, name: str) -> None:
        self.timers.pop(name, None)
        self.world.trace.event(self.who, f"timer {name}")
        self.world.ledger.count(f"timer {name}")
        self.session.timer_fired(name)
        self.flush()

    # What is left of it

    @property
    def unfinished(self) -> bool:
        """Whether the session waits for something that only time brings, but for heartbeats."""
        waits = any(name != "heartbeat" for name in self.timers)
        asking = any(end.asking for end in self.every_end)
        moving = any(not end.gone and (end.over or end.stage is not Stage.OPEN) for end in self.every_end)
        return waits or asking or moving
