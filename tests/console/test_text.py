"""Numbers, times and other people's text in the columns they get."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest
import urwid
from hypothesis import given
from hypothesis import strategies as st

from trabbits.console import text
from trabbits.console.columns import COLUMNS, LEAST_WIDTH, Order, client_line, title_line, widths_for
from trabbits.console.entries import client_of
from trabbits.console.rates import Rates


@pytest.fixture(autouse=True)
def unicode_terminal() -> Iterator[None]:
    before = urwid.util.get_encoding()
    urwid.set_encoding("utf-8")
    yield
    urwid.set_encoding(before)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (-3, "0"),
        (999_999, "999999"),
        (1_000_000, "1.00M"),
        (12_345_678, "12.3M"),
        (999_499_999, "999M"),
        (999_999_999, "1.00G"),
        (10**15, "1.00P"),
        (5 * 10**19, "50.0E"),
    ],
)
def test_a_count_is_exact_below_a_million_and_short_above(number: int, shown: str) -> None:
    assert text.count(number) == shown


@given(st.integers(0, 10**20))
def test_a_count_fits_its_column(number: int) -> None:
    assert len(text.count(number)) <= 6


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (59.9, "59s"),
        (247, "4m07s"),
        (3600 * 3 + 720, "3h12m"),
        (86400 * 5 + 10800, "5d03h"),
        (86400 * 400, "400d"),
    ],
)
def test_an_age_has_two_units(seconds: float, shown: str) -> None:
    assert text.age(seconds) == shown


@given(st.floats(0, 86400 * 36500))
def test_an_age_fits_its_column(seconds: float) -> None:
    assert len(text.age(seconds)) <= 6


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [(None, "-"), (0, "0"), (0.5, "0.5"), (12.4, "12"), (9_999, "9999"), (12_345, "12.3k"), (2_500_000, "2.50M")],
)
def test_a_rate_is_short(per_second: float | None, shown: str) -> None:
    assert text.rate(per_second) == shown


@given(st.text())
def test_nothing_that_a_terminal_would_obey_is_left_in_a_text(foreign: str) -> None:
    assert not {unicodedata.category(sign)[0] for sign in text.clean(foreign)} & {"C"}
    assert len(text.clean(foreign)) == len(foreign)


def test_escape_sequences_and_marks_of_direction_are_replaced() -> None:
    assert text.clean("\x1b[2J\x9b31m\u202eevil\r\n") == "�[2J�31m�evil��"


@given(st.text(), st.integers(0, 40), st.sampled_from(["left", "right"]), st.sampled_from(["start", "end"]))
def test_fitted_text_has_exactly_the_width(foreign: str, width: int, align: str, keep: str) -> None:
    assert text.width_of(text.fit(text.clean(foreign), width, align=align, keep=keep)) == width


@given(st.lists(st.text(max_size=8), max_size=5), st.integers(0, 30), st.integers(0, 30))
def test_a_cut_line_is_never_wider_than_the_screen(pieces: list[str], left: int, width: int) -> None:
    line: text.Line = [(None, text.clean(piece)) for piece in pieces]
    assert text.width_of(text.plain(text.cut(line, left, width))) <= width


@given(st.text("abc", max_size=30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_cut_line_is_the_slice_of_its_columns(whole: str, split: int, left: int, width: int) -> None:
    line: text.Line = [("a", whole[:split]), ("b", whole[split:])]
    assert text.plain(text.cut(line, left, width)) == whole[left : left + width]


def test_without_unicode_signs_have_stand_ins() -> None:
    urwid.set_encoding("ascii")
    assert text.draw("▸ a▼ …") == "> av ."


def test_values_are_shown_in_short() -> None:
    assert text.value_text({"a": True, "b": [1, None, "x\n"]}) == "{a: yes, b: [1, -, x�]}"


@pytest.mark.parametrize("moment", ["", "yesterday", 7, None])
def test_a_time_that_is_none_is_shown_as_it_is(moment: object) -> None:
    assert text.epoch(moment) is None
    assert text.local_time(moment) == str(moment)


@given(st.integers(LEAST_WIDTH, 400))
def test_columns_use_a_wide_screen_and_never_more(width: int) -> None:
    widths = widths_for(width)
    assert sum(widths) + len(widths) <= width
    assert all(wide >= column.width for wide, column in zip(widths, COLUMNS, strict=True))


def test_the_least_width_is_that_of_a_small_terminal() -> None:
    assert LEAST_WIDTH == 80


@given(st.integers(1, 300), st.text(max_size=40), st.sampled_from(range(len(COLUMNS))), st.booleans())
def test_titles_and_rows_have_their_columns_at_the_same_places(
    width: int, user: str, column: int, descending: bool
) -> None:
    client = client_of({"id": "proxy-1", "user": user, "total_methods": 10**12})
    row = text.plain(client_line(client, 0, width, is_marked=True))
    titles = text.plain(title_line(Order(column, descending), width))
    assert text.width_of(titles) <= text.width_of(row)
    assert text.width_of(row) == max(width, text.width_of(titles))


def test_sorting_by_a_column_twice_turns_it_around() -> None:
    by_frames = Order(0, descending=False).by(7)
    assert by_frames.parameter == "-total_frames"
    assert by_frames.by(7).parameter == "total_frames"


def test_the_oldest_first_is_the_earliest_connected_first() -> None:
    assert Order(5, descending=True).parameter == "connected_at"


class TestRates:
    def test_none_before_the_second_sample(self) -> None:
        rates = Rates()
        rates.note(0, {"a": 1})
        assert rates.of("a") is None

    def test_taken_over_the_last_seconds(self) -> None:
        rates = Rates()
        for second in range(0, 100, 2):
            rates.note(second, {"a": 0 if second < 50 else (second - 50) * 10})
        assert rates.of("a") == 10

    def test_begin_anew_when_a_counter_falls(self) -> None:
        rates = Rates()
        rates.note(0, {"a": 1000})
        rates.note(2, {"a": 5})
        assert rates.of("a") is None
        rates.note(4, {"a": 9})
        assert rates.of("a") == 2

    def test_a_counter_that_appears_began_at_nothing(self) -> None:
        rates = Rates()
        rates.note(0, {"a": 1})
        rates.note(2, {"a": 1, "b": 6})
        assert rates.of("b") == 3

    def test_what_is_no_number_has_no_rate(self) -> None:
        rates = Rates()
        rates.note(0, {"a": None})
        rates.note(2, {"a": None})
        assert rates.of("a") is None
