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

from tests.upstream.making import upstream_at
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
async def listening(
    says: bytes = b"", hangs_up: bool = False, interface: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Listener]:
    listener = Listener()

    factory = Factory.forProtocol(lambda: Talker(says, hangs_up, listener))
    listener.port = reactor.listenTCP(port, factory, interface=interface)
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
    return await upstream.open_virtual_host(await upstream.open_link(LOGIN), VIRTUAL_HOST)


def address_of(upstream: Upstream) -> str:
    """That of its only node."""
    (status,) = upstream.statuses
    return str(status.node)


async def failing(upstream: Upstream) -> LinkUnreachable:
    with pytest.raises(LinkUnreachable) as caught:
        await opened(upstream)
    assert (caught.value.upstream, caught.value.node) == ("primary", address_of(upstream))
    return caught.value


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest_twisted.ensureDeferred
async def test_refused() -> None:
    upstream = upstream_at(f"127.0.0.1:{closed_port()}", timeout=5, reactor=reactor)
    error = await failing(upstream)
    assert error.text == f"upstream 'primary' ({address_of(upstream)}) refused the TCP connection"


@pytest_twisted.ensureDeferred
async def test_an_upstream_that_says_nothing() -> None:
    async with listening() as listener:
        upstream = upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=0.2, reactor=reactor)
        error = await failing(upstream)
        assert error.text == (
            f"upstream 'primary' ({address_of(upstream)}) did not finish the AMQP handshake within 0.2s: "
            "no connection.start"
        )
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_an_upstream_that_never_opens() -> None:
    async with listening(START + tune()) as listener:
        upstream = upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=0.2, reactor=reactor)
        error = await failing(upstream)
        assert error.text.endswith(" did not finish the AMQP handshake within 0.2s: no connection.open-ok")
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_waiting_for_the_client_is_not_the_upstreams_time() -> None:
    async with listening(START + tune()) as listener:
        upstream = upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=0.2, reactor=reactor)
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
        upstream = upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=5, reactor=reactor)
        with pytest.raises(LinkRefused) as caught:
            await upstream.open_link(LOGIN)
        assert (caught.value.code, caught.value.text) == (403, "ACCESS_REFUSED - no")
        await listener.no_connections()


@pytest.mark.parametrize("before", [b"", START, START + tune()], ids=["start", "tune", "open-ok"])
@pytest_twisted.ensureDeferred
async def test_hanging_up_in_the_handshake(before: bytes) -> None:
    async with listening(before, hangs_up=True) as listener:
        error = await failing(upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=5, reactor=reactor))
        assert " closed the connection " in error.text


@pytest_twisted.ensureDeferred
async def test_garbage() -> None:
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as listener:
        error = await failing(upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=5, reactor=reactor))
        assert "does not speak AMQP 0-9-1" in error.text
        assert "HTTP/1.1 400" in error.text
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_an_ipv6_literal() -> None:
    async with listening(START + tune() + OPEN_OK, interface="::1") as listener:
        upstream = upstream_at(f"[::1]:{listener.port.getHost().port}", timeout=5, reactor=reactor)
        link = await opened(upstream)
        assert link.node == address_of(upstream)
        link.abort()
        await listener.no_connections()


@pytest.mark.parametrize("before", [b"", START], ids=["start", "tune"])
@pytest_twisted.ensureDeferred
async def test_cancelling_the_login(before: bytes) -> None:
    async with listening(before) as listener:
        opening = upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=5, reactor=reactor).open_link(LOGIN)
        await until(lambda: any(talker.received for talker in listener.connected))
        await deferLater(reactor, 0)
        opening.cancel()
        with pytest.raises(CancelledError):
            await opening
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_cancelling_the_opening_of_the_virtual_host() -> None:
    async with listening(START + tune()) as listener:
        link = await upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=5, reactor=reactor).open_link(
            LOGIN
        )
        opening = link.open(VIRTUAL_HOST, 5)
        opening.cancel()
        with pytest.raises(CancelledError):
            await opening
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_cancelling_at_once() -> None:
    async with listening() as listener:
        opening = upstream_at(f"127.0.0.1:{listener.port.getHost().port}", timeout=5, reactor=reactor).open_link(LOGIN)
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
    error = await failing(upstream_at("rabbit.invalid:5672", timeout=5, reactor=reactor))
    assert error.text == "upstream 'primary' (rabbit.invalid:5672): host name 'rabbit.invalid' could not be resolved"


@pytest_twisted.ensureDeferred
async def test_a_name_service_that_does_not_answer(names: Callable[[Any], Names]) -> None:
    names(None)
    error = await failing(upstream_at("rabbit.invalid:5672", timeout=0.2, reactor=reactor))
    assert error.text == "upstream 'primary' (rabbit.invalid:5672) could not be reached by TCP within 0.2s"


@pytest_twisted.ensureDeferred
async def test_cancelling_while_the_name_is_asked_for(names: Callable[[Any], Names]) -> None:
    names(None)
    opening = upstream_at("rabbit.invalid:5672", timeout=5, reactor=reactor).open_link(LOGIN)
    opening.cancel()
    with pytest.raises(CancelledError):
        await opening


@pytest_twisted.ensureDeferred
async def test_the_name_is_resolved_for_each_attempt(names: Callable[[Any], Names]) -> None:
    resolver = names(["127.0.0.1"])
    async with listening(START + tune() + OPEN_OK) as listener:
        upstream = upstream_at(f"rabbit.invalid:{listener.port.getHost().port}", timeout=5, reactor=reactor)
        for _ in range(2):
            link = await opened(upstream)
            gone: Deferred[None] = link.close_link(0)
            await gone
        assert resolver.asked == ["rabbit.invalid"] * 2
        await listener.no_connections()


@pytest_twisted.ensureDeferred
async def test_a_name_whose_address_changes_is_followed(names: Callable[[Any], Names]) -> None:
    resolver = names(["127.0.0.1"])
    async with listening(START + tune() + OPEN_OK) as before:
        port = before.port.getHost().port
        upstream = upstream_at(f"rabbit.invalid:{port}", timeout=5, reactor=reactor)
        (await opened(upstream)).abort()
        async with listening(START + tune() + OPEN_OK, interface="127.0.0.2", port=port) as after:
            resolver.addresses = ["127.0.0.2"]
            link = await opened(upstream)
            assert link.transport.getPeer().host == "127.0.0.2"
            link.abort()
            await after.no_connections()


@pytest_twisted.ensureDeferred
async def test_a_name_with_several_addresses_of_which_the_first_is_dead(names: Callable[[Any], Names]) -> None:
    async with listening(START + tune() + OPEN_OK, interface="127.0.0.3") as listener:
        names(["127.0.0.2", "127.0.0.3"])
        upstream = upstream_at(f"rabbit.invalid:{listener.port.getHost().port}", timeout=5, reactor=reactor)
        link = await opened(upstream)
        assert link.transport.getPeer().host == "127.0.0.3"
        link.abort()
        await listener.no_connections()
    (status,) = upstream.statuses
    assert (status.connection_attempts, status.connection_errors) == (1, 0)
