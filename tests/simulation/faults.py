"""What goes wrong in a simulation.

Lives here: `Faults`.  Must not know: what is to be seen of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.client import Client, Life
from tests.simulation.link_end import LinkEnd, Stage
from trabbits.testing.broker import Refused

if TYPE_CHECKING:
    from tests.simulation.world import World


class Faults:
    """Faults of one simulation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self._kinds: list[tuple[Callable[[], bool], float]] = [
            (self._lose_link, 2),
            (self._close_link, 1),
            (self._close_channel, 2),
            (self._block, 2),
            (self._delete_queue, 2),
            (self._freeze, 4),
            (self._thaw, 3),
            (self._new_client, 3),
            (self._operator_closes, 0.5),
            (self._turn_off, 1),
        ]

    def step(self) -> None:
        """Something goes wrong, or right again."""
        kind = self.random.choices([kind for kind, _ in self._kinds], [weight for _, weight in self._kinds])[0]
        if kind():
            name = kind.__name__.strip("_").replace("_", " ")
            self.world.ledger.count(f"fault: {name}")

    def stop(self) -> None:
        """Everything works again."""
        for pipe in self.world.pipes:
            pipe.frozen = False
        for broker in self.world.brokers.values():
            broker.unblock()
        self.world.down.clear()

    def _an_end(self) -> tuple[Client, LinkEnd] | None:
        found = [
            (client, end)
            for client in self.world.clients
            for end in client.surroundings.every_end
            if not end.gone and not end.over
        ]
        return self.random.choice(found) if found else None

    def _lose_link(self) -> bool:
        found = self._an_end()
        if found is None:
            return False
        client, end = found
        client.excuse()
        self.world.trace.event(client.who, f"fault: the link to {end.name} is lost")
        end.lose()
        return True

    def _close_link(self) -> bool:
        found = self._an_end()
        if found is None:
            return False
        client, end = found
        client.excuse()
        code, text = self.random.choice(((320, "maintenance"), (541, "it broke"), (504, "you are wrong")))
        self.world.trace.event(client.who, f"fault: {end.name} closes the connection")
        end.connection.close(code, text)
        end.collect()
        return True

    def _close_channel(self) -> bool:
        found = self._an_end()
        if found is None:
            return False
        client, end = found
        numbers = [
            number
            for number, channel in end.connection.channels.items()
            if number != end.own_channel and not channel.closing and channel.content is None
        ]
        if end.stage is not Stage.OPEN or not numbers:
            return False
        number = self.random.choice(numbers)
        self.world.trace.event(client.who, f"fault: {end.name} closes channel {number}")
        end.connection.refuse(number, Refused(self.random.choice((404, 406)), "injected"))
        end.connection.broker.finish()
        end.collect()
        return True

    def _block(self) -> bool:
        broker = self.random.choice(list(self.world.brokers.values()))
        if broker.blocked is None:
            broker.block("low on memory")
        else:
            broker.unblock()
        return True

    def _delete_queue(self) -> bool:
        broker = self.random.choice(list(self.world.brokers.values()))
        vhost = broker.vhost()
        if not vhost.queues:
            return False
        queue = vhost.queues[self.random.choice(list(vhost.queues))]
        self.world.trace.event("", f"fault: {queue.name} is deleted at {broker.name}")
        vhost.delete_queue(queue)
        broker.finish()
        return True

    def _freeze(self) -> bool:
        pipe = self.random.choice(self.world.pipes)
        pipe.frozen = True
        self.world.trace.event("", f"fault: {pipe.name} is held up")
        return True

    def _thaw(self) -> bool:
        frozen = [pipe for pipe in self.world.pipes if pipe.frozen]
        if not frozen:
            return False
        pipe = self.random.choice(frozen)
        pipe.frozen = False
        self.world.trace.event("", f"{pipe.name} goes on")
        return True

    def _new_client(self) -> bool:
        if len(self.world.clients) >= self.world.options.clients + 2:
            return False
        client = self.world.new_client()
        roll = self.random.random()
        required = set(self.world.options.names) - set(self.world.options.optional)
        if roll < 0.15:
            client.password = "wrong"
            client.excuse()
        elif roll < 0.3:
            client.vhost = "missing"
            client.excuse()
        if self.world.down & required or self.world.down >= set(self.world.options.names):
            client.excuse()
        return True

    def _operator_closes(self) -> bool:
        found = [client for client in self.world.clients if client.life in (Life.OPENING, Life.OPEN)]
        if not found:
            return False
        client = self.random.choice(found)
        client.excuse()
        self.world.trace.event(client.who, "the operator closes the session")
        client.surroundings.session.close(320, "CONNECTION_FORCED - closed by an operator")
        client.surroundings.flush()
        return True

    def _turn_off(self) -> bool:
        name = self.random.choice(self.world.options.names)
        if name in self.world.down:
            self.world.down.discard(name)
        else:
            self.world.down.add(name)
            for client in self.world.clients:
                if client.life is Life.OPENING:
                    client.excuse()
        return True
