"""The demo's tree of services: brokers, the proxy as everybody runs it, and the applications.

Lives here: `DemoService` and `make_demo`.  Must not know: terminals, how options were given.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, FirstError, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from trabbits.demo import configuration
from trabbits.demo.brokers import GUEST, BrokersService
from trabbits.demo.connection import Ended, connect
from trabbits.demo.picture import Meter, Picture
from trabbits.demo.routes import Routes
from trabbits.demo.traffic import SUBJECTS, TrafficService
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.service import Options, ProxyService, make_service, read_config
from trabbits.wire.constants import ACCESS_REFUSED, NOT_ALLOWED

#: Refusals that are about who logs in: the brokers are there.
_PERSONAL: Final = (ACCESS_REFUSED, NOT_ALLOWED)
_ANY_ADDRESS: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}

_log = EventLog(Logger("trabbits.demo"))


class DemoFailed(Exception):
    """The demo cannot begin; the text says why."""


@frozen
class DemoOptions:
    """What the demo is to be.

    `upstreams` are addresses of real brokers by name; `folder` is where its files go.  Without `traffic` there are
    no clients but the user's.
    """

    folder: Path
    upstreams: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = 6672
    metrics_port: int | None = 16692
    api_socket: str = "/tmp/trabbits.sock"
    traffic: bool = True


def make_demo(options: DemoOptions, reactor: Any) -> DemoService:
    """The whole demo, not started but for its brokers, which listen."""
    brokers = BrokersService(options.upstreams, (subject.name for subject in SUBJECTS), reactor)
    config = configuration.write(options.folder, brokers.addresses)
    proxy_options = Options(
        config=str(config),
        host=options.host,
        port=options.port,
        # Another trabbits that shares its port would get half of the clients.
        reuse_port=False,
        metrics_port=options.metrics_port,
        api_socket=options.api_socket,
    )
    # What systemd passes on is for no demo.
    proxy = make_service(proxy_options, read_config(proxy_options), reactor, environment={})
    return DemoService(brokers, proxy, TrafficService(reactor), options, config, reactor)


class DemoService(MultiService):
    """The tree's root.

    `ready` fires when clients come through and the applications talk; it fails with `DemoFailed`.
    """

    def __init__(
        self,
        brokers: BrokersService,
        proxy: ProxyService,
        traffic: TrafficService,
        options: DemoOptions,
        config: Path,
        reactor: Any,
    ) -> None:
        super().__init__()
        self.options = options
        self.config = config
        self.brokers = brokers
        self.proxy = proxy
        self.ready: Deferred[None] = Deferred()
        self._traffic = traffic
        self._reactor = reactor
        self._meter: Meter | None = None
        for child in (brokers, proxy, traffic):
            self.addService(child)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients of this machine connect."""
        return _ANY_ADDRESS.get(self.options.host, self.options.host), self.proxy.port

    @property
    def move_command(self) -> str:
        """A shell command after which a reload moves one more key family."""
        return configuration.move_command(self.config)

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[None]:
        """The applications first, the brokers last; fires when everything has stopped."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def picture(self, *, last: bool = False) -> Picture:
        """What there is to see now.  Not before `ready`."""
        assert self._meter is not None, "not ready"
        addresses = {each.name: ", ".join(map(str, each.nodes)) for each in self.proxy.config.upstreams}
        published = self.proxy.factory.totals.publishes
        return self._meter.picture(self._reactor.seconds(), addresses, self.brokers.embedded, published, last=last)

    def _begin(self) -> None:
        beginning: Deferred[Any] = Deferred.fromCoroutine(self._come_through())
        beginning.addCallbacks(self._begun, self._failed)
        beginning.addErrback(lambda failure: _log(LogId.INTERNAL_ERROR, text="the demo", error=failure))

    async def _come_through(self) -> None:
        """Connect as a client does: that shows whether both brokers can be reached, and which one cannot."""
        try:
            connection = await connect(self.address, GUEST, {"connection_name": "trabbits demo"}, self._reactor)
        except Ended as ended:
            if self.options.traffic or ended.code not in _PERSONAL:
                raise
        else:
            await connection.close()
        if self.options.traffic:
            # Brokers of the user's do not know the applications.
            await self._traffic.begin(self.address, GUEST if self.options.upstreams else None)

    def _begun(self, _: object) -> None:
        if not self.running:
            return
        routes = Routes(self.proxy.factory.sessions.values, lambda: self.proxy.upstreams)
        self._meter = Meter(routes, self._traffic.applications, self._reactor.seconds())
        # Rates begin with a first look.
        self.picture()
        self.ready.callback(None)

    def _failed(self, failure: Failure) -> None:
        if not self.running:
            return
        error: Any = failure.value.subFailure.value if isinstance(failure.value, FirstError) else failure.value
        personal = isinstance(error, Ended) and error.code in _PERSONAL
        hint = " (the demo logs in as guest with the password guest)" if personal else ""
        self.ready.errback(DemoFailed(f"{error}{hint}"))

    async def _stop(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception as error:
                _log(LogId.INTERNAL_ERROR, text=f"{child.name or type(child).__name__} failed to stop", error=error)
