"""An AMQP connection on asyncio, for hundreds of clients in one thread.

Lives here: framing, the handshake, leaving.  Frames and encoding are those of `trabbits.testing.raw_client`.  Nothing
is retried, and every wait has a bound.  Must not know: what the clients do, and who is at the other end.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from typing import TypeVar

from attrs import define, field
from pamqp import base, commands

from trabbits.testing.raw_client import (
    CAPABILITIES,
    FRAME_END,
    HEARTBEAT,
    PROTOCOL_HEADER,
    Frame,
    encode_methods,
    encode_publish,
)

HOST = "127.0.0.1"
#: Seconds from connect to open-ok: a SYN that was dropped is sent again after one second and after three.
OPEN_TIMEOUT = 15.0
#: Seconds until the peer closes the socket after close-ok, or answers a request.
REPLY_TIMEOUT = 10.0

M = TypeVar("M", bound=base.Frame)


class Left(Exception):
    """The peer closed the connection in an orderly way; `opened` says whether that was after open-ok."""

    def __init__(self, code: int, text: str, at: float, opened: bool) -> None:
        super().__init__(f"connection.close {code} {text!r} {'after' if opened else 'before'} open-ok")
        self.code = code
        self.text = text
        self.at = at
        self.opened = opened


#: Everything that the peer or the network can do to a client, `Left` included.
TROUBLE = (OSError, EOFError, TimeoutError, Left, AssertionError)


@define(eq=False)
class Connection:
    """One connection, and what was read of it and not used yet."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    #: What the server offered: tests tell configurations apart by it.
    channel_max: int = 0
    opened: bool = False
    #: Until the network's connection was there, and until open-ok.
    seconds_to_connect: float = 0.0
    seconds_to_open: float = 0.0
    #: When the last octets came (time.monotonic).
    heard: float = 0.0
    _buffer: bytearray = field(factory=bytearray)
    _frames: deque[Frame] = field(factory=deque)

    @classmethod
    async def open(cls, port: int, vhost: str, timeout: float = OPEN_TIMEOUT) -> Connection:
        """A connection after open-ok; one of TROUBLE when there is none."""
        began = time.monotonic()
        async with asyncio.timeout(timeout):
            connection = cls(*await asyncio.open_connection(HOST, port))
            connection.seconds_to_connect = time.monotonic() - began
            try:
                await connection._shake_hands(vhost)
            except BaseException:
                connection.drop()
                raise
        connection.seconds_to_open = time.monotonic() - began
        return connection

    async def _shake_hands(self, vhost: str) -> None:
        self._writer.write(PROTOCOL_HEADER)
        await self.expect(commands.Connection.Start)
        self.send(
            commands.Connection.StartOk(
                client_properties={"product": "operation", "capabilities": dict(CAPABILITIES)},
                response="\0guest\0guest",
            )
        )
        tune = await self.expect(commands.Connection.Tune)
        self.channel_max = tune.channel_max
        self.send(
            commands.Connection.TuneOk(channel_max=tune.channel_max, frame_max=tune.frame_max, heartbeat=0),
            commands.Connection.Open(virtual_host=vhost),
        )
        await self.expect(commands.Connection.OpenOk)
        self.opened = True

    def send(self, *methods: base.Frame, channel: int = 0) -> None:
        """All methods in one write."""
        self._writer.write(encode_methods(*methods, channel=channel))

    def publish(self, queue: str, body: bytes) -> None:
        """One mandatory message to a queue, on channel 1."""
        self._writer.write(encode_publish("", queue, body, mandatory=True))

    async def receive(self) -> Frame:
        """The next frame that is not a heartbeat; EOFError when there is none any more, `Left` for connection.close.

        `Left` is raised after the answer was sent and the peer closed the socket.
        """
        while True:
            while not self._frames:
                await self._fill()
            frame = self._frames.popleft()
            if frame.kind == HEARTBEAT:
                continue
            if frame.channel == 0:
                await self._leave_if_told(frame)
            return frame

    async def expect(self, kind: type[M]) -> M:
        """The next frame, which has to be a `kind`, in time."""
        async with asyncio.timeout(REPLY_TIMEOUT):
            frame = await self.receive()
        method = frame.method
        assert isinstance(method, kind), f"wanted {kind.name}, got {frame}"
        return method

    async def close(self) -> None:
        """connection.close, and whatever comes until the peer closes the socket; never fails."""
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                self.send(commands.Connection.Close(200, "done", 0, 0))
                while not isinstance((await self.receive()).method, commands.Connection.CloseOk):
                    pass
        except TROUBLE:
            pass
        self.drop()

    def drop(self) -> None:
        """The socket is closed without a word."""
        self._writer.close()

    async def _leave_if_told(self, frame: Frame) -> None:
        method = frame.method
        if not isinstance(method, commands.Connection.Close):
            return
        left = Left(method.reply_code or 0, method.reply_text, self.heard, self.opened)
        self.send(commands.Connection.CloseOk())
        async with asyncio.timeout(REPLY_TIMEOUT):
            rest = await self._reader.read()
        self.drop()
        assert not rest, f"{len(rest)} octets behind connection.close"
        raise left

    async def _fill(self) -> None:
        data = await self._reader.read(65536)
        if not data:
            raise EOFError("the socket was closed without connection.close")
        self.heard = time.monotonic()
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= 7:
            kind, channel, size = struct.unpack_from(">BHI", buffer, at)
            if len(buffer) - at < size + 8:
                break
            assert buffer[at + size + 7] == FRAME_END
            self._frames.append(Frame(kind, channel, bytes(buffer[at + 7 : at + 7 + size])))
            at += size + 8
        del buffer[:at]
