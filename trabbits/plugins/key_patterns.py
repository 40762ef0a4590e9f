"""Routing by patterns over routing keys, as RabbitMQ's topic exchanges do it, with one wildcard more.

Lives here: `KeyPatterns`, `match`, and the translation of a pattern into a regular expression.
Must not know: the configuration's format, or what an upstream is beyond its name.

Words are separated by dots.  ``*`` stands for exactly one word, ``#`` for zero or more words, and ``%`` within
a word for zero or more of its characters.  ``*`` and ``#`` mean this only as whole words: in ``a*.b`` the
asterisk is an asterisk, as in RabbitMQ.  Words may be empty: ``a..b`` has three.  The empty key has no words
at all, so ``#`` matches it and ``*`` does not (RabbitMQ: `split_topic_key` in rabbit_db_topic_exchange).

How the expressions stay fast whatever the pattern: with a dot put before each word, a pattern is a sequence of
fixed parts with ``#`` between them (and a word one with ``%`` between).  As in any glob, such a part may take
the first place where it fits and never has to move again, so each is an atomic group and nothing ever
backtracks over it.  The time is bounded by the square of the key's length, times the number of parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from zope.interface import implementer

from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.declaring import Plugin, PluginOptions

_WILD = frozenset("*#%")
_ANY_WORD = r"\.[^.]*+"
_WORD_END = r"(?![^.])"


@implementer(IRoutingStrategy)
class KeyPatterns:
    """Gives a message to the first upstream that has a pattern which matches its routing key.

    `upstreams` are names with their patterns, in the order of the configuration.  No match: no opinion.
    """

    def __init__(self, upstreams: Iterable[tuple[str, Sequence[str]]]) -> None:
        self._rules = [(name, _Patterns(patterns)) for name, patterns in upstreams if patterns]

    def route(self, exchange: str, routing_key: str) -> str | None:
        dotted = _dotted(routing_key)
        for name, patterns in self._rules:
            if patterns.match(routing_key, dotted):
                return name
        return None


class _Patterns:
    """The patterns of one upstream: those without wildcards in a set, the others in one expression."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._literals = frozenset(pattern for pattern in patterns if _is_literal(pattern))
        wild = [f"(?:{_expression(pattern)})" for pattern in patterns if not _is_literal(pattern)]
        self._expression = re.compile("|".join(wild)) if wild else None

    def match(self, key: str, dotted: str) -> bool:
        if key in self._literals:
            return True
        return self._expression is not None and self._expression.fullmatch(dotted) is not None


def match(pattern: str, key: str) -> bool:
    """Whether `pattern` matches the routing key `key`."""
    return _compiled(pattern).match(key, _dotted(key))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> _Patterns:
    return _Patterns([pattern])


def _is_literal(pattern: str) -> bool:
    return _WILD.isdisjoint(pattern)


def _dotted(key: str) -> str:
    """`key` with a dot before each word; nothing when there is no word."""
    return f".{key}" if key else ""


def _expression(pattern: str) -> str:
    """A regular expression for `fullmatch` over a dotted key."""
    # The runs of words between the `#`s.
    runs: list[list[str]] = [[]]
    for word in pattern.split(".") if pattern else []:
        if word == "#":
            runs.append([])
        else:
            runs[-1].append(word)
    first, *others = ("".join(map(_word, run)) for run in runs)
    if not others:
        return first
    *middle, last = others
    found = (f"(?>(?:{_ANY_WORD})*?{run})" for run in middle if run)
    return f"{first}{''.join(found)}(?:{_ANY_WORD})*{'?' if last else '+'}{last}"


def _word(word: str) -> str:
    if word == "*":
        return _ANY_WORD
    first, *others = map(re.escape, word.split("%"))
    if not others:
        return rf"\.{first}{_WORD_END}"
    *middle, last = others
    found = (f"(?>[^.]*?{part})" for part in middle if part)
    if not last:
        return rf"\.{first}{''.join(found)}[^.]*+"
    return rf"(?>\.{first}{''.join(found)}[^.]*?{last}{_WORD_END})"


class KeyPatternsOptions(PluginOptions):
    """None: the patterns stand with the upstreams, in ``routing.key_patterns``."""


key_patterns = Plugin(
    "key_patterns",
    IRoutingStrategy,
    KeyPatternsOptions,
    lambda _, context: KeyPatterns((name, context.key_patterns.get(name, ())) for name in context.upstreams),
    "the first upstream with a pattern that matches the routing key",
)
