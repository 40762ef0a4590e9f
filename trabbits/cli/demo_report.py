"""What the demo tells: what to try, the live picture, the last line.

Lives here: its words and layout.  Must not know: terminals, where the numbers come from.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trabbits.cli.options import API_SOCKET
from trabbits.cli.terminal import Column, clean, table

if TYPE_CHECKING:
    from trabbits.demo.picture import Counts, Picture, Row, Upstream
    from trabbits.demo.tree import DemoService

#: Clients of the user's that are shown one by one.
SHOWN = 10
_COLUMNS = [
    Column("CLIENT", least=12, rank=6),
    Column("KEYS", rank=4),
    Column("UPSTREAM", least=8, rank=5),
    Column("SENT/S", align_right=True, rank=3),
    Column("RECEIVED/S", align_right=True, rank=2),
    Column("CONFIRMED", align_right=True, rank=1),
    Column("MOVED", align_right=True),
    Column("LOST", align_right=True),
]
_UPSTREAM_COLUMNS = [
    Column("UPSTREAM"),
    Column("ADDRESS", rank=1),
    Column("BROKER", rank=2),
    Column("MESSAGES", align_right=True),
    Column("MESSAGES/S", align_right=True),
]


def first_words(demo: DemoService, log: Path, seconds: float) -> Iterator[str]:
    """That it is ready, and what to try."""
    host, port = demo.address
    shown_host = "localhost" if host == "127.0.0.1" else f"[{host}]" if ":" in host else host
    socket = demo.options.api_socket
    manage = f"{_command()} {_manage(socket)}"
    yield click.style(f"trabbits demo is ready after {seconds:.1f} s.", bold=True)
    yield ""
    yield "Your own client connects to"
    yield _typed(f"amqp://guest:guest@{shown_host}:{port}/")
    yield "Watch, in another terminal:"
    if socket:
        yield _typed(f"{manage} clients", "the console; q leaves it")
        yield _typed(f"{manage} clients list")
        yield _typed(f"curl --unix-socket {shlex.quote(socket)} http://trabbits/upstreams")
    if demo.proxy.metrics_port is not None:
        yield _typed(f"curl http://{shown_host}:{demo.proxy.metrics_port}/metrics")
    if demo.options.traffic:
        yield "Move the orders to the new broker, too:"
        yield _typed(demo.move_command)
    else:
        yield "Change what goes where:"
        yield _typed(f"${{EDITOR:-vi}} {shlex.quote(str(demo.config))}")
    hang_up = f"kill -HUP {os.getpid()}"
    yield _typed(f"{manage} config reload", f"or: {hang_up}") if socket else _typed(hang_up)
    yield f"The log is in {log}."
    yield "Ctrl-C ends the demo, and nothing is left of it."
    yield ""


def report(picture: Picture, width: int | None) -> list[str]:
    """The live picture; its table is no wider than `width` if that is possible."""
    lines: list[str] = []
    if picture.rows:
        shown = [row for row in picture.rows if row.ledger is not None]
        others = [row for row in picture.rows if row.ledger is None]
        lines += table(_COLUMNS, [_cells(row) for row in [*shown, *others[:SHOWN]]], width)
        if len(others) > SHOWN:
            lines.append(f"and {len(others) - SHOWN} more clients")
    else:
        lines.append("No client is connected yet.")
    lines.append("")
    lines += table(_UPSTREAM_COLUMNS, [_upstream_cells(upstream) for upstream in picture.upstreams], width)
    lines.append("")
    lines += [
        f"{_clock(change.time)}  {clean(change.client)}: moved from {_names(change.before)} to {_names(change.after)}"
        for change in picture.changes
    ]
    lines.append(_time_and_total(picture))
    return lines


def progress(picture: Picture) -> str:
    """The picture in one line."""
    routes = [
        f"{clean(row.name)} to {_names(row.upstreams)} {row.rate_in:.0f}/s"
        for row in picture.rows[:SHOWN]
        if row.upstreams
    ]
    return f"{_clock(picture.seconds)}  {', '.join(routes) or 'no messages'}{_total(picture)}"


def last_words(picture: Picture) -> Iterator[str]:
    """What it all came to."""
    summary = f"The demo has ended after {picture.seconds:.1f} s"
    if picture.total.sent:
        summary += f": {_counts(picture.total)}"
    yield f"{summary}."


def _cells(row: Row) -> Sequence[object]:
    counts = row.ledger
    return [
        row.name,
        row.keys or "-",
        _names(row.upstreams),
        f"{row.rate_in:.0f}",
        f"{row.rate_out:.0f}",
        "-" if counts is None else counts.confirmed,
        row.moved,
        "-" if counts is None else counts.lost,
    ]


def _upstream_cells(upstream: Upstream) -> Sequence[object]:
    kind = "embedded, in memory" if upstream.embedded else "yours"
    return [upstream.name, upstream.address, kind, upstream.published, f"{upstream.rate:.0f}"]


def _time_and_total(picture: Picture) -> str:
    color = "red" if picture.total.lost else "green"
    return click.style(f"{_clock(picture.seconds)}{_total(picture)}", fg=color)


def _total(picture: Picture) -> str:
    return f"  {_counts(picture.total)}" if picture.total.sent else ""


def _counts(total: Counts) -> str:
    repeated = f", {total.repeated} received again" if total.repeated else ""
    return f"{total.sent} sent, {total.confirmed} confirmed, {total.received} received{repeated}, {total.lost} lost"


def _names(names: Sequence[str]) -> str:
    return " and ".join(map(clean, names)) or "-"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes}:{second:02}"


def _typed(command: str, note: str = "") -> str:
    """Something to be typed; the note is a comment to the shell, too."""
    return f"  {click.style(command, fg='cyan')}{f'  # {note}' if note else ''}"


def _manage(socket: str) -> str:
    return "manage" if socket == API_SOCKET else f"manage --api-socket {shlex.quote(socket)}"


def _command() -> str:
    """How this program is called from where the user is."""
    program = Path(sys.argv[0])
    found = shutil.which("trabbits")
    if found is not None and Path(found).resolve() == program.resolve():
        return "trabbits"
    if program.name != "trabbits":
        return f"{shlex.quote(sys.executable)} -m trabbits"
    here = Path.cwd()
    absolute = program.absolute()
    return shlex.quote(str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute))
