"""A long story of five clients, chosen by a seed: its digest, and whether the broker's books balance afterwards.

`python -m tests.testing.broker.story SEED` prints both.
"""

from __future__ import annotations

import hashlib
import random
import sys
from typing import Any

from pamqp import commands

from tests.testing.broker.peers import B, E, Peer, Q
from trabbits.testing.broker import Broker

STEPS = 700
TYPES = ("fanout", "topic", "direct", "headers")


class Story:
    """Clients that do what comes to mind."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.broker = Broker()
        self._peers = [Peer(self.broker) for _ in range(5)]
        self._peers[0].ask(*(E.Declare(exchange=f"x.{kind}", exchange_type=kind) for kind in TYPES))

    def tell(self) -> tuple[str, bool]:
        """The digest of all that clients were sent, and whether memory is what queues hold."""
        digest = hashlib.sha256()
        for number in range(STEPS):
            self._act(number)
            for index, peer in enumerate(self._peers):
                digest.update(peer.take())
                channel = peer.connection.channels.get(1)
                if channel is not None and channel.closing:
                    peer.send(commands.Channel.CloseOk(), commands.Channel.Open())
                elif channel is None:
                    self._peers[index] = Peer(self.broker)
        queues = self.broker.vhost().queues.values()
        held = sum(entry.message.size for queue in queues for entry in [*queue.ready, *queue.unacked.values()])
        return digest.hexdigest(), self.broker.memory.used == held

    def _act(self, number: int) -> None:
        choose = self._random
        peer, queue, exchange = choose.choice(self._peers), choose.choice("abcdefgh"), f"x.{choose.choice(TYPES)}"
        bounded: Any = {"x-max-length": 3, "x-dead-letter-exchange": "x.fanout"}
        actions: list[Any] = [
            lambda: peer.send(Q.Declare(queue=queue, arguments=bounded if queue < "d" else None)),
            lambda: peer.send(Q.Bind(queue=queue, exchange=exchange, routing_key=choose.choice(["#", "k", "*"]))),
            lambda: peer.send(B.Consume(queue=queue)),
            lambda: peer.send(B.Nack(0, multiple=True, requeue=choose.random() < 0.5)),
            lambda: peer.send(B.Ack(0, multiple=True)),
            lambda: peer.send(Q.Delete(queue=queue)),
            peer.connection.lost,
            lambda: peer.publish("k", b"%d" % number, exchange=exchange),
        ]
        choose.choices(actions, weights=(15, 15, 10, 5, 5, 3, 2, 45))[0]()


if __name__ == "__main__":
    print(*Story(int(sys.argv[1])).tell())
