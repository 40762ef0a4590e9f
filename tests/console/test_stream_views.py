"""The views of events: auto-scroll, bounds, saving."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import urwid

from tests.console.fake_server import State, log_line, method_event
from tests.console.in_process import Desktop
from trabbits.console.background import FeedState
from trabbits.console.stream import KEPT


@pytest.fixture(autouse=True, scope="module")
def unicode_terminal() -> Iterator[None]:
    before = urwid.util.get_encoding()
    urwid.set_encoding("utf-8")
    yield
    urwid.set_encoding(before)


def probe(*events: int, size: tuple[int, int] = (120, 24)) -> Desktop:
    desktop = Desktop(State(clients=1), size)
    desktop.press("p")
    desktop.background.feeds[0].add(*map(method_event, events))
    return desktop


def top(desktop: Desktop) -> str:
    return desktop.lines[3]


def bottom(desktop: Desktop) -> str:
    return desktop.lines[-3] + " "


class TestProbe:
    def test_shows_time_direction_upstream_channel_method_and_arguments(self) -> None:
        desktop = probe()
        desktop.background.feeds[0].add(method_event(1, direction="t→u", upstream="primary", channel=7))
        line = top(desktop)
        assert ":00:00.001 t→u primary      7 Basic.Publish exchange=orders routing_key=eu.order.1" in line

    def test_follows_the_newest(self) -> None:
        desktop = probe(*range(50))
        assert "eu.order.49 " in bottom(desktop)
        desktop.background.feeds[0].add(method_event(50))
        assert "eu.order.50 " in bottom(desktop)
        assert "51 events, auto-scroll on, live" in desktop.text

    def test_space_lets_it_stand_still_and_follow_again(self) -> None:
        desktop = probe(*range(50))
        assert "auto-scroll off" in desktop.press(" ")
        desktop.background.feeds[0].add(method_event(50))
        assert "eu.order.49 " in bottom(desktop)
        desktop.press(" ")
        assert "eu.order.50 " in bottom(desktop)

    @pytest.mark.parametrize("key", ["up", "k", "page up", "home"])
    def test_going_back_turns_auto_scroll_off_and_end_turns_it_on(self, key: str) -> None:
        desktop = probe(*range(50))
        assert "auto-scroll off" in desktop.press(key)
        before = top(desktop)
        desktop.background.feeds[0].add(method_event(50))
        assert top(desktop) == before
        assert "auto-scroll on" in desktop.press("end")
        assert "eu.order.50 " in bottom(desktop)

    def test_old_events_go_and_the_screen_stands_still(self) -> None:
        desktop = probe(*range(KEPT))
        desktop.press("page up", "page up")
        before = top(desktop)
        desktop.background.feeds[0].add(*map(method_event, range(KEPT, KEPT + 100)))
        assert top(desktop) == before
        assert "10 000 events" in desktop.text

    def test_missed_events_are_told(self) -> None:
        desktop = probe(1)
        desktop.background.feeds[0].add({"type": "dropped", "count": 12})
        assert "12 events were too many" in desktop.text
        assert "live, 12 missed" in desktop.text

    def test_the_client_leaves(self) -> None:
        desktop = probe(1)
        desktop.background.feeds[0].add({"type": "proxy_ended"})
        desktop.background.feeds[0].move(FeedState.ENDED)
        assert "The client has left." in desktop.text
        assert "auto-scroll on, ended" in desktop.text

    def test_an_interruption_is_told(self) -> None:
        desktop = probe(1)
        desktop.background.feeds[0].move(FeedState.LOST, "did trabbits stop?")
        assert "interrupted, trying again: did trabbits stop?" in desktop.text

    def test_long_lines_are_shown_sideways(self) -> None:
        desktop = probe(1, size=(80, 24))
        assert "routing_key=eu.order.1" not in desktop.text
        assert "routing_key=eu.order.1" in desktop.press("right", "right")
        assert "Basic.Publish" in desktop.press("left", "left", "left")

    def test_leaving_the_view_ends_the_stream(self) -> None:
        desktop = probe(1)
        desktop.press("q")
        assert desktop.background.feeds[0].is_closed

    def test_going_on_below_another_view(self) -> None:
        desktop = probe(1)
        desktop.press("u")
        desktop.background.feeds[0].add(method_event(2))
        desktop.refresh()
        assert "2 events" in desktop.press("q")


class TestLog:
    def test_shows_time_level_id_and_message(self) -> None:
        desktop = Desktop(State(), (120, 24))
        desktop.press("l")
        desktop.background.feeds[0].add(log_line(1, level="warn"))
        assert ":00:01 WARN     TR102 alice opened virtual host / from 10.0.0.7:50001 through primary" in top(desktop)

    def test_a_line_without_a_message_shows_its_fields(self) -> None:
        desktop = Desktop(State())
        desktop.press("l")
        desktop.background.feeds[0].add({"level": "error", "text": "Traceback"})
        assert "ERROR          {text: Traceback}" in top(desktop)


class TestSaving:
    def save(self, desktop: Desktop, path: Path) -> str:
        desktop.press("s", "ctrl u")
        desktop.type(str(path))
        return desktop.press("enter")

    def test_the_name_tells_whose_and_when(self) -> None:
        desktop = probe(1)
        assert "Save to: probe-proxy-0000000000000000-20010909-" in desktop.press("s")

    def test_as_text_for_the_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "probe.log"
        assert f"Saved 2 events to {path}" in self.save(probe(1, 2, size=(200, 24)), path)
        lines = path.read_text().splitlines()
        assert len(lines) == 2
        assert lines[0].endswith("Basic.Publish exchange=orders routing_key=eu.order.1")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_as_json_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "probe.jsonl"
        self.save(probe(1, 2, size=(200, 24)), path)
        assert [json.loads(line) for line in path.read_text().splitlines()] == [method_event(1), method_event(2)]

    def test_never_over_a_file_that_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "precious"
        path.write_text("precious")
        assert "it is there already" in self.save(probe(1, size=(200, 24)), path)
        assert path.read_text() == "precious"

    def test_where_it_cannot_be(self, tmp_path: Path) -> None:
        text = self.save(probe(1, size=(200, 24)), tmp_path / "missing" / "file")
        assert "Not saved to" in text
        assert "No such file or directory" in text

    def test_escape_saves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        probe(1).press("s", "esc")
        assert not list(tmp_path.iterdir())
