"""A client that goes on with its work while others misbehave."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from pamqp import commands

from tests.contract.target import unique
from trabbits.testing.raw_client import RawClient

#: Seconds between two rounds: it shall be there, not take the machine.
PACE = 0.005


class Bystander:
    """Publishes with confirms to a queue on each upstream, and consumes, round after round, in a thread of its own."""

    def __init__(self, host: str, port: int, vhost: str, timeout: float = 15.0) -> None:
        self.rounds = 0
        self._client = RawClient.open(host, port, vhost=vhost, timeout=timeout)
        self._queues = [unique("a.bystander"), unique("b.bystander")]
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> Bystander:
        client = self._client
        client.open_channel(1)
        client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        for queue in self._queues:
            client.call(commands.Queue.Declare(queue=queue, exclusive=True), commands.Queue.DeclareOk)
            client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        self._thread.start()
        return self

    def goes_on(self, rounds: int = 1, within: float = 15.0) -> None:
        """More rounds are done; AssertionError when it failed or stands still."""
        with self._changed:
            wanted = self.rounds + rounds
            self._changed.wait_for(lambda: self.rounds >= wanted or self._failure, within)
            assert self._failure is None, f"a bystander was disturbed: {self._failure!r}"
            assert self.rounds >= wanted, f"a bystander stands still after {self.rounds} rounds"

    def __enter__(self) -> Bystander:
        return self.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.stop()
        else:
            self._stopping.set()

    def stop(self) -> None:
        """It leaves politely; whatever disturbed it is raised now."""
        self._stopping.set()
        self._thread.join(20)
        assert self._failure is None, f"a bystander was disturbed: {self._failure!r}"
        self._client.close_politely()

    def _work(self) -> None:
        try:
            for number in itertools.count(1):
                if self._stopping.wait(PACE):
                    return
                self._round(number)
                with self._changed:
                    self.rounds += 1
                    self._changed.notify_all()
        except BaseException as failure:
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _round(self, number: int) -> None:
        bodies = {f"{number} {queue} {'.' * 500}".encode() for queue in self._queues}
        for queue, text in zip(self._queues, sorted(bodies), strict=True):
            self._client.publish("", queue, text)
        confirms: list[Any] = []
        while bodies or len(confirms) < len(self._queues):
            frame = self._client.receive()
            method: Any = frame.method
            if isinstance(method, commands.Basic.Ack):
                first = confirms[-1] + 1 if confirms else 2 * number - 1
                confirms += range(first, method.delivery_tag + 1) if method.multiple else [method.delivery_tag]
            else:
                assert method.name == "Basic.Deliver", f"got {frame}"
                self._client.receive()
                bodies.remove(self._client.receive().payload)
                self._client.send(commands.Basic.Ack(method.delivery_tag), channel=1)
        assert sorted(confirms) == [2 * number - 1, 2 * number]
