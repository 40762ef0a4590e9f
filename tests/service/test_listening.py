"""Listening: shared ports, inherited sockets, and that stopping loses no connection.

Covered: real sockets on the real reactor.  Not covered: whole processes (tests/cli, tests/operation).
"""

from __future__ import annotations

import os
import select
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.faults.embedded import until
from tests.service.doubles import Events
from trabbits.log_ids import LogId
from trabbits.service import listening as listening_module
from trabbits.service.listening import ListenerService, address_of, bind
from trabbits.service.syn_filter import refuse_new_connections

reactor: Any = _reactor
HOSTS = ["127.0.0.1", "::1"]


class Greeting(Protocol):
    def connectionMade(self) -> None:
        assert isinstance(self.factory, Clients)
        self.factory.met += 1
        assert self.transport is not None
        self.transport.write(self.factory.greeting)
        self.transport.loseConnection()


class Clients(Factory):
    """Greets everyone and counts them."""

    protocol = Greeting
    noisy = False

    def __init__(self, greeting: bytes = b"hello") -> None:
        self.greeting = greeting
        self.met = 0


def listener(clients: Clients, host: str = "127.0.0.1", port: int = 0, **options: Any) -> ListenerService:
    service = ListenerService(reactor, host, port, clients, **options)
    service.privilegedStartService()
    service.startService()
    return service


def greeted(address: Any, timeout: float = 15.0) -> bytes:
    """What a client hears; in a thread."""
    with socket.create_connection(address, timeout) as client:
        heard = b""
        while octets := client.recv(100):
            heard += octets
        return heard


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# The filter


def test_the_filter_drops_what_asks_for_a_connection_and_nothing_else(host: str) -> None:
    """A connection that the kernel holds already works; a new one ends up at another socket on the port."""
    with bind(host, 0, reuse_port=True) as leaving:
        address = leaving.getsockname()[:2]
        leaving.setblocking(True)
        with socket.create_connection(address) as early:
            assert refuse_new_connections(leaving)
            early.sendall(b"octets")
            with leaving.accept()[0] as accepted:
                assert accepted.recv(10) == b"octets"
                accepted.sendall(b"and back")
                assert early.recv(10) == b"and back"
        with socket.socket(leaving.family, socket.SOCK_STREAM) as late:
            late.setblocking(False)
            assert late.connect_ex(address) != 0
            assert select.select([], [late], [], 0.2) == ([], [], [])
            # Not even refused: it is as if the segment was lost on its way.
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            with bind(host, address[1], reuse_port=True) as staying:
                staying.setblocking(True)
                staying.settimeout(15)
                leaving.close()
                staying.accept()[0].close()


def test_only_what_can_be_filtered_is() -> None:
    with socket.socket(socket.AF_UNIX) as other:
        assert not refuse_new_connections(other)


def test_a_filter_that_the_kernel_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trabbits.service.syn_filter._INSTRUCTIONS", ((0xFFFF, 0, 0, 0),))
    with bind("127.0.0.1", 0, reuse_port=True) as leaving:
        assert not refuse_new_connections(leaving)


# Stopping


@pytest_twisted.ensureDeferred
async def test_stopping_loses_no_connection(host: str) -> None:
    """While clients keep coming to two listeners on a port and one stops: each is greeted by one of the two."""
    first, second = Clients(b"first"), Clients(b"second")
    leaving = listener(first, host)
    staying = listener(second, host, leaving.port)
    address = (host, leaving.port)
    heard: list[bytes | OSError] = []
    enough = threading.Event()

    def come() -> None:
        while not enough.is_set():
            try:
                heard.append(greeted(address))
            except OSError as error:
                heard.append(error)

    visitors = [deferToThread(come) for _ in range(8)]
    try:
        await until(lambda: heard.count(b"first") > 50 and heard.count(b"second") > 50, 20, lambda: heard[-10:])
        await leaving.stopService()
        met = first.met
        before = len(heard)
        await until(lambda: len(heard) > before + 200, 20, lambda: heard[-10:])
    finally:
        enough.set()
        for visitor in visitors:
            await visitor
        await staying.stopService()
    assert set(heard) == {b"first", b"second"}
    assert first.met == met


@pytest_twisted.ensureDeferred
async def test_what_the_kernel_holds_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no filter is possible, and with more connections than Twisted accepts at once."""
    monkeypatch.setattr(listening_module, "refuse_new_connections", lambda listening: False)
    clients = Clients()
    service = listener(clients)
    waiting = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(250)]
    assert clients.met == 0  # the reactor had no turn yet
    await service.stopService()
    assert clients.met == 250
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(waiting[0].getpeername())
    for client in waiting:
        client.close()
    with pytest.raises(RuntimeError, match="not listening"):
        _ = service.port


@pytest_twisted.ensureDeferred
async def test_clients_that_are_connected_stay() -> None:
    class Silent(Protocol):
        pass

    factory = Factory.forProtocol(Silent)
    factory.noisy = False
    service = ListenerService(reactor, "127.0.0.1", 0, factory)
    service.startService()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        await service.stopService()
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
    # The reactor notices that the client left.
    await deferLater(reactor, 0)


# Ports


@pytest_twisted.ensureDeferred
async def test_a_port_can_be_shared_or_not() -> None:
    alone = listener(Clients(), reuse_port=False)
    with pytest.raises(CannotListenError):
        bind("127.0.0.1", alone.port, reuse_port=True)
    port = alone.port
    await alone.stopService()
    shared = listener(Clients(), port=port)
    bind("127.0.0.1", port, reuse_port=True).close()
    with pytest.raises(CannotListenError):
        bind("127.0.0.1", port, reuse_port=False)
    await shared.stopService()


def test_sockets_are_not_for_children(host: str) -> None:
    with bind(host, 0, reuse_port=True) as one:
        assert not one.get_inheritable()
        assert not one.getblocking()
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


@pytest.mark.parametrize("bad", ["no.such.host.invalid", "192.0.2.1", "1:2:3"])
def test_an_address_that_is_not_ours(bad: str) -> None:
    with pytest.raises(CannotListenError):
        bind(bad, 0, reuse_port=True)


def test_addresses_for_people(tmp_path: Path) -> None:
    with bind("", 0, reuse_port=True) as one:
        assert address_of(one).startswith("0.0.0.0:")
    with bind("::", 0, reuse_port=True) as one:
        assert address_of(one).startswith("[::]:")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "x"))
        assert address_of(one) == f"unix:{tmp_path}/x"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("\0trabbits-test-" + os.urandom(4).hex())
        assert address_of(one).startswith("unix:@trabbits-test-")


# Inherited sockets


@pytest.fixture
def inherited(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Sockets as systemd would have made them: IPv4, IPv6, UNIX; ours are copies, as in a process."""
    sockets = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6)]
    sockets.append(socket.socket(socket.AF_UNIX))
    sockets[-1].bind(str(tmp_path / "trabbits.sock"))
    os.chmod(tmp_path / "trabbits.sock", 0o600)
    sockets[-1].listen(1000)
    for each in sockets:
        each.setblocking(False)
    yield sockets
    for each in sockets:
        each.close()


@pytest_twisted.ensureDeferred
async def test_inherited_sockets_are_used(inherited: list[socket.socket], tmp_path: Path, events: Events) -> None:
    """All of them, in place of host and port; a UNIX socket keeps its mode and its file."""
    clients = Clients()
    service = listener(clients, "192.0.2.1", 1, inherited=[each.dup() for each in inherited])
    fields = events.fields(LogId.LISTENING)
    assert [each["socket"] for each in fields] == ["inherited"] * 3
    assert fields[2]["address"] == f"unix:{tmp_path}/trabbits.sock"
    for each in inherited[:2]:
        assert await deferToThread(greeted, each.getsockname()[:2]) == b"hello"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "trabbits.sock"))
        await until(lambda: clients.met == 3, 10, lambda: clients.met)
    assert service.port == inherited[0].getsockname()[1]
    await service.stopService()
    assert stat.S_IMODE((tmp_path / "trabbits.sock").stat().st_mode) == 0o600


@pytest_twisted.ensureDeferred
async def test_clients_of_an_inherited_socket_wait_for_the_next_process(inherited: list[socket.socket]) -> None:
    """Nothing is refused and nothing filtered: the socket is not ours."""
    first, second = Clients(b"first"), Clients(b"second")
    service = listener(first, inherited=[each.dup() for each in inherited])
    waiting = [socket.create_connection(each.getsockname()[:2]) for each in inherited[:2]]
    await service.stopService()
    waiting += [socket.create_connection(each.getsockname()[:2]) for each in inherited[:2]]
    following = listener(second, inherited=[each.dup() for each in inherited])
    await until(lambda: second.met + first.met == 4, 10, lambda: (first.met, second.met))
    for client in waiting:
        assert client.recv(10) in (b"first", b"second")
        client.close()
    assert second.met >= 2
    await following.stopService()


def test_the_program_for_the_kernel_is_well_formed() -> None:
    """Eight octets for each instruction, whatever the machine."""
    assert struct.calcsize("HBBI") == 8
