"""`try_passive`: whether a queue exists is asked before the client's declare goes up; one that does is used as it is.

The declare stays unread meanwhile (`STALL`), and so does everything behind it: order holds on every channel.  The
question is asked on trabbits' own channel, where a "no" closes no channel of the client's.  Before it, the client's
channel has to answer a channel.flow that changes nothing: what the client asked for earlier, such as deleting the very
queue without waiting for an answer, is done then.
Must not know: how a relay has its links answer (its `Barrier` does), how a queue is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, Final

from pamqp import commands

from trabbits.log_ids import LogId
from trabbits.session import timers
from trabbits.session.actions import CancelTimer, ProbeQueue, SetTimer
from trabbits.session.phase import Phase
from trabbits.wire.declare import QueueDeclareFields, build_declare
from trabbits.wire.encode import method_frame

if TYPE_CHECKING:
    from trabbits.session.link import Link
    from trabbits.session.session import Session

#: Seconds until a declare goes up without an answer.
PROBE_TIMEOUT: Final = 5.0

_AGAIN: Final = -1

#: Call this when the link has done what it was asked for so far on this channel.
Barrier = Callable[[int, "Link", Callable[[], None]], None]


class _Probe:
    """The question about one declare."""

    __slots__ = ("answers", "awaited", "channel", "queue")

    def __init__(self, channel: int, queue: bytes, links: list[Link]) -> None:
        self.channel = channel
        self.queue = queue
        #: The links that have not answered -> the token of the question, 0 before it is asked, _AGAIN when it has to
        #: be asked again.
        self.awaited = dict.fromkeys(links, 0)
        #: The links where the queue exists.
        self.answers: set[Link] = set()


class Probing:
    """The questions of one session: one at a time, as nothing of the client's is read meanwhile."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asks = [upstream.try_passive for upstream in session.settings.upstreams]
        self._tokens = count(1)
        self._probe: _Probe | None = None
        #: Set by the relay.
        self.barrier: Barrier | None = None

    @property
    def enabled(self) -> bool:
        """Whether any upstream has its queues asked for."""
        return any(self._asks)

    def existing(self, channel: int, fields: QueueDeclareFields, links: Iterable[Link]) -> set[Link] | None:
        """The links at which the queue of this declare is to be used as it is; None: not known yet, stall."""
        asked = [link for link in links if self._asks[link.index]]
        if fields.passive or not fields.queue or not asked or self.barrier is None:
            return set()
        probe = self._probe
        if probe is None or (probe.channel, probe.queue) != (channel, fields.queue):
            self._begin(_Probe(channel, fields.queue, asked))
            return None
        if probe.awaited:
            return None
        self._probe = None
        return probe.answers

    def awaits(self, link: Link) -> bool:
        """Whether this link owes an answer."""
        return self._probe is not None and link in self._probe.awaited

    def forget(self, channel: int) -> None:
        """The channel is closing: its declare will not go up."""
        if self._probe is not None and self._probe.channel == channel:
            self._end()

    def answered(self, token: int, exists: bool, failure: str) -> None:
        """The answer to `ProbeQueue`; `failure` if there was none."""
        probe = self._open_question
        link = next((link for link, asked in probe.awaited.items() if asked == token), None) if probe else None
        if probe is None or link is None:
            return
        if failure and self._session.client_full:
            probe.awaited[link] = _AGAIN
            return
        if failure:
            self._failed(probe, link, failure)
        if exists:
            probe.answers.add(link)
        self._known(probe, link)

    def timed_out(self) -> None:
        """The timer for the question ran out."""
        probe = self._open_question
        if probe is not None and self._session.client_full:
            # The links are not read because of the client, so their silence means nothing.
            self._session.actions.append(SetTimer(timers.PROBE, PROBE_TIMEOUT))
            for link, token in list(probe.awaited.items()):
                if token == _AGAIN:
                    self._ask(probe, link)
        elif probe is not None:
            for link in list(probe.awaited):
                self._failed(probe, link, f"not within {PROBE_TIMEOUT:g}s")
                self._known(probe, link)

    @property
    def _open_question(self) -> _Probe | None:
        """The probe under way, while anybody wants to know."""
        return self._probe if self._session.phase is Phase.RUNNING else None

    def _begin(self, probe: _Probe) -> None:
        self._end()
        self._probe = probe
        self._session.actions.append(SetTimer(timers.PROBE, PROBE_TIMEOUT))
        assert self.barrier is not None
        for link in list(probe.awaited):
            self.barrier(probe.channel, link, lambda link=link: self._ask(probe, link))  # type: ignore[misc]  # its type is known

    def _ask(self, probe: _Probe, link: Link) -> None:
        if self._probe is probe and link in probe.awaited:
            token = probe.awaited[link] = next(self._tokens)
            self._session.actions.append(ProbeQueue(link, link.queue_name(probe.queue).decode(), token))

    def _known(self, probe: _Probe, link: Link) -> None:
        del probe.awaited[link]
        if not probe.awaited:
            self._session.actions.append(CancelTimer(timers.PROBE))
            # The declare is taken up again.
            self._session.settle_due = True

    def _failed(self, probe: _Probe, link: Link, text: str) -> None:
        queue = link.queue_name(probe.queue).decode()
        self._session.log(LogId.QUEUE_PROBE_FAILED, upstream=link.name, node=link.node, queue=queue, text=text)

    def _end(self) -> None:
        if self._probe is not None:
            self._probe = None
            self._session.actions.append(CancelTimer(timers.PROBE))
            self._session.settle_due = True


def flow(channel: int) -> bytes:
    """What a `Barrier` sends: a channel.flow that asks for what is so anyway."""
    return method_frame(channel, commands.Channel.Flow(True))


def as_it_is(channel: int, fields: QueueDeclareFields) -> bytes:
    """The declare for a queue that exists: passive, with the client's wish for an answer or none."""
    return build_declare(channel, QueueDeclareFields(queue=fields.queue, passive=True, nowait=fields.nowait))
