"""``trabbits manage upstreams``.

Lives here: the table.  Must not know: where the API is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from trabbits.cli.terminal import Column, echo, echo_all, fields_of, rows_of, table, to_json, width

if TYPE_CHECKING:
    from trabbits.api_client import ApiClient

COLUMNS = [
    Column("UPSTREAM", least=8, rank=6),
    Column("REQUIRED", rank=3),
    Column("NODE", least=12, rank=7, keep_end=True),
    Column("HEALTH"),
    Column("LINKS", align_right=True),
    Column("FAILURES", align_right=True, rank=5),
    Column("UNACKED", align_right=True),
    Column("UNCONFIRMED", align_right=True, rank=4),
    Column("PUBLISHED", align_right=True),
    Column("DELIVERED", align_right=True),
    Column("LAST ERROR", least=12, rank=1),
]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the admin API as it is.")
@click.pass_obj
def upstreams(api: ApiClient, as_json: bool) -> None:
    """List upstreams and their nodes.

    One line for each node.  What counts for the whole upstream stands in the line of its first node: messages in
    flight (deliveries that clients have not acknowledged, publishes that the upstream has not confirmed), and messages
    so far.
    """
    answer = api.get("/upstreams")
    if as_json:
        echo(to_json(answer))
    else:
        echo_all(table(COLUMNS, [row for upstream in rows_of(answer) for row in _rows(upstream)], width()))


def _rows(upstream: dict[str, Any]) -> Iterator[list[object]]:
    nodes = rows_of(upstream.get("nodes")) or [{}]
    for number, node in enumerate(nodes):
        is_first = number == 0
        required = "yes" if upstream.get("required", True) else "no"
        flights = [upstream.get(name, "-") for name in ("unacknowledged", "unconfirmed", "publishes", "deliveries")]
        yield [
            upstream.get("name", "-") if is_first else "",
            required if is_first else "",
            node.get("address", "-"),
            _health(node),
            node.get("links", "-"),
            node.get("failures", "-"),
            *(flights if is_first else [""] * len(flights)),
            _error(node.get("last_error")),
        ]


def _health(node: dict[str, Any]) -> object:
    """A healthy node that has just failed somebody is suspect: it is asked last."""
    health = node.get("health", "-")
    return "suspect" if health == "healthy" and node.get("suspect") else health


def _error(error: object) -> object:
    if isinstance(error, dict):
        error = fields_of(error).get("text") or to_json(error, indent=None)
    return error or "-"
