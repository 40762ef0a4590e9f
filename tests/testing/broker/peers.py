"""A client without a socket: what a broker is told, and what it answers, as methods and messages."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from pamqp import base, commands

from tests.clients import CAPABILITIES, content_header, encode_publish
from trabbits.testing.broker import Broker
from trabbits.wire.constants import PROTOCOL_HEADER
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import method_frame
from trabbits.wire.methods import METHODS

B, C, E, Q, X = commands.Basic, commands.Confirm, commands.Exchange, commands.Queue, commands.Tx


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@frozen
class Message:
    """A method with its content."""

    method: Any
    properties: bytes
    body: bytes
    pieces: tuple[int, ...]


class Peer:
    """A connection to a broker, open and with channel 1 unless asked otherwise."""

    def __init__(
        self,
        broker: Broker,
        *,
        name: str = "client",
        user: str = "guest",
        password: str = "guest",
        vhost: str = "/",
        heartbeat: int = 0,
        frame_max: int = 131072,
        capabilities: dict[str, bool] | None = None,
        open: bool = True,
    ) -> None:
        self.broker = broker
        self.woken = 0
        self.connection = broker.connect(name, self._wake)
        self.frame_max = frame_max
        if not open:
            return
        properties: Any = {"capabilities": CAPABILITIES if capabilities is None else capabilities}
        self.send_octets(PROTOCOL_HEADER)
        login = commands.Connection.StartOk(properties, "PLAIN", f"\0{user}\0{password}", "en_US")
        self.send(login, channel=0)
        self.send(commands.Connection.TuneOk(2047, frame_max, heartbeat), channel=0)
        self.send(commands.Connection.Open(vhost), channel=0)
        self.send(commands.Channel.Open())
        self.received()

    def _wake(self) -> None:
        self.woken += 1

    def send_octets(self, octets: bytes) -> None:
        self.connection.received(octets)

    def send(self, *methods: base.Frame, channel: int = 1) -> None:
        """All in one read."""
        self.send_octets(b"".join(method_frame(channel, method) for method in methods))

    def ask(self, *methods: base.Frame, channel: int = 1) -> list[Any]:
        """What has come when these were sent, one after the other."""
        for method in methods:
            self.send(method, channel=channel)
        return self.received()

    def publish(
        self,
        key: str,
        *bodies: bytes,
        exchange: str = "",
        properties: bytes = b"\0\0",
        mandatory: bool = False,
        channel: int = 1,
    ) -> None:
        """All in one read."""
        self.send_octets(
            b"".join(
                encode_publish(
                    exchange,
                    key,
                    body,
                    channel=channel,
                    properties=properties,
                    mandatory=mandatory,
                    frame_max=self.frame_max,
                )
                for body in bodies
            )
        )

    def take(self) -> bytes:
        """The octets that the broker has for this client."""
        octets = b"".join(self.connection.output)
        self.connection.output.clear()
        return octets

    def received(self) -> list[Any]:
        """What the broker has for this client: methods, and a `Message` for each with content."""
        octets = self.take()
        frames = []
        at = 0
        while at < len(octets):
            after = at + 8 + int.from_bytes(octets[at + 3 : at + 7], "big")
            assert after <= len(octets) and octets[after - 1] == 0xCE, "a broken frame"
            assert after - at <= self.frame_max, "a frame that is too large"
            frames.append(octets[at:after])
            at = after
        return list(_read(frames))

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the messages that have come."""
        return [item.body for item in self.received() if isinstance(item, Message)]


def _read(frames: list[bytes]) -> Any:
    frames = frames[::-1]
    while frames:
        frame = frames.pop()
        if frame[0] == 8:
            yield "heartbeat"
            continue
        method = decode_method(frame)
        if not METHODS[method.index].has_content:
            yield method
            continue
        header = frames.pop()
        assert header[0] == 2
        size = int.from_bytes(header[11:19], "big")
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < size:
            body = frames.pop()
            assert body[0] == 3
            pieces.append(body[7:-1])
        yield Message(method, header[19:-1], b"".join(pieces), tuple(map(len, pieces)))


def names(items: list[Any]) -> list[str]:
    """What kinds of things these are."""
    return [item if isinstance(item, str) else getattr(item, "method", item).name for item in items]


def with_headers(table: dict[str, Any]) -> bytes:
    """Properties with headers."""
    return b"\x20\x00" + method_frame(0, Q.Declare(arguments=table))[15:-1]


def expiring(milliseconds: int) -> bytes:
    """Properties with an expiration."""
    text = str(milliseconds).encode()
    return b"\x01\x00" + bytes((len(text),)) + text


__all__ = ["B", "C", "E", "Message", "Peer", "Q", "Time", "X", "content_header", "expiring", "names", "with_headers"]
