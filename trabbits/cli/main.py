"""The ``trabbits`` command.

Lives here: commands and their options.  Must not know: how anything is done; each command imports what it
needs when it runs, so that ``trabbits --help`` answers at once.

Exit statuses: 0 done, 1 it did not work (or: the answer is no), 2 wrong usage or a wrong configuration.
"""

from __future__ import annotations

import io
import sys

import click

from trabbits import __version__
from trabbits.cli import config as config_commands
from trabbits.cli.completion import completion
from trabbits.cli.demo import demo
from trabbits.cli.environment import is_true
from trabbits.cli.manage import manage
from trabbits.cli.memory import hold_the_collector
from trabbits.cli.options import serving_options
from trabbits.cli.plugins import plugins


def main() -> None:
    """The console script's entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Whatever the locale, a character that it lacks must not end the program.
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="trabbits")


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trabbits", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """An AMQP 0-9-1 proxy in front of one or many RabbitMQ brokers."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.option(
    "--config", metavar="FILE", envvar="TRABBITS_CONFIG", show_envvar=True, help="The configuration, JSON or Jsonnet."
)
@click.option(
    "--host", metavar="ADDRESS", default="", help="Listen on this address only.  [default: every IPv4 address]"
)
@serving_options
@click.option(
    "--reuse-port/--no-reuse-port",
    default=True,
    help="Let another process of the same user share the port, or not.  [default: shared]",
)
@click.option("--pid-file", metavar="FILE", help="Keep the process id in this file while running.")
@click.option("--debug", is_flag=True, help="Log in more detail.  [env var: DEBUG]")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="How log lines look.  [default: text on a terminal, json otherwise]",
)
def run(
    config: str | None,
    host: str,
    port: int,
    metrics_port: int,
    no_metrics: bool,
    api_socket: str,
    reuse_port: bool,
    pid_file: str | None,
    debug: bool,
    log_format: str | None,
) -> None:
    """Run the proxy until SIGTERM or SIGINT.

    Without a configuration, clients are passed on to a broker at localhost:5672.
    """
    hold_the_collector()
    from trabbits.cli.run import run_proxy
    from trabbits.service import Options

    options = Options(
        config=config,
        host=host,
        port=port,
        reuse_port=reuse_port,
        metrics_port=None if no_metrics else metrics_port,
        api_socket=api_socket,
        pid_file=pid_file,
        debug=debug or is_true("DEBUG"),
        log_format=log_format,
    )
    sys.exit(run_proxy(options))


cli.add_command(config_commands.config)
cli.add_command(config_commands.check_alias)
cli.add_command(demo)
cli.add_command(manage)
cli.add_command(plugins)
cli.add_command(completion)


@cli.group()
def test() -> None:
    """Try things out without running the proxy."""


@test.command("match-routing", context_settings={"ignore_unknown_options": True})
@click.argument("pattern")
@click.argument("key")
def match_routing(pattern: str, key: str) -> None:
    """Tell whether the routing key KEY matches the pattern PATTERN.

    Words are separated by dots.  In the pattern, * is one word, # is zero or more words, and % is zero or more
    characters inside a word.  The exit status is 0 for a match and 1 otherwise.
    """
    from trabbits.plugins.key_patterns import match

    if match(pattern, key):
        click.echo(f"✓ MATCHED: pattern '{pattern}' matches key '{key}'")
    else:
        click.echo(f"✗ NOT MATCHED: pattern '{pattern}' does not match key '{key}'")
        sys.exit(1)
