"""A plugin that did what it may not: neither the client nor an upstream is to blame for how the session ends.

Lives here: `PluginFailed`, as `Violation` is for peers.  Must not know: which plugins there are.

The client is told the plugin's name and what was wrong, but not what an exception says: that may hold anything, a
password of the plugin's own database included.  The log has it.
"""

from __future__ import annotations

from typing import Any

from trabbits.failures import kind_of_failure
from trabbits.log_ids import LogId
from trabbits.wire import constants as amqp


class PluginFailed(Exception):
    """The session cannot go on; it ends with INTERNAL_ERROR.

    `entry` and `fields` are what is logged; `told` is what the client hears, without the code's name.  `index` is the
    method that could not be carried out, 0 if that is none in particular.
    """

    def __init__(self, entry: LogId, told: str, fields: dict[str, Any], index: int = 0) -> None:
        super().__init__(told)
        self.entry = entry
        self.told = told
        self.fields = fields
        self.index = index

    @property
    def reply(self) -> tuple[int, str, int, int]:
        """What `Session.close` is to be called with."""
        text = f"{amqp.REPLY_NAMES[amqp.INTERNAL_ERROR]} - {self.told}"
        return amqp.INTERNAL_ERROR, text, *divmod(self.index, 1 << 16)


def it_raised(error: BaseException) -> str:
    """What a client hears of an exception."""
    return f"it raised {kind_of_failure(error)}"
