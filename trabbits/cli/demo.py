"""``trabbits demo``: brokers, the proxy and applications in one process, and a live picture of them.

Lives here: the command and its options, the process from start to exit status.  Must not know: what the picture looks
like (``demo_report.py``), how it gets on a terminal (``demo_screen.py``), what the demo is made of (``trabbits.demo``).
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trabbits.cli.demo_report import first_words, last_words, progress, report
from trabbits.cli.demo_screen import Screen
from trabbits.cli.memory import hold_the_collector
from trabbits.cli.options import serving_options
from trabbits.cli.terminal import complain, width

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from trabbits.demo.tree import DemoOptions, DemoService

#: Seconds between two pictures on a terminal, and between two lines elsewhere.
REFRESH = 1.0
LINE_EVERY = 5.0


def _upstream(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    if not values:
        return {}
    from trabbits.config.addresses import address
    from trabbits.demo.brokers import NAMES

    found: dict[str, str] = {}
    for value in values:
        name, _, where = value.partition("=")
        if name not in NAMES:
            raise click.BadParameter(f"{value!r}: expected {' or '.join(f'{each}=host:port' for each in NAMES)}")
        if name in found:
            raise click.BadParameter(f"{name} is given twice")
        try:
            found[name] = str(address(where))
        except ValueError as error:
            raise click.BadParameter(f"{value!r}: {error}") from None
    return found


@click.command()
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Listen on this address; 0.0.0.0 for all."
)
@serving_options
@click.option(
    "--upstream",
    "upstreams",
    metavar="NAME=HOST:PORT",
    multiple=True,
    callback=_upstream,
    help="Use this broker as old or as new, in place of an embedded one; guest is to have access to it.",
)
@click.option("--no-traffic", is_flag=True, help="No clients but your own.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End by itself after so long.")
def demo(
    host: str,
    port: int,
    metrics_port: int,
    no_metrics: bool,
    api_socket: str,
    upstreams: dict[str, str],
    no_traffic: bool,
    seconds: float | None,
) -> None:
    """See trabbits at work: two brokers, the proxy in front of them, and applications that talk through it.

    The brokers are embedded: nothing has to be installed, and nothing is left when the demo ends.  Invoices go to the
    broker "new", everything else to "old"; the configuration is written to a temporary folder for you to change.
    Ctrl-C ends it.
    """
    begun = time.monotonic()
    hold_the_collector()
    # From now on it ends as by Ctrl-C, cleaned up behind; once it runs, signals are the proxy's.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from trabbits.demo.tree import DemoOptions

        with tempfile.TemporaryDirectory(prefix="trabbits-demo-") as folder:
            options = DemoOptions(
                folder=Path(folder),
                upstreams=upstreams,
                host=host,
                port=port,
                metrics_port=None if no_metrics else metrics_port,
                api_socket=api_socket,
                traffic=not no_traffic,
            )
            status = _run(options, seconds, begun)
    except KeyboardInterrupt:
        click.echo("The demo has ended before it began.")
        status = 0
    sys.exit(status)


def _run(options: DemoOptions, seconds: float | None, begun: float) -> int:
    from trabbits.cli.run import PortTaken, cannot_start, install_reactor, run_until_stopped, start
    from trabbits.demo.tree import make_demo
    from trabbits.logs import start_logging

    log = options.folder / "trabbits.log"
    with log.open("w", encoding="utf-8") as stream:
        # On the screen, log lines would be in the way of the picture.
        start_logging(stream, "text")
        reactor = install_reactor()
        try:
            tree = make_demo(options, reactor)
            start(tree)
        except OSError as error:
            remedy = "; another one can be named with --port" if isinstance(error, PortTaken) else ""
            complain(f"{cannot_start(error)}{remedy}")
            return 1
        show = _Show(tree, log, seconds, begun, reactor)
        tree.ready.addCallbacks(show.begin, show.fail).addErrback(show.gone)
        run_until_stopped(tree, reactor)
        return show.end()


class _Show:
    """What the user sees from the beginning to the end."""

    def __init__(self, tree: DemoService, log: Path, seconds: float | None, begun: float, reactor: Any) -> None:
        self._tree = tree
        self._log = log
        self._seconds = seconds
        self._begun = begun
        self._reactor = reactor
        self._screen = Screen(sys.stdout)
        self._looping: Any = None
        self._failed = False

    def begin(self, _: object) -> None:
        """Clients may come."""
        from twisted.internet.task import LoopingCall

        self._screen.write(first_words(self._tree, self._log, time.monotonic() - self._begun))
        self._looping = LoopingCall(self._look)
        self._looping.clock = self._reactor
        self._looping.start(REFRESH if self._screen.live else LINE_EVERY, now=self._screen.live).addErrback(self.gone)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        if self._seconds is not None:
            self._reactor.callLater(self._seconds, self._end_by_itself)

    def fail(self, failure: Failure) -> None:
        """The demo could not begin."""
        self._failed = True
        complain(failure.getErrorMessage())
        self._reactor.stop()

    def gone(self, failure: Failure) -> None:
        """Nobody reads what is shown: there is nobody to go on for."""
        if not failure.check(OSError):
            self._failed = True
            complain(f"internal error: {failure.getErrorMessage()}")
        self._end_by_itself()

    def end(self) -> int:
        """The last words and the exit status, when everything has stopped."""
        if self._failed or self._looping is None:
            return 1 if self._failed else 0
        picture = self._tree.picture(last=True)
        try:
            if self._screen.live:
                self._screen.draw(report(picture, width()))
            self._screen.write(last_words(picture))
        except OSError:
            pass  # nobody reads them
        return 1 if picture.total.lost else 0

    def _look(self) -> None:
        picture = self._tree.picture()
        if self._screen.live:
            self._screen.draw(report(picture, width()))
        else:
            self._screen.write([progress(picture)])

    def _stop(self) -> None:
        if self._looping.running:
            self._looping.stop()

    def _end_by_itself(self) -> None:
        if self._reactor.running:
            self._reactor.stop()
