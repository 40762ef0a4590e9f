"""Upstreams as the API shows them: nodes, health, links, what is in flight; and whether clients may come.

Lives here: `listing`, `not_ready`.  Must not know: HTTP.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from trabbits.admin.clients import rfc3339
from trabbits.admin.interface import Process, Runner
from trabbits.admin.slices import in_slices

if TYPE_CHECKING:
    from trabbits.upstream.status import NodeStatus


async def listing(process: Process, reactor: Any) -> list[dict[str, Any]]:
    """All upstreams in the configuration's order."""
    unacknowledged: Counter[str] = Counter()
    unconfirmed: Counter[str] = Counter()
    # At one moment: a session that ends while others are looked at is neither left out nor counted twice.
    runners = list(process.sessions.values())
    publishes = Counter(process.departed_publishes)
    deliveries = Counter(process.departed_deliveries)

    def count(runner: Runner) -> None:
        session = runner.session
        for link in session.links:
            if link.open:
                unacknowledged[link.name] += session.unacknowledged(link)
                unconfirmed[link.name] += session.unconfirmed(link)
        publishes.update(session.observation.publishes())
        deliveries.update(session.observation.deliveries())

    await in_slices(runners, count, reactor)
    return [
        {
            "name": name,
            "required": upstream.required,
            "addresses": [str(status.node) for status in upstream.statuses],
            "links": sum(status.links for status in upstream.statuses),
            "unacknowledged": unacknowledged[name],
            "unconfirmed": unconfirmed[name],
            "publishes": publishes[name],
            "deliveries": deliveries[name],
            "nodes": [_node(status) for status in upstream.statuses],
        }
        for name, upstream in process.upstreams.items()
    ]


def _node(status: NodeStatus) -> dict[str, Any]:
    return {
        "address": str(status.node),
        "health": "healthy" if status.healthy else "isolated",
        "suspect": status.suspect,
        "links": status.links,
        "failures": status.failures,
        "last_error": status.last_error,
        "last_check": _time(status.last_check),
        "last_change": _time(status.last_change),
        "checks": status.checks,
        "failed_checks": status.failed_checks,
        "isolations": status.isolations,
        "recoveries": status.recoveries,
        "connection_attempts": status.connection_attempts,
        "connection_errors": status.connection_errors,
        "passive_signs": status.passive_signs,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def not_ready(process: Process) -> list[str]:
    """Why no clients should be sent here; empty when they may come."""
    if process.stopping:
        return ["trabbits is stopping"]
    reasons = [] if process.listening else ["trabbits does not listen yet"]
    for name, upstream in process.upstreams.items():
        if upstream.required and not any(status.usable for status in upstream.statuses):
            nodes = ", ".join(f"{status.node} {_state(status)}" for status in upstream.statuses)
            reasons.append(f"upstream {name} has no node that works: {nodes}")
    return reasons


def _state(status: NodeStatus) -> str:
    return "suspect" if status.healthy else "isolated"
