"""The catalogue of everything trabbits logs: a stable id, a level, an event name and a text for each.

Lives here: data.  Must not know: Twisted, or how and where lines are written (``trabbits.logs`` does).

Ids never change their meaning and are never used again after an entry is gone, so that alerts may rely on
them: TR0xx the process, TR1xx clients, TR2xx links, TR3xx routing and plugins, TR9xx our own faults.
Levels say who has to act: *debug* nobody, *info* nobody, *warn* the operator should know, *error* something
an operator has to look at, *critical* a bug in trabbits.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Literal

Level = Literal["debug", "info", "warn", "error", "critical"]


@unique
class LogId(Enum):
    """One thing worth a log line; the braces in `format` are the fields that a line of this kind carries."""

    def __init__(self, id: str, level: Level, format: str) -> None:
        self.id = id
        self.level: Level = level
        self.format = format

    @property
    def event(self) -> str:
        """The entry's name as it appears in JSON lines, for example ``client_opened``."""
        return self.name.lower()

    #: A line of Twisted or another library, passed on as it is.
    LIBRARY = ("TR000", "info", "{text}")
    CONFIG_LOADED = ("TR001", "info", "configuration loaded from {path}: {upstreams}")
    LISTENING = ("TR002", "info", "listening for AMQP clients on {address}")
    STOPPING = ("TR003", "info", "stopping: no new clients, closing {sessions} sessions within {timeout:g} s")
    STOPPED = ("TR004", "info", "stopped")
    ABORTED = ("TR005", "warn", "second signal: not waiting for clients any longer")

    CLIENT_CONNECTED = ("TR101", "debug", "client connected from {address}")
    CLIENT_OPENED = ("TR102", "info", "{user} opened virtual host {vhost} from {address} through {upstreams}")
    CLIENT_CLOSED = ("TR103", "info", "connection closed by {by}: {code} {text}")
    CLIENT_VIOLATION = ("TR104", "warn", "client broke the protocol on channel {channel}: {code} {text}")
    CLIENT_VANISHED = ("TR105", "warn", "client vanished without closing the connection: {reason}")
    HANDSHAKE_TIMEOUT = ("TR106", "warn", "client did not finish the handshake within {timeout:g} s")
    HEARTBEAT_MISSED = ("TR107", "warn", "nothing heard from the {peer} for {seconds:g} s, heartbeats missed")
    BAD_PROTOCOL_HEADER = ("TR108", "warn", "client sent {received} in place of the AMQP 0-9-1 protocol header")
    CHANNEL_ERROR_SENT = ("TR109", "info", "channel {channel} closed for the client: {code} {text}")
    CLOSE_TIMEOUT = ("TR110", "warn", "{peer} did not answer connection.close within {timeout:g} s, socket dropped")

    LINK_OPENED = ("TR201", "debug", "link to {upstream} opened at {node}")
    LINK_REFUSED = ("TR202", "warn", "{upstream} at {node} refused the client: {code} {text}")
    LINK_UNREACHABLE = ("TR203", "error", "no link: {text}")
    LINK_LOST = ("TR204", "error", "link lost: {reason}")
    LINK_CLOSED_BY_UPSTREAM = ("TR205", "warn", "{upstream} at {node} closed the link: {code} {text}")
    CHANNEL_CLOSED_BY_UPSTREAM = ("TR206", "info", "{upstream} closed channel {channel}: {code} {text}")
    LINK_VIOLATION = ("TR207", "error", "{upstream} at {node} broke the protocol on channel {channel}: {code} {text}")
    LINK_AUTHENTICATED = ("TR208", "debug", "{upstream} at {node} accepted user and password")

    ROUTING_FAILED = ("TR301", "error", "routing strategy {plugin} failed for exchange {exchange}, key {key}: {text}")

    INTERNAL_ERROR = ("TR901", "critical", "internal error: {text}")
