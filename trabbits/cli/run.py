"""``trabbits run``: the service tree in a process of its own.

Lives here: the reactor, exit statuses.  Must not know: what the service tree does.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import sys
from typing import Any

import click
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

    reactor = _reactor()
    try:
        proxy = make_service(options, loaded, reactor)
        proxy.privilegedStartService()
        proxy.startService()
    except CannotListenError as error:
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        host = error.interface or "every address"
        click.echo(f"trabbits: cannot listen on port {error.port} of {host}: {reason}", err=True)
        return 1
    except OSError as error:
        click.echo(f"trabbits: cannot start: {error}", err=True)
        return 1
    reactor.addSystemEventTrigger("before", "shutdown", proxy.stopService)
    spare_the_collector(reactor)
    reactor.run()
    return 1 if proxy.aborted else 0


def _reactor() -> Any:
    """The reactor for a proxy, where there is epoll and nobody has installed another one."""
    if "twisted.internet.reactor" not in sys.modules and sys.platform == "linux":
        from trabbits.reactor import install

        install()
    from twisted.internet import reactor

    return reactor
