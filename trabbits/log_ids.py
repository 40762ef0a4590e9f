"""The catalogue of everything trabbits logs: a stable id, a level, an event name and a text for each.

Lives here: data, and `PluginLine`, of which plugins make entries of their own.
Must not know: Twisted, or how and where lines are written (``trabbits.logs`` does).

Ids never change their meaning and are never used again after an entry is gone, so that alerts may rely on
them: TR0xx the process, TR1xx clients, TR2xx links, TR3xx routing and plugins, TR4xx the admin API, TR9xx our own
faults.  TR320 is the plugin `quorum`'s.
Levels say who has to act: *debug* nobody, *info* nobody, *warn* the operator should know, *error* something
an operator has to look at, *critical* a bug in trabbits.
"""

from __future__ import annotations

import re
from enum import Enum, unique
from typing import Literal, get_args

from attrs import field, frozen
from attrs.validators import in_, matches_re

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
    LISTENING = ("TR002", "info", "listening for AMQP clients on {address} ({socket})")
    STOPPING = ("TR003", "info", "stopping: no new clients, closing {sessions} sessions within {timeout:g} s")
    STOPPED = ("TR004", "info", "stopped")
    ABORTED = ("TR005", "warn", "second signal: not waiting for clients any longer")

    CONFIG_WARNING = ("TR006", "warn", "configuration {path}: {text}")
    CONFIG_RELOADED = ("TR007", "info", "configuration reloaded from {path} ({hash}): {sessions} sessions are outdated")
    CONFIG_UNCHANGED = ("TR008", "info", "configuration reloaded from {path}: nothing changed ({hash})")
    CONFIG_REFUSED = ("TR009", "error", "configuration not reloaded, the running one stays: {text}")
    RELOAD_FINISHED = ("TR010", "info", "reload finished: {closed} outdated sessions closed in {seconds:.1f} s")
    RELOAD_IMPOSSIBLE = ("TR011", "warn", "reload asked for, but there is no configuration file (--config)")
    SYSTEMD_FAILED = ("TR012", "warn", "systemd could not be told '{state}': {text}")
    SESSIONS_DROPPED = ("TR013", "warn", "{sessions} sessions did not end in time and were dropped")
    METRICS_LISTENING = ("TR020", "info", "serving metrics at http://{address}/metrics")

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
    LOGIN_REFUSED = ("TR111", "warn", "login by {mechanism} from {address} refused: {text}")

    LINK_OPENED = ("TR201", "debug", "link to {upstream} opened at {node}")
    LINK_REFUSED = ("TR202", "warn", "{upstream} at {node} refused the client: {code} {text}")
    LINK_UNREACHABLE = ("TR203", "error", "no link: {text}")
    LINK_LOST = ("TR204", "error", "link lost: {reason}")
    LINK_CLOSED_BY_UPSTREAM = ("TR205", "warn", "{upstream} at {node} closed the link: {code} {text}")
    CHANNEL_CLOSED_BY_UPSTREAM = ("TR206", "info", "{upstream} closed channel {channel}: {code} {text}")
    LINK_VIOLATION = ("TR207", "error", "{upstream} at {node} broke the protocol on channel {channel}: {code} {text}")
    LINK_AUTHENTICATED = ("TR208", "debug", "{upstream} at {node} accepted user and password")

    LINK_RETRIED = ("TR209", "warn", "{upstream} at {node} failed, trying the next node ({left} left): {text}")
    UPSTREAM_SKIPPED = ("TR210", "warn", "session opens without {upstream}, which is not required: {text}")
    NODE_CHECK_FAILED = ("TR211", "warn", "health check of {upstream} at {node} failed ({failures} in a row): {text}")
    NODE_ISOLATED = ("TR212", "error", "{upstream}: node {node} isolated after {failures} failed checks: {text}")
    NODE_RECOVERED = ("TR213", "info", "{upstream}: node {node} is healthy again after {seconds:.1f} s")
    NODE_SUSPECT = ("TR214", "warn", "{upstream}: node {node} failed a client, others go first: {text}")
    NODE_TRUSTED = ("TR215", "info", "{upstream}: node {node} works again for clients")
    QUEUE_PROBE_FAILED = ("TR216", "warn", "{upstream} at {node}: no answer whether queue {queue} exists: {text}")
    QUEUE_NOT_DELETED = (
        "TR217",
        "warn",
        "{upstream} at {node}: queue {queue} not deleted (emulate_auto_delete): {text}",
    )
    QUEUE_DELETED = ("TR218", "info", "{upstream} at {node}: queue {queue} deleted (emulate_auto_delete)")

    ROUTING_FAILED = ("TR301", "error", "routing strategy {plugin} failed for exchange {exchange}, key {key}: {text}")

    UPSTREAM_NOT_ATTACHED = (
        "TR302",
        "warn",
        "publish to exchange {exchange}, key {key} refused: {upstream} is not attached to the session",
    )
    SELECTOR_FAILED = (
        "TR303",
        "error",
        "{upstream}: selector {plugin} failed, the node with the fewest links goes first: {text}",
    )

    POLICY_REFUSED = (
        "TR304",
        "warn",
        "policy {plugin} refused {user} from {address} to virtual host {vhost}: {code} {text}",
    )
    POLICY_FAILED = ("TR305", "error", "policy {plugin} failed: {text}")
    PLUGIN_BROKEN = ("TR306", "warn", "plugin {plugin} ({origin}) cannot be used: {text}")

    REWRITER_FAILED = ("TR309", "error", "{upstream}: rewriter {plugin} failed for {subject}: {text}")
    HEADERS_NOT_RENAMED = (
        "TR311",
        "warn",
        "{upstream}: headers that the client's names of queues make too large keep its own ({octets} octets)",
    )
    MECHANISM_FAILED = ("TR310", "error", "authentication mechanism {plugin} failed: {text}")

    COPY_DROPPED = ("TR307", "warn", "messages are not copied to {upstream}: {text}")
    COPY_REFUSED = ("TR308", "warn", "{upstream} at {node} refused a copy: {code} {text}")

    API_LISTENING = ("TR401", "info", "admin API on {address}")
    API_REFUSED = ("TR402", "warn", "admin API: a request from {peer} without the right token")
    API_FULL = ("TR403", "warn", "admin API: a connection refused, {connections} are open")
    API_SHUTDOWN = ("TR404", "info", "client {client} is shut down through the admin API: {reason}")

    INTERNAL_ERROR = ("TR901", "critical", "internal error: {text}")


@frozen
class PluginLine:
    """One thing worth a log line of a plugin, as the entries of `LogId` are for trabbits itself.

    `id` is unlike all others: 2 to 20 capital letters, digits and hyphens; leave ``TR`` and digits to trabbits.
    `event` is its name in JSON lines, of small letters, digits and underscores; the braces in `format` are fields.
    Raises ValueError where something is not as it should be.
    """

    id: str = field(validator=matches_re(r"[A-Z0-9-]{2,20}", func=re.fullmatch))
    level: Level = field(validator=in_(get_args(Level)))
    event: str = field(validator=matches_re(r"[a-z][a-z0-9_]{0,49}", func=re.fullmatch))
    format: str


#: What a log line may be an entry of.
Entry = LogId | PluginLine
