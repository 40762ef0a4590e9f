"""Topic patterns against a model that tries everything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trabbits.testing.broker.topics import TopicTree

KEYS = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5).map(".".join)
PATTERNS = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5).map(".".join)


def matches(pattern: list[str], key: list[str]) -> bool:
    """The definition, word for word."""
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(matches(rest, key[count:]) for count in range(len(key) + 1))
    return bool(key) and first in {"*", key[0]} and matches(rest, key[1:])


def words(text: str) -> list[str]:
    return text.split(".") if text else []


@settings(max_examples=60)
@given(patterns=st.lists(PATTERNS, max_size=8), key=KEYS)
def test_what_matches_is_found(patterns: list[str], key: str) -> None:
    tree: TopicTree[str] = TopicTree()
    for pattern in patterns:
        tree.add(pattern, pattern)
    found = tree.match(key)
    assert sorted(found) == sorted({pattern for pattern in patterns if matches(words(pattern), words(key))})


@settings(max_examples=60)
@given(patterns=st.lists(PATTERNS, min_size=1, max_size=8), key=KEYS, data=st.data())
def test_what_was_taken_away_is_not_found(patterns: list[str], key: str, data: st.DataObject) -> None:
    tree: TopicTree[int] = TopicTree()
    for number, pattern in enumerate(patterns):
        tree.add(pattern, number)
    gone = data.draw(st.sets(st.sampled_from(range(len(patterns)))))
    for number in gone:
        tree.remove(patterns[number], number)
    expected = [n for n, pattern in enumerate(patterns) if n not in gone and matches(words(pattern), words(key))]
    assert sorted(tree.match(key)) == expected


def test_nothing_is_left_of_patterns_that_are_gone() -> None:
    tree: TopicTree[str] = TopicTree()
    for pattern in ("a.b.c", "a.#", "a.b"):
        tree.add(pattern, "q")
        tree.add(pattern, "q")
    for pattern in ("a.b", "a.b.c", "a.#") * 2:
        assert tree.match("a.b.c") == ["q"]
        tree.remove(pattern, "q")
    assert tree._root.words == {}


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("#", "", True),
        ("*", "", False),
        ("a.#", "a", True),
        ("a.*", "a", False),
        ("a.*.c", "a..c", True),
        ("#.b.#", "a.b", True),
        ("a", "a.", False),
    ],
)
def test_the_edges(pattern: str, key: str, expected: bool) -> None:
    tree: TopicTree[str] = TopicTree()
    tree.add(pattern, "q")
    assert bool(tree.match(key)) is expected
