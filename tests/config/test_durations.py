"""`trabbits.config.durations`: what is a length of time, and how one is printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trabbits.config.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("500ms", 0.5),
        ("5s", 5),
        ("1m30s", 90),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1h0m0.25s", 3600.25),
        (".5s", 0.5),
        ("5.s", 5),
        ("10us", 0.00001),
        ("10µs", 0.00001),
        ("7ns", 7e-9),
    ],
)
def test_reads_what_go_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", " 5s", "5s ", "-5s", "+5s", "5d", "1e3s", "1m30", ".s", "\u0665s", "5S"]
)
def test_refuses_the_rest(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.5, "500ms"), (5.0, "5s"), (90.0, "1m30s"), (7200.0, "2h"), (3600.25, "1h0.25s"), (600.0, "10m")],
)
def test_prints_what_people_write(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=86400).filter(lambda seconds: seconds == 0 or seconds > 1e-12))
def test_printing_and_reading_gives_the_same_time(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-9, abs=1e-17)


@given(st.text("0123456789.hmsuµn", max_size=12))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError:
        return
