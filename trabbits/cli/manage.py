"""``trabbits manage``: a running trabbits seen and steered from the shell.

Lives here: the group and the options that say where its admin API is.  Must not know: what the commands do.
"""

from __future__ import annotations

import click

from trabbits.cli.client import ApiGroup, connect
from trabbits.cli.manage_clients import clients
from trabbits.cli.manage_config import config
from trabbits.cli.manage_upstreams import upstreams
from trabbits.cli.options import API_SOCKET


@click.group(cls=ApiGroup)
@click.option(
    "--api-socket",
    metavar="PATH",
    default=API_SOCKET,
    envvar="TRABBITS_API_SOCKET",
    show_default=True,
    show_envvar=True,
    help="The UNIX socket of the admin API.",
    type=click.Path(),
)
@click.option(
    "--api-url",
    metavar="URL",
    envvar="TRABBITS_API_URL",
    show_envvar=True,
    help="The admin API over TCP instead, such as https://host:16693.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="Read the token for --api-url from this file.  [env var of the token itself: TRABBITS_API_TOKEN]",
    type=click.Path(),
)
@click.option(
    "--ca-file",
    metavar="FILE",
    envvar="TRABBITS_API_CA_FILE",
    show_envvar=True,
    help="Trust certificates of this CA at --api-url.  [default: the system's CAs]",
    type=click.Path(),
)
@click.pass_context
def manage(
    context: click.Context, api_socket: str, api_url: str | None, token_file: str | None, ca_file: str | None
) -> None:
    """See and steer a running trabbits through its admin API.

    The exit status is 0 if it worked, 1 if it did not (or the answer is no), and 2 for wrong usage or a wrong
    configuration.
    """
    context.obj = connect(context)


for command in (clients, config, upstreams):
    manage.add_command(command)
