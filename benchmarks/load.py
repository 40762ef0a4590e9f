"""The load: a streaming run and closed-loop round trips, over raw sockets.

What lives here: the two loops that move octets and what they count. One thread polls all sockets of a run; frames
are counted by dividing octets, because all frames of a workload are equally long. CPU clocks of other processes
are read by the caller's `clocks`. What it must not know: which target is measured, and how results are shown.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence

from attrs import define, field, frozen

from benchmarks.clients import (
    ACK_LENGTH,
    ACK_TAG_OFFSET,
    PATCH_TAG,
    BenchError,
    Client,
    Workload,
    ack_then_publish,
    describe_octets,
)

READ_SIZE = 256 * 1024
PIECE = 64 * 1024
"""Octets per send, at most."""
WINDOW = 1024 * 1024
"""Octets of messages that may be under way, wherever they wait: many times what the sockets' wake-ups need."""
STALL = 10.0
"""Seconds without a single octet after which a run is given up."""

Clocks = Callable[[], dict[str, float]]
"""Gives the CPU seconds used so far, by role."""


@frozen
class Measurement:
    """What one target did in one slice of time; slices of a round are added up."""

    messages: int
    seconds: float
    cpu: dict[str, float]
    """CPU seconds used by each role."""
    latencies: list[list[int]] = field(factory=list)
    """Nanoseconds of every round trip, by slice; empty in a streaming run."""

    def __add__(self, other: Measurement) -> Measurement:
        cpu = {role: used + other.cpu[role] for role, used in self.cpu.items()}
        latencies = self.latencies + other.latencies
        return Measurement(self.messages + other.messages, self.seconds + other.seconds, cpu, latencies)


class Stream:
    """One publisher and one auto-ack consumer, each on a connection of its own.

    The publisher is at most `window` octets of messages ahead of the consumer. The consumer is woken by the kernel
    as soon as `low_water` octets wait for it: 1 as for every application.  With `headers`, messages carry some.
    """

    def __init__(
        self, port: int, size: int, low_water: int = 1, window: int = WINDOW, *, headers: bool = False
    ) -> None:
        workload = Workload.fresh(size, headers=headers)
        self._deliver_length = workload.deliver_length
        pair = workload.publish(0) + workload.publish(1)
        self._publish_length = len(pair) // 2
        self._octets = memoryview(pair * max(2, 4 * PIECE // len(pair)))
        self._window = max(1, window // self._publish_length) * self._publish_length
        self._low_water = low_water
        self._sent = 0
        self._received = 0
        self._buffer = bytearray(READ_SIZE)
        self._consumer = Client(port)
        try:
            self._consumer.consume(workload, no_ack=True)
            self._publisher = Client(port)
        except BaseException:
            self._consumer.close()
            raise
        self._in = self._consumer.surrender()
        self._out = self._publisher.surrender()

    def close(self) -> None:
        self._publisher.close()
        self._consumer.close()

    def run(self, warm_up: float, seconds: float, clocks: Clocks) -> Measurement:
        """Stream; count what is consumed in `seconds` after the warm-up; then drain and check the books.

        :raises BenchError: when messages are lost or something else arrives.
        """
        try:
            self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self._low_water)
            self._pump_until(time.perf_counter() + warm_up)
            before, count, start = clocks(), self._received, time.perf_counter()
            self._pump_until(start + seconds)
            end, after = time.perf_counter(), clocks()
            messages = (self._received - count) // self._deliver_length
            self._drain()
        except (OSError, BenchError) as error:
            raise BenchError(f"{error}; to the publisher: {self._complaint()}") from None
        return Measurement(messages, end - start, used_since(before, after))

    def _credit(self) -> int:
        """Octets that may be published now."""
        consumed = self._received // self._deliver_length
        return consumed * self._publish_length + self._window - self._sent

    def _pump_until(self, deadline: float) -> None:
        poll = select.poll()
        inbound, outbound = self._in.fileno(), self._out.fileno()
        poll.register(inbound, select.POLLIN)
        poll.register(outbound, 0)
        wanted = 0
        # Whole pieces only, unless the window is tiny: many small sends would be our cost, not the target's.
        least = min(PIECE, self._window // 2)
        while True:
            writing = select.POLLOUT if self._credit() >= least else 0
            if writing != wanted:
                poll.modify(outbound, writing)
                wanted = writing
            now = time.perf_counter()
            if now >= deadline:
                return
            for descriptor, event in poll.poll((deadline - now) * 1000):
                if descriptor == inbound:
                    self._received += receive(self._in, self._buffer)
                elif event == select.POLLOUT:
                    self._send(min(PIECE, self._credit()))
                else:
                    raise BenchError("the publisher's socket broke")

    def _send(self, count: int) -> None:
        offset = self._sent % len(self._octets)
        self._sent += self._out.send(self._octets[offset : offset + count])

    def _drain(self) -> None:
        """Complete the message begun, read everything still under way and compare the counts."""
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._out.settimeout(STALL)
        while rest := -self._sent % self._publish_length:
            self._send(rest)
        self._out.setblocking(False)
        due = self._sent // self._publish_length * self._deliver_length
        self._in.settimeout(STALL)
        while self._received < due:
            self._received += receive(self._in, self._buffer)
        self._in.setblocking(False)
        if self._received != due:
            raise BenchError(f"{self._received} octets delivered where {due} were due")

    def _complaint(self) -> str:
        """What the publisher, who reads nothing in a run, was told meanwhile."""
        try:
            self._out.setblocking(False)
            return describe_octets(self._out.recv(READ_SIZE))
        except BlockingIOError:
            return "nothing"
        except OSError as error:
            return str(error)


@define
class Trip:
    """The state of one connection of a round-trip run."""

    client: Client
    socket: socket.socket
    octets: Sequence[bytearray]
    expected: int
    number: int = 0
    received: int = 0
    started: int = 0


class RoundTrips:
    """Connections that each keep exactly one message under way.

    One round trip: publish in confirm mode; over when both the confirm and the delivery of that message have
    arrived on the same connection. The ack of the delivery travels in front of the next publish.
    """

    def __init__(self, port: int, size: int, connections: int) -> None:
        self._trips: dict[int, Trip] = {}
        self._buffer = bytearray(READ_SIZE)
        self._poll = select.poll()
        try:
            for _ in range(connections):
                self._add(port, Workload.fresh(size))
        except BaseException:
            self.close()
            raise

    def _add(self, port: int, workload: Workload) -> None:
        client = Client(port)
        try:
            client.consume(workload, no_ack=False)
            client.confirm()
            raw = client.surrender()
        except BaseException:
            client.close()
            raise
        octets = [ack_then_publish(workload, 0), ack_then_publish(workload, 1)]
        self._trips[raw.fileno()] = Trip(client, raw, octets, ACK_LENGTH + workload.deliver_length)
        self._poll.register(raw, select.POLLIN)

    def close(self) -> None:
        for trip in self._trips.values():
            trip.client.close()

    def run(self, seconds: float, clocks: Clocks) -> Measurement:
        """Round trips for so long; those begun in time are completed and counted.

        :raises BenchError: when something else arrives, or nothing.
        """
        before, start = clocks(), time.perf_counter()
        try:
            latencies = self._pump(time.perf_counter_ns() + int(seconds * 1e9))
        except OSError as error:
            raise BenchError(str(error)) from None
        end, after = time.perf_counter(), clocks()
        return Measurement(len(latencies), end - start, used_since(before, after), [latencies])

    def _pump(self, deadline: int) -> list[int]:
        latencies: list[int] = []
        under_way = len(self._trips)
        for trip in self._trips.values():
            self._begin(trip)
        while under_way:
            events = self._poll.poll(STALL * 1000)
            if not events:
                raise BenchError(f"no answer within {STALL:.0f} s")
            for descriptor, _ in events:
                trip = self._trips[descriptor]
                count = receive(trip.socket, self._buffer)
                trip.received += count
                if trip.received < trip.expected:
                    continue
                now = time.perf_counter_ns()
                if trip.received > trip.expected:
                    last = describe_octets(bytes(self._buffer[:count]))
                    raise BenchError(f"{trip.received} octets where {trip.expected} were due: {last}")
                latencies.append(now - trip.started)
                if now < deadline:
                    self._begin(trip)
                else:
                    under_way -= 1
        return latencies

    @staticmethod
    def _begin(trip: Trip) -> None:
        """Ack the delivery before, if there was one, and publish the next message."""
        octets = trip.octets[trip.number & 1]
        # The only consumer of its queue sees each message once: the n-th delivery of the channel has tag n.
        PATCH_TAG(octets, ACK_TAG_OFFSET, trip.number)
        first = ACK_LENGTH if trip.number == 0 else 0
        trip.number += 1
        trip.received = 0
        trip.started = time.perf_counter_ns()
        trip.socket.send(memoryview(octets)[first:])


def receive(source: socket.socket, buffer: bytearray) -> int:
    """Octets read from a readable socket; BenchError when the stream ends or nothing comes in time."""
    try:
        count = source.recv_into(buffer)
    except TimeoutError:
        raise BenchError(f"nothing arrived for {STALL:.0f} s") from None
    if not count:
        raise BenchError("the other end closed the socket")
    return count


def used_since(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """The CPU seconds between two readings of the clocks."""
    return {role: now[role] - before[role] for role in now}
