"""A client: its connection from the protocol header to the end, and what it makes of what it is sent.

Lives here: `Client`: channel 0, sending, channels that end.
Must not know: what it does next (``program.py``), the accounts of a channel (``client_channel.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.simulation.client_channel import ChannelState, Expected
from tests.simulation.codec import (
    ACK,
    DELIVER,
    GET_OK,
    HEARTBEAT,
    NACK,
    PROTOCOL_HEADER,
    RETURN,
    Basic,
    Channel,
    Connection,
    Contents,
    Frames,
    Whole,
    call,
    decoded,
    start_ok,
)
from tests.simulation.failure import demand
from tests.simulation.ledger import Message
from tests.simulation.onlooker import Onlooker
from tests.simulation.surroundings import Surroundings
from tests.simulation.tap import TapChannel
from trabbits.log_ids import LogId
from trabbits.session.fan import FanRelay

if TYPE_CHECKING:
    from tests.simulation.world import World
    from trabbits.session.settings import SessionSettings


class Life(Enum):
    """How far the client is."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "it sent connection.close"
    OVER = "over"


class Client:
    """One connection of an application."""

    def __init__(self, world: World, who: str, settings: SessionSettings) -> None:
        self.world = world
        self.who = who
        self.random = world.random
        self.life = Life.OPENING
        self.surroundings = Surroundings(world, who, settings, self.received, self.hung_up)
        self.surroundings.on_trouble = self.excuse
        self.pipe = self.surroundings.from_client
        self.numbers = tuple(range(1, world.options.channels + 1))
        self.channels = {number: self._fresh(number) for number in self.numbers}
        #: Something happened that may end the connection, by no fault of trabbits.
        self.troubled = False
        self.blocked = False
        self.secrets = 0
        self.published: list[Message] = []
        self.onlooker: Onlooker | None = None
        #: Queues and exchanges that it has declared, or wanted to.
        self.declared: list[str] = []
        self.exchanges: set[str] = set()
        self.room = 0
        self.heartbeat = 0
        #: Whether the client does not even send heartbeats.
        self.silent = False
        self.password = "guest"
        self.vhost = "/"
        self._frames = Frames(f"{who} c<-t")
        self._contents = Contents(f"{who} c<-t")
        self._waiting: dict[int, deque[bytes]] = {}
        self.pipe.write(PROTOCOL_HEADER)

    def __repr__(self) -> str:
        return f"<Client {self.who} {self.life.name}>"

    def _fresh(self, number: int) -> ChannelState:
        return ChannelState(number, self.who, self._taps, self._origin if self.world.options.mirrors else None)

    def _origin(self, number: int, tag: int) -> str:
        """Which link a delivery came from, as the session has it; empty when it has forgotten."""
        relay = self.surroundings.session.relay
        state = relay.channels.get(number) if isinstance(relay, FanRelay) else None
        entry = state.deliveries.outstanding.get(tag) if state is not None else None
        return "" if entry is None else entry[0].name

    def _taps(self, number: int) -> Iterator[TapChannel]:
        for end in self.surroundings.every_end:
            tap = end.tap.channels.get(number)
            if tap is not None:
                yield tap

    # Sending

    def send(self, channel: int, *frames: bytes) -> None:
        """Send frames; those of different channels may be mixed."""
        if not self.world.options.interleave:
            self.pipe.write(b"".join(frames))
            return
        self._waiting.setdefault(channel, deque()).extend(frames)
        self.push(self.random.randint(0, 6))

    def push(self, count: int) -> bool:
        """Send so many of the frames that wait; False when there are none."""
        if not self._waiting:
            return False
        for _ in range(count):
            if not self._waiting:
                return True
            channel = self.random.choice(list(self._waiting))
            frames = self._waiting[channel]
            self.pipe.write(frames.popleft())
            if not frames:
                del self._waiting[channel]
        return True

    def push_all(self) -> bool:
        """Send all that waits."""
        waited = bool(self._waiting)
        while self._waiting:
            self.push(10)
        return waited

    # What comes

    def received(self, octets: bytes) -> None:
        """Octets from trabbits."""
        for frame in self._frames.feed(octets):
            if frame == HEARTBEAT:
                continue
            if self.life is Life.OVER:
                return
            if frame[:4] == b"AMQP":
                demand(self.troubled, "no needless errors", "trabbits does not speak AMQP")
                continue
            whole = self._contents.take(frame)
            if whole is None:
                continue
            if whole.channel:
                self._method(whole)
            else:
                self._control(decoded(frame))

    def hung_up(self) -> None:
        """trabbits has closed the connection, behind everything it sent."""
        if self.life is not Life.OVER:
            expected = self.troubled or self.life is Life.CLOSING or self.surroundings.session.ended_badly
            demand(expected, "no needless errors", "trabbits hangs up")
        self.life = Life.OVER
        self.pipe.close()

    def _control(self, method: Any) -> None:
        if isinstance(method, Connection.Start):
            response = f"\0guest\0{self.password}"
            capabilities: Any = {
                "connection.blocked": True,
                "consumer_cancel_notify": True,
                "authentication_failure_close": True,
            }
            self.pipe.write(start_ok({"capabilities": capabilities}, response, "en_US"))
        elif isinstance(method, Connection.Tune):
            self._tuned(method)
        elif isinstance(method, Connection.OpenOk):
            demand(self.life is Life.OPENING, "one reply", "open-ok")
            self.life = Life.OPEN
            self.world.ledger.count("client open")
            if self.world.options.watched:
                # From now on: octets that are on their way to the client were seen by nobody.
                self.onlooker = Onlooker(self.surroundings, self.world.trace)
        elif isinstance(method, Connection.Close):
            self._closed(method)
        elif isinstance(method, Connection.CloseOk):
            demand(self.life is Life.CLOSING, "one reply", "connection.close-ok")
            if not self.troubled:
                for state in self.channels.values():
                    state.check_passed_on()
            self._over()
        elif isinstance(method, Connection.Blocked):
            demand(not self.blocked, "blocked", "connection.blocked twice")
            self.blocked = True
        elif isinstance(method, Connection.Unblocked):
            demand(self.blocked, "blocked", "connection.unblocked without blocked")
            self.blocked = False
        elif isinstance(method, Connection.UpdateSecretOk):
            demand(self.secrets > 0, "one reply", "update-secret-ok")
            self.secrets -= 1
        else:
            demand(False, "one reply", f"{method.name} on channel 0")

    def _tuned(self, tune: Any) -> None:
        options = self.world.options
        frame_max = min(tune.frame_max, options.frame_max)
        self.room = frame_max - 8
        self.heartbeat = min(tune.heartbeat, options.heartbeat)
        tune_ok = call(0, Connection.TuneOk, min(tune.channel_max, 100), frame_max, self.heartbeat)
        self.pipe.write(tune_ok + call(0, Connection.Open, self.vhost))
        if self.heartbeat:
            self._beat()

    def _beat(self) -> None:
        if self.life is not Life.OVER:
            if not self.silent:
                self.pipe.write(HEARTBEAT)
            self.world.clock.later(self.heartbeat / 2, self._beat)

    def _closed(self, close: Any) -> None:
        self.world.ledger.count(f"connection.close {close.reply_code} to a client")
        text = f"connection.close {close.reply_code} {close.reply_text}"
        demand(self.troubled, "no needless errors", text)
        self.pipe.write(call(0, Connection.CloseOk))
        self._over()

    def _over(self) -> None:
        self.life = Life.OVER
        if self.random.random() < 0.5:
            # Others wait for the server to hang up.
            self.pipe.close()

    def _method(self, whole: Whole) -> None:
        state = self.channels.get(whole.channel)
        demand(state is not None, "channels", f"a method on channel {whole.channel}")
        assert state is not None
        demand(state.opened or state.opening, "channels", f"a method on channel {whole.channel}, which is closed")
        index = whole.kind
        if index == DELIVER:
            self.world.ledger.count("delivered")
            state.delivered(whole)
        elif index in (ACK, NACK):
            state.was_confirmed(whole.frame, rejected=index == NACK)
        elif index == RETURN:
            self.world.ledger.count("returned")
            state.was_returned(whole)
        elif index == GET_OK:
            state.answered(decoded(whole.frame), whole)
        else:
            self._answer(state, decoded(whole.frame))

    def _answer(self, state: ChannelState, method: Any) -> None:
        if isinstance(method, Channel.Close):
            self._channel_closed(state, method)
        elif isinstance(method, Channel.CloseOk):
            demand(state.closing, "one reply", f"channel.close-ok on channel {state.number}")
            state.got_close_ok()
            self.channels[state.number] = self._fresh(state.number)
        elif isinstance(method, Channel.Flow):
            self.send(state.number, call(state.number, Channel.FlowOk, method.active))
        elif isinstance(method, Basic.Cancel):
            consumer = state.consumers.pop(method.consumer_tag or "", None)
            fading = state.fading.get(method.consumer_tag or "")
            demand(consumer or fading, "known consumers", f"basic.cancel of {method.consumer_tag!r}")
            self.world.ledger.count("consumer cancelled by a broker")
        else:
            state.answered(method)

    def _channel_closed(self, state: ChannelState, close: Any) -> None:
        self.world.ledger.count(f"channel.close {close.reply_code} to a client")
        text = f"channel.close {close.reply_code} {close.reply_text} on channel {state.number}"
        demand(state.refused, "no needless errors", text)
        for tap in state.taps():
            tap.live = False
        self.send(state.number, call(state.number, Channel.CloseOk))
        if state.closing:
            # Both at once: what was asked before is not answered, but channel.close is.
            state.mistaken = True
        else:
            self.channels[state.number] = self._fresh(state.number)

    def ask(
        self, state: ChannelState, octets: bytes, kinds: tuple[type[Any], ...], act: Any = None, tag: str | None = None
    ) -> None:
        """Send a request; its reply goes to `act`."""
        state.expected.append(Expected(kinds, act or _nothing, tag))
        self.send(state.number, octets)

    # Its end

    def close(self) -> None:
        """connection.close."""
        self.push_all()
        self.life = Life.CLOSING
        self.pipe.write(call(0, Connection.Close, 200, "bye", 0, 0))

    def vanish(self) -> None:
        """The connection breaks, at any octet."""
        self.life = Life.OVER
        pipe = self.pipe
        arrives = pipe.cut(self.random.randint(0, len(pipe.octets)))
        if arrives and pipe.reading:
            pipe.deliver(arrives)
        self.surroundings.to_client.cut(0)
        self.surroundings.client_lost("vanished")

    def excuse(self, *ids: LogId) -> None:
        """What happens now may end the connection."""
        self.troubled = True
        self.surroundings.excused.update(ids)


def _nothing(method: Any) -> None:
    """A reply that says no more than that."""
