"""The brokers behind the demo's proxy: embedded ones, or those that the user names.

Lives here: `BrokersService`.  Must not know: AMQP, what the proxy makes of them.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults

from trabbits.testing.broker import Broker
from trabbits.testing.broker.server import BrokerServer

#: The upstreams: what nobody asks for goes to the first.
NAMES: Final = ("old", "new")
_HOST: Final = "127.0.0.1"


class BrokersService(Service):
    """An embedded broker on a free port of this machine for each of `NAMES` that is not among `given`.

    They listen from the beginning: the proxy's configuration names their ports.
    """

    name = "brokers"

    def __init__(self, given: Mapping[str, str], reactor: Any) -> None:
        self.addresses: dict[str, str] = {}
        #: The addresses of the embedded ones.
        self.embedded: set[str] = set()
        self._servers: list[BrokerServer] = []
        for name in NAMES:
            if name in given:
                self.addresses[name] = given[name]
                continue
            server = BrokerServer(Broker(name, clock=reactor.seconds), reactor)
            self.addresses[name] = f"{_HOST}:{server.listen(_HOST)}"
            self.embedded.add(self.addresses[name])
            self._servers.append(server)

    def stopService(self) -> Deferred[Any]:
        """Fires when no client is left."""
        super().stopService()
        return gatherResults([server.stop() for server in self._servers])
