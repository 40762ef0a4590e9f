"""Which node of an upstream a client is given.

Lives here: `Preference`, the order of nodes, and `Search`, one client's way through them until one works.  Must not
know: how a node is tried, where its status comes from, or by what a selector goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

from trabbits.failures import error_text, let_through
from trabbits.interfaces import INodeSelector, NodeView
from trabbits.log_ids import LogId
from trabbits.plugins.least_connections import LeastConnections
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.status import Log, NodeStatus

#: Characters of one node's reason, and of all together, when no node works.
REASON_LIMIT = 200
REASONS_LIMIT = 1500

NoLink = LinkRefused | LinkUnreachable


class Preference:
    """In which order the nodes of `upstream` are tried: by what speaks against them, then as `selector` wants it.

    `plugin` is what the log calls the selector.  For one that fails the default stands in, each time anew.
    """

    def __init__(self, upstream: str, selector: INodeSelector, plugin: str, random: Random, log: Log) -> None:
        self._upstream = upstream
        self._selector = selector
        self._plugin = plugin
        self._random = random
        self._log = log
        self._substitute = LeastConnections()

    def order(self, statuses: Iterable[NodeStatus]) -> Iterator[NodeStatus]:
        """All of them: those that nothing speaks against, then the suspect ones, then the isolated ones.

        The selector is asked for a group when its first node is wanted, so that nobody's turn is spent on nodes
        that are not tried.
        """
        groups: list[list[NodeStatus]] = [[], [], []]
        for status in statuses:
            groups[_doubts(status)].append(status)
        for group in groups:
            if group:
                yield from self._selected(group)

    def _selected(self, group: list[NodeStatus]) -> list[NodeStatus]:
        self._random.shuffle(group)
        views = [_view(status) for status in group]
        try:
            addresses = _addresses(self._selector.order(tuple(views)), views)
        except BaseException as error:
            let_through(error)
            text = _cut(error_text(error), REASON_LIMIT)
            self._log(LogId.SELECTOR_FAILED, upstream=self._upstream, plugin=self._plugin, text=text)
            addresses = _addresses(self._substitute.order(views), views)
        by_address = {view.address: status for view, status in zip(views, group, strict=True)}
        first = [by_address.pop(address) for address in addresses]
        return [*first, *by_address.values()]


def _doubts(status: NodeStatus) -> int:
    if not status.healthy:
        return 2
    return 1 if status.suspect else 0


def _view(status: NodeStatus) -> NodeView:
    return NodeView(str(status.node), status.labels, status.links, status.healthy, status.suspect)


def _addresses(answer: Any, asked: Sequence[NodeView]) -> list[str]:
    """Those of the nodes in a selector's answer.  Raises if it is not some of the `asked` ones, each once."""
    if not isinstance(answer, Sequence):
        raise TypeError(f"order() returned {type(answer).__name__}, which is no sequence of nodes")
    if len(answer) > len(asked):
        raise ValueError(f"order() returned {len(answer)} nodes for {len(asked)}")
    left = {view.address for view in asked}
    addresses = []
    for view in answer:
        if not isinstance(view, NodeView):
            raise TypeError(f"order() returned a sequence with {type(view).__name__} in it, which is no node")
        if view.address not in left:
            raise ValueError(f"order() returned {view.address}, which it was not given or had returned already")
        left.remove(view.address)
        addresses.append(view.address)
    return addresses


class Search:
    """The nodes of the upstream `name` that one client has not tried yet, and why the others failed it.

    Each node is tried once.  Unless the upstream is `required`, only `usable` ones are.
    """

    def __init__(self, name: str, statuses: Sequence[NodeStatus], preference: Preference, *, required: bool) -> None:
        self._name = name
        self._required = required
        self._preference = preference
        self._left = list(statuses)
        self._alone = len(statuses) == 1
        self._failures: list[NoLink] = []

    def take(self, status: NodeStatus) -> NodeStatus:
        """`status` is the one that is tried now."""
        self._left.remove(status)
        return status

    def next_node(self) -> NodeStatus:
        """The best that is left.  Raises LinkUnreachable (of a single node: its own error) when none is."""
        for status in self._preference.order(self.candidates):
            return self.take(status)
        raise self._nothing_left()

    def failed(self, error: NoLink) -> None:
        """The node that was taken last does not work."""
        # The traceback would lead back here.
        self._failures.append(error.with_traceback(None))

    @property
    def candidates(self) -> list[NodeStatus]:
        """The nodes that can be tried yet."""
        return [status for status in self._left if self._required or status.usable]

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
