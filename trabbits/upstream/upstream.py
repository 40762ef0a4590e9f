"""An upstream: a named target that links are opened to, at one of its nodes.

Lives here: `Upstream`, the way from node to node until one has a link, and what each of them is remembered for.  Must
not know: how one node is tried (``login.py``), sessions, what travels over a link.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from trabbits.interfaces import INodeSelector
from trabbits.log_ids import LogId
from trabbits.logs import EventLog
from trabbits.plugins.least_connections import LeastConnections
from trabbits.session.actions import LoginRequest, VirtualHostRequest
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.login import Login
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.selection import NoLink, Preference, Search, reason
from trabbits.upstream.status import Log, NodeStatus

#: Seconds that a node stays suspect which failed a client.
SUSPICION = 60.0


class Upstream:
    """One broker, or several nodes of a cluster.  `timeout` (seconds) bounds each step at each node.

    A link is opened in two steps, `open_link` and `open_virtual_host`: what a client takes between the two is not the
    upstream's time.  Each goes on at the next node when one does not work; what a node says about the client is final.

    `selector` orders nodes that nothing or the same speaks against; `selector_name` is what the log calls it.

    Of an upstream that is not `required` only `usable` nodes are tried, and nobody has to wait when there is none.
    """

    def __init__(
        self,
        name: str,
        statuses: Sequence[NodeStatus],
        timeout: float,
        reactor: Any,
        *,
        required: bool = True,
        suspicion: float = SUSPICION,
        selector: INodeSelector | None = None,
        selector_name: str = "",
        random: Random | None = None,
        log: Log | None = None,
    ) -> None:
        self.name = name
        self.statuses = tuple(statuses)
        self.timeout = timeout
        self.required = required
        self._suspicion = suspicion
        self._reactor = reactor
        self._log = log if log is not None else EventLog(Logger("trabbits.upstream"))
        selector = selector if selector is not None else LeastConnections()
        plugin = selector_name or type(selector).__name__
        self._preference = Preference(name, selector, plugin, random if random is not None else Random(), self._log)

    def open_link(self, request: LoginRequest) -> Deferred[LinkProtocol]:
        """A link that accepted user and password, ready for `open_virtual_host`.

        Fails with LinkRefused or LinkUnreachable; may be cancelled.
        """
        search = self._search()
        return Deferred.fromCoroutine(
            self._first_that_works(search, search.next_node, lambda status: self._log_in(status, request))
        )

    def open_virtual_host(self, link: LinkProtocol, request: VirtualHostRequest) -> Deferred[LinkProtocol]:
        """`link`, opened; or, when its node fails now or has failed meanwhile, one that was opened at another.

        Fails with LinkRefused or LinkUnreachable, and then nothing of any link stays; may be cancelled.
        """
        own = self._status_of(link)

        async def both_steps(status: NodeStatus) -> LinkProtocol:
            opening = link if status is own else await self._log_in(status, link.login)
            await opening.open(request, self.timeout)
            status.worked()
            opening.when_lost(lambda text: status.link_lost(text, self._suspicion))
            return opening

        search = self._search()
        search.take(own)
        broken = link.broken
        if broken is None or not broken.unavailable:
            return Deferred.fromCoroutine(self._first_that_works(search, lambda: own, both_steps))
        self._go_on(search, own, broken)
        return Deferred.fromCoroutine(self._first_that_works(search, search.next_node, both_steps))

    def when_broken(self, link: LinkProtocol, tell: Callable[[NoLink], None]) -> None:
        """Call `tell` when a link that waits for the client ends and `open_virtual_host` could not replace it.

        Its node is not blamed: brokers hang up on clients that are slow.
        """

        def broken(error: NoLink) -> None:
            if len(self.statuses) == 1 or not error.unavailable:
                tell(error)

        link.when_broken(broken)

    async def _first_that_works(
        self, search: Search, first: Callable[[], NodeStatus], attempt: Callable[[NodeStatus], Awaitable[LinkProtocol]]
    ) -> LinkProtocol:
        status = first()
        while True:
            try:
                return await attempt(status)
            except (LinkRefused, LinkUnreachable) as error:
                if not error.unavailable:
                    status.worked()
                    raise
                if isinstance(error, LinkUnreachable) and error.client_spoke:
                    # One client must not be able to speak against a node on behalf of all others.
                    status.attempt_ended(str(error))
                else:
                    status.attempt_failed(str(error), self._suspicion)
                self._go_on(search, status, error)
            status = search.next_node()

    def _go_on(self, search: Search, status: NodeStatus, error: NoLink) -> None:
        search.failed(error)
        left = len(search.candidates)
        if left:
            text = reason(error)
            self._log(LogId.LINK_RETRIED, upstream=self.name, node=str(status.node), left=left, text=text)

    def _search(self) -> Search:
        return Search(self.name, self.statuses, self._preference, required=self.required)

    async def _log_in(self, status: NodeStatus, request: LoginRequest) -> LinkProtocol:
        status.attempt_begins(2 * self.timeout)  # for both steps
        begun = self._reactor.seconds()
        login = Login(self.name, status.node, self.timeout, request, self._reactor)
        try:
            link = await login.answer
            status.connect_times.add(self._reactor.seconds() - begun)
            return link
        finally:
            login.when_gone().addCallback(lambda _: status.link_gone())

    def _status_of(self, link: LinkProtocol) -> NodeStatus:
        return next(status for status in self.statuses if str(status.node) == link.node)
