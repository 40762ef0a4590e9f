"""One session's methods as events, for those who look on: what is retained, then what comes, then that it has ended.

Lives here: `probe`.  Must not know: HTTP, or how a session remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trabbits.admin.clients import rfc3339
from trabbits.admin.events import EventStream
from trabbits.admin.interface import Process
from trabbits.logs import plain

if TYPE_CHECKING:
    from trabbits.session.observation import MethodEvent

ENDED = {"type": "proxy_ended"}


def probe(process: Process, session_id: str, open_stream: Callable[[], EventStream]) -> EventStream | None:
    """A stream about a session that lives or has ended lately; None when nothing is known of it."""
    runner = process.sessions.get(session_id)
    if runner is None:
        retained = process.departed(session_id)
        if retained is None:
            return None
        stream = open_stream()
        _send(stream, retained)
        stream.end(ENDED)
        return stream
    stream = open_stream()
    observation = runner.session.observation
    # In one turn of the reactor: nothing is lost between the two, and nothing comes twice.
    _send(stream, observation.events())
    skipped = observation.skipped

    def saw(events: Sequence[MethodEvent]) -> None:
        nonlocal skipped
        stream.drop(observation.skipped - skipped)
        skipped = observation.skipped
        _send(stream, events)

    stream.when_over(_once(observation.watch(saw)))
    stream.when_over(process.when_departed(session_id, lambda: stream.end(ENDED)))
    return stream


def _send(stream: EventStream, events: Sequence[MethodEvent]) -> None:
    for event in events:
        stream.send(lambda event=event: method_event(event))  # type: ignore[misc]


def method_event(event: MethodEvent) -> dict[str, Any]:
    """An event as readers get it."""
    return {
        "type": "method",
        "time": rfc3339(event.time),
        "direction": event.direction,
        "upstream": event.upstream,
        "channel": event.channel,
        "method": event.method,
        "arguments": plain(event.arguments),
    }


def _once(stop: Callable[[], None]) -> Callable[[], None]:
    """A session that has ended has let go of its watchers already."""

    def stop_it() -> None:
        try:
            stop()
        except ValueError:
            return

    return stop_it
