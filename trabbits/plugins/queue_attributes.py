"""Queue attributes that an upstream is always asked for, whatever clients declare.

Lives here: `FixedQueueAttributes`.  Must not know: the configuration's format, or how a declare is encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from zope.interface import implementer

from trabbits.interfaces import IQueueAttributeRewriter, QueueAttributes, QueueDeclare


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
