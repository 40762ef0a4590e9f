"""The rewriters of one upstream, asked in turn.

Lives here: `chained` and the chains: `RewriterChain`, `RenamerChain`, `TopologyChain`.
Must not know: what the rewriters do, what answers are sound (``rewriter_answers.py``).

A rewriter may be anybody's code.  Whatever it raises or answers ends the session at most, and is told by the name that
the configuration has for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve
from zope.interface import implementer

from trabbits.failures import let_through, message_of, where_it_failed
from trabbits.interfaces import (
    Binding,
    BindingAttributes,
    ExchangeAttributes,
    ExchangeDeclare,
    IQueueAttributeRewriter,
    IQueueRenamer,
    ITopologyRewriter,
    QueueAttributes,
    QueueDeclare,
)
from trabbits.log_ids import LogId
from trabbits.session.plugin_failed import PluginFailed, it_raised
from trabbits.session.rewriter_answers import (
    Nonsense,
    binding_attributes,
    exchange_attributes,
    queue_attributes,
    queue_name,
)
from trabbits.wire import constants as amqp

Named = tuple[str, IQueueAttributeRewriter]


def chained(upstream: str, rewriters: Sequence[Named]) -> RewriterChain | None:
    """One rewriter for those of an upstream, None for none.  Each comes with the name of its plugin."""
    return RewriterChain(upstream, rewriters) if rewriters else None


class _Chain:
    """What all chains have in common: they raise nothing but `PluginFailed`."""

    def __init__(self, upstream: str, rewriters: Sequence[tuple[str, Any]]) -> None:
        self._upstream = upstream
        self._rewriters = tuple(rewriters)

    def _failure(self, plugin: str, error: BaseException, index: int, subject: str, **subjects: str) -> PluginFailed:
        nonsense = isinstance(error, Nonsense)
        told = f"rewriter '{plugin}' of upstream '{self._upstream}' failed: {error if nonsense else it_raised(error)}"
        text = str(error) if nonsense else f"{where_it_failed(error)}: {message_of(error)}"
        fields = {"plugin": plugin, "upstream": self._upstream, "subject": subject, **subjects, "text": text}
        return PluginFailed(LogId.REWRITER_FAILED, told, fields, index)


@implementer(IQueueAttributeRewriter)
class RewriterChain(_Chain):
    """Asks each in turn, with what those before it made of the declare.

    `renamer` and `topology` are chains of those that are more than that, None if none is.
    """

    def __init__(self, upstream: str, rewriters: Sequence[Named]) -> None:
        super().__init__(upstream, rewriters)
        renamers = [each for each in rewriters if IQueueRenamer.providedBy(each[1])]
        self.renamer = RenamerChain(upstream, renamers) if renamers else None
        topological = [each for each in rewriters if ITopologyRewriter.providedBy(each[1])]
        self.topology = TopologyChain(upstream, topological) if topological else None

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        attributes = QueueAttributes()
        for plugin, rewriter in self._rewriters:
            try:
                wanted = queue_attributes(rewriter.rewrite(declare))
            except BaseException as error:
                let_through(error)
                queue = declare.queue
                raise self._failure(plugin, error, amqp.QUEUE_DECLARE, f"queue {queue}", queue=queue) from error
            flags = _given(wanted, "durable", "auto_delete", "exclusive")
            attributes = evolve(attributes, **flags, arguments={**attributes.arguments, **wanted.arguments})
            declare = evolve(declare, **flags, arguments=_laid_over(declare.arguments, wanted.arguments))
        return attributes


class RenamerChain(_Chain):
    """Those that rename queues: each gets the name that those before it made, and back the last comes first."""

    def renamed(self, queue: str) -> str:
        for plugin, renamer in self._rewriters:
            queue = self._name(plugin, renamer.renamed, queue)
        return queue

    def original(self, queue: str) -> str:
        for plugin, renamer in reversed(self._rewriters):
            queue = self._name(plugin, renamer.original, queue)
        return queue

    def _name(self, plugin: str, answer: Callable[[str], str], queue: str) -> str:
        try:
            return queue_name(answer(queue))
        except BaseException as error:
            let_through(error)
            raise self._failure(plugin, error, 0, f"queue {queue}", queue=queue) from error


class TopologyChain(_Chain):
    """Those that also rewrite exchanges and bindings: each gets what those before it made."""

    def rewrite_exchange(self, declare: ExchangeDeclare) -> ExchangeAttributes:
        attributes = ExchangeAttributes()
        for plugin, rewriter in self._rewriters:
            try:
                wanted = exchange_attributes(rewriter.rewrite_exchange(declare))
            except BaseException as error:
                let_through(error)
                exchange = declare.exchange
                subject = f"exchange {exchange}"
                raise self._failure(plugin, error, amqp.EXCHANGE_DECLARE, subject, exchange=exchange) from error
            given = _given(wanted, "type", "durable", "auto_delete", "internal")
            attributes = evolve(attributes, **given, arguments={**attributes.arguments, **wanted.arguments})
            declare = evolve(declare, **given, arguments=_laid_over(declare.arguments, wanted.arguments))
        return attributes

    def rewrite_binding(self, binding: Binding, index: int) -> BindingAttributes:
        """`index` is the method's: whether the client binds or unbinds."""
        attributes = BindingAttributes()
        for plugin, rewriter in self._rewriters:
            try:
                wanted = binding_attributes(rewriter.rewrite_binding(binding))
            except BaseException as error:
                let_through(error)
                source, destination = binding.source, binding.destination
                subject = f"the binding of {binding.destination_type} {destination} to exchange {source}"
                failure = self._failure(plugin, error, index, subject, exchange=source, destination=destination)
                raise failure from error
            given = _given(wanted, "routing_key")
            attributes = evolve(attributes, **given, arguments={**attributes.arguments, **wanted.arguments})
            binding = evolve(binding, **given, arguments=_laid_over(binding.arguments, wanted.arguments))
        return attributes


def _given(attributes: object, *names: str) -> dict[str, Any]:
    """Those of these attributes that are not None."""
    return {name: value for name in names if (value := getattr(attributes, name)) is not None}


def _laid_over(arguments: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**arguments, **wanted}.items() if value is not None or name not in wanted}
