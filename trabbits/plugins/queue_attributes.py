"""Queue attributes that an upstream is always asked for, whatever clients declare.

Lives here: `FixedQueueAttributes` and its options.  Must not know: the configuration's format, or how a declare is
encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from zope.interface import implementer

from trabbits.interfaces import IQueueAttributeRewriter, QueueAttributes, QueueDeclare
from trabbits.plugins.declaring import Plugin, PluginOptions
from trabbits.plugins.option_types import FieldTable


@implementer(IQueueAttributeRewriter)
class FixedQueueAttributes:
    """Answers every declare with the same attributes; see `QueueAttributes` for what None means."""

    def __init__(
        self,
        *,
        durable: bool | None = None,
        auto_delete: bool | None = None,
        exclusive: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._attributes = QueueAttributes(
            durable=durable, auto_delete=auto_delete, exclusive=exclusive, arguments=deepcopy(dict(arguments or {}))
        )

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        return self._attributes


class QueueAttributesOptions(PluginOptions):
    """What an upstream is asked for in place of what the client declared; an absent or null key changes nothing."""

    durable: bool | None = None
    """Whether queues survive a restart of the broker; null: as the client says."""
    auto_delete: bool | None = None
    """Whether queues go when their last consumer leaves; null: as the client says."""
    exclusive: bool | None = None
    """Whether queues belong to one connection; null: as the client says."""
    arguments: FieldTable = {}
    """Laid over the client's arguments: a value replaces the client's or is added, null removes the client's."""


queue_attributes = Plugin(
    "queue_attributes",
    IQueueAttributeRewriter,
    QueueAttributesOptions,
    lambda options, context: FixedQueueAttributes(
        durable=options.durable,
        auto_delete=options.auto_delete,
        exclusive=options.exclusive,
        arguments=options.arguments,
    ),
    "the same attributes for every queue",
)
