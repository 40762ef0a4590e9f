"""A playbook: events fed to a session, and the full list of what it does about each.

    play = Playbook("a", "b")
    play.open()
    play.client(on(1, Channel.Open()))
    play.expect_link("a", on(1, Channel.Open()))
    play.expect_link("b", on(1, Channel.Open()))
    play.link("a", on(1, Channel.OpenOk()))
    play.link("b", on(1, Channel.OpenOk()))
    play.expect_client(on(1, Channel.OpenOk()))

Nothing may be left unexpected when the next event comes, nor at the end.  What `expect_...` compares are frames,
however the session cut its octets; a mismatch shows them decoded, with everything that happened before.  The arrows:
``c->t`` and ``c<-t`` between client and trabbits, ``t->u`` and ``t<-u`` between trabbits and an upstream.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.session.frames import PROTOCOL_HEADER, Channel, Connection, Follower, describe, on, split
from trabbits.interfaces import IAuthMechanism, IQueueAttributeRewriter, IRoutingStrategy
from trabbits.log_ids import LogId
from trabbits.plugins.amqplain import AmqPlain
from trabbits.plugins.plain import Plain
from trabbits.session import actions
from trabbits.session.authentication import MechanismSettings
from trabbits.session.credentials import Mapped
from trabbits.session.link import Link
from trabbits.session.phase import Phase
from trabbits.session.rewriting import chained
from trabbits.session.session import Session
from trabbits.session.settings import SessionSettings, UpstreamSettings

OWN_CHANNEL = 2047
#: The capabilities that decent clients announce.
CAPABILITIES = {"connection.blocked": True, "authentication_failure_close": True, "consumer_cancel_notify": True}


class Routes:
    """A routing strategy: the first word of the routing key is the upstream's name, other words are no opinion."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def route(self, exchange: str, routing_key: str) -> str | None:
        """See `IRoutingStrategy`."""
        self.asked.append((exchange, routing_key))
        if routing_key.startswith("bad"):
            raise LookupError("no such thing")
        name = routing_key.partition(".")[0]
        return name if len(name) == 1 else None


class Playbook:
    """One session, all its surroundings, and what it sent to them that nobody expected yet.

    `options` go to `SessionSettings`, but for what is per upstream: `rewriters`, `mapped` credentials, and the names of
    those that are `optional` (not required), that `probe` (try_passive) and that `emulate` (emulate_auto_delete);
    and `guarded`, which is the session's.
    """

    def __init__(
        self,
        *upstreams: str,
        routing: IRoutingStrategy | None = None,
        rewriters: Mapping[str, IQueueAttributeRewriter] | None = None,
        mapped: dict[str, dict[str, Mapped]] | None = None,
        mechanisms: Sequence[IAuthMechanism] = (Plain(), AmqPlain()),
        optional: str = "",
        probe: str = "",
        emulate: str = "",
        capabilities: dict[str, Any] | None = None,
        guarded: bool = False,
        **options: Any,
    ) -> None:
        self.upstreams = upstreams or ("a",)
        self.routing = routing or Routes()
        rewriters, mapped = rewriters or {}, mapped or {}
        self.settings = SessionSettings(
            upstreams=tuple(
                UpstreamSettings(
                    name,
                    chained(name, [(type(each).__name__, each)] if (each := rewriters.get(name)) else []),
                    name not in optional,
                    name in probe,
                    name in emulate,
                    mapped.get(name, {}),
                )
                for name in self.upstreams
            ),
            routing=self.routing,  # type: ignore[arg-type]  # structurally; zope looks at load time only
            mechanisms=tuple(MechanismSettings.of(type(each).__name__, each) for each in mechanisms),
            **options,
        )
        self.capabilities = CAPABILITIES if capabilities is None else capabilities
        self.logged: list[tuple[LogId, dict[str, Any]]] = []
        self.links: dict[str, Link] = {}
        self._trace: list[str] = []
        self._left: dict[str, list[bytes]] = {}
        self._left_actions: list[str] = []
        self._followers: dict[str, Follower] = {}
        self.session = Session("proxy-1", "192.0.2.1:50000", self.settings, self._log, guarded=guarded)
        self.do(self.session.client_connected)
        self.expect_actions(f"SetTimer handshake {self.settings.handshake_timeout:g}")

    # Events

    def client(self, *frames: bytes) -> None:
        """The client sends these in one chunk."""
        self._about_to("c->t", b"".join(frames))
        self.do(lambda: self.session.client_received(b"".join(frames)))

    def link(self, name: str, *frames: bytes) -> None:
        """A link brings these in one chunk."""
        self._about_to(f"t<-u {name}", b"".join(frames))
        self.do(lambda: self.session.link_received(self.links[name], b"".join(frames)))

    def all_links(self, *frames: bytes) -> None:
        """Every link brings the same."""
        for name in self.links:
            self.link(name, *frames)

    def log_in(self, *names: str, properties: dict[str, Any] | None = None) -> None:
        """These upstreams (all of them if none is named) accept user and password."""
        for name in names or self.upstreams:
            node = f"{name}.example:5672"
            self.do(lambda: self.session.link_authenticated(name, node, properties or {}))  # noqa: B023 - called at once

    def link_opens(self, name: str, frame_max: int = 131072, own_channel: int = OWN_CHANNEL) -> None:
        """An upstream opens the virtual host."""

        def opens() -> None:
            self.links[name] = self.session.link_opened(name, f"{name}.example:5672", frame_max, own_channel)

        self.do(opens)

    def do(self, event: Callable[[], object]) -> None:
        """Any event; then collect what waits, as the frontend's runner does."""
        self.expect_nothing()
        event()
        session = self.session
        while True:
            for link in session.links:
                if link.out:
                    self._sent(link.name, f"t->u {link.name}", session.octets_for(link))
                if link.control:
                    self._sent(f"{link.name} control", f"t->t {link.name}", b"".join(link.control))
                    link.control.clear()
            if session.to_client:
                self._sent("client", "c<-t", b"".join(session.to_client))
                session.to_client.clear()
            if not session.actions:
                break
            due = [_shown(action) for action in session.actions]
            session.actions.clear()
            self._left_actions += due
            self._trace += due

    # Expectations

    def expect_client(self, *frames: bytes) -> None:
        """The client was sent exactly this."""
        self._expect("client", b"".join(frames))

    def expect_link(self, name: str, *frames: bytes) -> None:
        """A link was sent exactly this."""
        self._expect(name, b"".join(frames))

    def expect_links(self, *frames: bytes) -> None:
        """Every link was sent exactly this."""
        for name in self.links:
            self._expect(name, b"".join(frames))

    def expect_control(self, name: str, *frames: bytes) -> None:
        """Trabbits' own conversation with a link was given exactly this."""
        self._expect(f"{name} control", b"".join(frames))

    def expect_actions(self, *shown: str) -> None:
        """The session asked for exactly this, in this order."""
        self._compare("actions", list(shown), self._left_actions)
        self._left_actions.clear()

    def expect_nothing(self) -> None:
        """Nothing is left that was not expected."""
        for sink in list(self._left):
            self._expect(sink, b"")
        self.expect_actions()

    def expect_log(self, *ids: LogId) -> None:
        """These entries, and no others, were logged since the last time."""
        assert [entry for entry, _ in self.logged] == list(ids), self.story()
        self.logged.clear()

    def skip(self) -> None:
        """What was sent so far does not matter."""
        self._left.clear()
        self._left_actions.clear()
        self.logged.clear()

    def skip_client(self) -> None:
        """What the client was sent does not matter."""
        self.taken("client")

    def taken(self, sink: str) -> list[bytes]:
        """The frames that a sink ("client", or a link's name) was sent, taken as expected."""
        return self._left.pop(sink, [])

    def taken_actions(self) -> list[str]:
        """What the session asked for, taken as expected."""
        taken = self._left_actions[:]
        self._left_actions.clear()
        return taken

    def messages(self, sink: str) -> list[tuple[int, Any, bytes]]:
        """All messages that a sink was ever sent, as (channel, method, body)."""
        return self._followers[sink].messages if sink in self._followers else []

    # Getting somewhere

    def negotiate(self, frame_max: int = 131072, channel_max: int = 2046, heartbeat: int = 0) -> None:
        """Go through the handshake up to connection.open: the links are being opened."""
        properties: Any = {"capabilities": self.capabilities}
        start_ok = Connection.StartOk(properties, "PLAIN", "\0user\0secret")
        self.client(PROTOCOL_HEADER)
        self.skip()
        self.client(on(0, start_ok))
        self.skip()
        self.log_in()
        self.skip()
        self.client(on(0, Connection.TuneOk(channel_max, frame_max, heartbeat), Connection.Open("/")))
        self.skip()

    def open(self, missing: str = "", *, link_frame_max: dict[str, int] | None = None, **agreed: int) -> None:
        """Go through the handshake and open all links, but to upstreams that are `missing` and optional."""
        self.negotiate(**agreed)
        for name in missing:
            self.do(lambda: self.session.link_unreachable(name, "", "missing"))  # noqa: B023 - called at once
            self.skip()
        for name in self.upstreams:
            if name in missing:
                continue
            self.link_opens(name, (link_frame_max or {}).get(name, agreed.get("frame_max", 131072)))
            self.skip()
        assert self.session.phase is Phase.RUNNING

    def open_channel(self, channel: int) -> None:
        """Open a channel on all links."""
        self.client(on(channel, Channel.Open()))
        self.skip()
        self.all_links(on(channel, Channel.OpenOk()))
        self.expect_client(on(channel, Channel.OpenOk()))

    # Inside

    def _log(self, id: LogId, **fields: Any) -> None:
        self._trace.append(f"log {id.event}: {id.format.format(**fields)}")
        self.logged.append((id, fields))

    def _about_to(self, arrow: str, octets: bytes) -> None:
        self.expect_nothing()
        try:
            shown = [describe(each) for each in split(octets)]
        except AssertionError:
            shown = [repr(octets)]
        self._trace += [f"{arrow} {each}" for each in shown]

    def _sent(self, sink: str, arrow: str, octets: bytes) -> None:
        frames = split(octets)
        self._trace += [f"{arrow} {describe(each)}" for each in frames]
        self._left.setdefault(sink, []).extend(frames)
        try:
            self._followers.setdefault(sink, Follower()).follow(frames)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def _expect(self, sink: str, octets: bytes) -> None:
        expected, sent = split(octets), self._left.pop(sink, [])
        if expected != sent:
            self._compare(sink, list(map(describe, expected)), list(map(describe, sent)))
            raise AssertionError(f"to {sink}: {expected} expected, {sent} sent\n{self.story()}")

    def _compare(self, what: str, expected: list[str], sent: list[str]) -> None:
        if expected != sent:
            difference = "\n".join(difflib.ndiff(expected, sent))
            raise AssertionError(f"to {what} (- expected, + sent):\n{difference}\n{self.story()}")

    def story(self) -> str:
        """What happened last, for people."""
        return "what happened:\n" + "\n".join(f"  {line}" for line in self._trace[-40:])


def _shown(action: actions.Action) -> str:
    """An action on one line."""
    name = type(action).__name__
    match action:
        case actions.SetTimer():
            return f"{name} {action.name} {action.seconds:g}"
        case actions.CancelTimer():
            return f"{name} {action.name}"
        case actions.CountMessages() | actions.ProbeQueue():
            return f"{name} {action.link.name} {action.queue} {action.token}"
        case actions.DeleteQueue():
            return f"{name} {action.link.name} {action.queue}"
        case actions.UpdateSecret():
            return f"{name} {action.link.name} {action.secret} {action.reason}"
        case actions.CloseLink() | actions.PauseLink() | actions.ResumeLink() | actions.DrainLink():
            return f"{name} {action.link.name}"
        case actions.OpenLinks():
            return f"{name} " + ", ".join(f"{upstream} {each}" for upstream, each in action.requests.items())
        case actions.OpenVirtualHost():
            return f"{name} {action.request}"
        case actions.AskPolicies():
            return f"{name} {action.visitor}"
        case _:
            return name
