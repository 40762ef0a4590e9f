"""The screen without a terminal: what is shown, what keys do, and what is asked of the server.

Covered: every view and dialog, sizes, the cursor when rows move, windows over 10 000 clients, sorting, filters,
shutting down, an unreachable server, answers of the wrong shape.
Not covered here: the terminal (test_terminal.py), threads (test_background.py), events (test_stream_views.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import urwid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.console.fake_server import State, method_event
from tests.console.in_process import Desktop
from trabbits.console.columns import COLUMNS
from trabbits.console.dialogs import _HELP
from trabbits.console.main import PALETTE


@pytest.fixture(autouse=True, scope="module")
def unicode_terminal() -> Iterator[None]:
    before = urwid.util.get_encoding()
    urwid.set_encoding("utf-8")
    yield
    urwid.set_encoding(before)


UPSTREAM: dict[str, Any] = {
    "name": "primary",
    "required": True,
    "publishes": 1000,
    "deliveries": 500,
    "unacknowledged": 12,
    "unconfirmed": 3,
    "nodes": [
        {"node": "10.1.1.1:5672", "health": "healthy", "suspect": False, "links": 9, "failures": 0},
        {"node": "10.1.1.2:5672", "health": "isolated", "links": 0, "failures": 4, "last_error": "connection refused"},
        {"node": "10.1.1.3:5672", "health": "healthy", "suspect": True, "links": 1, "failures": 0},
    ],
}


def first_columns(desktop: Desktop) -> list[str]:
    return [row.split()[0].lstrip("▸") for row in desktop.rows if row.strip()]


class TestHeader:
    def test_says_where_how_many_and_how_fast(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state)
        state.stats |= {"received_frames": 150, "sent_frames": 50, "total_methods": 20}
        header = "\n".join(desktop.refresh().split("\n")[:2])
        assert " trabbits 1.0.0 · /run/trabbits.sock" in header
        assert "Clients: 3 active of 3   54 321 ever   10 methods/s   100 frames/s" in header
        assert "updated " in header

    def test_counts_who_is_leaving(self) -> None:
        state = State(clients=3)
        state.clients[state.ids[0]]["status"] = "shutting_down"
        assert "2 active of 3" in Desktop(state).text

    def test_a_server_that_tells_no_totals_is_counted(self) -> None:
        state = State(clients=3)
        state._index = lambda: {"version": "0.9"}  # type: ignore[method-assign]
        state.clients[state.ids[0]]["status"] = "shutting_down"
        state.upstreams = [UPSTREAM, UPSTREAM]
        desktop = Desktop(state)
        state.upstreams = [UPSTREAM, {**UPSTREAM, "publishes": 1100}]
        assert " Clients: 2 active of 3   50 publishes/s   0 deliveries/s\n" in desktop.refresh()

    def test_too_many_on_their_way_out_are_not_counted_one_by_one(self) -> None:
        state = State(clients=100)
        state._index = lambda: {"version": "0.9"}  # type: ignore[method-assign]
        for client in state.clients.values():
            client["status"] = "shutting_down"
        assert " Clients: 100 clients   " in Desktop(state).text

    def test_an_unreachable_server_is_told_and_the_last_rows_stay(self) -> None:
        desktop = Desktop(State(clients=3))
        desktop.api.is_reachable = False
        text = desktop.refresh(7)
        assert "nobody listens there any more" in text
        assert "no answer for 7s" in text
        assert len(first_columns(desktop)) == 3
        desktop.api.is_reachable = True
        assert "nobody listens" not in desktop.refresh()

    def test_a_silent_server_makes_the_screen_old(self) -> None:
        desktop = Desktop(State(clients=3))
        desktop.background.is_holding = True
        assert "no answer for 8s" in desktop.refresh(8)
        desktop.background.answer()
        assert "no answer" not in desktop.text

    def test_a_server_that_was_never_there(self) -> None:
        desktop = Desktop(State())
        desktop.background.is_holding = True
        assert "no answer yet" in Desktop(State()).text or "updated" in desktop.text


class TestTable:
    def test_shows_the_oldest_first(self) -> None:
        desktop = Desktop(State(clients=3))
        assert [line[:14].strip() for line in desktop.rows if line] == [
            "▸proxy-000000…",
            "proxy-9e3779…",
            "proxy-3c6ef3…",
        ]

    def test_no_clients(self) -> None:
        assert "No clients are connected." in Desktop(State()).text

    def test_only_the_rows_around_the_screen_are_asked_for(self) -> None:
        state = State(clients=10_000)
        desktop = Desktop(state)
        desktop.press("end", "page up", "home", "page down", "page down", "page down")
        asked = [query for path, query in state.requests if path == "/clients"]
        assert max(int(query["limit"]) for query in asked) <= 60
        assert "10 000" in desktop.text

    def test_moving_within_the_rows_that_are_there_asks_nothing(self) -> None:
        state = State(clients=10_000)
        desktop = Desktop(state)
        before = len(state.requests)
        desktop.press(*["down"] * 15, "page down", "up", "k", "j")
        assert len(state.requests) == before

    def test_every_row_can_be_reached(self) -> None:
        state = State(clients=500)
        desktop = Desktop(state, (120, 24))
        seen = set()
        for _ in range(40):
            seen |= set(first_columns(desktop))
            desktop.press("page down")
        assert seen == set(state.ids)

    @pytest.mark.parametrize("keys", [["end"], ["end", "home"], ["page down", "page down"], ["G"]])
    def test_the_marked_row_is_on_the_screen(self, keys: list[str]) -> None:
        desktop = Desktop(State(clients=200))
        desktop.press(*keys)
        assert desktop.marked

    def test_end_and_home(self) -> None:
        state = State(clients=200)
        desktop = Desktop(state, (120, 24))
        desktop.press("end")
        assert state.ids[-1] in desktop.marked
        assert "182-200 of 200" in desktop.text
        desktop.press("home")
        assert state.ids[0] in desktop.marked

    def test_rows_that_are_still_awaited_have_a_place(self) -> None:
        desktop = Desktop(State(clients=200))
        desktop.background.is_holding = True
        desktop.press("end")
        assert desktop.marked == "▸…"
        assert "No client is selected." in desktop.press("enter")
        desktop.background.answer()
        assert "proxy-" in desktop.marked

    def test_the_cursor_stays_with_its_client_when_rows_go(self) -> None:
        state = State(clients=50)
        desktop = Desktop(state, (120, 24))
        desktop.press(*["down"] * 5)
        chosen = state.ids[5]
        for each in state.ids[1:4]:
            del state.clients[each]
        desktop.refresh()
        assert chosen in desktop.marked

    def test_the_cursor_stays_with_its_client_when_rows_come(self) -> None:
        state = State(clients=50)
        desktop = Desktop(state, (120, 24))
        desktop.press("6")  # the youngest first
        desktop.press("down", "down")
        chosen = state.ids[-3]
        assert chosen in desktop.marked
        last = state.clients[state.ids[-1]]
        state.clients["proxy-new"] = {**last, "id": "proxy-new", "connected_at": "2999-01-01T00:00:00Z"}
        desktop.refresh()
        assert chosen in desktop.marked

    def test_on_the_first_row_the_cursor_stays_on_top(self) -> None:
        state = State(clients=50)
        desktop = Desktop(state, (120, 24))
        del state.clients[state.ids[0]]
        desktop.refresh()
        assert state.ids[0] in desktop.marked
        assert desktop.lines[3].startswith("▸")

    def test_the_marked_client_leaves(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state, (120, 24))
        desktop.press("end")
        del state.clients[state.ids[-1]]
        desktop.refresh()
        assert state.ids[-1] in desktop.marked

    def test_a_list_that_gets_much_shorter_is_shown_from_its_end(self) -> None:
        state = State(clients=5_000)
        desktop = Desktop(state)
        desktop.press("end")
        for each in state.ids[100:]:
            del state.clients[each]
        desktop.refresh()
        assert "82-100 of 100" in desktop.text
        assert "…\n" not in desktop.text

    def test_leaving_clients_are_told(self) -> None:
        state = State(clients=1)
        state.clients[state.ids[0]]["status"] = "shutting_down"
        assert "leaving" in Desktop(state).marked

    @pytest.mark.parametrize("column", range(len(COLUMNS)))
    def test_sorting_by_any_column_both_ways(self, column: int) -> None:
        state = State(clients=40)
        desktop = Desktop(state, (120, 60))
        desktop.press("<", ">")  # away from the default and back: its key now turns it around
        for _ in range(2):
            desktop.press(str(column + 1))
            order = desktop.screen._view.order  # type: ignore[attr-defined]
            field = COLUMNS[column].field
            values = [state.clients[each][field] for each in first_columns(desktop)]
            assert len(values) == 40
            assert values == sorted(values, reverse=order.parameter.startswith("-"))
            assert order.arrow in desktop.lines[2]

    def test_sorting_by_the_neighbour(self) -> None:
        desktop = Desktop(State(clients=3))
        assert "by Methods ▼" in desktop.press(">")
        assert "by Age ▼" in desktop.press("<")
        assert "by Id ▲" in desktop.press(">", ">", ">")

    def test_a_hostile_user_name_stays_text(self) -> None:
        state = State(clients=1)
        state.clients[state.ids[0]]["user"] = "\x1b[2J\nx"
        assert b"\x1b" not in b"".join(Desktop(state).draw().text)


class TestFilter:
    def test_follows_what_is_typed(self) -> None:
        desktop = Desktop(State(clients=50))
        desktop.press("/")
        assert "1-10 of 10" in desktop.type("carol")
        assert desktop.lines[-1] == " /carol"

    def test_enter_keeps_it_and_escape_shows_all(self) -> None:
        desktop = Desktop(State(clients=50))
        desktop.press("/", *"carol", "enter")
        assert 'of 10, by Age ▼, with "carol": Esc shows all' in desktop.text
        assert "of 50" in desktop.press("esc")
        assert not desktop.has_quit

    def test_escape_while_typing_brings_back_the_one_before(self) -> None:
        desktop = Desktop(State(clients=50))
        desktop.press("/", *"carol", "enter", "/", "backspace", "x", "esc")
        assert 'with "carol"' in desktop.text

    def test_keys_are_text_while_typing(self) -> None:
        desktop = Desktop(State(clients=50))
        desktop.press("/")
        desktop.type("qKp?l")
        assert desktop.lines[-1] == " /qKp?l"
        assert not desktop.has_quit

    def test_nobody_found(self) -> None:
        assert 'No client has "xyz"' in Desktop(State(clients=50)).press("/", *"xyz", "enter")

    def test_an_answer_for_an_older_filter_is_not_shown(self) -> None:
        desktop = Desktop(State(clients=50))
        desktop.background.is_holding = True
        desktop.refresh()
        older = desktop.background.questions.pop("clients")
        desktop.press("/", *"carol")
        desktop.background.answer()
        older()
        assert "of 10," in desktop.text


class TestDetail:
    def test_tells_everything(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state, (80, 40))
        text = desktop.press("enter")
        for part in (
            f" {state.ids[0]}",
            "alice at virtual host /",
            "10.0.0.1:40000",
            "Linux/pika/1.3.2",
            "3 channels, 1 consumer",
            "0123456789abcdef",
            "2 000 received, 1 000 sent, 3 000 in all",
            "archive      10.1.2.1:5672                            0            7  blocked",
            "Basic.Publish                      900   90.6%",
            "basic.nack                   yes",
            "connection_name              order import",
        ):
            assert part in text

    def test_is_live(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state, (80, 40))
        desktop.press("enter")
        state.details[state.ids[0]] = {"stats": {"methods": {"Basic.Publish": 1000}, "total_frames": 5000}}
        text = desktop.refresh()
        assert "Methods (1 000)" in text
        assert " 50/s" in text

    def test_scrolls(self) -> None:
        desktop = Desktop(State(clients=3))
        desktop.press("enter")
        assert "connection_name" in desktop.press("end")
        assert "Banner" in desktop.press("home")

    def test_a_client_that_left_keeps_its_last_numbers(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state)
        desktop.press("enter")
        del state.clients[state.ids[0]]
        text = desktop.refresh()
        assert "This client has left" in text
        assert "Linux/pika/1.3.2" in text

    def test_a_client_that_left_before_the_first_answer(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state)
        state.clients.clear()
        assert "The server knows no more about it." in desktop.press("enter")

    def test_lists_instead_of_numbers_are_counted(self) -> None:
        state = State(clients=1)
        state.details[state.ids[0]] = {"channels": [1, 2], "consumers": ["a"]}
        assert "2 channels, 1 consumer" in Desktop(state).press("enter")

    def test_why_it_is_leaving(self) -> None:
        state = State(clients=1)
        state.clients[state.ids[0]] |= {"status": "shutting_down", "shutdown_reason": "maintenance"}
        assert "leaving (maintenance)" in Desktop(state).press("enter")


class TestUpstreams:
    def test_shows_nodes_and_how_they_do(self) -> None:
        state = State()
        state.upstreams = [UPSTREAM, {"name": "archive", "required": False, "nodes": []}]
        desktop = Desktop(state)
        desktop.press("u")
        state.upstreams = [{**UPSTREAM, "publishes": 1100}]
        text = desktop.refresh()
        assert "publishes 1100 (50/s)  deliveries 500 (0/s)  unacknowledged 12  unconfirmed 3" in text
        assert "connection refused" in text
        words = [line.split()[1] for line in text.split("\n") if line.startswith("   10.1.1.")]
        assert words == ["healthy", "isolated", "suspect"]

    def test_none(self) -> None:
        assert "No upstreams" in Desktop(State()).press("u")


class TestShuttingDown:
    def test_shows_whom_it_hits_and_takes_a_reason(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state)
        text = desktop.press("down", "K")
        for part in (state.ids[1], "bob at virtual host shop", "10.0.0.2:40001", "Java 17/RabbitMQ/5.21.0"):
            assert part in text
        desktop.type("upgrade, bye")
        assert "is being shut down" in desktop.press("enter")
        assert state.deleted == [(state.ids[1], "upgrade, bye")]
        assert "leaving" in desktop.marked

    def test_escape_leaves_the_client_alone(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state)
        assert "Shut down" not in desktop.press("K", *"why", "esc")
        assert state.deleted == []

    def test_it_hits_who_was_shown_even_if_the_rows_moved_meanwhile(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state)
        desktop.press("K")
        chosen = state.ids[0]
        first = state.clients[chosen]
        state.clients["proxy-older"] = {**first, "id": "proxy-older", "connected_at": "1999-01-01T00:00:00Z"}
        desktop.refresh()
        desktop.press("enter")
        assert [each for each, _ in state.deleted] == [chosen]

    def test_without_a_reason_the_server_has_its_own(self) -> None:
        state = State(clients=1)
        Desktop(state).press("K", "enter")
        assert state.deleted == [(state.ids[0], "Closed by an administrator")]

    def test_who_left_already(self) -> None:
        state = State(clients=1)
        desktop = Desktop(state)
        desktop.press("K")
        state.clients.clear()
        assert "had left already" in desktop.press("enter")

    def test_a_server_that_is_gone(self) -> None:
        desktop = Desktop(State(clients=1))
        desktop.press("K")
        desktop.api.is_reachable = False
        assert "is not shut down:" in desktop.press("enter")

    @pytest.mark.parametrize("way", ["enter", "p"])
    def test_from_detail_and_probe(self, way: str) -> None:
        state = State(clients=3)
        Desktop(state).press("down", way, "K", "enter")
        assert [each for each, _ in state.deleted] == [state.ids[1]]

    def test_nobody_to_shut_down(self) -> None:
        assert "No client is selected." in Desktop(State()).press("K")

    def test_a_reason_is_of_bounded_length(self) -> None:
        state = State(clients=1)
        desktop = Desktop(state)
        desktop.press("K")
        for _ in range(300):
            desktop.screen.keypress(desktop.size, "x")
        desktop.press("enter")
        assert len(state.deleted[0][1]) == 200


class TestKeys:
    def test_q_goes_back_and_at_last_quits(self) -> None:
        desktop = Desktop(State(clients=3))
        desktop.press("enter", "p", "u", "l")
        for heading in ("Upstreams", "Probe of", " proxy-0000000000000000", "Vhost"):
            assert heading in desktop.press("q").split("\n")[2]
            assert not desktop.has_quit
        desktop.press("q")
        assert desktop.has_quit

    def test_escape_goes_back_and_never_quits(self) -> None:
        desktop = Desktop(State(clients=3))
        assert "Vhost" in desktop.press("u", "esc", "esc", "esc")
        assert not desktop.has_quit

    def test_r_asks_at_once(self) -> None:
        state = State(clients=3)
        desktop = Desktop(state)
        state.clients.popitem()
        assert "of 3" in desktop.text
        assert "of 2" in desktop.press("r")

    def test_help_shows_every_key_and_any_key_closes_it(self) -> None:
        desktop = Desktop(State(clients=3))
        text = desktop.press("?")
        for key in (
            "PgUp",
            "Enter",
            " p ",
            " K ",
            " l ",
            " u ",
            " r ",
            "q Esc",
            " / ",
            "Space",
            " s ",
            "Home",
            "8 Frames",
        ):
            assert key in text
        assert "Keys" not in desktop.press("x")

    def test_help_fits_a_small_terminal(self) -> None:
        assert "save what is listed" in Desktop(State()).press("?")
        assert max(len(line) for line in _HELP) <= 72

    def test_the_stack_holds_one_view_of_a_kind(self) -> None:
        desktop = Desktop(State(clients=3))
        desktop.press(*"lululululu")
        assert len(desktop.screen._stack) == 3
        assert sum(not feed.is_closed for feed in desktop.background.feeds) == 1

    def test_unknown_keys_do_nothing(self) -> None:
        desktop = Desktop(State(clients=3))
        before = desktop.text
        assert desktop.press("x", "f5", "meta a", "tab", "ü", "0", "9") == before


WAYS = [[], ["enter"], ["u"], ["l"], ["p"], ["K"], ["?"], ["/", "a"], ["p", "s"]]


@pytest.mark.parametrize("keys", WAYS, ids=lambda keys: " ".join(keys) or "table")
def test_every_view_fits_every_size(keys: list[str]) -> None:
    state = State(clients=100)
    state.upstreams = [UPSTREAM]
    desktop = Desktop(state)
    desktop.press(*keys)
    for feed in desktop.background.feeds:
        feed.add(*map(method_event, range(100)))
    for size in [(80, 24), (200, 60), (81, 25), (79, 23), (40, 10), (20, 6), (10, 4), (5, 2), (1, 1), (80, 24)]:
        desktop.size = size
        canvas = desktop.draw()
        assert (canvas.cols(), canvas.rows()) == size
        assert all(sum(run[2] is not None for run in row) for row in canvas.content())


def test_every_attribute_is_in_the_palette() -> None:
    known = {entry[0] for entry in PALETTE} | {None}
    state = State(clients=30)
    state.upstreams = [UPSTREAM]
    for keys in WAYS:
        desktop = Desktop(state)
        desktop.press(*keys)
        for feed in desktop.background.feeds:
            feed.add(*map(method_event, range(10)), {"type": "dropped", "count": 3}, {"type": "proxy_ended"})
        used = {attribute for row in desktop.draw().content() for attribute, _, _ in row}
        assert used <= known


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("id", "user", "client_address", "connected_at", "status", "total_frames", "stats", "links", "nodes", "name")
ENTRY = st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ENTRY, JSON)
def test_answers_of_the_wrong_shape_never_end_the_console(entry: Any, other: Any) -> None:
    state = State(clients=1)
    client = state.clients[state.ids[0]]
    state._listing = lambda query: ([entry, client], 2)  # type: ignore[method-assign]
    state._detail = lambda client: entry  # type: ignore[method-assign, assignment]
    state._index = lambda: other  # type: ignore[method-assign]
    state.upstreams = [entry, {"name": "a", "nodes": other, "publishes": other}]
    desktop = Desktop(state)
    desktop.press("end", "enter", "q", "u", "q", "l")
    desktop.background.feeds[-1].add(*([entry] if isinstance(entry, dict) else []), {"type": "method", "time": other})
    desktop.press("q", "p")
    desktop.background.feeds[-1].add(
        {"time": other, "direction": other, "arguments": other, "upstream": other}, {"type": "dropped", "count": other}
    )
    desktop.refresh()
    assert desktop.text
