"""The tree's root: what runs, in which order it starts and stops, and how it changes to another configuration.

Lives here: `ProxyService`.  Must not know: how options were given, where log lines go, or anything about AMQP beyond
what clients are told when they have to leave.

Children start in the order in which they stand in the tree and stop one after the other in reverse: the
listener first, then the sessions, then the rest.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger

from trabbits.assembly import build_policies, build_upstreams, session_settings
from trabbits.config import Config, Loaded, config_hash
from trabbits.config.making import Unmakeable
from trabbits.frontend.draining import Drained, Pace
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.plugins.catalogue import discover
from trabbits.service.health import HealthService
from trabbits.service.listening import ListenerService
from trabbits.service.notifications import NotificationsService
from trabbits.service.observed import ObservedProxy
from trabbits.service.options import Options, read_config
from trabbits.service.pid_file import PidFileService
from trabbits.service.reloading import Reloaded, ReloadImpossible, Reloads
from trabbits.service.secure_listening import SecureListenerService
from trabbits.service.sessions import SessionsService
from trabbits.service.signals import SignalsService
from trabbits.session.settings import SessionSettings
from trabbits.systemd import Notifier, inherited_sockets

if TYPE_CHECKING:
    from trabbits.admin.metrics_server import MetricsService
    from trabbits.service.admin import AdminServices
    from trabbits.upstream.upstream import Upstream

#: What clients of an outdated configuration are told.
UPDATED = (320, "CONNECTION_FORCED - Configuration updated, please reconnect")

_log = EventLog(Logger("trabbits"))


def make_service(
    options: Options, loaded: Loaded, reactor: Any, environment: MutableMapping[str, str] = os.environ
) -> ProxyService:
    """The whole proxy, not started.  `reactor` is Twisted's; what systemd says in `environment` is removed from it.

    Raises OSError when what systemd passed on cannot be used, and `trabbits.config.ConfigError` for a plugin that
    fails now that there is a reactor.
    """
    from trabbits.frontend.listener import ClientFactory

    try:
        proxy = ProxyService(loaded.config, reactor)
    except Unmakeable as problem:
        raise loaded.refused(problem) from None
    factory = ClientFactory(
        lambda: proxy.settings,
        lambda: proxy.upstreams,
        reactor,
        lambda: [(name, each) for _, name, each in proxy.policies],
    )
    proxy.addService(SignalsService(proxy, reactor))
    proxy.assemble(options, factory, environment)
    _log(LogId.CONFIG_LOADED, path=loaded.source, upstreams=_named(loaded.config), hash=proxy.settings.config_hash)
    _log_warnings(loaded)
    for broken in discover().broken:
        _log(LogId.PLUGIN_BROKEN, plugin=broken.name, origin=broken.origin, text=broken.error)
    return proxy


class ProxyService(MultiService):
    """The tree's root.

    `config`, `settings` and `upstreams` are what new sessions get, `nodes` what is known of all nodes.
    """

    def __init__(self, config: Config, reactor: Any) -> None:
        # Late: reading a configuration needs no txamqp.
        from trabbits.upstream.status import NodeTable

        super().__init__()
        self.config = config
        self.nodes = NodeTable(reactor)
        self.settings: SessionSettings = session_settings(config, reactor)
        self.upstreams: Mapping[str, Upstream] = build_upstreams(config, self.nodes, reactor)
        #: Key, name and policy; they outlive reloads that do not change them.
        self.policies = build_policies(config, reactor, {})
        self.factory: Any = None
        #: Whether the process was told twice to stop.
        self.aborted = False
        self._reactor = reactor
        #: Outdated sessions are on their way out, and the end of that is going to be logged.
        self._finish_awaited = False
        self._reloads: Reloads | None = None
        self._health = HealthService(self.nodes, lambda: self.config, reactor)
        self._sessions: SessionsService | None = None
        self._pid_file: PidFileService | None = None
        self._metrics: MetricsService | None = None
        self._admin: AdminServices | None = None
        self._listener: ListenerService | None = None
        self._secure_listener: SecureListenerService | None = None
        self._notifications = NotificationsService(Notifier(None), lambda: "", reactor)

    def assemble(self, options: Options, factory: Any, environment: MutableMapping[str, str]) -> None:
        """Add the children that `options` ask for.  `factory` is a `SessionFactory` and a Twisted factory."""
        # Late: reading a configuration needs no txamqp.
        from trabbits.frontend.secure import SecureClients

        self.factory = factory
        inherited = inherited_sockets(environment)
        self._notifications = NotificationsService(Notifier.from_environment(environment), self._status, self._reactor)
        self._sessions = SessionsService(factory, lambda: self.config, self._reactor)
        if options.config is not None:
            self._reloads = Reloads(lambda: read_config(options), self.apply, options.config, self._reactor)
        self.addService(self._notifications)
        if options.pid_file:
            self._pid_file = PidFileService(Path(options.pid_file))
            self.addService(self._pid_file)
        if options.metrics_port is not None:
            from trabbits.admin.metrics_server import MetricsService

            # Before the clients, and so until the last one has gone.
            self._metrics = MetricsService(ObservedProxy(self), self._reactor, options.host, options.metrics_port)
            self.addService(self._metrics)
        if options.api_socket is not None:
            # Late: Klein imports Twisted's reactor, and so has to wait until the right one is installed.
            from trabbits.service.admin import AdminServices

            self._admin = AdminServices(self, options.api_socket, self._reactor, debug=options.debug)
            self._admin.add_to(self)
        self.addService(self._health)
        self.addService(self._sessions)
        self._listener = ListenerService(
            self._reactor, options.host, options.port, factory, options.reuse_port, inherited
        )
        self.addService(self._listener)
        self._secure_listener = SecureListenerService(
            lambda: self.config, SecureClients(factory, self._reactor), self._reactor, reuse_port=options.reuse_port
        )
        self.addService(self._secure_listener)

    def privilegedStartService(self) -> None:
        """Listen.  Raises CannotListenError or another OSError when that is not possible."""
        raise_file_limit()
        try:
            super().privilegedStartService()
        except BaseException:
            if self._pid_file is not None:
                self._pid_file.stopService()
            if self._metrics is not None:
                self._metrics.stopService()
            if self._admin is not None:
                self._admin.give_back()
            raise

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._notifications.ready)

    def stopService(self) -> Deferred[None]:
        """Stop the children one after the other, in reverse; a failing one does not keep the others running."""
        Service.stopService(self)
        self._notifications.stopping(self.config.graceful_shutdown.shutdown_timeout)
        return Deferred.fromCoroutine(self._stop_children())

    def abort(self) -> None:
        """While stopping: wait for no client any longer."""
        if self.running or self._sessions is None:
            return
        if not self.aborted:
            self.aborted = True
            _log(LogId.ABORTED)
            self._sessions.abort()

    @property
    def listening(self) -> bool:
        """Whether clients may come."""
        return self._listener is not None and bool(self._listener.running)

    @property
    def port(self) -> int:
        """The number of the TCP port that clients connect to, while listening."""
        assert self._listener is not None
        return self._listener.port

    @property
    def metrics_port(self) -> int | None:
        """The number of the metrics' port, while there is one."""
        return None if self._metrics is None else self._metrics.port

    def reload(self) -> Deferred[Reloaded]:
        """Read the configuration again and change to it.  What goes wrong changes nothing and is logged.

        Fails with `ConfigError`, `ReloadImpossible`, or whatever kept the configuration from being applied.
        """
        self._notifications.reloading()
        if self._reloads is None:
            _log(LogId.RELOAD_IMPOSSIBLE)
            reloading: Deferred[Reloaded] = fail(ReloadImpossible("there is no configuration file"))
        else:
            reloading = self._reloads.reload()
        return reloading.addBoth(self._reload_over)

    def apply(self, loaded: Loaded) -> Reloaded:
        """Change to another configuration: at once and completely, or not at all if that raises.

        New sessions get the new one; those that are there are asked to come again, at the pace that the new one says.
        """
        if not self.running:
            raise ReloadImpossible("the process is stopping", stopping=True)
        config = loaded.config
        current = self.settings.config_hash
        if config_hash(config) == current:
            # What stands in files may be new all the same: certificates are renewed.
            for change in self._prepare(loaded):
                change.commit()
            _log(LogId.CONFIG_UNCHANGED, path=loaded.source, hash=current)
            _log_warnings(loaded)
            return Reloaded(current, changed=False, outdated=0, warnings=loaded.warnings)
        elsewhere = {"admin": self.config.admin, "tls": self.config.tls}
        concerns_sessions = config.model_copy(update=elsewhere) != self.config
        changes = self._prepare(loaded)
        try:
            settings = session_settings(config, self._reactor)
            known = {key: policy for key, _, policy in self.policies}
            policies = build_policies(config, self._reactor, known)
            # The last thing that may fail: it tells `nodes` as well.
            upstreams = build_upstreams(config, self.nodes, self._reactor)
        except BaseException as error:
            for change in changes:
                change.discard()
            if isinstance(error, Unmakeable):
                raise loaded.refused(error) from None
            raise
        self.config, self.settings, self.upstreams, self.policies = config, settings, upstreams, policies
        for change in changes:
            change.commit()
        self._health.refresh()
        _log_warnings(loaded)
        # A new token for the admin API, say, is nothing that clients should have to reconnect for.
        outdated = self._close_outdated() if concerns_sessions else 0
        _log(
            LogId.CONFIG_RELOADED,
            path=loaded.source,
            hash=settings.config_hash,
            sessions=outdated,
            upstreams=_named(config),
        )
        if not self._finish_awaited:
            self._finish_awaited = True
            self.factory.draining.when_done().addCallback(self._all_current)
        return Reloaded(settings.config_hash, changed=True, outdated=outdated, warnings=loaded.warnings)

    def _prepare(self, loaded: Loaded) -> list[Any]:
        """Get what the ports need; to be committed or discarded.  Raises ConfigError when something cannot be had."""
        changes: list[Any] = []
        try:
            if self._admin is not None:
                changes.append(self._admin.prepare(loaded.config))
            if self._secure_listener is not None:
                changes.append(self._secure_listener.prepare(loaded.config, loaded.source))
        except BaseException:
            for change in changes:
                change.discard()
            raise
        return changes

    def _close_outdated(self) -> int:
        """The one place that decides what a changed configuration means for sessions that began under another."""
        graceful = self.config.graceful_shutdown
        current = self.settings.config_hash
        pace = Pace(graceful.burst_size, graceful.rate_limit, graceful.reload_timeout)
        outdated = self.factory.close_sessions(
            *UPDATED, pace, lambda runner: runner.session.settings.config_hash != current
        )
        return int(outdated)

    def _all_current(self, drained: Drained) -> None:
        self._finish_awaited = False
        if self.running:
            _log(LogId.RELOAD_FINISHED, closed=drained.sessions, seconds=drained.seconds)

    def _reload_over(self, result: Any) -> Any:
        self._notifications.reloaded()
        return result

    def _status(self) -> str:
        """What ``systemctl status`` shows."""
        sessions = len(self.factory.sessions)
        leaving = ", stopping" if not self.running else ", reloading" if self.factory.draining else ""
        return f"{sessions} {'session' if sessions == 1 else 'sessions'}{leaving}"

    async def _stop_children(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception as error:
                _log(LogId.INTERNAL_ERROR, text=f"{child.name or type(child).__name__} failed to stop", error=error)
        _log(LogId.STOPPED)
        if self._admin is not None:
            self._admin.forget()


def _named(config: Config) -> list[str]:
    return [f"{upstream.name} ({', '.join(map(str, upstream.nodes))})" for upstream in config.upstreams]


def _log_warnings(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        _log(LogId.CONFIG_WARNING, path=loaded.source, text=str(warning))


def raise_file_limit() -> None:
    """Allow this process as many open sockets as the system lets it: a client needs two at least."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return  # then the limit stays as it is
