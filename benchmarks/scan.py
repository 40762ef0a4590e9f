#!/usr/bin/env python3
"""A micro benchmark of the frame scanner: nanoseconds per message, without sockets, sessions or brokers.

What lives here: streams of publishes and of deliveries, fed in chunks as a busy socket gives them, and a stopwatch.
The routes answer at once, so this is the floor of what a proxy can cost. Sends nothing and needs no RabbitMQ.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections import deque
from pathlib import Path

from attrs import frozen
from pamqp import commands, frame

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.clients import CHANNEL, CONSUMER_TAG, EXCHANGE, Workload
from trabbits.wire.constants import BASIC_DELIVER, BASIC_PUBLISH
from trabbits.wire.scanner import Destination, Route, Scanner

CHUNK = 256 * 1024
STREAM = 8 * 1024 * 1024
REPEATS = 15
FRAME_MAX = 131072


@frozen
class Case:
    """One stream: the message's octets, the method they start with, and how destinations are chosen."""

    title: str
    message: bytes
    method: int
    route: Route
    patching: bool = False


def everything_to(destination: Destination) -> Route:
    """A plain session's route."""
    return lambda octets, start, end, channel: destination


def alternating(even: Destination, odd: Destination) -> Route:
    """A fan session's worst case: no two messages in a row go to the same link."""
    turn = 0

    def route(octets: bytes, start: int, end: int, channel: int) -> Destination:
        nonlocal turn
        turn ^= 1
        return odd if turn else even

    return route


def cases(size: int) -> list[Case]:
    """The streams of messages of one size."""
    workload = Workload.fresh(size)
    publish = workload.publish(0)
    method_length = len(frame.marshal(commands.Basic.Publish(0, EXCHANGE, workload.keys[0]), CHANNEL))
    deliver_method = commands.Basic.Deliver(CONSUMER_TAG, 1, False, EXCHANGE, workload.keys[0])
    deliver = frame.marshal(deliver_method, CHANNEL) + publish[method_length:]
    sink: deque[bytes] = deque(maxlen=1)
    other: deque[bytes] = deque(maxlen=1)
    return [
        Case(f"publish, {size} B, one destination", publish, BASIC_PUBLISH, everything_to(sink)),
        Case(f"publish, {size} B, alternating", publish, BASIC_PUBLISH, alternating(sink, other)),
        Case(f"deliver, {size} B", deliver, BASIC_DELIVER, everything_to(sink)),
        Case(f"deliver, {size} B, patchable", deliver, BASIC_DELIVER, everything_to(sink), patching=True),
    ]


def refuse(index: int, channel: int, octets: bytes) -> None:
    raise AssertionError(f"method {index:#x} was not routed")


def nanoseconds_per_message(case: Case) -> float:
    """The median over some passes through a stream, cut into chunks wherever they happen to end."""
    stream = case.message * (STREAM // len(case.message))
    chunks = [stream[start : start + CHUNK] for start in range(0, len(stream), CHUNK)]
    passes = []
    for _ in range(REPEATS):
        scanner = Scanner(FRAME_MAX, refuse, patching=case.patching)
        scanner.carrying = {case.method: case.route}
        start = time.process_time_ns()
        for chunk in chunks:
            scanner.feed(chunk)
        passes.append(time.process_time_ns() - start)
        if scanner.frames != 3 * (len(stream) // len(case.message)):
            raise AssertionError(f"{scanner.frames} frames were counted")
    return statistics.median(passes) / (len(stream) // len(case.message))


def main() -> int:
    gc.disable()
    for size in (100, 4096):
        for case in cases(size):
            print(f"{case.title:36} {nanoseconds_per_message(case):7.0f} ns per message", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
