"""Clients as the API shows them: the fields of a listing's entry, the detail, and which of them a listing shows.

Lives here: fields, `Listing`.  Must not know: HTTP.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from trabbits.admin.interface import Process, Runner
from trabbits.admin.slices import in_slices
from trabbits.logs import plain
from trabbits.session.phase import ENDING
from trabbits.wire.methods import METHODS, name_of

#: What the texts of our ``connection.close`` begin with: RabbitMQ's name of code 320.
FORCED = "CONNECTION_FORCED - "


def rfc3339(seconds: float) -> str:
    """A time since the epoch, with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def method_name(index: int) -> str:
    """``Basic.Publish``, of a class and method id."""
    info = METHODS.get(index)
    return name_of(index) if info is None else str(info.frame_class.name)


def _is_leaving(runner: Runner) -> bool:
    return bool(runner.shutdown_reason) or runner.session.phase in ENDING


def shutdown_reason(runner: Runner) -> str:
    """Why a session is on its way out, without AMQP's name for it; empty while nobody wants it to end."""
    return str(runner.shutdown_reason).removeprefix(FORCED)


#: The fields of an entry in their order, each with how to get it.
FIELDS: Mapping[str, Callable[[Runner], Any]] = {
    "id": lambda runner: runner.session.id,
    "client_address": lambda runner: runner.session.address,
    "user": lambda runner: plain(runner.session.user),
    "virtual_host": lambda runner: plain(runner.session.virtual_host),
    "client_banner": lambda runner: plain(runner.session.client_banner),
    "connected_at": lambda runner: rfc3339(runner.connected_at),
    "status": lambda runner: "shutting_down" if _is_leaving(runner) else "active",
    "shutdown_reason": lambda runner: plain(shutdown_reason(runner)),
    "total_frames": lambda runner: runner.session.received_frames + runner.session.sent_frames,
    "total_methods": lambda runner: sum(runner.session.observation.methods().values()),
}
#: What a filter looks at.
SEARCHED = ("id", "user", "virtual_host", "client_address", "client_banner")


def entry(runner: Runner) -> dict[str, Any]:
    """One client in a listing."""
    return {name: of(runner) for name, of in FIELDS.items()}


def detail(runner: Runner, now: float) -> dict[str, Any]:
    """Everything about one client."""
    session = runner.session
    methods = {method_name(index): count for index, count in session.observation.methods().items()}
    return {
        **entry(runner),
        "client_properties": plain(session.client_properties),
        "stats": {
            "started_at": rfc3339(runner.connected_at),
            "methods": dict(sorted(methods.items())),
            "total_methods": sum(methods.values()),
            "received_frames": session.received_frames,
            "sent_frames": session.sent_frames,
            "total_frames": session.received_frames + session.sent_frames,
            "received_octets": runner.received_octets,
            "sent_octets": runner.sent_octets,
            "duration": round(max(0.0, now - runner.connected_at), 6),
        },
        "channels": session.channel_count,
        "consumers": session.consumer_count,
        "config_hash": session.settings.config_hash,
        "links": [
            {
                "upstream": link.name,
                "node": link.node,
                "blocked": bool(link.blocked),
                "unacknowledged": session.unacknowledged(link),
                "unconfirmed": session.unconfirmed(link),
            }
            for link in session.links
            if link.open
        ],
    }


@frozen
class Listing:
    """Which clients, and in which order: `search` in any of `SEARCHED`, whatever its case, `sort` by a field."""

    search: str = ""
    sort: str = ""
    descending: bool = False
    offset: int = 0
    limit: int | None = None

    async def octets(self, process: Process, reactor: Any) -> tuple[list[bytes], int]:
        """The JSON in pieces, and how many clients there are after the filter."""
        runners = list(process.sessions.values())
        if self.search:
            wanted = self.search.casefold()
            found = await in_slices(runners, lambda runner: _mentions(runner, wanted), reactor)
            runners = [runner for runner, is_wanted in zip(runners, found, strict=True) if is_wanted]
        total = len(runners)
        if self.sort:
            keys = await in_slices(runners, FIELDS[self.sort], reactor)
            order = sorted(range(total), key=keys.__getitem__, reverse=self.descending)
            runners = [runners[place] for place in order]
        end = None if self.limit is None else self.offset + self.limit
        page = runners[self.offset : end]
        pieces = await in_slices(page, _entry_octets, reactor)
        return [b"[", b",\n".join(pieces), b"]\n"], total


def _mentions(runner: Runner, wanted: str) -> bool:
    return any(wanted in str(FIELDS[name](runner)).casefold() for name in SEARCHED)


def _entry_octets(runner: Runner) -> bytes:
    return json.dumps(entry(runner)).encode()


def now() -> float:
    """Seconds since the epoch."""
    return time.time()
