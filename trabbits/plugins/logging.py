"""Log lines of plugins with ids and fields of their own, as trabbits' lines have them.

Lives here: `PluginLog`; `PluginLine` is what it logs.  Part of the public contract, with ``trabbits.interfaces``.
Must not know: any plugin, or how lines look.
"""

from __future__ import annotations

from twisted.logger import Logger

from trabbits.log_ids import PluginLine
from trabbits.logs import EventLog

__all__ = ["PluginLine", "PluginLog"]


class PluginLog(EventLog):
    """Logs for the plugin of this name: ``log(MOVED, queue="q", node="b:5672")`` with a `PluginLine` and its fields.

    Calling never raises.  Fields whose names promise a secret are masked; nobody should pass such.  A field named
    `error` that holds an exception adds its traceback to the line.
    """

    def __init__(self, plugin: str) -> None:
        super().__init__(Logger(f"trabbits.plugins.{plugin}"))
