"""`Upstream.open_link` over real sockets, with other ends that are no RabbitMQ."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from pamqp import commands
from twisted.internet import reactor as _reactor
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from tests.upstream.scripted import LOGIN, OPEN_OK, START, VIRTUAL_HOST, method, tune
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.upstream.protocol import LinkProtocol
from trabbits.upstream.upstream import Upstream
from trabbits.wire.constants import PROTOCOL_HEADER

reactor: Any = _reactor


class Talker(Protocol):
    """Says what the test wants after the protocol header, and notes how it ends."""

    def __init__(self, says: bytes, hangs_up: bool, family: Listener) -> None:
        self.says = says
        self.hangs_up = hangs_up
        self.family = family
        self.received = b""
        self.transport: Any = None

    def connectionMade(self) -> None:
        self.family.connected.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.received == PROTOCOL_HEADER:
            self.transport.write(self.says)
            if self.hangs_up:
                self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.family.connected.remove(self)


class Listener:
    def __init__(self) -> None:
        self.connected: list[Talker] = []
        self.port: Any = None

    async def no_connections(self) -> None:
        await until(lambda: not self.connected)


async def until(condition: Callable[[], Any], within: float = 10.0) -> None:
    for _ in range(int(within / 0.01)):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("waited in vain")


@asynccontextmanager
async def listening(says: bytes = b"", hangs_up: bool = False, interface: str = "127.0.0.1") -> AsyncIterator[Listener]:
    listener = Listener()

    factory = Factory.forProtocol(lambda: Talker(says, hangs_up, listener))
    listener.port = reactor.listenTCP(0, factory, interface=interface)
    try:
        yield listener
    finally:
        for talker in listener.connected:
            talker.transport.abortConnection()
        await until(lambda: not listener.connected)
        await listener.port.stopListening()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No timer and no socket more than before."""

    def present() -> set[Any]:
        # The reactor's own wakers come with its first turn.
        return {*reactor.getDelayedCalls(), *(r for r in reactor.getReaders() if isinstance(r, FileDescriptor))}

    before = present()
    yield
    assert present() <= before


async def opened(upstream: Upstream) -> LinkProtocol:
    """A link that has gone through the whole handshake."""
    link = await upstream.open_link(LOGIN)
    await link.open(VIRTUAL_HOST, upstream.timeout)
    return link


async def failing(upstream: Upstream) -> LinkUnreachable:
    with pytest.raises(LinkUnreachable) as caught:
        await opened(upstream)
    assert (caught.value.upstream, caught.value.node) == ("primary", upstream.address)
    return caught.value


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest_twisted.ensureDeferred
async def test_refused() -> None:
    upstream = Upstream("primary", f"127.0.0.1:{closed_port()}", 5, reactor)
    error = await failing(upstream)
    assert error.text == f"upstream 'primary' ({upstream.address}) refused the TCP connection"


@pytest_twisted.ensureDeferred
async def test_an_upstream_that_says_nothing() -> None:
    async with listening() as listener:
        upstream = Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 0.2, reactor)
        error = await failing(upstream)
        assert error.text == (
            f"upstream 'primary' ({upstream.address}) did not finish the AMQP handshake within 0.2s: "
            "no connection.start"
        )
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_an_upstream_that_never_opens() -> None:
    async with listening(START + tune()) as listener:
        upstream = Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 0.2, reactor)
        error = await failing(upstream)
        assert error.text.endswith(" did not finish the AMQP handshake within 0.2s: no connection.open-ok")
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_waiting_for_the_client_is_not_the_upstreams_time() -> None:
    async with listening(START + tune()) as listener:
        upstream = Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 0.2, reactor)
        link = await upstream.open_link(LOGIN)
        await deferLater(reactor, 0.3)
        opening = link.open(VIRTUAL_HOST, upstream.timeout)
        (talker,) = listener.connected
        await until(lambda: b"\x00\x0a\x00\x28" in talker.received)
        talker.transport.write(OPEN_OK)
        await opening
        link.abort()
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_a_refusal_before_tune() -> None:
    refusal = method(commands.Connection.Close(403, "ACCESS_REFUSED - no", 0, 0))
    async with listening(START + refusal) as listener:
        upstream = Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 5, reactor)
        with pytest.raises(LinkRefused) as caught:
            await upstream.open_link(LOGIN)
        assert (caught.value.code, caught.value.text) == (403, "ACCESS_REFUSED - no")
        await listener.no_connections()


@pytest.mark.parametrize("before", [b"", START, START + tune()], ids=["start", "tune", "open-ok"])
@pytest_twisted.ensureDeferred
async def test_hanging_up_in_the_handshake(before: bytes) -> None:
    async with listening(before, hangs_up=True) as listener:
        error = await failing(Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 5, reactor))
        assert " closed the connection " in error.text


@pytest_twisted.ensureDeferred
async def test_garbage() -> None:
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as listener:
        error = await failing(Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 5, reactor))
        assert "does not speak AMQP 0-9-1" in error.text
        assert "HTTP/1.1 400" in error.text
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_an_ipv6_literal() -> None:
    async with listening(START + tune() + OPEN_OK, interface="::1") as listener:
        upstream = Upstream("primary", f"[::1]:{listener.port.getHost().port}", 5, reactor)
        link = await opened(upstream)
        assert link.node == upstream.address
        link.abort()
        await listener.no_connections()


@pytest.mark.parametrize("before", [b"", START], ids=["start", "tune"])
@pytest_twisted.ensureDeferred
async def test_cancelling_the_login(before: bytes) -> None:
    async with listening(before) as listener:
        opening = Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 5, reactor).open_link(LOGIN)
        await until(lambda: any(talker.received for talker in listener.connected))
        await deferLater(reactor, 0)
        opening.cancel()
        with pytest.raises(CancelledError):
            await opening
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_cancelling_the_opening_of_the_virtual_host() -> None:
    async with listening(START + tune()) as listener:
        link = await Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 5, reactor).open_link(LOGIN)
        opening = link.open(VIRTUAL_HOST, 5)
        opening.cancel()
        with pytest.raises(CancelledError):
            await opening
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_cancelling_at_once() -> None:
    async with listening() as listener:
        opening = Upstream("primary", f"127.0.0.1:{listener.port.getHost().port}", 5, reactor).open_link(LOGIN)
        opening.cancel()
        with pytest.raises(CancelledError):
            await opening
        await listener.no_connections()


@implementer(IHostResolution)
class Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        pass


@implementer(IHostnameResolver)
class Names:
    """Resolves as told; `None` never answers."""

    def __init__(self, addresses: Sequence[str] | None) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.asked.append(hostName)
        resolutionReceiver.resolutionBegan(Resolution(hostName))
        if self.addresses is not None:
            for address in self.addresses:
                resolutionReceiver.addressResolved(IPv4Address("TCP", address, portNumber))
            resolutionReceiver.resolutionComplete()
        return resolutionReceiver


@pytest.fixture
def names() -> Iterator[Callable[[Sequence[str] | None], Names]]:
    usual = reactor.nameResolver

    def install(addresses: Sequence[str] | None) -> Names:
        resolver = Names(addresses)
        reactor.installNameResolver(resolver)
        return resolver

    yield install
    reactor.installNameResolver(usual)


@pytest_twisted.ensureDeferred
async def test_an_unknown_host_name(names: Callable[[Any], Names]) -> None:
    names([])
    error = await failing(Upstream("primary", "rabbit.invalid:5672", 5, reactor))
    assert error.text == "upstream 'primary' (rabbit.invalid:5672): host name 'rabbit.invalid' could not be resolved"


@pytest_twisted.ensureDeferred
async def test_a_name_service_that_does_not_answer(names: Callable[[Any], Names]) -> None:
    names(None)
    error = await failing(Upstream("primary", "rabbit.invalid:5672", 0.2, reactor))
    assert error.text == "upstream 'primary' (rabbit.invalid:5672) could not be reached by TCP within 0.2s"


@pytest_twisted.ensureDeferred
async def test_cancelling_while_the_name_is_asked_for(names: Callable[[Any], Names]) -> None:
    names(None)
    opening = Upstream("primary", "rabbit.invalid:5672", 5, reactor).open_link(LOGIN)
    opening.cancel()
    with pytest.raises(CancelledError):
        await opening


@pytest_twisted.ensureDeferred
async def test_the_name_is_resolved_for_each_attempt(names: Callable[[Any], Names]) -> None:
    resolver = names(["127.0.0.1"])
    async with listening(START + tune() + OPEN_OK) as listener:
        upstream = Upstream("primary", f"rabbit.invalid:{listener.port.getHost().port}", 5, reactor)
        for _ in range(2):
            link = await opened(upstream)
            gone: Deferred[None] = link.close_link(0)
            await gone
        assert resolver.asked == ["rabbit.invalid"] * 2
        await listener.no_connections()


def test_a_wrong_address_is_told_when_the_upstream_is_made() -> None:
    with pytest.raises(ValueError, match="'rabbit:port' is not an address"):
        Upstream("primary", "rabbit:port", 5, reactor)
