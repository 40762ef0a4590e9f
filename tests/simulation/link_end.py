"""trabbits' end of one connection to a broker, as ``upstream/protocol.py`` is in the real thing.

Lives here: login, the link's own channel and channel 0, closing, an end that comes unasked.
Must not know: sessions (it tells `Receiver`), which octets go to the link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from tests.simulation.codec import (
    HEARTBEAT,
    PROTOCOL_HEADER,
    Channel,
    Connection,
    Frames,
    call,
    decoded,
    start_ok,
)
from tests.simulation.pipe import Pipe
from tests.simulation.tap import Tap
from trabbits.session.actions import LoginRequest, VirtualHostRequest

if TYPE_CHECKING:
    from tests.simulation.clock import Call
    from tests.simulation.world import World
    from trabbits.testing.broker import Broker

CLOSE_OK = call(0, Connection.CloseOk)
UPSTREAM_TIMEOUT = 5.0
HANG_UP_TIMEOUT = 2.0


class Stage(Enum):
    """How far a link is; the value is what must come next."""

    START = "connection.start"
    TUNE = "connection.tune"
    AUTHENTICATED = "nothing"
    OPEN_OK = "connection.open-ok"
    OPEN = "nothing, the link is open"


class Receiver(Protocol):
    """Who hears of a link."""

    def authenticated(self, end: LinkEnd, properties: dict[str, Any]) -> None: ...

    def refused(self, end: LinkEnd, close: Any) -> None: ...

    def unreachable(self, end: LinkEnd, text: str) -> None: ...

    def opened(self, end: LinkEnd) -> None: ...

    def received(self, end: LinkEnd, octets: bytes) -> None: ...

    def lost(self, end: LinkEnd, reason: str) -> None: ...

    def closed(self, end: LinkEnd, close: Any) -> None: ...

    def blocked(self, end: LinkEnd, reason: str | None) -> None: ...

    def full(self, end: LinkEnd) -> None: ...

    def drained(self, end: LinkEnd) -> None: ...


class Request:
    """A request of trabbits' own; `done` gets the reply, or what went wrong as text (a refusal: channel.close)."""

    def __init__(self, octets: bytes, done: Callable[[Any], None]) -> None:
        self.octets = octets
        self.done: Callable[[Any], None] | None = done
        self.timer: Call | None = None

    def answer(self, result: Any) -> None:
        done, self.done = self.done, None
        if self.timer is not None:
            self.timer.cancel()
        if done is not None:
            done(result)


class LinkEnd:
    """One connection to the broker of one upstream."""

    def __init__(self, world: World, who: str, name: str, broker: Broker, receiver: Receiver) -> None:
        self.world = world
        self.who = who
        self.name = name
        self.node = f"{name}.example:5672"
        self.receiver = receiver
        self.stage = Stage.START
        options = world.options
        self.tap = Tap(name, world.ledger, renames=name in options.rename, rewrites=name in options.topology)
        self.frame_max = 0
        self.own_channel = 0
        #: The receiver hears nothing more.
        self.over = False
        #: The connection is gone.
        self.gone = False
        self.heartbeat = 0
        self._login: LoginRequest | None = None
        self._frames = Frames(f"t<-u {name}")
        self._tail = b""
        self._when_gone: Callable[[], None] | None = None
        self._timers: list[Call] = []
        self._requests: deque[Request] = deque()
        self._own_open = False
        self._secrets: deque[Request] = deque()
        self.connection = broker.connect(f"{who} {name}", lambda: world.woken.append(self))
        room = world.options.room
        self.up = Pipe(
            f"{who} t->u {name}", self._arrives, self._hung_up, room=room, gate=lambda: self.connection.reading
        )
        self.up.on_full = lambda: self._told_full(True)
        self.up.on_drained = lambda: self._told_full(False)
        self.down = Pipe(f"{who} t<-u {name}", self._comes, self._lost, room=room)
        self.down.on_full = lambda: self.connection.writable(False)
        self.down.on_drained = self._writable
        world.pipes += (self.up, self.down)

    def __repr__(self) -> str:
        return f"<LinkEnd {self.who} {self.name} {self.stage.name}>"

    # The broker's side

    def _arrives(self, octets: bytes) -> None:
        self.connection.received(octets)
        self.collect()

    def _hung_up(self) -> None:
        self.connection.lost()
        self._ended()

    def _writable(self) -> None:
        self.connection.writable(True)
        self.collect()

    def collect(self) -> None:
        """Take what the broker has for this link."""
        connection = self.connection
        while connection.output:
            octets = b"".join(connection.output)
            connection.output.clear()
            self.down.write(octets)
        if connection.closing:
            self.down.close()

    # The beginning

    def log_in(self, login: LoginRequest) -> None:
        self._login = login
        self.up.write(PROTOCOL_HEADER)
        self._after(UPSTREAM_TIMEOUT, self._too_late)

    def open(self, request: VirtualHostRequest) -> None:
        limits = self.connection.limits
        self.own_channel = self.tap.own_channel = min(request.channel_max + request.own_channels, limits.channel_max)
        if request.own_channels > 1:
            self.tap.mirror_channel = self.own_channel - 1
        self.frame_max = min(request.frame_max, limits.frame_max)
        self.heartbeat = min(request.heartbeat, limits.heartbeat) or request.heartbeat or limits.heartbeat
        self.stage = Stage.OPEN_OK
        tune_ok = call(0, Connection.TuneOk, self.own_channel, self.frame_max, self.heartbeat)
        self.up.write(tune_ok + call(0, Connection.Open, request.virtual_host))
        self._after(UPSTREAM_TIMEOUT, self._too_late)
        if self.heartbeat:
            self._beat()

    def _too_late(self) -> None:
        if self.stage in (Stage.START, Stage.TUNE, Stage.OPEN_OK) and not self.over:
            receiver = self.receiver
            self.abort()
            receiver.unreachable(self, f"upstream '{self.name}' did not finish the handshake: no {self.stage.value}")

    def _handshake(self, frames: list[bytes]) -> None:
        """Frames before the link is open; what follows connection.open-ok is left in the list."""
        while frames and not self.is_open and not self.over:
            octets = frames.pop(0)
            if octets == HEARTBEAT:
                continue
            method = decoded(octets)
            self.world.trace.frame(self.who, f"t<-u {self.name}", octets)
            if isinstance(method, Connection.Start):
                self._start_ok(method)
            elif isinstance(method, Connection.Tune):
                self.stage = Stage.AUTHENTICATED
                self.receiver.authenticated(self, self._properties)
            elif isinstance(method, Connection.OpenOk):
                self.stage = Stage.OPEN
            elif isinstance(method, Connection.Close):
                self._hang_up()
                self.over = True
                self.receiver.refused(self, method)

    @property
    def is_open(self) -> bool:
        """Whether connection.open-ok was there."""
        return self.stage is Stage.OPEN

    def _start_ok(self, start: Any) -> None:
        login = self._login
        assert login is not None
        self._properties = start.server_properties
        self.stage = Stage.TUNE
        response = f"\0{login.username}\0{login.password}"
        self.up.write(start_ok(login.client_properties, response, login.locale))

    # What comes

    def _comes(self, octets: bytes) -> None:
        if self._when_gone is not None:
            # Only the answer to connection.close is of interest to trabbits.
            for frame in self._frames.feed(octets):
                self.tap.unheard(frame)
            self._tail = (self._tail + octets)[-len(CLOSE_OK) :]
            if self._tail == CLOSE_OK:
                self.up.close()
                self.connection.lost()
                self._ended()
            return
        if self.over:
            return
        if self.stage is Stage.OPEN:
            self._noted(self._frames.feed(octets))
            self.receiver.received(self, octets)
            return
        begun = self._frames.rest
        frames = self._frames.feed(octets)
        left = len(begun + octets)
        count = len(frames)
        sizes = [len(frame) for frame in frames]
        self._handshake(frames)
        if self.is_open and not self.over:
            behind = (begun + octets)[sum(sizes[: count - len(frames)]) :] if left else b""
            self.receiver.opened(self)
            if behind and not self.over:
                self._noted(frames)
                self.receiver.received(self, behind)

    def _noted(self, frames: list[bytes]) -> None:
        for frame in frames:
            self.world.trace.frame(self.who, f"t<-u {self.name}", frame)
            self.tap.down(frame)

    def write(self, octets: bytes) -> None:
        """Octets of the session for the broker: whole frames."""
        if self.up.closed or self.up.over:
            return
        frames = self.world.whole_frames(f"t->u {self.name}", octets)
        for frame in frames:
            self.world.trace.frame(self.who, f"t->u {self.name}", frame)
            self.tap.up(frame)
        self.up.write(octets)

    # trabbits' own conversation

    def control(self, frame: bytes) -> None:
        """A frame on channel 0 or the own channel, from the session."""
        if self.over:
            return
        method = decoded(frame)
        channel = frame[1] << 8 | frame[2]
        if channel:
            self._own_answer(method)
        elif isinstance(method, Connection.Close):
            self._hang_up()
            self._ends(lambda: self.receiver.closed(self, method))
        elif isinstance(method, Connection.Blocked):
            self.receiver.blocked(self, method.reason)
        elif isinstance(method, Connection.Unblocked):
            self.receiver.blocked(self, None)
        elif isinstance(method, Connection.UpdateSecretOk):
            self._secrets.popleft().answer(method)
        else:
            raise AssertionError(f"unexpected {method.name} on channel 0 of a link")

    def update_secret(self, secret: str, reason: str, timeout: float, done: Callable[[Any], None]) -> None:
        request = Request(call(0, Connection.UpdateSecret, secret, reason), done)
        request.timer = self.world.clock.later(timeout, lambda: request.answer("not in time"))
        self._secrets.append(request)
        self.up.write(request.octets)

    def request(self, octets: bytes, timeout: float, done: Callable[[Any], None]) -> None:
        """Ask on the own channel; `octets` on channel 0 are sent there.  One at a time."""
        request = Request(octets[:1] + self.own_channel.to_bytes(2, "big") + octets[3:], done)
        request.timer = self.world.clock.later(timeout, lambda: request.answer("not in time"))
        self._requests.append(request)
        if len(self._requests) == 1:
            self._send_request()

    @property
    def asking(self) -> bool:
        """Whether somebody waits for an answer of the link to trabbits' own question."""
        return any(each.done is not None for each in (*self._requests, *self._secrets))

    def _send_request(self) -> None:
        while self._requests and self._requests[0].done is None:
            # It did not get its turn in time.
            self._requests.popleft()
        if not self._requests:
            return
        if self._own_open:
            self.up.write(self._requests[0].octets)
        else:
            self.up.write(call(self.own_channel, Channel.Open))

    def _own_answer(self, method: Any) -> None:
        if isinstance(method, Channel.OpenOk):
            self._own_open = True
            self.up.write(self._requests[0].octets)
            return
        if isinstance(method, Channel.Close):
            self._own_open = False
            self.up.write(call(self.own_channel, Channel.CloseOk))
        request = self._requests.popleft()
        self._send_request()
        request.answer(method)

    # The end

    def _beat(self) -> None:
        if not self.gone and self._when_gone is None:
            if not self.up.full:
                self.up.write(HEARTBEAT)
            self._after(self.heartbeat / 2, self._beat)

    def close(self, within: float, when_gone: Callable[[], None]) -> None:
        """connection.close and the connection's end, after at most about so many seconds."""
        self.over = True
        self.tap.live = False
        if self.gone:
            when_gone()
            return
        self._when_gone = when_gone
        if self.stage is not Stage.OPEN or within <= 0:
            self.abort()
            return
        self._after(within, self._not_closed_in_time)
        self.down.reading = True
        self.up.write(call(0, Connection.Close, 200, "Goodbye", 0, 0))

    def _not_closed_in_time(self) -> None:
        """The link was held up: what was on its way to the broker may not have arrived."""
        for state in self.tap.channels.values():
            state.refused = True
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self.over = True
        self.tap.live = False
        if not self.gone:
            arrives = self.up.cut(self.world.random.randint(0, len(self.up.octets)))
            self.down.cut(0)
            self._cut_off(arrives)
            self._ended()

    def lose(self) -> None:
        """A fault: the connection breaks, at any octet."""
        if self.gone:
            return
        random = self.world.random
        arrives = self.up.cut(random.randint(0, len(self.up.octets)))
        comes = self.down.cut(random.randint(0, len(self.down.octets)))
        self._cut_off(arrives)
        if comes and self.down.reading:
            self._comes(comes)
        self._lost()

    def _cut_off(self, arrives: bytes) -> None:
        if arrives and self.connection.reading:
            self.connection.received(arrives)
        self.connection.output.clear()
        self.connection.lost()
        self.connection.output.clear()

    def _hang_up(self) -> None:
        """Answer connection.close, and close when that was sent."""
        self.up.write(CLOSE_OK)
        self.up.close()
        self._after(HANG_UP_TIMEOUT, self.abort)

    def _lost(self) -> None:
        """The broker's side is gone, or the connection broken."""
        if self.gone:
            return
        self.up.over = self.down.over = True
        self.connection.lost()
        self._ended()
        reason = f"upstream '{self.name}' ({self.node}) lost the connection"
        if self.over:
            return
        if self.stage is Stage.OPEN:
            self._ends(lambda: self.receiver.lost(self, reason))
        else:
            self.over = True
            self.receiver.unreachable(self, reason)

    def _ends(self, tell: Callable[[], None]) -> None:
        self.over = True
        self.tap.live = False
        tell()

    def _ended(self) -> None:
        """Nothing of the connection is left."""
        if self.gone:
            return
        self.gone = True
        self.tap.live = False
        self.up.over = self.down.over = True
        for timer in self._timers:
            timer.cancel()
        for request in (*self._requests, *self._secrets):
            request.answer("ended before it answered")
        self._requests.clear()
        when_gone, self._when_gone = self._when_gone, None
        if when_gone is not None:
            when_gone()

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append(self.world.clock.later(seconds, act))

    def _told_full(self, full: bool) -> None:
        if not self.over and self.stage is Stage.OPEN:
            (self.receiver.full if full else self.receiver.drained)(self)
