"""Tables, and other people's text made harmless."""

from __future__ import annotations

import json
import unicodedata

import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st

from trabbits.cli.terminal import Column, age, clean, table, time_of_day, to_json, value_text

COLUMNS = [Column("ID"), Column("NAME", least=6, rank=2, keep_end=True), Column("N", align_right=True, rank=1)]


def shown(rows: list[list[object]], width: int | None) -> list[str]:
    return [unstyle(line) for line in table(COLUMNS, rows, width)]


def test_a_table_without_a_width_is_never_cut() -> None:
    assert shown([["a", "x" * 50, 7]], None) == ["ID  NAME" + " " * 48 + "N", "a   " + "x" * 50 + "  7"]


def test_columns_give_way_in_their_order() -> None:
    """First what can be left out, then narrower ones; what has no rank stays whatever the width."""
    rows: list[list[object]] = [["abcdef", "0123456789", 1234]]
    assert shown(rows, 24)[1] == "abcdef  0123456789  1234"
    assert shown(rows, 22)[1] == "abcdef  …3456789  1234"
    assert shown(rows, 20)[1] == "abcdef  …56789  1234"
    assert shown(rows, 19)[1] == "abcdef  0123456789"
    assert shown(rows, 15)[1] == "abcdef  …456789"
    assert shown(rows, 13)[1] == "abcdef"
    assert shown(rows, 3)[1] == "abcdef"


def test_wide_and_combining_characters_keep_columns_straight() -> None:
    lines = shown([["東京", "a", 1], ["e\u0301", "b", 2]], None)
    assert lines == ["ID    NAME  N", "東京  a     1", "e\u0301     b     2"]
    assert shown([["a", "東京東京東京東京", 1]], 14)[1] == "a   …京東京  1"


cells = st.one_of(st.text(max_size=20), st.integers(), st.none())


@given(rows=st.lists(st.tuples(cells, cells, cells), max_size=5), width=st.none() | st.integers(1, 200))
def test_any_table(rows: list[tuple[object, object, object]], width: int | None) -> None:
    """One line for each row, all columns aligned, and nothing that a terminal would obey."""
    lines = shown([list(row) for row in rows], width)
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp") for sign in line)


@given(st.text())
def test_clean_text_is_one_harmless_line(text: str) -> None:
    result = clean(text)
    assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in result)
    if text.isascii() and text.isprintable():
        assert result == text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(values, st.sampled_from([None, 2]))
def test_json_means_the_same_and_is_harmless(value: object, indent: int | None) -> None:
    text = to_json(value, indent)
    assert json.loads(text) == value
    assert not any(unicodedata.category(sign) in ("Cc", "Cf") for sign in text.replace("\n", ""))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("orders.eu", "orders.eu"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ("a\x1b", '"a\\u001b"'),
        (True, "true"),
        (None, "null"),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_values_of_arguments(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize(
    "value", [None, "", 7, "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01"]
)
def test_strange_times(value: object) -> None:
    assert age(value)
    assert time_of_day(value) is not None
