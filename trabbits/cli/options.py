"""Options that several commands have.

Lives here: where the proxy listens for clients, serves metrics and the admin API.  Must not know: who starts it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: Where the admin API is, unless somebody says otherwise.
API_SOCKET: Final = "/tmp/trabbits.sock"

_SERVING: Final = (
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=6672,
        envvar="TRABBITS_PORT",
        show_default=True,
        show_envvar=True,
        help="Listen for AMQP clients here; 0 takes any free port.",
    ),
    click.option(
        "--metrics-port",
        type=click.IntRange(0, 65535),
        default=16692,
        envvar="TRABBITS_METRICS_PORT",
        show_default=True,
        show_envvar=True,
        help="Serve metrics at /metrics of this port; 0 takes any free port.",
    ),
    click.option("--no-metrics", is_flag=True, help="Serve no metrics."),
    click.option(
        "--api-socket",
        metavar="PATH",
        default=API_SOCKET,
        envvar="TRABBITS_API_SOCKET",
        show_default=True,
        show_envvar=True,
        help="Serve the admin API on this UNIX socket; '' for none.",
    ),
)


def serving_options(command: F) -> F:
    """``--port``, ``--metrics-port``, ``--no-metrics`` and ``--api-socket``."""
    for option in reversed(_SERVING):
        command = option(command)
    return command
