"""The queue rewriters of one upstream, asked in turn.

Lives here: `chained`, `RewriterChain` and `RenamerChain`.  Must not know: what the rewriters do.

A rewriter may be anybody's code.  Whatever it raises or answers ends the session at most, and is told by the name that
the configuration has for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve
from zope.interface import implementer

from trabbits.failures import dismissed, let_through, message_of, where_it_failed
from trabbits.interfaces import IQueueAttributeRewriter, IQueueRenamer, QueueAttributes, QueueDeclare
from trabbits.log_ids import LogId
from trabbits.session.plugin_failed import PluginFailed, it_raised
from trabbits.wire import constants as amqp
from trabbits.wire.table import encode_table

_FLAGS = "durable", "auto_delete", "exclusive"


def chained(upstream: str, rewriters: Sequence[tuple[str, IQueueAttributeRewriter]]) -> RewriterChain | None:
    """One rewriter for those of an upstream, a renamer if one of them is one; None for none.

    Each comes with the name of its plugin.
    """
    if not rewriters:
        return None
    renames = any(IQueueRenamer.providedBy(each) for _, each in rewriters)
    return RenamerChain(upstream, rewriters) if renames else RewriterChain(upstream, rewriters)


class _Nonsense(Exception):
    """An answer that is none; the text says why."""


@implementer(IQueueAttributeRewriter)
class RewriterChain:
    """Asks each in turn, with what those before it made of the declare.  Raises nothing but `PluginFailed`."""

    def __init__(self, upstream: str, rewriters: Sequence[tuple[str, IQueueAttributeRewriter]]) -> None:
        self._upstream = upstream
        self._rewriters = tuple(rewriters)

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        durable: bool | None = None
        auto_delete: bool | None = None
        exclusive: bool | None = None
        arguments: dict[str, Any] = {}
        for plugin, rewriter in self._rewriters:
            try:
                wanted = _attributes(rewriter.rewrite(declare))
            except BaseException as error:
                let_through(error)
                raise self._failure(plugin, declare.queue, error, amqp.QUEUE_DECLARE) from error
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

    def _failure(self, plugin: str, queue: str, error: BaseException, index: int = 0) -> PluginFailed:
        nonsense = isinstance(error, _Nonsense)
        told = f"rewriter '{plugin}' of upstream '{self._upstream}' failed: {error if nonsense else it_raised(error)}"
        text = str(error) if nonsense else f"{where_it_failed(error)}: {message_of(error)}"
        fields = {"plugin": plugin, "upstream": self._upstream, "queue": queue, "text": text}
        return PluginFailed(LogId.REWRITER_FAILED, told, fields, index)


@implementer(IQueueRenamer)
class RenamerChain(RewriterChain):
    """One that renames queues, too: each gets the name that those before it made, and back the last comes first."""

    def __init__(self, upstream: str, rewriters: Sequence[tuple[str, IQueueAttributeRewriter]]) -> None:
        super().__init__(upstream, rewriters)
        self._renamers = [(plugin, each) for plugin, each in rewriters if IQueueRenamer.providedBy(each)]

    def renamed(self, queue: str) -> str:
        for plugin, renamer in self._renamers:
            queue = self._name(plugin, renamer.renamed, queue)
        return queue

    def original(self, queue: str) -> str:
        for plugin, renamer in reversed(self._renamers):
            queue = self._name(plugin, renamer.original, queue)
        return queue

    def _name(self, plugin: str, answer: Callable[[str], str], queue: str) -> str:
        try:
            return _queue_name(answer(queue))
        except BaseException as error:
            let_through(error)
            raise self._failure(plugin, queue, error) from error


def _attributes(answer: object) -> QueueAttributes:
    """The answer, if an upstream can be asked for what it says."""
    if not isinstance(answer, QueueAttributes):
        raise _Nonsense(f"it answered with {dismissed(answer)}, not with QueueAttributes")
    for flag in _FLAGS:
        value: object = getattr(answer, flag)
        if value is not None and not isinstance(value, bool):
            raise _Nonsense(f"its {flag} is {dismissed(value)}, neither true nor false nor None")
    given: object = answer.arguments
    if not isinstance(given, Mapping):
        raise _Nonsense(f"its arguments are {dismissed(given)}, not a mapping")
    for name, value in given.items():
        if not isinstance(name, str):
            raise _Nonsense(f"the name of one of its arguments is {dismissed(name)}, not a text")
        try:
            encode_table({name: value} if value is not None else {name: 0})
        except BaseException as error:  # of whatever the value is made
            let_through(error)
            raise _Nonsense(f"its argument {name!r:.60} cannot be sent ({type(error).__name__})") from error
    return answer


def _queue_name(answer: object) -> str:
    """The answer, if it is a text that has octets."""
    if not isinstance(answer, str):
        raise _Nonsense(f"it answered with {dismissed(answer)}, not with the name of a queue")
    try:
        answer.encode()
    except UnicodeEncodeError:
        raise _Nonsense("it answered with a name of a queue that is no UTF-8") from None
    return answer


def _laid_over(arguments: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**arguments, **wanted}.items() if value is not None or name not in wanted}
