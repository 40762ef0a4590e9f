"""Topic patterns: which bindings match a routing key.

Lives here: `TopicTree`, a trie over the words of patterns.  Must not know: exchanges, what is bound.

Source: RabbitMQ's tutorial on topics; ``*`` stands for one word, ``#`` for any number of them, none included.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Bound = TypeVar("Bound", bound=Hashable)


class _Node(Generic[Bound]):
    """The end of some words of patterns; `rest` if the last of them is ``#``, which goes on for any further word."""

    __slots__ = ("bound", "rest", "words")

    def __init__(self, rest: bool) -> None:
        self.rest = rest
        self.words: dict[str, _Node[Bound]] = {}
        #: How many bindings of this pattern each has.
        self.bound: dict[Bound, int] = {}


class TopicTree(Generic[Bound]):
    """Patterns and what is bound with them; the same may be bound with one pattern several times."""

    def __init__(self) -> None:
        self._root: _Node[Bound] = _Node(False)

    def add(self, pattern: str, bound: Bound) -> None:
        node = self._root
        for word in _words(pattern):
            node = node.words.setdefault(word, _Node(word == "#"))
        node.bound[bound] = node.bound.get(bound, 0) + 1

    def remove(self, pattern: str, bound: Bound) -> None:
        """Take away one binding that was added."""
        path = [self._root]
        words = _words(pattern)
        for word in words:
            path.append(path[-1].words[word])
        node = path.pop()
        node.bound[bound] -= 1
        if not node.bound[bound]:
            del node.bound[bound]
        while path and not node.bound and not node.words:
            node = path.pop()
            del node.words[words[len(path)]]

    def match(self, key: str) -> list[Bound]:
        """All that are bound with a pattern that matches `key`, each once."""
        # All places in the tree that the words so far can lead to.
        nodes: dict[_Node[Bound], None] = {}
        _reach(self._root, nodes)
        for word in _words(key):
            following: dict[_Node[Bound], None] = {}
            for node in nodes:
                if node.rest:
                    _reach(node, following)
                for name in (word, "*"):
                    child = node.words.get(name)
                    if child is not None:
                        _reach(child, following)
            nodes = following
        found: dict[Bound, None] = {}
        for node in nodes:
            found.update(dict.fromkeys(node.bound))
        return list(found)


def _reach(node: _Node[Bound] | None, nodes: dict[_Node[Bound], None]) -> None:
    """Note `node`, and what can be reached from it without a further word."""
    while node is not None and node not in nodes:
        nodes[node] = None
        node = node.words.get("#")


def _words(key: str) -> list[str]:
    return key.split(".") if key else []
