"""Which node of an upstream a client is given.

Lives here: `in_order`, the order of nodes, and `Search`, one client's way through them until one works.  Must not
know: how a node is tried, or where its status comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.status import NodeStatus

#: Characters of one node's reason, and of all together, when no node works.
REASON_LIMIT = 200
REASONS_LIMIT = 1500

NoLink = LinkRefused | LinkUnreachable


def in_order(statuses: Iterable[NodeStatus], random: Random) -> list[NodeStatus]:
    """All of them: those that nothing speaks against, then the suspect ones, then the isolated ones.

    Among equals, those with the fewest links of this process first; ties are shuffled.
    """
    shuffled = list(statuses)
    random.shuffle(shuffled)
    return sorted(shuffled, key=lambda status: (_doubts(status), status.links))


def _doubts(status: NodeStatus) -> int:
    if not status.healthy:
        return 2
    return 1 if status.suspect else 0


class Search:
    """The nodes of the upstream `name` that one client has not tried yet, and why the others failed it.

    Each node is tried once.  Unless the upstream is `required`, only `usable` ones are.
    """

    def __init__(self, name: str, statuses: Sequence[NodeStatus], random: Random, *, required: bool) -> None:
        self._name = name
        self._required = required
        self._random = random
        self._left = list(statuses)
        self._alone = len(statuses) == 1
        self._failures: list[NoLink] = []

    def take(self, status: NodeStatus) -> NodeStatus:
        """`status` is the one that is tried now."""
        self._left.remove(status)
        return status

    def next_node(self) -> NodeStatus:
        """The best that is left.  Raises LinkUnreachable (of a single node: its own error) when none is."""
        candidates = self.candidates
        if not candidates:
            raise self._nothing_left()
        return self.take(candidates[0])

    def failed(self, error: NoLink) -> None:
        """The node that was taken last does not work."""
        # The traceback would lead back here.
        self._failures.append(error.with_traceback(None))

    @property
    def candidates(self) -> list[NodeStatus]:
        """The nodes that can be tried yet, in their present order."""
        ordered = in_order(self._left, self._random)
        return ordered if self._required else [status for status in ordered if status.usable]

    def _nothing_left(self) -> NoLink:
        failures, self._failures = self._failures, []
        if self._alone and failures:
            return failures[0]
        reasons = [reason(error) for error in failures]
        for status in self._left:
            state = "suspect" if status.healthy else "isolated"
            last = LinkUnreachable(self._name, str(status.node), status.last_error)
            reasons.append(f"{reason(last)} ({state}, not tried)")
        tried = ", ".join(error.node for error in failures)
        return LinkUnreachable(self._name, tried, f"upstream '{self._name}': {_cut('; '.join(reasons), REASONS_LIMIT)}")


def reason(error: NoLink) -> str:
    """What `error` says of its node, without the upstream's name."""
    text = str(error)
    named = f"upstream '{error.upstream}' ({error.node})"
    text = text[len(named) :] if text.startswith(named) else f": {text}"
    return _cut(f"{error.node}{text}", REASON_LIMIT)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
