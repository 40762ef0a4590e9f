#!/usr/bin/env python3
"""A benchmark of the embedded broker: messages a second, published and consumed, each one acknowledged.

What lives here: the broker in a process of its own on a loopback port, and a load of prepared octets: one connection
publishes in confirm mode, another consumes and acknowledges every delivery by a frame of its own. What is printed is
the median of some rounds, and the broker's CPU time per message. What it must not know: trabbits besides that broker.

    .venv/bin/python benchmarks/embedded.py             # 100-octet bodies
    .venv/bin/python benchmarks/embedded.py --size 4096 --seconds 2 --no-confirms
"""

from __future__ import annotations

import argparse
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.clients import ACK_LENGTH, ACK_TAG_OFFSET, CHANNEL, BenchError, Client, Workload
from benchmarks.clocks import cpu_seconds

READ_SIZE = 256 * 1024
PIECE = 32 * 1024
#: Messages that may be under way.
WINDOW = 4000
ACK = struct.Struct(">BHIIQBB").pack


def serve() -> None:
    """The broker's process: prints its port and serves until it is ended."""
    from trabbits.reactor import install

    install()
    from twisted.internet import reactor

    from trabbits.testing.broker import Broker
    from trabbits.testing.broker.server import BrokerServer

    print(BrokerServer(Broker(clock=reactor.seconds), reactor).listen(), flush=True)
    reactor.run()


class Load:
    """A publisher and a consumer, both pumped by one thread that only counts octets."""

    def __init__(self, port: int, size: int, confirms: bool) -> None:
        workload = Workload.fresh(size)
        self._deliver_length = workload.deliver_length
        pair = workload.publish(0) + workload.publish(1)
        self._publish_length = len(pair) // 2
        self._octets = memoryview(pair * max(2, 4 * PIECE // len(pair)))
        self._consumer, self._publisher = Client(port), Client(port)
        self._consumer.consume(workload, no_ack=False)
        if confirms:
            self._publisher.confirm()
        self._in, self._out = self._consumer.surrender(), self._publisher.surrender()
        self._buffer = bytearray(READ_SIZE)
        self._sent = self._received = self._acked = 0
        self._acks = b""

    def run(self, seconds: float) -> int:
        """Messages that were delivered and acknowledged meanwhile."""
        before = self._acked
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        poll.register(self._out, select.POLLIN)
        deadline = time.perf_counter() + seconds
        while (now := time.perf_counter()) < deadline:
            ahead = self._sent // self._publish_length - self._acked
            poll.modify(self._out, select.POLLIN | (select.POLLOUT if ahead < WINDOW else 0))
            poll.modify(self._in, select.POLLIN | (select.POLLOUT if self._acks else 0))
            for number, event in poll.poll((deadline - now) * 1000):
                if number == self._out.fileno():
                    self._publish(event)
                else:
                    self._consume(event)
        return self._acked - before

    def close(self) -> None:
        self._in.close()
        self._out.close()

    def _publish(self, event: int) -> None:
        if event & select.POLLIN:
            receive(self._out, self._buffer)
        if event & select.POLLOUT:
            offset = self._sent % len(self._octets)
            self._sent += self._out.send(self._octets[offset : offset + PIECE])

    def _consume(self, event: int) -> None:
        if event & select.POLLIN:
            self._received += receive(self._in, self._buffer)
            count = self._received // self._deliver_length
            self._acks += b"".join(
                ACK(1, CHANNEL, 13, 0x003C0050, tag, 0, 0xCE) for tag in range(self._acked + 1, count + 1)
            )
            self._acked = count
        if self._acks:
            try:
                self._acks = self._acks[self._in.send(self._acks) :]
            except BlockingIOError:
                pass


def receive(sock: socket.socket, buffer: bytearray) -> int:
    """Octets that came; BenchError at the end of the stream."""
    count = sock.recv_into(buffer)
    if not count:
        raise BenchError("the broker closed a connection")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=100, help="octets of each body")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--confirms", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    assert len(ACK(1, CHANNEL, 13, 0x003C0050, 0, 0, 0xCE)) == ACK_LENGTH == ACK_TAG_OFFSET + 10
    broker = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert broker.stdout is not None
        load = Load(int(broker.stdout.readline()), options.size, options.confirms)
        load.run(0.5)
        rates, costs = [], []
        for _ in range(options.rounds):
            cpu, start = cpu_seconds(broker.pid), time.perf_counter()
            count = load.run(options.seconds)
            rates.append(count / (time.perf_counter() - start))
            costs.append((cpu_seconds(broker.pid) - cpu) / count * 1e6)
        load.close()
    finally:
        broker.kill()
        broker.wait()
    confirms = "confirmed" if options.confirms else "not confirmed"
    print(f"{options.size} octets, {confirms}: {statistics.median(rates):,.0f} messages a second")
    print(f"lowest to highest round: {min(rates):,.0f} to {max(rates):,.0f}")
    cost = statistics.median(costs)
    print(f"CPU of the broker: {cost:.1f} µs a message, so {1e6 / cost:,.0f} messages a second on one core")


if __name__ == "__main__":
    main()
