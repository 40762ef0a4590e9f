"""Threads beside the screen: questions, and feeds that survive a server's absence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.console.fake_server import FakeServer, State, log_line, method_event
from trabbits.api_client import ApiClient, ApiError
from trabbits.console import background as background_module
from trabbits.console.background import Background, Feed, FeedState
from trabbits.console.entries import Source


class Loop:
    """The screen's thread: delivers when it is woken."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.background = Background(self.woken.set)

    def until(self, condition: Callable[[], Any]) -> Any:
        for _ in range(1000):
            self.woken.clear()
            self.background.deliver()
            if result := condition():
                return result
            self.woken.wait(0.01)
        raise AssertionError("not within 10 s")


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.background.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    server = FakeServer(tmp_path / "api", State(clients=3)).start()
    yield server
    server.stop()


def unexpected(error: Exception) -> None:
    raise AssertionError(error)


class TestQuestions:
    def test_are_asked_elsewhere_and_answered_here(self, loop: Loop) -> None:
        threads: list[threading.Thread] = []
        loop.background.ask(
            "a",
            lambda: threads.append(threading.current_thread()),
            lambda _: threads.append(threading.current_thread()),
            unexpected,
        )
        loop.until(lambda: len(threads) == 2)
        assert threads[0] is not threading.main_thread()
        assert threads[1] is threading.main_thread()

    def test_trouble_goes_its_own_way(self, loop: Loop) -> None:
        seen: list[Exception] = []

        def call() -> None:
            raise ApiError(404, "no such client")

        loop.background.ask("a", call, lambda _: None, seen.append)
        assert str(loop.until(lambda: seen)[0]) == "no such client"

    def test_a_mistake_of_ours_reaches_the_screens_thread(self, loop: Loop) -> None:
        loop.background.ask("a", lambda: 1 // 0, lambda _: None, lambda _: None)
        with pytest.raises(ZeroDivisionError):
            loop.until(lambda: False)

    def test_while_one_is_under_way_only_the_newest_waits(self, loop: Loop) -> None:
        go, asked, answered = threading.Event(), list[int](), list[int]()

        def call(number: int) -> int:
            asked.append(number)
            assert go.wait(10)
            return number

        for number in range(5):
            loop.background.ask("a", lambda number=number: call(number), answered.append, unexpected)  # type: ignore[misc]
        go.set()
        loop.until(lambda: len(answered) == 2)
        assert asked == answered == [0, 4]

    def test_names_do_not_wait_for_each_other(self, loop: Loop) -> None:
        go, answered = threading.Event(), list[str]()
        loop.background.ask("slow", lambda: go.wait(10), lambda _: answered.append("slow"), unexpected)
        loop.background.ask("quick", lambda: None, lambda _: answered.append("quick"), unexpected)
        loop.until(lambda: answered == ["quick"])
        go.set()
        loop.until(lambda: answered == ["quick", "slow"])

    def test_after_close_nothing_is_delivered(self, loop: Loop) -> None:
        go, done = threading.Event(), threading.Event()
        answered: list[object] = []

        def call() -> None:
            go.wait(10)
            done.set()

        loop.background.ask("a", call, answered.append, unexpected)
        loop.background.close()
        go.set()
        assert done.wait(10)
        loop.background.ask("a", lambda: None, answered.append, unexpected)
        loop.background.deliver()
        assert not answered


class TestFeed:
    @pytest.fixture
    def feed_of(
        self, loop: Loop, server: FakeServer, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[[str], Feed]]:
        monkeypatch.setattr(background_module, "PAUSE", 0.01)
        source = Source(ApiClient(socket=str(server.path)))
        feeds: list[Feed] = []

        def start(client: str) -> Feed:
            feed = loop.background.feed(lambda: source.probe(client) if client else source.logs())
            feeds.append(feed)
            return feed

        yield start
        for feed in feeds:
            feed.close()
            feed._thread.join(10)
            assert not feed._thread.is_alive()

    @staticmethod
    def collect(loop: Loop, feed: Feed, number: int) -> list[Any]:
        events: list[Any] = []

        def enough() -> bool:
            events.extend(feed.take()[0])
            return len(events) >= number

        loop.until(enough)
        return events

    def test_gives_retained_events_and_live_ones(
        self, loop: Loop, server: FakeServer, feed_of: Callable[[str], Feed]
    ) -> None:
        first = server.state.ids[0]
        server.state.send(f"/clients/{first}/probe", method_event(1))
        feed = feed_of(first)
        assert self.collect(loop, feed, 1) == [method_event(1)]
        server.state.send(f"/clients/{first}/probe", method_event(2))
        assert self.collect(loop, feed, 1) == [method_event(2)]
        assert feed.state is FeedState.LIVE

    def test_ends_with_the_client(self, loop: Loop, server: FakeServer, feed_of: Callable[[str], Feed]) -> None:
        first = server.state.ids[0]
        feed = feed_of(first)
        loop.until(lambda: feed.state is FeedState.LIVE)
        server.state.send(f"/clients/{first}/probe", {"type": "proxy_ended"})
        loop.until(lambda: feed.state is FeedState.ENDED)
        feed._thread.join(10)
        assert not feed._thread.is_alive()

    def test_an_unknown_client_is_not_asked_for_again(
        self, loop: Loop, server: FakeServer, feed_of: Callable[[str], Feed]
    ) -> None:
        feed = feed_of("proxy-unknown")
        loop.until(lambda: feed.state is FeedState.REFUSED)
        assert feed.trouble
        feed._thread.join(10)

    def test_a_server_that_comes_back_is_listened_to_again_without_repeating(
        self, loop: Loop, server: FakeServer, feed_of: Callable[[str], Feed]
    ) -> None:
        server.state.send("/logs", log_line(1))
        feed = feed_of("")
        self.collect(loop, feed, 1)
        server.stop()
        loop.until(lambda: feed.state is FeedState.LOST)
        assert feed.trouble
        server.state.send("/logs", log_line(2))
        server.start()
        loop.until(lambda: feed.state is FeedState.LIVE)
        server.state.send("/logs", log_line(3))
        assert self.collect(loop, feed, 2) == [log_line(2), log_line(3)]

    def test_what_nobody_takes_is_bounded_and_counted(self) -> None:
        feed = Feed(lambda: pytest.fail("not opened"), lambda: None)
        for number in range(background_module.ROOM + 5):
            feed._add({"number": number})
        events, skipped = feed.take()
        assert (len(events), skipped) == (background_module.ROOM, 5)
        assert events[0] == {"number": 5}
        assert feed.take() == ([], 0)
