"""The console's screen without a terminal, without threads and without a socket.

`Desktop` holds a Screen before a State: keys in, text of the screen out.  Questions are answered when they are
asked; while the background `is_holding`, by its `answer()`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import urlencode

from tests.console.fake_server import Refusal, State
from trabbits.api_client import Answer, ApiClient, ApiError, ApiUnreachable, EventStream
from trabbits.console.background import TROUBLE, Background, Event, Feed, FeedState, T
from trabbits.console.entries import Source
from trabbits.console.screen import Screen


class InProcessApi(ApiClient):
    """An ApiClient whose server is a State."""

    def __init__(self, state: State) -> None:
        super().__init__(socket="/run/trabbits.sock")
        self.state = state
        self.is_reachable = True

    def request(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "", query: Any = None
    ) -> Answer:
        if not self.is_reachable:
            raise ApiUnreachable("/run/trabbits.sock: nobody listens there any more.")
        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            content, total = self.state.answer(method, f"{path}?{urlencode(given)}")
        except Refusal as refusal:
            raise ApiError(refusal.status, str(refusal)) from None
        headers = {"content-type": "application/json"}
        if total >= 0:
            headers["x-total-count"] = str(total)
        return Answer(200, headers, json.dumps(content).encode())

    def stream(self, path: str, **query: Any) -> EventStream:
        return cast(EventStream, path)  # what StillFeed makes of it


class StillFeed(Feed):
    """A feed that gives what the test adds to it."""

    def __init__(self, open_stream: Callable[[], EventStream]) -> None:
        super().__init__(open_stream, lambda: None)
        self._state = FeedState.LIVE

    def add(self, *events: Event) -> None:
        for event in events:
            self._add(event)

    def move(self, state: FeedState, trouble: str = "") -> None:
        self._move(state, trouble)


class StillBackground(Background):
    """Answers in the test's thread."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.is_holding = False
        self.questions: dict[str, Callable[[], None]] = {}
        self.feeds: list[StillFeed] = []

    def ask(
        self, name: str, call: Callable[[], T], then: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        def question() -> None:
            try:
                result = call()
            except TROUBLE as trouble:
                failed(trouble)
            else:
                then(result)

        if self.is_holding:
            self.questions[name] = question
        else:
            question()

    def answer(self) -> None:
        """Answer what has been held."""
        questions, self.questions = self.questions, {}
        for question in questions.values():
            question()

    def feed(self, open_stream: Callable[[], EventStream]) -> Feed:
        feed = StillFeed(open_stream)
        self.feeds.append(feed)
        return feed


class Desktop:
    """A screen of some size; `now` is its clock."""

    def __init__(self, state: State, size: tuple[int, int] = (80, 24)) -> None:
        self.state = state
        self.size = size
        self.api = InProcessApi(state)
        self.background = StillBackground()
        self.now = 1_000_000_000.0
        self.has_quit = False
        self.screen = Screen(Source(self.api), self.background, lambda: self.now, self._quit)
        self.refresh()

    def _quit(self) -> None:
        self.has_quit = True

    def refresh(self, seconds: float = 2.0) -> str:
        """What happens every two seconds."""
        self.now += seconds
        self.screen.refresh()
        return self.text

    def press(self, *keys: str) -> str:
        """Press keys by urwid's names; the screen after them."""
        for key in keys:
            self.draw()
            self.screen.keypress(self.size, key)
        return self.text

    def type(self, text: str) -> str:
        return self.press(*text)

    def draw(self) -> Any:
        self.screen.update()
        return self.screen.render(self.size, focus=True)

    @property
    def lines(self) -> list[str]:
        return [line.decode("utf-8", errors="replace").rstrip() for line in self.draw().text]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def marked(self) -> str:
        """The row under the cursor."""
        return next(line for line in self.lines if line.startswith("▸"))

    @property
    def rows(self) -> Iterator[str]:
        """The rows of the table."""
        return iter(self.lines[3:-2])
