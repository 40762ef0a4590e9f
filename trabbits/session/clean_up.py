"""Deleting what a client declared auto-delete when its session ends, and then closing the links.

A queue that others consume from stays.  So that the client's own consumers are not taken for others, its channels are
closed first; but for one in the middle of a message, on which nothing but the rest of that message could be sent: the
answers to its declares are waited for, as they say what is to be deleted.
RabbitMQ's quorum queues hear a bit late that a channel is gone, so a queue in use is tried again.
Lives here: the steps, their order and their bounds.  Must not know: which queues these are (``auto_delete.py``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from trabbits.log_ids import LogId
from trabbits.session import timers
from trabbits.session.actions import CancelTimer, CloseLink, DeleteQueue, Deletion, DrainLink, SetTimer
from trabbits.session.tee import goes_to
from trabbits.wire import constants as amqp
from trabbits.wire.encode import channel_close

if TYPE_CHECKING:
    from trabbits.session.link import Link
    from trabbits.session.session import Session

#: Seconds for everything at one link.
CLEAN_UP_TIMEOUT: Final = 5.0
#: How often a queue in use is tried again, and after how many seconds.
RETRIES: Final = 3
RETRY_DELAY: Final = 0.1


class _Work:
    """What is left to do at one link."""

    __slots__ = ("begun", "channels", "in_use", "queues", "rounds")

    def __init__(self, channels: set[int]) -> None:
        #: Channels that are not closed yet.
        self.channels = channels
        #: Whether all has been heard that says what is to be deleted.
        self.begun = False
        #: Queues to delete; the first one is being deleted once that is known.
        self.queues: deque[bytes] = deque()
        #: Queues that somebody consumes from.
        self.in_use: list[bytes] = []
        self.rounds = 0


class CleanUp:
    """The last things that one session does at its links."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._work: dict[Link, _Work] = {}

    def leave(self, link: Link) -> None:
        """Delete what is to be deleted at this link, then close it."""
        session = self._session
        if session.auto_deletes is None or not session.auto_deletes.concern(link):
            session.actions.append(CloseLink(link))
            return
        work = self._work[link] = _Work(set())
        session.actions += (DrainLink(link), SetTimer(timers.CLEAN_UP, CLEAN_UP_TIMEOUT))
        for channel, closing in session.channels_at(link):
            content = session.client_scanner.contents.get(channel)
            if not closing:
                if content is not None and goes_to(content.destination, link):
                    continue
                link.send(channel_close(channel, amqp.REPLY_SUCCESS, "Goodbye"))
            work.channels.add(channel)
        self._delete_when_known(link, work)

    def link_method(self, link: Link, index: int, channel: int) -> None:
        """A method of a link that is being left; what it says of queues is noted already."""
        work = self._work.get(link)
        if work is None:
            return
        if index in (amqp.CHANNEL_CLOSE, amqp.CHANNEL_CLOSE_OK):
            work.channels.discard(channel)
        self._delete_when_known(link, work)

    def queue_deleted(self, link: Link, outcome: Deletion, text: str) -> None:
        """The answer to `DeleteQueue`."""
        work = self._work.get(link)
        if work is None or not work.queues:
            return
        queue = work.queues.popleft()
        if outcome is Deletion.DELETED:
            shown = queue.decode()
            self._session.log(LogId.QUEUE_DELETED, upstream=link.name, node=link.node, queue=shown)
        elif outcome is Deletion.IN_USE and work.rounds < RETRIES:
            work.in_use.append(queue)
        elif outcome is not Deletion.MISSING:
            self._stays(link, queue, text)
        self._next(link, work)

    def try_again(self) -> None:
        """The timer for queues in use ran out."""
        for link, work in list(self._work.items()):
            if work.in_use and not work.queues:
                work.rounds += 1
                work.queues.extend(work.in_use)
                work.in_use.clear()
                self._next(link, work)

    def timed_out(self) -> None:
        """It took too long."""
        for link in list(self._work):
            self.give_up(link, f"not within {CLEAN_UP_TIMEOUT:g}s")
            self._session.actions.append(CloseLink(link))

    def give_up(self, link: Link, text: str) -> None:
        """Nothing can be deleted at this link any more."""
        session = self._session
        work = self._work.pop(link, None)
        left = [*work.queues, *work.in_use] if work is not None else []
        if session.auto_deletes is not None:
            left += session.auto_deletes.take(link)
        for queue in left:
            self._stays(link, queue, text)
        if work is not None and not self._work:
            session.actions += (CancelTimer(timers.CLEAN_UP), CancelTimer(timers.CLEAN_UP_AGAIN))

    def _delete_when_known(self, link: Link, work: _Work) -> None:
        """Begin when the channels are closed and, on those that cannot be, all declares are answered."""
        auto_deletes = self._session.auto_deletes
        assert auto_deletes is not None
        if work.begun or work.channels or auto_deletes.awaits(link):
            return
        work.begun = True
        work.queues.extend(auto_deletes.take(link))
        self._next(link, work)

    def _next(self, link: Link, work: _Work) -> None:
        session = self._session
        if work.queues:
            session.actions.append(DeleteQueue(link, work.queues[0].decode()))
        elif work.in_use:
            session.actions.append(SetTimer(timers.CLEAN_UP_AGAIN, RETRY_DELAY))
        else:
            self.give_up(link, "")
            session.actions.append(CloseLink(link))

    def _stays(self, link: Link, queue: bytes, text: str) -> None:
        shown = queue.decode()
        self._session.log(LogId.QUEUE_NOT_DELETED, upstream=link.name, node=link.node, queue=shown, text=text)
