"""Embedded brokers, and trabbits in front of them, for tests that trial runs.

Lives here: `TrabbitsTestsMixIn`.  Must not know: pytest.

Example::

    class OrdersTests(TrabbitsTestsMixIn, TestCase):
        async def test_orders(self) -> None:
            broker = self.embedded_broker()
            proxy = await self.trabbits_proxy(upstreams={"old": broker})
            ...
            self.assertEqual(len(broker.broker.vhost().queues["orders"].ready), 1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from trabbits.testing.broker import Broker, Faults
from trabbits.testing.broker.server import BrokerServer
from trabbits.testing.running import HOST, Address, with_upstreams
from trabbits.testing.trabbits_process import TrabbitsProcess

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Base
else:
    _Base = object


class TrabbitsTestsMixIn(_Base):
    """To be mixed into a ``twisted.trial.unittest.TestCase``; everything ends with its test.

    Brokers run in the test's own reactor: nothing may block while one is used.  `reactor` is the global one unless the
    class has another.
    """

    reactor: Any = None

    def embedded_broker(self, name: str = "embedded", **options: Any) -> BrokerServer:
        """An embedded broker that listens: its ``port``, and ``broker`` with ``broker.faults``.

        `options` are those of `Broker`.  After faults are struck by hand, call ``factory.settle()`` of what this
        returns: so clients hear of it at once.
        """
        reactor = self._reactor()
        broker = Broker(name, clock=reactor.seconds, faults=Faults(), **options)
        server = BrokerServer(broker, reactor)
        server.listen(HOST, 0)
        self.addCleanup(server.stop)
        return server

    def trabbits_proxy(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        upstreams: Mapping[str, Address | str] | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Deferred[TrabbitsProcess]:
        """Start trabbits as a process, with the arguments of `running_trabbits`; fires when it listens."""
        proxy = TrabbitsProcess(with_upstreams(config, upstreams), args, env)
        self.addCleanup(self.in_thread, proxy.close)
        return self.in_thread(proxy.start)

    def in_thread(self, function: Any, *args: Any, **named: Any) -> Deferred[Any]:
        """What a function gives that blocks, such as one of a `RecordingClient`, run in a thread."""
        reactor = self._reactor()
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args, **named)

    def _reactor(self) -> Any:
        if self.reactor is not None:
            return self.reactor
        from twisted.internet import reactor

        return reactor
