"""``twistd trabbits``: the same service tree, run by Twisted's own runner.

Lives here: options in twistd's manner, and our log lines in the place that twistd's options name.
Must not know: what the service tree does.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from twisted.application.service import MultiService
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from trabbits.cli.environment import is_true
from trabbits.cli.memory import spare_the_collector
from trabbits.config import ConfigError, Loaded
from trabbits.logs import bridge_standard_logging, make_observer
from trabbits.service import Options as ServiceOptions
from trabbits.service import make_service, read_config


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError("a port is a number from 0 to 65535")
    return int(text)


class Options(usage.Options):
    """The options of ``trabbits run``, the same environment variables included."""

    synopsis = "[options]"
    optParameters = [
        ["config", None, None, "The configuration, JSON.  [TRABBITS_CONFIG]"],
        ["host", None, "", "Listen on this address only; every IPv4 address otherwise."],
        ["port", None, None, "Listen for AMQP clients here; 0 takes any free port.  [TRABBITS_PORT, 6672]", _port],
        ["metrics-port", None, None, "Serve metrics here; 0: any free port.  [TRABBITS_METRICS_PORT, 16692]", _port],
        [
            "api-socket",
            None,
            None,
            "Serve the admin API here; empty for no socket.  [TRABBITS_API_SOCKET, /tmp/trabbits.sock]",
        ],
        ["pid-file", None, None, "Keep the process id in this file (twistd has --pidfile, too)."],
        ["log-format", None, None, "text or json.  [text on a terminal, json otherwise]"],
    ]
    optFlags = [
        ["no-reuse-port", None, "Share the port with no other process."],
        ["no-metrics", None, "Serve no metrics."],
        ["debug", None, "Log in more detail.  [DEBUG]"],
    ]

    loaded: Loaded
    service_options: ServiceOptions

    def postOptions(self) -> None:
        """Check everything here, where an error is still a message and not a traceback."""
        if self["log-format"] not in (None, "text", "json"):
            raise usage.UsageError("--log-format is text or json")
        self.service_options = ServiceOptions(
            config=self["config"] or os.environ.get("TRABBITS_CONFIG") or None,
            host=self["host"],
            port=self._number("port", "TRABBITS_PORT", 6672),
            reuse_port=not self["no-reuse-port"],
            metrics_port=None if self["no-metrics"] else self._number("metrics-port", "TRABBITS_METRICS_PORT", 16692),
            api_socket=self._api_socket(),
            pid_file=self["pid-file"],
            debug=bool(self["debug"]) or is_true("DEBUG"),
            log_format=self["log-format"],
        )
        try:
            self.loaded = read_config(self.service_options)
        except ConfigError as error:
            raise _end(error) from None

    def _api_socket(self) -> str:
        given: str | None = self["api-socket"]
        return os.environ.get("TRABBITS_API_SOCKET") or "/tmp/trabbits.sock" if given is None else given

    def _number(self, name: str, variable: str, default: int) -> int:
        value = self[name]
        if value is None and (text := os.environ.get(variable)):
            try:
                value = _port(text)
            except ValueError:
                raise usage.UsageError(f"{variable} must be a number from 0 to 65535") from None
        return default if value is None else int(value)


class TwistdService(MultiService):
    """The proxy in twistd's application; brings our log lines with it.

    An operator who names a ``--logger`` or ``--syslog`` gets that instead.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options

    def setServiceParent(self, parent: Any) -> None:  # noqa: N802  # Twisted's name
        """Called with the application before twistd decides where log lines go."""
        twistd = getattr(self._options, "parent", None) or {}
        if isinstance(parent, Componentized) and not twistd.get("syslog") and not twistd.get("logger"):
            options = self._options.service_options
            observer = make_observer(_log_stream(twistd), options.log_format, debug=options.debug)
            parent.setComponent(ILogObserver, observer)
            bridge_standard_logging()
        super().setServiceParent(parent)


def _log_stream(twistd: Any) -> TextIO | Any:
    """Where twistd would write: its ``--logfile``, standard output in the foreground, ``twistd.log`` as a daemon."""
    name = twistd.get("logfile")
    if name == "-" or (not name and twistd.get("nodaemon")):
        return sys.stdout
    return LogFile.fromFullPath(name or "twistd.log")


def _end(error: ConfigError) -> SystemExit:
    """Tell why the process ends, without a traceback."""
    print(f"trabbits: {error}", file=sys.stderr)
    return SystemExit(2)


def makeService(options: Options) -> TwistdService:
    """twistd's entry point."""
    from twisted.internet import reactor

    service = TwistdService(options)
    try:
        proxy = make_service(options.service_options, options.loaded, reactor)
    except ConfigError as error:  # a plugin's, which had to start for that
        raise _end(error) from None
    proxy.setServiceParent(service)
    spare_the_collector(reactor)
    return service
