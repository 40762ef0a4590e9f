"""Several queue rewriters as one.

Lives here: `chained`, `RewriterChain` and `RenamerChain`.  Must not know: what the rewriters do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve
from zope.interface import implementer

from trabbits.interfaces import IQueueAttributeRewriter, IQueueRenamer, QueueAttributes, QueueDeclare


def chained(rewriters: Sequence[IQueueAttributeRewriter]) -> IQueueAttributeRewriter | None:
    """One rewriter for several, a renamer if one of them is one; None for none."""
    if len(rewriters) < 2:
        return rewriters[0] if rewriters else None
    renames = any(IQueueRenamer.providedBy(each) for each in rewriters)
    return RenamerChain(rewriters) if renames else RewriterChain(rewriters)


@implementer(IQueueAttributeRewriter)
class RewriterChain:
    """Asks each in turn, with what those before it made of the declare."""

    def __init__(self, rewriters: Sequence[IQueueAttributeRewriter]) -> None:
        self._rewriters = tuple(rewriters)

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        durable: bool | None = None
        auto_delete: bool | None = None
        exclusive: bool | None = None
        arguments: dict[str, Any] = {}
        for rewriter in self._rewriters:
            wanted = rewriter.rewrite(declare)
            durable = durable if wanted.durable is None else wanted.durable
            auto_delete = auto_delete if wanted.auto_delete is None else wanted.auto_delete
            exclusive = exclusive if wanted.exclusive is None else wanted.exclusive
            arguments |= wanted.arguments
            declare = evolve(
                declare,
                durable=declare.durable if wanted.durable is None else wanted.durable,
                auto_delete=declare.auto_delete if wanted.auto_delete is None else wanted.auto_delete,
                exclusive=declare.exclusive if wanted.exclusive is None else wanted.exclusive,
                arguments=_laid_over(declare.arguments, wanted.arguments),
            )
        return QueueAttributes(durable=durable, auto_delete=auto_delete, exclusive=exclusive, arguments=arguments)


@implementer(IQueueRenamer)
class RenamerChain(RewriterChain):
    """One that renames queues, too: each gets the name that those before it made, and back the last comes first."""

    def __init__(self, rewriters: Sequence[IQueueAttributeRewriter]) -> None:
        super().__init__(rewriters)
        self._renamers = [each for each in rewriters if IQueueRenamer.providedBy(each)]

    def renamed(self, queue: str) -> str:
        for renamer in self._renamers:
            queue = renamer.renamed(queue)
        return queue

    def original(self, queue: str) -> str:
        for renamer in reversed(self._renamers):
            queue = renamer.original(queue)
        return queue


def _laid_over(arguments: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**arguments, **wanted}.items() if value is not None or name not in wanted}
