"""`trabbits.plugins.key_patterns`: which routing keys a pattern matches, and which upstream gets a message.

Covered: the meaning of each wildcard, empty words and keys, agreement with a naive model, order of upstreams,
time for malicious patterns.  Not covered: the agreement with a real topic exchange (tests against RabbitMQ).
"""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.key_patterns import KeyPatterns, match

CASES = [
    # pattern, key, whether it matches
    ("a", "a", True),
    ("a", "b", False),
    ("a", "", False),
    ("a.b", "a.b", True),
    ("a.b", "a.c", False),
    ("a.b", "axb", False),
    ("a.b", "a.b.c", False),
    ("a.b.c", "a.b", False),
    # one word
    ("*", "a", True),
    ("*", "a.b", False),
    ("*", "", False),  # no word at all
    ("*.*", ".", True),  # two empty words
    ("a.*", "a.", True),  # an empty word is a word
    ("a.*", "a", False),
    ("a.*.c", "a.b.c", True),
    ("a.*.c", "a..c", True),
    ("a.*.c", "a.b.b.c", False),
    ("*.b", ".b", True),
    # zero or more words
    ("#", "", True),
    ("#", "a", True),
    ("#", "a.b.c", True),
    ("#", "..", True),
    ("a.#", "a", True),
    ("a.#", "a.b.c", True),
    ("a.#", "ab", False),
    ("a.#", "", False),
    ("#.a", "a", True),
    ("#.a", "b.b.a", True),
    ("#.a", "ba", False),
    ("a.#.b", "a.b", True),
    ("a.#.b", "a.x.y.b", True),
    ("a.#.b", "a", False),
    ("a.#.b", "a.bb", False),
    ("#.#", "", True),
    ("#.#", "a", True),
    ("#.a.#", "x.a.y", True),
    ("#.a.#", "x.y", False),
    ("#.a.#.a.#", "a", False),
    ("#.a.#.a.#", "a.a", True),
    ("#.*", "", False),
    ("#.*", "a", True),
    ("*.#", "a.b.c", True),
    ("#.a.b.#.c", "a.a.b.x.c", True),
    ("#.a.a.b", "a.a.a.b", True),
    # characters inside a word
    ("%", "a", True),
    ("%", "", False),  # no word to be inside of
    ("%", "a.b", False),
    ("a%", "a", True),
    ("a%", "abc", True),
    ("a%", "ab.c", False),
    ("%a", "ba", True),
    ("%a", "ab", False),
    ("order-%.eu", "order-17.eu", True),
    ("order-%.eu", "order-.eu", True),
    ("order-%.eu", "order-1.2.eu", False),
    ("order-%.eu", "order-17.us", False),
    ("a%b%c", "a-b-c", True),
    ("a%b%c", "abbc", True),
    ("a%b%c", "acb", False),
    ("%ab", "aab", True),
    ("%ab%ab", "ab", False),
    ("%%", "anything", True),
    ("#.x%.#", "a.xy.b", True),
    ("#.x%y.#.z", "xy.xay.b.z", True),
    # only whole words are wildcards
    ("a*", "a*", True),
    ("a*", "ab", False),
    ("##", "a", False),
    ("##", "##", True),
    ("a#.b", "a#.b", True),
    # nothing is special to us but the three
    ("a.+", "a.b", False),
    ("[a-z]", "b", False),
    ("a|b", "b", False),
    ("a%\\d", "ab\\d", True),
    # the empty pattern, and keys of odd characters
    ("", "", True),
    ("", "a", False),
    ("", ".", False),
    ("*", "zeile\nzwei", True),
    ("%", "zeile\nzwei", True),
    ("a", "a\n", False),
    ("ü.%", "ü.ß", True),
    ("*", "\udcff", True),
]


@pytest.mark.parametrize(("pattern", "key", "expected"), CASES)
def test_table(pattern: str, key: str, expected: bool) -> None:
    """Each wildcard means what the documentation says."""
    assert match(pattern, key) is expected
    assert (KeyPatterns([("only", [pattern])]).route("", key) == "only") is expected


def naive(pattern: list[str], key: list[str]) -> bool:
    """The definition, word by word."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return naive(pattern[1:], key) or (bool(key) and naive(pattern, key[1:]))
    if not key:
        return False
    return (pattern[0] == "*" or naive_word(pattern[0], key[0])) and naive(pattern[1:], key[1:])


def naive_word(pattern: str, word: str) -> bool:
    if not pattern:
        return not word
    if pattern[0] == "%":
        return naive_word(pattern[1:], word) or (bool(word) and naive_word(pattern, word[1:]))
    return bool(word) and pattern[0] == word[0] and naive_word(pattern[1:], word[1:])


def words(text: str) -> list[str]:
    return text.split(".") if text else []


@given(
    st.lists(st.sampled_from(["#", "*", "a", "b", "", "%", "a%", "%b", "a%b", "%a%", "%ab%", "ab", "*a"]), max_size=6),
    st.text("ab.", max_size=12),
)
@example(["#", "%", "#", "a%b"], "a.b.ab")
def test_agrees_with_the_naive_model(pattern: list[str], key: str) -> None:
    """Any pattern over any key gives what the definition gives."""
    text = ".".join(pattern)
    assert match(text, key) is naive(words(text), words(key))


@given(st.text("ab.*#%", max_size=10), st.text("ab.*#%", max_size=10))
def test_agrees_with_the_naive_model_for_any_text(pattern: str, key: str) -> None:
    """Wildcards in keys and in odd places of patterns make no difference."""
    assert match(pattern, key) is naive(words(pattern), words(key))


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_unicode(pattern: str, key: str) -> None:
    """A pattern without wildcards matches itself only, and none raises."""
    matched = match(pattern, key)
    if not set(pattern) & set("*#%"):
        assert matched is (pattern == key)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("#.#.#.#.%%%a", "a" * 254 + "b"),
        ("#.#.#.#.%%%a", ".".join(["a"] * 127) + ".b"),
        (".".join(["#", "*"] * 60) + ".z", ".".join(["a"] * 127)),
        (".".join(["#.a"] * 60) + ".z", ".".join(["a"] * 127)),
        ("%a" * 120 + "z", "a" * 255),
        ("#." + "%a" * 100 + "z", "a" * 255),
        ("#.%a%a%a%b.#.%a%a%a%b.#.c", ".".join(["aaaa"] * 51)),
        (".".join(["%"] * 100) + ".x", "." * 255),
    ],
)
def test_no_pattern_is_slow(pattern: str, key: str) -> None:
    """Patterns made to backtrack are answered at once: this takes a millisecond or so, not hours."""
    match(pattern, "warm-up")
    started = time.perf_counter()
    assert match(pattern, key) is False
    assert time.perf_counter() - started < 0.25


def test_upstreams_are_asked_in_order() -> None:
    """The first upstream with a matching pattern wins, however well another one fits."""
    strategy = KeyPatterns([("one", ["a.#", "x"]), ("two", ["a.b", "y.*"]), ("none", []), ("three", ["#"])])
    verifyObject(IRoutingStrategy, strategy)
    routes = {key: strategy.route("exchange", key) for key in ("a.b", "x", "y.z", "q")}
    assert routes == {"a.b": "one", "x": "one", "y.z": "two", "q": "three"}


def test_no_match_is_no_opinion() -> None:
    """Without a match, or without any pattern, the strategy leaves the choice to the session."""
    assert KeyPatterns([("one", ["a"])]).route("", "b") is None
    assert KeyPatterns([("one", [])]).route("", "") is None
    assert KeyPatterns([]).route("", "a") is None


def test_thousands_of_patterns() -> None:
    """Many patterns on one upstream are one look-up."""
    strategy = KeyPatterns([("big", [f"tenant-{n}.%.eu" for n in range(3000)] + [f"literal.{n}" for n in range(3000)])])
    assert strategy.route("", "tenant-2999.x.eu") == "big"
    assert strategy.route("", "literal.2999") == "big"
    assert strategy.route("", "tenant-3000.x.eu") is None
