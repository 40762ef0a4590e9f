"""``trabbits run``: the service tree in a process of its own.

Lives here: the reactor, starting and running a tree, exit statuses.  Must not know: what the service tree does.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import sys
from typing import Any

import click
from twisted.application.service import MultiService
from twisted.internet.error import CannotListenError

from trabbits.cli.memory import spare_the_collector
from trabbits.config import ConfigError
from trabbits.logs import start_logging
from trabbits.service import Options, make_service, read_config


def run_proxy(options: Options) -> int:
    """Run until a signal comes; the exit status."""
    try:
        loaded = read_config(options)
    except ConfigError as error:
        click.echo(f"trabbits: {error}", err=True)
        return 2
    start_logging(sys.stderr, options.log_format, debug=options.debug)

    reactor = install_reactor()
    try:
        proxy = make_service(options, loaded, reactor)
        start(proxy)
    except ConfigError as error:  # a plugin's, which had to start for that
        click.echo(f"trabbits: {error}", err=True)
        return 2
    except OSError as error:
        click.echo(f"trabbits: {cannot_start(error)}", err=True)
        return 1
    run_until_stopped(proxy, reactor)
    return 1 if proxy.aborted else 0


def install_reactor() -> Any:
    """The reactor for a proxy, where there is epoll and nobody has installed another one."""
    if "twisted.internet.reactor" not in sys.modules and sys.platform == "linux":
        from trabbits.reactor import install

        install()
    from twisted.internet import reactor

    return reactor


def start(tree: MultiService) -> None:
    """Start a tree of services.  Raises CannotListenError or another OSError when that is not possible."""
    try:
        tree.privilegedStartService()
        tree.startService()
    except CannotListenError as error:
        # No OSError, but the same to whoever started the process.
        raise PortTaken(error) from None


class PortTaken(OSError):
    """A port that cannot be listened on."""

    def __init__(self, error: CannotListenError) -> None:
        super().__init__(str(error))
        self.port = error.port
        self.interface = error.interface
        self.reason = getattr(error.socketError, "strerror", None) or error.socketError


def cannot_start(error: OSError) -> str:
    """Why the process cannot start, for people."""
    if isinstance(error, PortTaken):
        return f"cannot listen on port {error.port} of {error.interface or 'every address'}: {error.reason}"
    return f"cannot start: {error}"


def run_until_stopped(tree: MultiService, reactor: Any) -> None:
    """Run the reactor with a tree that has started; returns when that has stopped."""
    reactor.addSystemEventTrigger("before", "shutdown", tree.stopService)
    spare_the_collector(reactor)
    reactor.run()
