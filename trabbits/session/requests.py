"""Requests that go to all links of a fan session: when all have answered, the client gets one reply.

Lives here: waiting for the answers, and making one of them.  The client gets its replies in the order of its requests,
but for basic.consume and basic.cancel: RabbitMQ's queues answer these, maybe later than what came behind, maybe never
when the channel is closed meanwhile.  So an answer belongs to the oldest request that it can be the answer to.
Must not know: what a request is about, links' octets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from trabbits.wire import constants as amqp
from trabbits.wire.patch import set_declare_ok_counts, set_message_count
from trabbits.wire.peek import declare_ok_counts, declare_ok_counts_offset, message_count

if TYPE_CHECKING:
    from trabbits.session.link import Link

#: Method -> its reply, for every request that goes to all links as it is or nearly so.
REPLIES: dict[int, int] = {
    amqp.CHANNEL_OPEN: amqp.CHANNEL_OPEN_OK,
    amqp.CHANNEL_FLOW: amqp.CHANNEL_FLOW_OK,
    # Of AMQP 0-8: RabbitMQ still answers it.
    amqp.ACCESS_REQUEST: amqp.ACCESS_REQUEST_OK,
    amqp.EXCHANGE_DECLARE: amqp.EXCHANGE_DECLARE_OK,
    amqp.EXCHANGE_DELETE: amqp.EXCHANGE_DELETE_OK,
    amqp.EXCHANGE_BIND: amqp.EXCHANGE_BIND_OK,
    amqp.EXCHANGE_UNBIND: amqp.EXCHANGE_UNBIND_OK,
    amqp.QUEUE_DECLARE: amqp.QUEUE_DECLARE_OK,
    amqp.QUEUE_BIND: amqp.QUEUE_BIND_OK,
    amqp.QUEUE_UNBIND: amqp.QUEUE_UNBIND_OK,
    amqp.QUEUE_PURGE: amqp.QUEUE_PURGE_OK,
    amqp.QUEUE_DELETE: amqp.QUEUE_DELETE_OK,
    amqp.BASIC_QOS: amqp.BASIC_QOS_OK,
    amqp.BASIC_CONSUME: amqp.BASIC_CONSUME_OK,
    amqp.BASIC_CANCEL: amqp.BASIC_CANCEL_OK,
    amqp.BASIC_RECOVER: amqp.BASIC_RECOVER_OK,
    amqp.BASIC_RECOVER_ASYNC: amqp.BASIC_RECOVER_OK,
    amqp.CONFIRM_SELECT: amqp.CONFIRM_SELECT_OK,
    amqp.TX_SELECT: amqp.TX_SELECT_OK,
    amqp.TX_COMMIT: amqp.TX_COMMIT_OK,
    amqp.TX_ROLLBACK: amqp.TX_ROLLBACK_OK,
}

#: Replies that say which consumer they are about.
_TAGGED = frozenset({amqp.BASIC_CONSUME_OK, amqp.BASIC_CANCEL_OK})


class Request:
    """One request under way.

    `finish` gets the reply of all when the last link has answered; `each`, if set, hears of every link before.
    """

    __slots__ = ("awaited", "each", "finish", "frames", "reply", "tag")

    def __init__(
        self, reply: int, awaited: set[Link], finish: Callable[[bytes], None], tag: bytes | None = None
    ) -> None:
        self.reply = reply
        #: The consumer tag, for requests about one.
        self.tag = tag
        self.awaited = awaited
        self.finish = finish
        self.each: Callable[[Link], None] | None = None
        self.frames: list[bytes] = []


class Requests:
    """The requests under way on one channel, oldest first."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def expect(self, request: Request) -> None:
        """A request was sent."""
        self._queue.append(request)

    def awaits(self, link: Link) -> bool:
        """Whether this link owes an answer."""
        return any(link in request.awaited for request in self._queue)

    def answered(self, link: Link, index: int, frame: bytes) -> bool:
        """A link's reply; False when it is not one that was asked for."""
        tag = frame[12 : 12 + frame[11]] if index in _TAGGED else None
        for request in self._queue:
            if request.reply == index and request.tag == tag and link in request.awaited:
                request.awaited.discard(link)
                request.frames.append(frame)
                if request.each is not None:
                    request.each(link)
                self._complete()
                return True
        return False

    def clear(self) -> None:
        """Nobody waits any more: the channel is closed."""
        self._queue.clear()

    def _complete(self) -> None:
        """Answer what can be answered, in order; only what is about consumers may be overtaken."""
        due = []
        for request in self._queue:
            if not request.awaited:
                due.append(request)
            elif request.tag is None:
                break
        for request in due:
            self._queue.remove(request)
            request.finish(merged(request.reply, request.frames))


def merged(index: int, frames: list[bytes]) -> bytes:
    """One reply out of those of all links: the first one, with counts summed where there are any."""
    if len(frames) == 1:
        return frames[0]
    if index == amqp.QUEUE_DECLARE_OK:
        counts = [declare_ok_counts(frame, 0) for frame in frames]
        reply = bytearray(frames[0])
        messages, consumers = (min(sum(each), 0xFFFFFFFF) for each in zip(*counts, strict=True))
        set_declare_ok_counts(reply, declare_ok_counts_offset(reply, 0), messages, consumers)
        return bytes(reply)
    if index in (amqp.QUEUE_PURGE_OK, amqp.QUEUE_DELETE_OK):
        reply = bytearray(frames[0])
        set_message_count(reply, 11, min(sum(message_count(frame, 0) for frame in frames), 0xFFFFFFFF))
        return bytes(reply)
    return frames[0]
