"""An upstream that is not RabbitMQ: it accepts connections and does what its script says, well or badly.

Lives here: `FakeUpstream`, the broker's side of a handshake, and scripts.  Each connection has a thread, so it works
for a proxy in this process and for one of its own.  Must not know: trabbits.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from pamqp import commands

from tests.contract.target import HOST
from trabbits.testing.raw_client import HEARTBEAT, Closed, RawClient, raw_frame

Script = Callable[["Peer"], None]


class Peer(RawClient):
    """One accepted connection."""

    @property
    def gone(self) -> bool:
        """Whether the other side closed or reset the connection; what it sent is dropped."""
        self.sock.settimeout(0.01)
        try:
            return not self.sock.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            return True

    def shake_hands(self, heartbeat: int = 0) -> None:
        """The broker's side of the negotiation, up to connection.open-ok."""
        self.negotiate(heartbeat)
        self.send(commands.Connection.OpenOk())

    def negotiate(self, heartbeat: int = 0) -> None:
        """Everything before connection.open-ok."""
        header = b""
        while len(header) < 8:
            header += self.sock.recv(8 - len(header))
        self.send(commands.Connection.Start(server_properties={"product": "fake"}))
        self.expect(commands.Connection.StartOk)
        self.send(commands.Connection.Tune(2047, 131072, heartbeat))
        self.expect(commands.Connection.TuneOk)
        self.expect(commands.Connection.Open)

    def wait_for_the_end(self) -> None:
        """Until the other side has closed the connection."""
        self.sock.settimeout(None)
        while self.sock.recv(65536):
            pass


class FakeUpstream:
    """Listens on a free port of this machine; a context manager."""

    def __init__(self, script: Script) -> None:
        self.peers: list[Peer] = []
        self._script = script
        self._listener = socket.create_server((HOST, 0), backlog=200)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def __enter__(self) -> FakeUpstream:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            try:
                peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its other side was quicker
            peer.sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(sock, timeout=20)
            self.peers.append(peer)
            threading.Thread(target=self._run, args=(peer,), daemon=True).start()

    def _run(self, peer: Peer) -> None:
        try:
            self._script(peer)
        except (OSError, Closed):
            pass  # the proxy ended the connection, as it should


# Scripts


def say_nothing(peer: Peer) -> None:
    """TCP works, and that is all."""


def hang_up(peer: Peer) -> None:
    """Closes at once."""
    peer.sock.close()


def hang_up_after_start(peer: Peer) -> None:
    """Closes when the client has told who it is."""
    peer.send(commands.Connection.Start(server_properties={}))
    peer.sock.recv(8)
    peer.expect(commands.Connection.StartOk)
    peer.sock.close()


def speak_http(peer: Peer) -> None:
    """Is no AMQP server at all."""
    peer.send_octets(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    peer.wait_for_the_end()


def speak_amqp_1(peer: Peer) -> None:
    """Wants another version of AMQP."""
    peer.sock.recv(8)
    peer.send_octets(b"AMQP\x00\x01\x00\x00")
    peer.sock.close()


def never_open(peer: Peer) -> None:
    """Never answers connection.open."""
    peer.negotiate()
    peer.wait_for_the_end()


def stop_reading(peer: Peer) -> None:
    """Opens the connection and a channel, and reads nothing more; it is alive, though, and says so."""
    peer.shake_hands()
    open_channel(peer)
    while True:
        peer.send_octets(raw_frame(HEARTBEAT, 0, b""))
        time.sleep(0.2)


def open_channel(peer: Peer) -> None:
    """Answers one channel.open on channel 1."""
    peer.expect(commands.Channel.Open, 1)
    peer.send(commands.Channel.OpenOk(), channel=1)


def misbehave(octets: bytes) -> Script:
    """A script that sends these octets after the first channel is open."""

    def script(peer: Peer) -> None:
        peer.shake_hands()
        open_channel(peer)
        peer.send_octets(octets)
        peer.wait_for_the_end()

    return script
