"""``trabbits manage clients``: connected clients listed, looked at, watched, and shut down.

Lives here: the commands.  Must not know: where the API is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from trabbits.cli.client import connect
from trabbits.cli.terminal import (
    Column,
    age,
    clean,
    complain,
    echo,
    echo_all,
    fields_of,
    rows_of,
    table,
    to_json,
    width,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from trabbits.api_client import ApiClient

COLUMNS = [
    Column("ID"),
    Column("USER", least=8, rank=5),
    Column("VHOST", least=6, rank=4),
    Column("ADDRESS", least=14, rank=6, keep_end=True),
    Column("CLIENT", least=10, rank=1),
    Column("STATUS"),
    Column("AGE", align_right=True, rank=7),
    Column("METHODS", align_right=True, rank=3),
    Column("FRAMES", align_right=True, rank=2),
]
#: How many ids are named when a beginning fits several.
_NAMED = 10
_COMPLETION_TIMEOUT = 1.0


def complete_id(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of connected clients for the shell; none when there is no answer within a second."""
    from click.shell_completion import CompletionItem

    from trabbits.api_client import ApiError, ApiUnreachable

    manage = context.find_root()
    for each in _with_parents(context):
        if "api_socket" in each.params:
            manage = each
    try:
        entries = rows_of(connect(manage, _COMPLETION_TIMEOUT).get("/clients", q=incomplete or None, limit=100))
    except (ApiError, ApiUnreachable, click.UsageError):
        return []
    return [
        CompletionItem(clean(entry["id"]), help=clean(f"{entry.get('user', '')} {entry.get('client_address', '')}"))
        for entry in entries
        if str(entry.get("id", "")).startswith(incomplete)
    ]


def _with_parents(context: click.Context | None) -> list[click.Context]:
    found = []
    while context is not None:
        found.append(context)
        context = context.parent
    return found


_id = click.argument("id", shell_complete=complete_id)
_json = click.option("--json", "as_json", is_flag=True, help="Print the answer of the admin API as it is.")


@click.group(invoke_without_command=True)
@click.pass_context
def clients(context: click.Context) -> None:
    """See and steer connected clients.

    Without a command: the console on a terminal, the list otherwise.  ID may be the beginning of an id, with or without
    "proxy-", as long as it fits one client only.
    """
    if context.invoked_subcommand is None:
        context.invoke(tui if sys.stdin.isatty() and sys.stdout.isatty() else list_clients)


@clients.command("list")
@click.option("--filter", "search", metavar="TEXT", help="Those whose id, user, vhost, address or banner holds TEXT.")
@click.option("--sort", metavar="FIELD", help="Sort by this field of --json; -FIELD for descending order.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@click.option("--offset", type=click.IntRange(0), help="Pass over so many first.")
@_json
@click.pass_obj
def list_clients(
    api: ApiClient,
    search: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
    offset: int | None = None,
    as_json: bool = False,
) -> None:
    """List connected clients."""
    query = {"q": search, "sort": sort, "limit": limit, "offset": offset}
    answer = api.request("GET", "/clients", query=query)
    if as_json:
        echo(to_json(answer.content))
        return
    entries = rows_of(answer.content)
    echo_all(table(COLUMNS, [_row(entry) for entry in entries], width()))
    if len(entries) < answer.total:
        complain(f"{len(entries)} of {answer.total} clients are shown", word="note")


def _row(entry: dict[str, Any]) -> list[object]:
    names = ("id", "user", "virtual_host", "client_address", "client_banner", "status")
    return [
        *(entry.get(name, "-") for name in names),
        age(entry.get("connected_at")),
        entry.get("total_methods", "-"),
        entry.get("total_frames", "-"),
    ]


@clients.command()
@_id
@_json
@click.pass_obj
def info(api: ApiClient, id: str, as_json: bool) -> None:
    """Show everything about one client."""
    from trabbits.api_client import path_of
    from trabbits.cli.client_report import report

    answer = api.get(path_of("clients", find(api, id)))
    if as_json:
        echo(to_json(answer))
    else:
        echo_all(report(answer, width()))


@clients.command()
@_id
@click.option("--reason", metavar="TEXT", help="What the client and the log are told.")
@_json
@click.pass_obj
def shutdown(api: ApiClient, id: str, reason: str | None, as_json: bool) -> None:
    """Ask one client to leave.

    It gets connection.close with code 320 and the reason, and the time of connection_close_timeout to answer.
    """
    from trabbits.api_client import path_of

    answer = api.delete(path_of("clients", find(api, id)), reason=reason)
    if as_json:
        echo(to_json(answer))
    else:
        told = fields_of(answer)
        echo(clean(f"{told.get('proxy_id', id)} is asked to leave: {told.get('reason', '')}"))


@clients.command()
@_id
@click.option("--format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def probe(api: ApiClient, id: str, format: str) -> None:
    """Watch the protocol of one client.

    First its last 100 methods, then live, until it leaves or Ctrl-C; of a client that has left, what is remembered.
    json is one object a line.  Message bodies are never shown.
    """
    from trabbits.cli.manage_probe import watch

    sys.exit(watch(api, find(api, id, may_have_left=True), as_json=format == "json"))


@clients.command()
@click.pass_obj
def tui(api: ApiClient) -> None:
    """Open the full-screen console."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("the console needs a terminal; `trabbits manage clients list` does not")
    from trabbits.console.main import run_console

    sys.exit(run_console(api))


def find(api: ApiClient, beginning: str, *, may_have_left: bool = False) -> str:
    """The id of the one client whose id begins so; with `may_have_left` an unknown one is left to the server."""
    from trabbits.api_client import ApiError

    if not beginning:
        raise click.UsageError("ID: expected the id of a client, or its beginning")
    entries = rows_of(api.get("/clients", q=beginning))
    ids = [str(entry.get("id", "")) for entry in entries]
    fitting = sorted(each for each in ids if each.startswith((beginning, f"proxy-{beginning}")))
    if beginning in fitting:
        return beginning
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        complain(f"{beginning} fits {len(fitting)} clients", _named(fitting))
        sys.exit(2)
    if may_have_left:
        return beginning
    raise ApiError(404, f"no client is connected whose id begins with {beginning}")


def _named(ids: list[str]) -> list[str]:
    more = [f"and {len(ids) - _NAMED} more"] if len(ids) > _NAMED else []
    return ids[:_NAMED] + more
