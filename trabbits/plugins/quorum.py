"""Durable classic queues become quorum queues on one upstream, without the clients knowing.

Lives here: `Quorum`, and which arguments quorum queues refuse.  Must not know: how a declare is encoded, or whether
such a queue exists already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import Field
from zope.interface import implementer

from trabbits.interfaces import IQueueAttributeRewriter, QueueAttributes, QueueDeclare
from trabbits.plugins.declaring import Plugin, PluginOptions
from trabbits.plugins.key_patterns import KeyPatterns
from trabbits.plugins.logging import PluginLine, PluginLog

#: Arguments that RabbitMQ knows for other types and refuses with 406 for quorum queues; which of them it knows
#: depends on its version (`rabbit_amqqueue:check_declare_arguments`, and `capabilities` of each type's module).
REFUSED = frozenset(
    {
        "x-initial-cluster-size",
        "x-max-age",
        "x-max-priority",
        "x-queue-master-locator",
        "x-queue-mode",
        "x-queue-version",
        "x-stream-filter-size-bytes",
        "x-stream-max-segment-size-bytes",
    }
)
#: Queues that are remembered as told of; beyond that they are told of again.
TOLD_LIMIT = 10_000

_CHANGED = PluginLine("TR320", "warn", "quorum_arguments", "queue {queue} is declared as a quorum queue: {changes}")
_TYPE = "x-queue-type"
_OVERFLOW = "x-overflow"
_UNCHANGED = QueueAttributes()


@implementer(IQueueAttributeRewriter)
class Quorum:
    """Adds ``x-queue-type: quorum`` to declares of durable queues that are neither exclusive nor auto-delete.

    `queues` are patterns of names (as in routing by key), `dropped` are arguments to drop besides those of `REFUSED`.
    """

    def __init__(
        self, queues: Iterable[str] = ("#",), dropped: Iterable[str] = (), log: Callable[..., None] | None = None
    ) -> None:
        self._names = KeyPatterns([("", tuple(queues))])
        self._dropped = REFUSED.union(dropped)
        self._log = log if log is not None else PluginLog("quorum")
        self._told: set[str] = set()

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        if not declare.durable or declare.exclusive or declare.auto_delete:
            return _UNCHANGED
        if declare.arguments.get(_TYPE, "classic") not in ("classic", b"classic"):
            return _UNCHANGED
        if self._names.route("", declare.queue) is None:
            return _UNCHANGED
        arguments: dict[str, Any] = {_TYPE: "quorum"}
        arguments |= dict.fromkeys(sorted(self._dropped.intersection(declare.arguments)))
        if declare.arguments.get(_OVERFLOW) in ("reject-publish-dlx", b"reject-publish-dlx"):
            # Quorum queues take this for drop-head and lose messages.
            arguments[_OVERFLOW] = "reject-publish"
        if len(arguments) > 1:
            self._tell(declare.queue, arguments)
        return QueueAttributes(arguments=arguments)

    def _tell(self, queue: str, arguments: dict[str, Any]) -> None:
        if queue in self._told:
            return
        if len(self._told) >= TOLD_LIMIT:
            self._told.clear()
        self._told.add(queue)
        changes = [
            f"without {name}" if value is None else f"with {name} {value}"
            for name, value in arguments.items()
            if name != _TYPE
        ]
        self._log(_CHANGED, queue=queue, changes=changes)


class QuorumOptions(PluginOptions):
    """Which queues, and what else to drop."""

    queues: Annotated[list[str], Field(min_length=1)] = ["#"]
    """Patterns of the names of queues that become quorum queues, as in `key_patterns`: * is one word, # zero or more
    words, % zero or more characters inside a word."""
    dropped: list[str] = []
    """Arguments to drop besides those that quorum queues refuse; older brokers refuse more of them."""


quorum = Plugin(
    "quorum",
    IQueueAttributeRewriter,
    QuorumOptions,
    lambda options, context: Quorum(options.queues, options.dropped),
    "durable classic queues become quorum queues",
)
