"""``trabbits run``: the service tree in a process of its own.

Lives here: the reactor, signals, exit statuses.  Must not know: what the service tree does.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import click
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from trabbits.config import ConfigError
from trabbits.log_ids import LogId
from trabbits.logs import EventLog, start_logging
from trabbits.service import Options, ProxyService, make_service, read_config

_log = EventLog(Logger("trabbits"))


def run_proxy(options: Options) -> int:
    """Run until a signal comes; the exit status."""
    try:
        config = read_config(options)
    except ConfigError as error:
        click.echo(f"trabbits: {error}", err=True)
        return 2
    start_logging(sys.stderr, options.log_format, debug=options.debug)

    reactor = _reactor()
    proxy = make_service(options, config, reactor)
    try:
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
    impatience = _SecondSignal(proxy, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", proxy.stopService)
    reactor.addSystemEventTrigger("before", "shutdown", impatience.arm)
    reactor.run()
    return 1 if impatience.came else 0


def _reactor() -> Any:
    """The reactor for a proxy, where there is epoll and nobody has installed another one."""
    if "twisted.internet.reactor" not in sys.modules and sys.platform == "linux":
        from trabbits.reactor import install

        install()
    from twisted.internet import reactor

    return reactor


class _SecondSignal:
    """Once stopping has begun, another SIGTERM or SIGINT ends the wait for clients."""

    def __init__(self, proxy: ProxyService, reactor: Any) -> None:
        self.came = False
        self._proxy = proxy
        self._reactor = reactor

    def arm(self) -> None:
        """Take the signals over from Twisted, whose own answer would be a complaint that it is stopping already."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Signals interrupt anything; the reactor's own thread is the place to act.
        self._reactor.callFromThread(self._abort)

    def _abort(self) -> None:
        if not self.came:
            self.came = True
            _log(LogId.ABORTED)
            self._proxy.abort()
