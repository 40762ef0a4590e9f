"""trabbits in the process of the test, on the real reactor, so that what it leaves behind can be counted."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from tests.contract.target import HOST
from trabbits.assembly import build_upstreams, session_settings
from trabbits.config.model import Config
from trabbits.frontend.client_transport import ClientTransport
from trabbits.frontend.listener import ClientFactory
from trabbits.frontend.protocol import ClientProtocol
from trabbits.frontend.runner import SessionRunner
from trabbits.session.link import Link
from trabbits.session.session import Session
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.status import NodeTable
from trabbits.wire.scanner import Scanner

reactor: Any = _reactor

#: What lives as long as a session, at most.
OURS = (Session, Link, Scanner, SessionRunner, ClientProtocol, ClientTransport, LinkProtocol)


async def until(condition: Callable[[], Any], within: float, what: Callable[[], Any]) -> None:
    """Let the reactor work until the condition holds; AssertionError with `what()` after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what()}"
        await deferLater(reactor, 0.01)


def resident() -> int:
    """This process' memory in the machine, octets."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def living() -> Counter[str]:
    """How many objects of ours there are that are younger than the tests."""
    gc.collect()
    return Counter(kind.__name__ for kind in map(type, gc.get_objects()) if issubclass(kind, OURS))


@define
class State:
    """What the reactor holds, and what there is of ours."""

    timers: int
    sockets: set[Any]
    objects: Counter[str]

    @classmethod
    def now(cls) -> State:
        return cls(len(reactor.getDelayedCalls()), sockets(), living())


def sockets() -> set[Any]:
    """Everything the reactor reads from or writes to."""
    return {*reactor.getReaders(), *reactor.getWriters()}


class Proxy:
    """trabbits in this process."""

    def __init__(self, config: dict[str, Any]) -> None:
        model = Config.model_validate({"handshake_timeout": "10s", **config})
        upstreams = build_upstreams(model, NodeTable(reactor), reactor)
        settings = session_settings(model)
        self.factory = ClientFactory(lambda: settings, lambda: upstreams, reactor)
        self._listener = reactor.listenTCP(0, self.factory, 1024, HOST)
        self.port: int = self._listener.getHost().port

    @property
    def runners(self) -> list[SessionRunner]:
        return list(self.factory.sessions.values())

    def is_full(self, address: str) -> bool:
        """Whether the client with this address does not take what the proxy has for it."""
        return any(each.session.address == address and each._client.full for each in self.runners)

    def is_paused(self, address: str) -> bool:
        """Whether the client with this address is not read, because a link is full or an answer is awaited."""
        return any(each.session.address == address and not each.session.client_reading for each in self.runners)

    async def nothing_is_left(self, before: State, within: float = 15.0) -> None:
        """No session, and soon nothing else that was not there before; AssertionError with what there is."""
        await until(lambda: not self.factory.sessions, within, lambda: self.factory.sessions)
        await until(lambda: sockets() == before.sockets, 10, lambda: sockets() - before.sockets)
        await until(lambda: len(reactor.getDelayedCalls()) <= before.timers, 5, reactor.getDelayedCalls)
        assert living() == before.objects

    async def stop(self) -> None:
        await self._listener.stopListening()
