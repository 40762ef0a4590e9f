"""The brokers behind the demo's proxy: embedded ones, or those that the user names.

Lives here: `BrokersService`.  Must not know: AMQP, what the proxy makes of them.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults

from trabbits.testing.broker import Broker, User
from trabbits.testing.broker.server import BrokerServer

#: The upstreams: what nobody asks for goes to the first.
NAMES: Final = ("old", "new")
#: Whom every broker knows, with its name as password.
GUEST: Final = "guest"
_HOST: Final = "127.0.0.1"


class BrokersService(Service):
    """An embedded broker on a free port of this machine for each of `NAMES` that is not among `given`.

    Besides guest it knows `users`, each with its name as password.  The brokers listen from the beginning: the proxy's
    configuration names their ports.
    """

    name = "brokers"

    def __init__(self, given: Mapping[str, str], users: Iterable[str], reactor: Any) -> None:
        known = {name: User(name) for name in (GUEST, *users)}
        self.addresses: dict[str, str] = {}
        #: The addresses of the embedded ones.
        self.embedded: set[str] = set()
        self._servers: list[BrokerServer] = []
        for name in NAMES:
            if name in given:
                self.addresses[name] = given[name]
                continue
            server = BrokerServer(Broker(name, users=known, clock=reactor.seconds), reactor)
            self.addresses[name] = f"{_HOST}:{server.listen(_HOST)}"
            self.embedded.add(self.addresses[name])
            self._servers.append(server)

    def stopService(self) -> Deferred[Any]:
        """Fires when no client is left."""
        super().stopService()
        return gatherResults([server.stop() for server in self._servers])
