"""`emulate_auto_delete`: which queues a session has to delete when it ends.

They are those that the client declared auto-delete and an upstream was asked for without.  Exclusive ones go with their
link, and a queue that was there before (`try_passive`) is not ours to delete.  Each is remembered under the name that
its upstream has for it.
Lives here: remembering and forgetting them.  Must not know: how they are deleted (``clean_up.py``).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from pamqp import commands

from trabbits.log_ids import LogId
from trabbits.wire import constants as amqp
from trabbits.wire.declare import QueueDeclareFields, parse_declare
from trabbits.wire.decode import decode_method

if TYPE_CHECKING:
    from trabbits.session.link import Link
    from trabbits.session.session import Session

#: Queues remembered per session.
REMEMBERED_MAX: Final = 10_000
#: Queues per link whose delete is not known to be done; older ones count as deleted.
DOUBTS_MAX: Final = 1_000


class _AtLink:
    """What concerns one link."""

    __slots__ = ("declares", "deletes", "doubts", "outlived", "queues", "unproven")

    def __init__(self) -> None:
        self.queues: dict[bytes, None] = {}
        #: (channel, queue) -> how many declares are not answered.
        self.declares: Counter[tuple[int, bytes]] = Counter()
        #: How many of these, the oldest, were followed by a delete that wants no answer.
        self.outlived: Counter[tuple[int, bytes]] = Counter()
        #: Channel -> the queues of the deletes that are not answered, oldest first.
        self.deletes: dict[int, deque[bytes]] = {}
        #: Channel -> those of `queues` that were declared without an answer.  The broker may have refused that, and
        #: then the queue is somebody else's.
        self.unproven: dict[int, set[bytes]] = {}
        #: (channel, queue) of those that were deleted without an answer, oldest first: until the channel is closed, the
        #: broker may have refused that, or have closed the channel before it.
        self.doubts: dict[tuple[int, bytes], None] = {}

    def deleted(self, queue: bytes) -> None:
        """The client deleted it."""
        self.queues.pop(queue, None)
        self.proven(queue)

    def deleted_unheard(self, channel: int, queue: bytes) -> None:
        """The client deleted it and wants no answer."""
        declared = self.declares[channel, queue]
        known = queue in self.queues or declared > 0
        self.deleted(queue)
        if declared:
            self.outlived[channel, queue] = declared
        if known:
            self.doubts[channel, queue] = None
            if len(self.doubts) > DOUBTS_MAX:
                del self.doubts[next(iter(self.doubts))]

    def declared(self, key: tuple[int, bytes]) -> bool:
        """The oldest of its declares is answered; returns whether the queue is there now, as far as that goes."""
        self.declares[key] -= 1
        there = not self.outlived[key]
        if not there:
            self.outlived[key] -= 1
        for counts in (self.declares, self.outlived):
            if not counts[key]:
                del counts[key]
        return there

    def closed(self, channel: int) -> None:
        """Nothing is answered on this channel any more."""
        self.deletes.pop(channel, None)
        for key in [key for key in self.declares if key[0] == channel]:
            del self.declares[key]
            self.outlived.pop(key, None)

    def proven(self, queue: bytes) -> None:
        """Nothing about it is in doubt."""
        for queues in self.unproven.values():
            queues.discard(queue)
        for key in [key for key in self.doubts if key[1] == queue]:
            del self.doubts[key]

    def take_doubts(self, channel: int) -> list[bytes]:
        """Those of a channel that is closed."""
        found = [key for key in self.doubts if key[0] == channel]
        for key in found:
            del self.doubts[key]
        return [queue for _, queue in found]


class AutoDeletes:
    """The queues of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._emulates = [upstream.emulate_auto_delete for upstream in session.settings.upstreams]
        self._links: dict[Link, _AtLink] = {}
        #: Channel -> the queue declared last, which an empty name means.
        self._last: dict[int, bytes] = {}
        self._told = False

    def opened(self, channel: int) -> None:
        """The client opens a channel: nothing is left of an earlier one of this number."""
        self._last.pop(channel, None)
        for at in self._links.values():
            at.closed(channel)

    def declares(self, channel: int, wish: QueueDeclareFields, frames: Mapping[Link, bytes]) -> None:
        """The client's `wish`, with the name it goes up with, and what the links get for it."""
        self._last[channel] = wish.queue or self._last.get(channel, b"")
        if not wish.auto_delete or wish.passive:
            return
        for link, frame in frames.items():
            if not self._emulates[link.index]:
                continue
            asked = parse_declare(frame)
            if asked.passive or asked.auto_delete or asked.exclusive:
                continue
            at = self._links.setdefault(link, _AtLink())
            queue = link.queue_name(asked.queue)
            if asked.nowait:
                if queue not in at.queues and self._remember(link, at, queue):
                    at.unproven.setdefault(channel, set()).add(queue)
            elif self._room_for(link, at, queue):
                at.declares[channel, queue] += 1

    def deletes(self, channel: int, frame: bytes, links: Iterable[Link]) -> None:
        """The client's queue.delete goes to these links."""
        method = decode_method(frame)
        assert isinstance(method, commands.Queue.Delete)
        queue = (method.queue or "").encode() or self._last.get(channel, b"")
        for link in links:
            if not self._emulates[link.index]:
                continue
            at = self._links.setdefault(link, _AtLink())
            if method.nowait:
                at.deleted_unheard(channel, link.queue_name(queue))
            else:
                at.deletes.setdefault(channel, deque()).append(link.queue_name(queue))

    def answered(self, link: Link, index: int, channel: int, frame: bytes) -> None:
        """A method of a link, whatever it is, with the upstream's names."""
        at = self._links.get(link)
        if at is None:
            return
        if index == amqp.QUEUE_DECLARE_OK:
            key = channel, frame[12 : 12 + frame[11]]
            if key in at.declares and at.declared(key):
                self._remember(link, at, key[1])
                at.proven(key[1])
        elif index == amqp.CHANNEL_CLOSE_OK:
            at.unproven.pop(channel, None)
            at.take_doubts(channel)
            at.closed(channel)
        elif index == amqp.CHANNEL_CLOSE:
            self._forget_unproven(link, at, channel)
            self._tell_doubts(link, at, channel)
            at.closed(channel)
        elif index == amqp.QUEUE_DELETE_OK and at.deletes.get(channel):
            at.deleted(at.deletes[channel].popleft())

    def concern(self, link: Link) -> bool:
        """Whether there is, or may be in a moment, anything to delete or to tell of at this link."""
        at = self._links.get(link)
        return at is not None and bool(at.queues or at.declares or at.doubts)

    def awaits(self, link: Link) -> bool:
        """Whether this link owes an answer to a declare, which may be one more to delete."""
        at = self._links.get(link)
        return at is not None and bool(at.declares)

    def take(self, link: Link) -> list[bytes]:
        """What is to be deleted at this link, forgotten with it."""
        at = self._links.pop(link, None)
        if at is None:
            return []
        for channel in list(at.unproven):
            self._forget_unproven(link, at, channel)
        for channel, _ in list(at.doubts):
            self._tell_doubts(link, at, channel)
        for _, queue in {key: None for key in at.declares if key not in at.outlived and key[1] not in at.queues}:
            self._tell_unknown(link, queue, "declared")
        return list(at.queues)

    def _remember(self, link: Link, at: _AtLink, queue: bytes) -> bool:
        if not self._room_for(link, at, queue):
            return False
        at.queues[queue] = None
        return True

    def _forget_unproven(self, link: Link, at: _AtLink, channel: int) -> None:
        for queue in at.unproven.pop(channel, ()):
            if queue in at.queues:
                del at.queues[queue]
                self._tell_unknown(link, queue, "declared")

    def _tell_doubts(self, link: Link, at: _AtLink, channel: int) -> None:
        for queue in at.take_doubts(channel):
            if queue not in at.queues:
                self._tell_unknown(link, queue, "deleted")

    def _tell_unknown(self, link: Link, queue: bytes, what: str) -> None:
        text = f"it was {what} without an answer, and whether that worked is not known"
        shown = {"upstream": link.name, "node": link.node, "queue": queue.decode()}
        self._session.log(LogId.QUEUE_NOT_DELETED, text=text, **shown)

    def _room_for(self, link: Link, at: _AtLink, queue: bytes) -> bool:
        remembered = sum(len(each.queues) + len(each.declares) for each in self._links.values())
        if queue in at.queues or remembered < REMEMBERED_MAX:
            return True
        if not self._told:
            self._told = True
            shown = {"upstream": link.name, "node": link.node, "queue": queue.decode()}
            text = f"more than {REMEMBERED_MAX} in one session; others will stay, too"
            self._session.log(LogId.QUEUE_NOT_DELETED, text=text, **shown)
        return False
