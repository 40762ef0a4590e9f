"""How a session ends: closed by us or by the client, for a violation, a failure, a timeout, or because someone is gone.

Lives here: connection.close in both directions, and giving up links.
Must not know: what happens while a session runs.
Source: AMQP 0-9-1 section 1.4.2.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trabbits.log_ids import LogId
from trabbits.session import timers
from trabbits.session.actions import (
    AbortClient,
    CancelLinks,
    CancelTimer,
    CloseClient,
    CloseLink,
    DismissPolicies,
    SetTimer,
)
from trabbits.session.clean_up import CleanUp
from trabbits.session.link import Link
from trabbits.session.phase import BEFORE_OPEN, ENDING, Phase
from trabbits.session.plugin_failed import PluginFailed
from trabbits.wire import constants as amqp
from trabbits.wire.drain import Drain
from trabbits.wire.encode import connection_close, empty_method
from trabbits.wire.encode import frame as build_frame
from trabbits.wire.errors import Violation
from trabbits.wire.peek import reply_of_close

if TYPE_CHECKING:
    from trabbits.session.session import Session


class Ending:
    """The end of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._drain = Drain()
        self.clean_up = CleanUp(session)

    def close(self, code: int, text: str, class_id: int = 0, method_id: int = 0) -> None:
        """Close the client's connection properly, with this reply, and the links with it."""
        session = self._session
        if session.phase in ENDING:
            return
        session.ended_badly = True
        session.log(LogId.CLIENT_CLOSED, by="trabbits", code=code, text=text)
        if not session.spoken:
            self.hang_up()
            return
        self._give_up_links()
        session.phase = Phase.CLOSING
        session.send(connection_close(code, text, class_id, method_id))
        session.actions.append(SetTimer(timers.CLOSE, session.settings.connection_close_timeout))
        # Not before: the client's own connection.close may be among what was not read yet.
        session.client_scanner.stop()
        session.feed = self._closing_octets
        session.client_reading = True
        rest = session.client_scanner.take_rest()
        if rest:
            self._closing_octets(rest)

    def refuse_login(self, code: int, text: str, class_id: int = 0, method_id: int = 0) -> None:
        """`close`, for a client that has not been sent connection.tune yet.

        One without the capability "authentication_failure_close" takes a closed socket for "login failed", as from
        RabbitMQ.
        """
        session = self._session
        if code != amqp.ACCESS_REFUSED or session.client_capabilities.get("authentication_failure_close"):
            self.close(code, text, class_id, method_id)
            return
        session.log(LogId.CLIENT_CLOSED, by="trabbits", code=code, text=text)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the client's socket without connection.close, after what waits to be sent."""
        session = self._session
        session.ended_badly = True
        self._give_up_links()
        session.phase = Phase.CLOSING
        session.feed = ignore
        session.actions.append(CloseClient())

    def abort(self) -> None:
        """Drop the client."""
        self._session.ended_badly = True
        self._give_up_links()
        self._session.phase = Phase.CLOSED
        self._session.feed = ignore
        self._session.actions.append(AbortClient())

    def client_closed(self, frame: bytes) -> None:
        """The client sent connection.close."""
        session = self._session
        code, text, _, _ = reply_of_close(frame)
        session.log(LogId.CLIENT_CLOSED, by="client", code=code, text=text)
        self._give_up_links()
        session.phase = Phase.CLIENT_CLOSING
        session.feed = ignore
        session.client_scanner.stop()
        if any(link.open for link in session.links):
            # Like RabbitMQ's, our close-ok means that exclusive queues are gone; but we do not wait forever.
            session.actions.append(SetTimer(timers.CLOSE, session.settings.connection_close_timeout))
        else:
            self._answer()

    def client_lost(self) -> None:
        """The client's transport is gone: so is everything else."""
        session = self._session
        if session.phase not in ENDING:
            session.ended_badly = True
            self._give_up_links()
        session.phase = Phase.CLOSED
        session.feed = ignore
        session.actions += [CancelTimer(name) for name in (timers.HANDSHAKE, timers.HEARTBEAT, timers.CLOSE)]

    def link_gone(self, link: Link) -> None:
        """A link is closed or lost."""
        self.clean_up.give_up(link, "the link ended")
        link.open = False
        link.out.clear()
        link.control.clear()
        link.scanner.stop()
        session = self._session
        if session.phase is Phase.CLIENT_CLOSING and not any(each.open for each in session.links):
            self._answer()

    def timed_out(self) -> None:
        """Somebody did not answer connection.close in time."""
        session = self._session
        if session.phase is Phase.CLIENT_CLOSING:
            self._answer()
        elif session.phase is Phase.CLOSING:
            session.log(LogId.CLOSE_TIMEOUT, peer="client", timeout=session.settings.connection_close_timeout)
            session.actions.append(AbortClient())

    def client_violated(self, violation: Violation) -> None:
        """The client broke AMQP."""
        session = self._session
        if session.phase in ENDING:
            return
        text = violation.reply_text
        session.log(LogId.CLIENT_VIOLATION, channel=violation.channel, code=violation.code, text=text)
        self.close(violation.code, text, violation.class_id, violation.method_id)

    def link_violated(self, link: Link, violation: Violation) -> None:
        """An upstream broke AMQP: not the client's fault, which is told about a lost upstream, not about a frame."""
        link.scanner.stop()
        self.clean_up.give_up(link, "the upstream broke the protocol")
        self._session.log(
            LogId.LINK_VIOLATION,
            upstream=link.name,
            node=link.node,
            channel=violation.channel,
            code=violation.code,
            text=violation.reply_text,
        )
        if self._session.phase in ENDING:
            # Whatever was to be done there before it is closed, it will not be.
            self._session.actions.append(CloseLink(link))
            return
        self.close(
            amqp.CONNECTION_FORCED,
            f"CONNECTION_FORCED - upstream '{link.name}' ({link.node}) broke the protocol: {violation.text}",
        )

    def plugin_failed(self, failure: PluginFailed) -> None:
        """A plugin is to blame, and nobody at either end of the session."""
        self._session.log(failure.entry, **failure.fields)
        self.close(*failure.reply)

    def failed(self, error: Exception) -> None:
        """Something raised what it should not: close everything rather than leave it half alive."""
        if isinstance(error, PluginFailed):
            self.plugin_failed(error)
            return
        session = self._session
        session.log(LogId.INTERNAL_ERROR, text=f"the session raised {type(error).__name__}", error=error)
        if session.phase in ENDING:
            session.actions.append(AbortClient())
            return
        text = f"INTERNAL_ERROR - trabbits failed on this connection; its log has more on {session.id}"
        self.close(amqp.INTERNAL_ERROR, text)

    def _answer(self) -> None:
        session = self._session
        session.send(empty_method(0, amqp.CONNECTION_CLOSE_OK))
        session.phase = Phase.CLOSED
        session.actions += (CancelTimer(timers.CLOSE), CloseClient())

    def _closing_octets(self, octets: bytes) -> None:
        """Look for the client's close-ok, whatever else it sends."""
        session = self._session
        found = self._drain.feed(octets)
        if found is None or session.phase is not Phase.CLOSING:
            return
        # What else came with it was not kept.
        session.observation.taken_from_client(found, build_frame(amqp.FRAME_METHOD, 0, found.to_bytes(4, "big")))
        if found == amqp.CONNECTION_CLOSE:
            # Both closed at once: it gets its answer, and that is the end.
            session.send(empty_method(0, amqp.CONNECTION_CLOSE_OK))
        session.phase = Phase.CLOSED
        session.feed = ignore
        session.actions += (CancelTimer(timers.CLOSE), CloseClient())

    def _give_up_links(self) -> None:
        session = self._session
        if session.guarded:
            session.actions.append(DismissPolicies())
        if session.phase in BEFORE_OPEN:
            session.actions.append(CancelLinks())
        session.actions += (CancelTimer(timers.HANDSHAKE), CancelTimer(timers.HEARTBEAT))
        for link in session.links:
            if link.open:
                self.clean_up.leave(link)
            # Nothing of it is relayed any more, but what waits for it is still sent.
            link.scanner.mute()


def ignore(octets: bytes) -> None:
    """Octets that nobody needs any more."""
