"""How commands reach the admin API, and what becomes of its errors.

Lives here: the client that the options ask for, and words and exit statuses for what goes wrong.  Must not know: what
is asked of the API.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from trabbits.cli.terminal import complain

if TYPE_CHECKING:
    from trabbits.api_client import ApiClient, ApiError, ApiUnreachable

#: What the server says to a body or a reason that it cannot take: wrong usage or a wrong configuration, status 2.
_WRONG_INPUT = {400, 413, 415, 422}
_MAXIMUM_TOKEN = 65536


class ApiGroup(click.Group):
    """Commands that call the admin API: its errors are told in words, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; status 1 when the API cannot be reached or refuses, 2 when it refuses what was given."""
        from trabbits.api_client import ApiError, ApiUnreachable

        try:
            return super().invoke(ctx)
        except (ApiError, ApiUnreachable) as error:
            tell(error)
            sys.exit(2 if isinstance(error, ApiError) and error.status in _WRONG_INPUT else 1)


def connect(context: click.Context, timeout: float | None = None) -> ApiClient:
    """The client that the options of `manage` ask for; UsageError when they do not fit together."""
    from trabbits.api_client import TIMEOUT, ApiClient

    given = context.params
    wait = TIMEOUT if timeout is None else timeout
    socket, url = given["api_socket"], given["api_url"]
    if _is_typed(context, "api_socket"):
        # What was typed wins over the environment.
        if _is_typed(context, "api_url"):
            raise click.UsageError("--api-socket and --api-url: give one of them", context)
        url = None
    try:
        if url is not None:
            return ApiClient(url=url, token=_token(given["token_file"]), ca_file=given["ca_file"], timeout=wait)
    except ValueError as error:
        raise click.UsageError(str(error), context) from error
    if not socket:
        raise click.UsageError("--api-socket: expected the path of a socket", context)
    for option in ("token_file", "ca_file"):
        if _is_typed(context, option):
            raise click.UsageError(f"--{option.replace('_', '-')} goes with --api-url; a socket needs none", context)
    return ApiClient(socket=socket, timeout=wait)


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _token(path: str | None) -> str | None:
    """The token, never told in an error."""
    if path is None:
        return os.environ.get("TRABBITS_API_TOKEN") or None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_MAXIMUM_TOKEN).strip()
    except OSError as error:
        raise ValueError(f"--token-file {path}: {error.strerror}") from error
    except UnicodeError as error:
        raise ValueError(f"--token-file {path}: a token is printable ASCII without spaces") from error


def tell(error: ApiError | ApiUnreachable) -> None:
    """Say on standard error what the API said, or why it said nothing."""
    from trabbits.api_client import ApiError

    if not isinstance(error, ApiError):
        complain(error.text)
        return
    text = error.text
    if error.status in (401, 403):
        text += "; the token comes from --token-file or TRABBITS_API_TOKEN"
    complain(text, (f"{path}: {message}" if path else message for path, message in error.problems))
