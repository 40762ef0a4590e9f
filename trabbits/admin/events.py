"""Server-sent events: one stream to one reader, who may be slow, silent or gone.

Lives here: `EventStream`.  Must not know: what the events are about.
Source: the HTML standard, section 9.2 "Server-sent events".
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

#: Events that wait for a reader; what comes beyond is dropped and counted.
QUEUE_LIMIT = 1000
#: Events made into octets in one turn of the reactor.
BATCH = 50
#: Seconds between two comments that show the reader that the connection lives.
HEARTBEAT = 15.0
#: Seconds after which a reader who takes nothing is given up.
PATIENCE = 60.0

#: What makes an event's JSON, when its turn has come.
Event = Callable[[], dict[str, Any] | str]


@implementer(IPushProducer)
class EventStream:
    """Events for the reader of `request`; `finished` fires when nothing more can or will be sent.

    What it costs is bounded: events are made into octets only when the reader takes them, a few at a time.
    """

    def __init__(self, request: Any, reactor: Any) -> None:
        self._request = request
        self._reactor = reactor
        self._waiting: deque[Event] = deque()
        self._dropped = 0
        self._paused = False
        self._ending = False
        self._over = False
        self._turn: Any = None
        self._clean_ups: list[Callable[[], None]] = []
        self.finished: Deferred[bytes] = Deferred(lambda deferred: self._stop())
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-store")
        # For proxies of nginx's kind, which would collect events before they pass them on.
        request.setHeader(b"X-Accel-Buffering", b"no")
        self._patience: Any = None
        self._heartbeat: Any = reactor.callLater(HEARTBEAT, self._beat)
        request.registerProducer(self, True)
        # So that the reader gets the headers at once.
        request.write(b": trabbits\n\n")

    def when_over(self, clean_up: Callable[[], None]) -> None:
        """Call this once when the stream is over, one way or the other."""
        if self._over:
            clean_up()
        else:
            self._clean_ups.append(clean_up)

    def send(self, event: Event) -> None:
        """Send one event, or count it as dropped when too many wait."""
        if self._over or self._ending:
            return
        if len(self._waiting) >= QUEUE_LIMIT:
            self._dropped += 1
            return
        self._tell_dropped()
        self._waiting.append(event)
        self._schedule()

    def drop(self, count: int) -> None:
        """So many events are missing here."""
        self._dropped += count

    def end(self, *last: dict[str, Any]) -> None:
        """Send what waits, then these, then close."""
        if self._over or self._ending:
            return
        self._tell_dropped()
        self._waiting.extend([lambda content=each: content for each in last])  # type: ignore[misc]
        self._ending = True
        self._schedule()

    # The reader's side

    def pauseProducing(self) -> None:
        self._paused = True
        if self._patience is None and not self._over:
            self._patience = self._reactor.callLater(PATIENCE, self._give_up)

    def resumeProducing(self) -> None:
        self._paused = False
        _cancel(self._patience)
        self._patience = None
        self._schedule()

    def stopProducing(self) -> None:
        self._stop()

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._waiting.append(lambda: {"type": "dropped", "count": dropped})

    def _schedule(self) -> None:
        if self._turn is None and not self._paused and not self._over:
            self._turn = self._reactor.callLater(0, self._write)

    def _write(self) -> None:
        self._turn = None
        waiting = self._waiting
        if waiting:
            batch = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
            self._request.write(b"".join(map(_octets, batch)))
        if self._over:
            return
        if not waiting and self._dropped:
            self._tell_dropped()
        if waiting:
            self._schedule()
        elif self._ending:
            self._stop()

    def _beat(self) -> None:
        self._heartbeat = self._reactor.callLater(HEARTBEAT, self._beat)
        if not self._paused:
            self._request.write(b": alive\n\n")

    def _give_up(self) -> None:
        self._patience = None
        transport = self._request.channel.transport
        self._stop()
        transport.abortConnection()

    def _stop(self) -> None:
        if self._over:
            return
        self._over = True
        self._waiting.clear()
        for timer in (self._turn, self._heartbeat, self._patience):
            _cancel(timer)
        clean_ups, self._clean_ups = self._clean_ups, []
        for clean_up in clean_ups:
            clean_up()
        if self._request.channel is not None:  # the reader is still there
            self._request.unregisterProducer()
        if not self.finished.called:
            self.finished.callback(b"")


def _cancel(timer: Any) -> None:
    if timer is not None and timer.active():
        timer.cancel()


def _octets(event: Event) -> bytes:
    content = event()
    text = content if isinstance(content, str) else json.dumps(content)
    return f"data: {text}\n\n".encode()
