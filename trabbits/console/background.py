"""Calls that block, made beside the screen.

Lives here: `Background`, which makes calls in threads of its own and brings their outcomes back to the thread of the
screen, and `Feed`, a stream of events read the same way.  Must not know: what is asked for, or how it is shown.

Questions have names.  Under each name at most one is under way and one waits; a newer one takes the place of the one
that waits.  So a slow server makes the screen old, and never makes it wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from trabbits.api_client import ApiError, ApiUnreachable, EventStream

T = TypeVar("T")
Event = dict[str, Any]

#: What a call may end with; anything else is a mistake of ours and ends the console.
TROUBLE = (ApiError, ApiUnreachable, OSError)
#: Seconds before a feed opens its stream again.
PAUSE = 2.0
#: Events that wait to be taken by the screen.
ROOM = 10_000


class Background:
    """`wake` is called from any thread when there is something to deliver; the screen's thread then calls deliver()."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._outcomes: deque[Callable[[], None]] = deque()
        #: The names under which a question is under way, with the one that waits.
        self._waiting: dict[str, Callable[[], None] | None] = {}
        self._feeds: set[Feed] = set()
        self._closed = False

    def ask(
        self, name: str, call: Callable[[], T], then: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """Make the call elsewhere, then in the screen's thread `then` with its result or `failed` with its trouble."""

        def question() -> None:
            try:
                result = call()
            except TROUBLE as trouble:
                self._post(lambda trouble=trouble: failed(trouble))  # type: ignore[misc]
            except Exception as mistake:
                self._post(lambda mistake=mistake: _raise(mistake))  # type: ignore[misc]
            else:
                self._post(lambda: then(result))

        with self._lock:
            if self._closed:
                return
            if name in self._waiting:
                self._waiting[name] = question
                return
            self._waiting[name] = None
        threading.Thread(target=self._work, args=(name, question), name=f"console {name}", daemon=True).start()

    def feed(self, open_stream: Callable[[], EventStream]) -> Feed:
        """A stream of events that is opened again when it breaks off; the caller owns it and closes it."""
        feed = Feed(open_stream, lambda: self._post(None))
        with self._lock:
            self._feeds = {other for other in self._feeds if not other.is_closed} | {feed}
        feed.start()
        return feed

    def deliver(self) -> None:
        """Hand over what has come since the last time.  In the screen's thread."""
        for _ in range(len(self._outcomes)):
            self._outcomes.popleft()()

    def close(self) -> None:
        """Nothing is delivered any more.  Threads that wait for a server are left to themselves: they end with us."""
        with self._lock:
            self._closed = True
            feeds, self._feeds = self._feeds, set()
        for feed in feeds:
            feed.close()
        self._outcomes.clear()

    def _work(self, name: str, question: Callable[[], None]) -> None:
        following: Callable[[], None] | None = question
        while following is not None:
            following()
            with self._lock:
                following = None if self._closed else self._waiting[name]
                if following is None:
                    del self._waiting[name]
                else:
                    self._waiting[name] = None

    def _post(self, outcome: Callable[[], None] | None) -> None:
        if self._closed:
            return
        if outcome is not None:
            self._outcomes.append(outcome)
        self._wake()


def _raise(mistake: Exception) -> None:
    raise mistake


class FeedState(Enum):
    """Where a feed stands."""

    OPENING = "opening"
    LIVE = "live"
    #: Broken off or not reached; it is tried again.
    LOST = "lost"
    #: The last event has come.
    ENDED = "ended"
    #: The server won't have it; it isn't tried again.
    REFUSED = "refused"


class Feed:
    """Events of a stream, in order, at most ROOM of them waiting: the oldest go first, and are counted.

    When the stream is opened again it begins with what the server retains; what has been seen already, by its time, is
    left out.
    """

    def __init__(self, open_stream: Callable[[], EventStream], wake: Callable[[], None]) -> None:
        self._open_stream = open_stream
        self._wake = wake
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=ROOM)
        self._skipped = 0
        self._state = FeedState.OPENING
        self._trouble = ""
        #: The time of the latest event so far, in the server's words.
        self._seen = ""
        self._stream: EventStream | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console feed", daemon=True)

    @property
    def state(self) -> FeedState:
        """Where it stands."""
        return self._state

    @property
    def trouble(self) -> str:
        """Why it is lost or refused."""
        return self._trouble

    @property
    def is_closed(self) -> bool:
        """Whether it reads no more because it was told so."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def take(self) -> tuple[list[Event], int]:
        """What has come since the last time, and how many before it were lost because nobody took them."""
        with self._lock:
            events, skipped = list(self._events), self._skipped
            self._events.clear()
            self._skipped = 0
        return events, skipped

    def close(self) -> None:
        """Read no more.  Nothing is woken after it but for a call that is on its way."""
        self._stopping.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except ApiError as error:
                # 5xx is the server's trouble, which passes; anything else is its answer.
                self._move(FeedState.LOST if error.status >= 500 else FeedState.REFUSED, error.text)
            except (ApiUnreachable, OSError) as error:
                self._move(FeedState.LOST, str(error))
            if self._state in (FeedState.ENDED, FeedState.REFUSED):
                return
            self._stopping.wait(PAUSE)

    def _read(self) -> None:
        """Read one stream to its end."""
        threshold = self._seen
        with self._open_stream() as stream:
            with self._lock:
                self._stream = stream
            if self._stopping.is_set():
                return
            self._move(FeedState.LIVE, "")
            for event in stream:
                time = event.get("time")
                if isinstance(time, str):
                    if time <= threshold:
                        continue
                    self._seen = max(self._seen, time)
                self._add(event)
                if event.get("type") == "proxy_ended":
                    self._move(FeedState.ENDED, "")
                    return
        self._move(FeedState.LOST, "the server ended the stream")

    def _add(self, event: Event) -> None:
        with self._lock:
            if len(self._events) == ROOM:
                self._skipped += 1
            self._events.append(event)
        self._wake()

    def _move(self, state: FeedState, trouble: str) -> None:
        if not self._stopping.is_set():
            self._state, self._trouble = state, trouble
            self._wake()
