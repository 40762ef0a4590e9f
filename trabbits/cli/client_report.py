"""What `trabbits manage clients info` shows about one client.

Lives here: its layout.  Must not know: where the values come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from trabbits.cli.terminal import Column, age, clean, fields_of, rows_of, table, value_text

_LINKS = [
    Column("UPSTREAM"),
    Column("NODE"),
    Column("STATE"),
    Column("UNACKED", align_right=True),
    Column("UNCONFIRMED", align_right=True),
]
_METHODS = [Column("METHOD"), Column("COUNT", align_right=True)]


def report(client: Any, width: int | None) -> Iterator[str]:
    """Its lines, styled as for a terminal."""
    entry = fields_of(client)
    yield click.style(clean(entry.get("id", "-")), bold=True)
    yield from _labeled(_facts(entry))
    links = rows_of(entry.get("links"))
    if links:
        yield ""
        yield from table(_LINKS, [_link(link) for link in links], width)
    methods = fields_of(fields_of(entry.get("stats")).get("methods"))
    if methods:
        yield ""
        most_first = sorted(methods.items(), key=lambda item: (-_number(item[1]), item[0]))
        yield from table(_METHODS, most_first, width)
    properties = dict(_flat(fields_of(entry.get("client_properties"))))
    if properties:
        yield ""
        yield click.style("CLIENT PROPERTIES", bold=True)
        yield from _labeled(properties)


def _facts(entry: dict[str, Any]) -> dict[str, str]:
    stats = fields_of(entry.get("stats"))
    status = str(entry.get("status", "-"))
    if entry.get("shutdown_reason"):
        status += f" ({entry['shutdown_reason']})"
    return {
        "user": str(entry.get("user", "-")),
        "virtual host": str(entry.get("virtual_host", "-")),
        "address": str(entry.get("client_address", "-")),
        "client": str(entry.get("client_banner", "-")),
        "status": status,
        "connected": f"{entry.get('connected_at', '-')}, {age(entry.get('connected_at'))} ago",
        "channels": str(_count(entry.get("channels"))),
        "consumers": str(_count(entry.get("consumers"))),
        "methods": str(stats.get("total_methods", "-")),
        "frames": f"{stats.get('received_frames', '-')} received, {stats.get('sent_frames', '-')} sent",
        "configuration": str(entry.get("config_hash", "-")),
    }


def _count(value: object) -> object:
    """A number, or how many a list holds."""
    return len(value) if isinstance(value, (list, dict)) else "-" if value is None else value


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) else 0


def _link(link: dict[str, Any]) -> list[object]:
    state = "blocked" if link.get("blocked") else "open"
    return [
        link.get("upstream", "-"),
        link.get("node") or "-",
        state,
        link.get("unacknowledged", "-"),
        link.get("unconfirmed", "-"),
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested tables as one, with dotted names."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else value_text(value)


def _labeled(values: Mapping[str, str]) -> Iterator[str]:
    names = {clean(name): clean(value) for name, value in values.items()}
    longest = max(map(len, names), default=0)
    for name, value in names.items():
        yield f"  {name:<{longest}}  {value}".rstrip()
