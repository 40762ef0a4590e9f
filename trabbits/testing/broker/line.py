"""The line between a client and its connection at the broker, on which things may go wrong.

Lives here: `Line`, which has what surrounds a `BrokerConnection` needs of one, and carries out faults.
Must not know: what is planned (``fault_plan.py``), what frames mean, sockets.

It cuts both directions into frames and counts them.  Without a fault, all octets pass in the same turn.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from trabbits.testing.broker.errors import Refused
from trabbits.testing.broker.faults import (
    CloseChannel,
    CloseConnection,
    Delay,
    Drop,
    Fault,
    HalfOpen,
    Moment,
    Side,
    SlowReading,
)
from trabbits.testing.broker.output import Output
from trabbits.testing.broker.timers import Timer
from trabbits.wire import constants as c

if TYPE_CHECKING:
    from trabbits.testing.broker.broker import Broker
    from trabbits.testing.broker.connection import BrokerConnection
    from trabbits.testing.broker.fault_plan import Faults

#: Octets on the line in one direction before no more are taken.
_ROOM: Final = 1024 * 1024
_KINDS: Final = frozenset({c.FRAME_METHOD, c.FRAME_HEADER, c.FRAME_BODY, c.FRAME_HEARTBEAT})


class Line:
    """One client's line.  `output`, `closing` and `reading` mean what they mean of a `BrokerConnection`."""

    def __init__(self, faults: Faults, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.broken = False
        self._faults = faults
        self._connection: BrokerConnection
        self._output = Output(lambda _: self._pull())
        self._half_open = False
        self._rate = 0.0
        self._read_from = 0.0
        self._frames = {side: _Frames() for side in Side}
        self._in: _Way
        self._out: _Way

    def connect(self, connection: BrokerConnection) -> None:
        """This is what is at the other end."""
        self._connection = connection
        self._in = _Way(connection.broker, connection.received, self.wake)
        self._out = _Way(connection.broker, self._leave, self.wake)
        limits = connection.limits
        for frames in self._frames.values():
            frames.room = (limits.frame_max or limits.message_size) + c.FRAME_OVERHEAD

    @property
    def address(self) -> str:
        return self._connection.address

    @property
    def user(self) -> str:
        """Who the client is; empty before it has logged in."""
        return self._connection.user_name

    @property
    def vhost(self) -> str | None:
        """The virtual host that the client is in, None as long as it is in none."""
        vhost = self._connection.vhost
        return vhost.name if vhost is not None else None

    @property
    def client_name(self) -> str:
        """What the client calls itself (``connection_name`` in its properties); empty if it does not say."""
        name = self._connection.client_properties.get("connection_name")
        return str(name.value) if name is not None else ""

    # What surrounds the line

    @property
    def output(self) -> Output:
        self._pull()
        return self._output

    @property
    def closing(self) -> bool:
        if self.broken:
            return True
        connection = self._connection
        return connection.closing and not (self._half_open or connection.output or self._out)

    @property
    def reading(self) -> bool:
        if self._half_open:
            return True
        return self._connection.reading and self._now() >= self._read_from and self._in.octets < _ROOM

    def received(self, octets: bytes) -> None:
        """The client has sent these octets."""
        if self.broken or self._half_open:
            return
        if self._rate:
            self._read_from = max(self._now(), self._read_from) + len(octets) / self._rate
            self._connection.broker.timers.at(self._read_from, self.wake)
        self._pass(Side.CLIENT, octets, self._in)

    def lost(self) -> None:
        """The transport is gone."""
        self._over()
        self._connection.lost()

    def writable(self, writable: bool) -> None:
        self._connection.writable(writable)

    def drop(self) -> None:
        """Close the transport without a word."""
        self._over()
        self._connection.drop()
        self.wake()

    # Faults

    def suffer(self, fault: Fault) -> None:
        """This happens now."""
        self._happen(fault, b"")
        self.wake()

    def recover(self) -> None:
        """Nothing goes wrong any more."""
        if self._half_open:
            self.drop()
            return
        self._rate = self._read_from = 0.0
        self._in.delay = self._out.delay = 0.0
        self._in.hurry()
        self._out.hurry()

    def _happen(self, fault: Fault, frame: bytes) -> None:
        """Let it happen, at this frame if there is one."""
        match fault:
            case Drop():
                self.drop()
            case CloseConnection():
                self._connection.close(fault.code, fault.text)
            case CloseChannel():
                self._close_channel(fault, frame)
            case HalfOpen():
                self._half_open = True
                self._in.clear()
                self._out.clear()
            case Delay():
                self._in.delay, self._out.delay = fault.from_client, fault.to_client
            case SlowReading():
                self._rate = fault.octets_per_second

    def _close_channel(self, fault: CloseChannel, frame: bytes) -> None:
        connection = self._connection
        if not connection.opened:
            return
        number = int.from_bytes(frame[1:3], "big")
        ids = divmod(int.from_bytes(frame[7:11], "big"), 1 << 16) if frame[:1] == b"\x01" else (0, 0)
        for channel in list(connection.channels.values()):
            if not channel.closing and number in (0, channel.number):
                channel.refuse(Refused(fault.code, fault.text, *ids))
        connection.broker.finish()

    # Both ways

    def _pull(self) -> None:
        """Take from the connection what it wants to send."""
        output = self._connection.output
        while output and not self._half_open and not self.broken and self._out.octets < _ROOM and not self._output:
            octets = b"".join(output)
            output.clear()
            self._pass(Side.BROKER, octets, self._out)

    def _pass(self, side: Side, octets: bytes, way: _Way) -> None:
        """Send octets on their way, and let happen what is planned for one of their frames."""
        together: list[bytes] = []
        for piece, moments in self._frames[side].cut(octets, side):
            for fault in [fault for moment in moments for fault in self._faults.due(moment, self)]:
                way.send(b"".join(together))
                together.clear()
                self._happen(fault, piece)
                if self.broken or self._half_open:
                    return
            # Where a channel or the connection is closed, the broker takes no notice of what still comes on it.
            together.append(piece)
        way.send(b"".join(together))

    def _leave(self, octets: bytes) -> None:
        self._output.append(octets)

    def _over(self) -> None:
        self.broken = True
        self._in.clear()
        self._out.clear()
        self._faults.forget(self)

    def _now(self) -> float:
        return self._connection.broker.clock()


class _Way:
    """One direction.  What is sent `arrive`s after `delay` seconds, in order; `wake` is called if that is later."""

    def __init__(self, broker: Broker, arrive: Callable[[bytes], None], wake: Callable[[], None]) -> None:
        self.delay = 0.0
        #: How much is under way.
        self.octets = 0
        self._broker = broker
        self._arrive = arrive
        self._wake = wake
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._timer: Timer | None = None

    def __bool__(self) -> bool:
        return bool(self._under_way)

    def send(self, octets: bytes) -> None:
        if not octets:
            return
        if not self.delay and not self._under_way:
            self._arrive(octets)
            return
        self._under_way.append((self._broker.clock() + self.delay, octets))
        self.octets += len(octets)
        self._wait()

    def hurry(self) -> None:
        """Everything that is under way arrives at once."""
        under_way = list(self._under_way)
        self.clear()
        for _, octets in under_way:
            self._arrive(octets)
        self._wake()

    def clear(self) -> None:
        """Everything that is under way is lost."""
        self._under_way.clear()
        self.octets = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        if self._timer is None and self._under_way:
            self._timer = self._broker.timers.at(self._under_way[0][0], self._come)

    def _come(self) -> None:
        self._timer = None
        now = self._broker.clock()
        while self._under_way and self._under_way[0][0] <= now:
            octets = self._under_way.popleft()[1]
            self.octets -= len(octets)
            self._arrive(octets)
        self._wait()
        self._wake()


class _Frames:
    """Cuts a stream into frames and counts them; the protocol header, and what are no frames, passes uncounted."""

    def __init__(self) -> None:
        self.room = c.FRAME_MIN_SIZE
        self._rest = b""
        self._is_start = True
        self._is_raw = False
        self._count = 0
        self._counts: Counter[int] = Counter()

    def cut(self, octets: bytes, side: Side) -> Iterator[tuple[bytes, tuple[Moment, ...]]]:
        """The frames that are whole, each with the moments that it makes."""
        octets = self._rest + octets
        self._rest = b""
        at = 0
        while at < len(octets):
            size = self._size(octets, at)
            if not size or (not self._is_raw and at + size > len(octets)):
                self._rest = octets[at:]
                return
            piece = octets[at : at + size]
            at += size
            yield piece, () if self._is_raw or piece[:1] == b"A" else self._moments(piece, side)

    def _size(self, octets: bytes, at: int) -> int:
        """How long the next piece is; 0 if that cannot be seen yet."""
        if self._is_start and octets[at] == c.PROTOCOL_HEADER[0]:
            self._is_start = len(octets) - at < len(c.PROTOCOL_HEADER)
            return len(c.PROTOCOL_HEADER)
        if not self._is_raw and octets[at] in _KINDS:
            if len(octets) - at < 7:
                return 0
            size = int.from_bytes(octets[at + 3 : at + 7], "big") + c.FRAME_OVERHEAD
            if size <= self.room:
                return size
        # No frame, or one that is too large: that is for the broker to say.
        self._is_raw = True
        return len(octets) - at

    def _moments(self, frame: bytes, side: Side) -> tuple[Moment, ...]:
        self._count += 1
        if frame[0] != c.FRAME_METHOD or len(frame) < 12:
            return (Moment(side, self._count),)
        index = int.from_bytes(frame[7:11], "big")
        self._counts[index] += 1
        return Moment(side, self._count), Moment(side, self._counts[index], index)
