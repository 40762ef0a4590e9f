"""Writing at once: the order of octets holds whatever the socket takes."""

from __future__ import annotations

import os
import socket
from select import select
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport

from trabbits.transport import BUFFER_SIZE, tune_transport, writer_for

reactor: Any = _reactor


class Ours(Protocol):
    """Our end of a socket pair."""

    def __init__(self) -> None:
        self.lost: Deferred[Any] = Deferred()
        self.calls: list[str] = []

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class Pair:
    """A Twisted transport and the raw socket at its other end, with small kernel buffers."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        if family == socket.AF_UNIX:
            self.peer, ours = socket.socketpair()
        else:
            with socket.socket() as listener:
                # Not less: the loopback's segments are as large, and a smaller window makes TCP wait.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 * 1024)
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                self.peer = socket.socket()
                self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
                self.peer.connect(listener.getsockname())
                ours, _ = listener.accept()
        self.peer.setblocking(False)
        ours.setblocking(False)
        self.protocol = Ours()
        factory = Factory()
        factory.protocol = lambda: self.protocol
        factory.noisy = False
        reactor.adoptStreamConnection(ours.fileno(), family, factory)
        ours.close()
        self.transport: Any = self.protocol.transport
        write = writer_for(self.transport)
        self.write = lambda data: write([data])

    async def read(self, size: int) -> bytes:
        got = bytearray()
        for _ in range(5000):
            try:
                chunk = self.peer.recv(65536)
                if not chunk:
                    break
                got += chunk
            except BlockingIOError:
                await deferLater(reactor, 0.001)
            if len(got) >= size:
                break
            await deferLater(reactor, 0)
        return bytes(got)

    async def close(self) -> None:
        self.peer.close()
        if self.transport.connected:
            self.transport.abortConnection()
        await self.protocol.lost


@pytest_twisted.ensureDeferred
async def test_an_idle_socket_gets_the_octets_before_the_reactor_turns() -> None:
    pair = Pair()
    pair.write(b"at once")
    pair.peer.setblocking(True)
    pair.peer.settimeout(5)
    assert pair.peer.recv(100) == b"at once"
    assert not pair.transport._tempDataBuffer
    await pair.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("sizes", [[3_000_000], [100] * 20000, [1, 700_000, 5, 300_000, 64], [0, 200_000, 0, 1]])
@pytest_twisted.ensureDeferred
async def test_the_order_holds_when_the_peer_does_not_read(sizes: list[int], family: int) -> None:
    pair = Pair(family)
    data = os.urandom(sum(sizes))
    offset = 0
    for size in sizes:
        pair.write(data[offset : offset + size])
        offset += size
    assert await pair.read(len(data)) == data
    await pair.close()


@pytest_twisted.ensureDeferred
async def test_octets_that_twisted_already_tried_to_send_stay_first() -> None:
    pair = Pair(socket.AF_UNIX)
    data = os.urandom(1_000_000)
    pair.write(data)
    got = b""
    while not pair.transport.dataBuffer:
        got += pair.peer.recv(65536)
        await deferLater(reactor, 0.001)
    assert not pair.transport._tempDataBuffer
    while select([pair.peer], [], [], 0)[0]:
        got += pair.peer.recv(65536)
    pair.write(b"end")
    got += await pair.read(len(data) + 3 - len(got))
    assert got == data + b"end"
    await pair.close()


@pytest_twisted.ensureDeferred
async def test_the_order_holds_when_reading_and_writing_alternate() -> None:
    pair = Pair()
    data = os.urandom(2_000_000)
    got = b""
    for offset in range(0, len(data), 20_000):
        pair.write(data[offset : offset + 20_000])
        got += await pair.read(15_000)
    got += await pair.read(len(data) - len(got))
    assert got == data
    await pair.close()


@pytest_twisted.ensureDeferred
async def test_the_producer_of_a_full_transport_is_paused_and_resumed() -> None:
    pair = Pair()
    pair.transport.bufferSize = 10_000
    pair.transport.registerProducer(pair.protocol, True)
    pair.write(bytes(5_000_000))
    assert pair.protocol.calls == ["pause"]
    assert len(await pair.read(5_000_000)) == 5_000_000
    for _ in range(100):
        if pair.protocol.calls == ["pause", "resume"]:
            break
        await deferLater(reactor, 0.01)
    assert pair.protocol.calls == ["pause", "resume"]
    await pair.close()
    assert pair.protocol.calls[-1] == "stop"


@pytest_twisted.ensureDeferred
async def test_a_dead_socket_ends_the_connection_in_the_usual_way() -> None:
    pair = Pair()
    pair.transport.pauseProducing()
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    pair.peer.close()
    pair.write(b"to nobody")
    pair.write(b"to nobody")
    await pair.protocol.lost
    pair.write(b"after the end")


@pytest_twisted.ensureDeferred
async def test_a_transport_that_is_aborted_sends_nothing_more() -> None:
    pair = Pair()
    pair.transport.abortConnection()
    pair.write(b"too late")
    with pytest.raises(BlockingIOError):
        pair.peer.recv(100)
    await pair.close()


@pytest_twisted.ensureDeferred
async def test_octets_written_before_closing_arrive() -> None:
    pair = Pair()
    pair.write(bytes(1_000_000))
    pair.write(b"end")
    pair.transport.loseConnection()
    got = await pair.read(2_000_000)
    assert len(got) == 1_000_003
    assert got.endswith(b"end")
    await pair.close()


@pytest_twisted.ensureDeferred
async def test_tuning() -> None:
    pair = Pair()
    tune_transport(pair.transport)
    assert pair.transport.getTcpNoDelay()
    assert pair.transport.getTcpKeepAlive()
    assert pair.transport.bufferSize == BUFFER_SIZE
    await pair.close()


def test_a_transport_without_a_socket_is_written_to_plainly() -> None:
    transport = StringTransport()
    tune_transport(transport)
    writer_for(transport)([b"oct", b"ets"])
    assert transport.value() == b"octets"
