"""Health checks: logging in to nodes now and then, to know before a client does which of them work.

Lives here: `HealthPolicy`, `HealthCheck` of one node, and `HealthWatch`, all checks of the process.  Must not know:
what is concluded from a check (``status.py``), configurations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from trabbits import __version__
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.session.actions import LoginRequest, VirtualHostRequest
from trabbits.upstream.attempt import Attempt
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.login import Login
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.status import NodeStatus, NodeTable
from trabbits.wire.constants import ACCESS_REFUSED, NOT_ALLOWED

#: What a broker's own tools show of a check.
PROPERTIES: dict[str, Any] = {
    "product": "trabbits",
    "version": __version__,
    "connection_name": "trabbits health check",
    "information": "This connection only looks whether the node works.",
}

_log = EventLog(Logger("trabbits.health"))


@frozen
class HealthPolicy:
    """How the nodes of one upstream are checked; times are in seconds.

    `unhealthy_threshold` failures in a row isolate a node, which is then checked every `recovery_interval`.
    """

    username: str
    password: str = field(repr=False)
    virtual_host: str = "/"
    interval: float = 30.0
    timeout: float = 5.0
    unhealthy_threshold: int = 3
    recovery_interval: float = 60.0


class HealthCheck:
    """The checks of one node: the first at `start`, the next so long after each beginning, never two at a time.

    A check is a login, the opening of the virtual host and a clean close, as a whole within the policy's `timeout`.
    """

    def __init__(self, status: NodeStatus, policy: HealthPolicy, reactor: Any) -> None:
        self.status = status
        self.policy = policy
        self._reactor = reactor
        self._timer: Any = None
        self._login: Login | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Check now and from now on."""
        begun = self._reactor.seconds()
        self._timer = None
        self._running = Deferred.fromCoroutine(self._check(begun))
        self._running.addErrback(self._unexpected)
        self._running.addCallback(lambda _: self._wait(begun))

    def change(self, policy: HealthPolicy) -> None:
        """Check by this policy, and at once unless a check is under way."""
        self.policy = policy
        if self._timer is not None:
            self._timer.cancel()
            self.start()

    def stop(self) -> Deferred[None]:
        """End; fires when no connection of a check is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is None:
            return succeed(None)
        running, self._running = self._running, None
        running.cancel()
        if self._login is None:
            return succeed(None)
        self._login.abort()
        return self._login.when_gone()

    def _wait(self, begun: float) -> None:
        if self._running is None:
            return  # stopped
        self._running = None
        every = self.policy.interval if self.status.healthy else self.policy.recovery_interval
        passed = self._reactor.seconds() - begun
        # The clock may have been set meanwhile.
        self._timer = self._reactor.callLater(min(max(every - passed, 0.0), every), self.start)

    async def _check(self, begun: float) -> None:
        status, policy = self.status, self.policy
        login = Login(status.upstream, status.node, policy.timeout, self._login_request(), self._reactor)
        self._login = login
        whole = Attempt(
            self._handshake(login), policy.timeout, self._reactor, too_late=login.too_late, abort=login.abort
        )
        try:
            link = await whole.answer
        except (LinkRefused, LinkUnreachable) as error:
            status.check_failed(self._explained(error), policy.unhealthy_threshold)
        else:
            status.check_succeeded()
            await link.close_link(min(begun + policy.timeout - self._reactor.seconds(), policy.timeout))
        await login.when_gone()

    async def _handshake(self, login: Login) -> LinkProtocol:
        link = await login.answer
        request = VirtualHostRequest(self.policy.virtual_host, frame_max=0, channel_max=1, heartbeat=0)
        await link.open(request, self.policy.timeout)
        return link

    def _login_request(self) -> LoginRequest:
        return LoginRequest("PLAIN", self.policy.username, self.policy.password, PROPERTIES, "en_US")

    def _explained(self, error: LinkRefused | LinkUnreachable) -> str:
        """The error, and what an operator may have configured wrongly."""
        if isinstance(error, LinkRefused) and error.code == ACCESS_REFUSED:
            return f"{error} (wrong user or password in the health check, user '{self.policy.username}')"
        if isinstance(error, LinkRefused) and error.code == NOT_ALLOWED and not error.unavailable:
            return f"{error} (the health check's user '{self.policy.username}' may not open its virtual host)"
        return str(error)

    def _unexpected(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log(LogId.INTERNAL_ERROR, text=f"a health check failed: {failure.getErrorMessage()}", error=failure)


class HealthWatch:
    """The health checks of all nodes of `table`, as far as they are asked for.  `stop` ends them."""

    def __init__(self, table: NodeTable, reactor: Any) -> None:
        self._table = table
        self._reactor = reactor
        self._checks: dict[NodeStatus, HealthCheck] = {}
        #: Checks whose connections are not gone yet.
        self._ending: set[Deferred[None]] = set()

    def apply(self, policies: Mapping[str, HealthPolicy]) -> None:
        """Check the nodes now in the table, those of each upstream by its policy, the others not at all.

        Checks of nodes whose policy stays the same just go on.
        """
        wanted = {status: policies[status.upstream] for status in self._table if status.upstream in policies}
        for status in [status for status in self._checks if status not in wanted]:
            self._end(self._checks.pop(status))
            status.not_checked_any_more()
        for status, policy in wanted.items():
            check = self._checks.get(status)
            if check is None:
                self._checks[status] = check = HealthCheck(status, policy, self._reactor)
                check.start()
            elif check.policy != policy:
                check.change(policy)

    def stop(self) -> Deferred[None]:
        """End all checks; fires when no connection of theirs is left."""
        while self._checks:
            self._end(self._checks.popitem()[1])
        return DeferredList(list(self._ending)).addCallback(lambda _: None)

    def _end(self, check: HealthCheck) -> None:
        gone = check.stop()
        self._ending.add(gone)
        gone.addCallback(lambda _: self._ending.discard(gone))
