"""``trabbits manage clients probe``: the protocol of one client as lines.

Lives here: how an event looks, and when watching ends.  Must not know: how events come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trabbits.cli.terminal import arrows, clean, complain, echo, fields_of, time_of_day, to_json, value_text

if TYPE_CHECKING:
    from trabbits.api_client import ApiClient

_COLORS = {"c→t": "cyan", "t→u": "green", "u→t": "magenta", "t→c": "yellow"}


def watch(api: ApiClient, id: str, *, as_json: bool) -> int:
    """Print events until the client leaves or Ctrl-C; the exit status."""
    from trabbits.api_client import path_of

    with api.stream(path_of("clients", id, "probe")) as events:
        try:
            for event in events:
                echo(to_json(event, indent=None) if as_json else line_of(event))
                if event.get("type") == "proxy_ended":
                    return 0
        except KeyboardInterrupt:
            return 0  # how one stops watching
    complain(f"{api.place} ended the stream; did trabbits stop?")
    return 1


def line_of(event: dict[str, Any]) -> str:
    """An event as text, styled as for a terminal."""
    kind = event.get("type")
    if kind == "proxy_ended":
        return click.style("the client has left", dim=True)
    if kind == "dropped":
        return click.style(f"{clean(event.get('count', 'some'))} events were not shown: too many at once", fg="yellow")
    if kind != "method":
        return clean(to_json(event, indent=None))
    direction = str(event.get("direction", "-"))
    upstream = f" {clean(event['upstream'])}" if event.get("upstream") else ""
    parts = [
        time_of_day(event.get("time")),
        click.style(arrows(direction), fg=_COLORS.get(direction)) + upstream,
        f"channel {clean(event.get('channel', '-'))}",
        click.style(clean(event.get("method", "-")), bold=True),
        *(f"{clean(name)}={value_text(value)}" for name, value in fields_of(event.get("arguments")).items()),
    ]
    return " ".join(parts)
