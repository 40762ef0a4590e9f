"""Listening for clients that speak TLS: where the configuration says, with what it says.

Lives here: `SecureListenerService`.  Must not know: how connections are accepted (``listening.py``), TLS.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from trabbits.config import Config, ConfigError, Problem
from trabbits.config.addresses import Address
from trabbits.config.model import TlsConfig
from trabbits.frontend.secure import SecureClients
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.service.listening import ListenerService
from trabbits.tls import Unusable, tls_options

_log = EventLog(Logger("trabbits"))


@frozen
class Change:
    """A change that is prepared: to be committed, or to be discarded."""

    commit: Callable[[], None]
    discard: Callable[[], None] = lambda: None


class SecureListenerService(Service):
    """The port for TLS, if there is one; a reload may change all of it.  Certificates are read at every reload."""

    name = "TLS listener"

    def __init__(self, config: Callable[[], Config], clients: SecureClients, reactor: Any, *, reuse_port: bool) -> None:
        self._config = config
        self._clients = clients
        self._reactor = reactor
        self._reuse_port = reuse_port
        self._listener: ListenerService | None = None
        self._serves: TlsConfig | None = None

    def privilegedStartService(self) -> None:
        """Read the files and bind the port, which may need privileges.  Raises OSError when that cannot be done."""
        wanted = self._config().tls
        if wanted is not None:
            self._clients.use(tls_options(wanted, "tls"))
            self._listener, self._serves = self._bound(wanted), wanted

    def startService(self) -> None:
        super().startService()
        if self._listener is None:
            self.privilegedStartService()
        if self._listener is not None:
            self._listener.startService()

    def stopService(self) -> Deferred[None]:
        """Let no new client in, as `ListenerService` does."""
        super().stopService()
        listener, self._listener, self._serves = self._listener, None, None
        return succeed(None) if listener is None else listener.stopService()

    def prepare(self, config: Config, source: str) -> Change:
        """Get everything that another configuration, or the same with other files, needs.

        Raises ConfigError when something cannot be had, and then nothing has changed.
        """
        wanted = config.tls
        if not self.running:
            return Change(lambda: None)
        if wanted is None:
            return Change(lambda: self._change_to(None, None))
        try:
            options = tls_options(wanted, "tls")
            listener = self._listener if self._listens_at(wanted.listen) else self._bound(wanted)
        except Unusable as error:
            raise ConfigError(source, [Problem(error.path, error.text)]) from None

        def commit() -> None:
            self._clients.use(options)
            self._change_to(listener, wanted)

        def discard() -> None:
            if listener is not None and listener is not self._listener:
                _stop(listener)

        return Change(commit, discard)

    def _bound(self, wanted: TlsConfig) -> ListenerService:
        address = wanted.listen
        listener = ListenerService(
            self._reactor, address.host, address.port, self._clients, self._reuse_port, note=", TLS"
        )
        try:
            listener.privilegedStartService()
        except CannotListenError as error:
            raise Unusable("tls.listen", f"cannot listen on {address}: {error.socketError.strerror}") from None
        return listener

    def _listens_at(self, address: Address) -> bool:
        if self._listener is None or self._serves is None:
            return False
        current = self._serves.listen
        return address in (current, Address(current.host, self._listener.port))

    def _change_to(self, listener: ListenerService | None, serves: TlsConfig | None) -> None:
        before, self._listener, self._serves = self._listener, listener, serves
        if listener is before:
            return
        if listener is not None:
            listener.startService()
        if before is not None:
            _stop(before)


def _stop(listener: ListenerService) -> None:
    def failed(failure: Failure) -> None:
        text = f"a TLS listener failed to stop: {failure.getErrorMessage()}"
        _log(LogId.INTERNAL_ERROR, text=text, error=failure.value)

    listener.stopService().addErrback(failed)
