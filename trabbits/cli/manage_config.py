"""``trabbits manage config``: the configuration of a running trabbits.

Lives here: the commands.  Must not know: where the API is, or what is in a configuration: the server reads and checks
it, with its own environment.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from trabbits.cli.client import tell
from trabbits.cli.terminal import complain, diff_line, echo, echo_all, fields_of, rows_of, to_json

if TYPE_CHECKING:
    from trabbits.api_client import ApiClient

#: More than any server takes; only so that a wrong file (a device) doesn't fill the memory.
_MAXIMUM_SIZE = 64 * 1024 * 1024
_TYPES = {"json": "application/json", "jsonnet": "application/jsonnet"}

_file = click.argument("file", type=click.File("rb"))
_format = click.option(
    "--format",
    "language",
    type=click.Choice(sorted(_TYPES)),
    help="What FILE is written in.  [default: jsonnet where its name ends with .jsonnet or .libsonnet, otherwise json]",
)


@click.group()
def config() -> None:
    """Show, compare and replace the configuration."""


@config.command()
@click.pass_obj
def get(api: ApiClient) -> None:
    """Print the configuration in use as JSON.

    Passwords are masked; `put` takes a masked password for "the one in use".
    """
    echo(to_json(api.get("/config")))


@config.command()
@_file
@_format
@click.pass_obj
def diff(api: ApiClient, file: BinaryIO, language: str | None) -> None:
    """Show what FILE would change (- is standard input).

    The exit status is 0 if it means the same as the configuration in use, 1 if it does not, and 2 if it cannot be told.
    """
    from trabbits.api_client import ApiError, ApiUnreachable

    try:
        text = api.post("/config/diff", *_body(file, language))
    except (ApiError, ApiUnreachable) as error:
        tell(error)
        sys.exit(2)
    lines = str(text).removesuffix("\n").split("\n") if text else []
    echo_all(map(diff_line, lines))
    sys.exit(1 if lines else 0)


@config.command()
@_file
@_format
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the admin API as it is.")
@click.pass_obj
def put(api: ApiClient, file: BinaryIO, language: str | None, as_json: bool) -> None:
    """Replace the configuration by FILE (- is standard input).

    Clients that came under another configuration are asked to reconnect.  The file that trabbits was started with
    stays as it is: a reload or a restart goes back to it.
    """
    _report(api.put("/config", *_body(file, language)), as_json)


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print the answer of the admin API as it is.")
@click.pass_obj
def reload(api: ApiClient, as_json: bool) -> None:
    """Read the configuration anew from the file that trabbits was started with."""
    _report(api.post("/config/reload"), as_json)


def _body(file: BinaryIO, language: str | None) -> tuple[bytes, str]:
    """The file's octets with their type."""
    if language is None:
        language = "jsonnet" if file.name.endswith((".jsonnet", ".libsonnet")) else "json"
    try:
        octets = file.read(_MAXIMUM_SIZE + 1)
    except OSError as error:
        raise click.UsageError(f"{file.name}: {error.strerror}") from error
    if len(octets) > _MAXIMUM_SIZE:
        raise click.UsageError(f"{file.name}: too large for a configuration")
    if not octets.strip():
        # An empty body is no body for HTTP; this says it better.
        raise click.UsageError(f"{file.name}: it is empty")
    return octets, _TYPES[language]


def _report(answer: Any, as_json: bool) -> None:
    result = fields_of(answer)
    for warning in rows_of(result.get("warnings")):
        complain(f"{warning.get('path', '')}: {warning.get('message', '')}".removeprefix(": "), word="warning")
    if as_json:
        echo(to_json(answer))
    elif result.get("changed") is False:
        echo("Nothing has changed: the configuration means the same as the one in use.")
    else:
        echo(f"{click.style('The new configuration is in use', fg='green')}{_consequence(result.get('outdated'))}.")


def _consequence(outdated: object) -> str:
    if not isinstance(outdated, int) or isinstance(outdated, bool):
        return ""
    if outdated == 1:
        return "; 1 client is asked to reconnect"
    return f"; {outdated or 'no'} clients are asked to reconnect"
