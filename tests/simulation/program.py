"""What a client does next: anything, in any order, without waiting.

Lives here: `Program`.  Must not know: what comes back (``client.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.simulation.bindings import GENERATED, meant
from tests.simulation.client import Client, Life
from tests.simulation.client_channel import ChannelState, Consumer
from tests.simulation.codec import (
    Basic,
    Channel,
    Confirm,
    Connection,
    Exchange,
    Queue,
    Tx,
    Whole,
    call,
    content_header,
    on,
    publish,
)
from tests.simulation.failure import demand
from tests.simulation.ledger import Transaction
from tests.simulation.naming import some
from tests.simulation.topology import QUEUES, Address
from trabbits.log_ids import LogId

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How many open channels of a client are many.
MANY = 8

Step = Callable[["Program", Client, ChannelState], None]


class Program:
    """Steps of clients."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.ledger = world.ledger
        options = world.options
        steps: list[tuple[Step, float]] = [(step, weight) for step, weight in STEPS]
        self._steps = [step for step, _ in steps]
        self._weights = [weight * options.favours.get(step.__name__, 1.0) for step, weight in steps]

    def step(self, client: Client) -> None:
        """The client does something."""
        if client.life is not Life.OPEN:
            return
        if self.random.random() < 0.004:
            self._connection_step(client)
            return
        state = client.channels[self.random.choice(client.numbers)]
        if not state.opened:
            several = list(client.channels.values()) if self.world.options.many_channels else [state]
            for each in several:
                if not each.opened and not each.opening:
                    self._open(client, each)
            return
        if state.closing:
            return
        step = self.random.choices(self._steps, self._weights)[0]
        if state.transaction is None and step in (Program._commit, Program._roll_back):
            step = Program._settle
        elif state.settled and self.random.random() < 0.3:
            # What is rare enough as it is: a transaction with acknowledgements.
            step = self.random.choice((Program._commit, Program._roll_back))
        self.ledger.count(step.__name__.strip("_"))
        step(self, client, state)

    def _connection_step(self, client: Client) -> None:
        kind = self.random.choice(("close", "vanish", "secret", "secret", "silent"))
        self.ledger.count(f"client {kind}")
        if kind == "close":
            client.close()
        elif kind == "vanish":
            client.vanish()
        elif kind == "secret":
            client.secrets += 1
            client.pipe.write(call(0, Connection.UpdateSecret, "guest", "renewed"))
        elif client.heartbeat:
            client.silent = True
            client.excuse()

    def _open(self, client: Client, state: ChannelState) -> None:
        def opened(_: Any) -> None:
            state.opened, state.opening = True, False
            if sum(each.opened for each in client.channels.values()) >= MANY:
                self.ledger.count("many channels open")

        state.opening = True
        number = state.number
        client.ask(state, call(number, Channel.Open), (Channel.OpenOk,), opened)
        mode = self.random.random()
        if mode < 0.45:
            state.confirms = True
            self._select(client, state, Confirm.Select, Confirm.SelectOk)
        elif mode < 0.45 + self.world.options.transactional:
            state.transaction = Transaction()
            client.ask(state, call(number, Tx.Select), (Tx.SelectOk,))
        # A channel is there for something.
        if self.random.random() < 0.3:
            self._qos(client, state)
        if self.random.random() < 0.6:
            self._consume(client, state)

    def _select(self, client: Client, state: ChannelState, kind: type[Any], reply: type[Any]) -> None:
        if self.random.random() < 0.2:
            client.send(state.number, call(state.number, kind, True))
        else:
            client.ask(state, call(state.number, kind, False), (reply,))

    # Publishing

    def _publish(self, client: Client, state: ChannelState) -> None:
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            self._publish_one(client, state)

    def _publish_one(self, client: Client, state: ChannelState, exchange: str | None = None) -> None:
        world, random = self.world, self.random
        options = world.options
        address = Address(
            random, options.names, world.queue_names, by_headers=options.by_headers, app_ids=options.app_ids
        )
        if exchange is not None:
            address.exchange = exchange
        links = client.surroundings.session.links
        attached = [link.name for link in links]
        upstream = address.upstream or attached[0]
        size = random.choice((0, 3, 20, 20, min(client.room, 5000), random.randint(0, 3 * min(client.room, 2000))))
        if world.options.chunks == "octets":
            size = min(size, 30)
        expiration = str(random.choice((0, 150, 600))) if random.random() < 0.08 else ""
        number = len(self.ledger.messages) + 1
        often = bool(world.options.rename)
        named = some(random, address.exchange, world.queue_names, room=world.room_for_headers, often=often)

        @cache
        def made(prefix: str, blind: bool) -> bytes:
            entries = address.entries + named.entries(address.exchange, prefix, blind=blind)
            headers = len(entries).to_bytes(4, "big") + entries if entries or named.bcc else b""
            return content_header(number, size, headers=headers, expiration=expiration, app_id=address.app_id)

        body = (b"%d " % number * (size // 2 + 1))[:size]
        mandatory = random.random() < 0.3
        if len(world.options.names) == 1:
            upstream = world.options.names
        message = self.ledger.new(upstream, address.exchange, address.key, made, named, body, mandatory=mandatory)
        message.channel = state.number
        state.messages[number] = message
        client.published.append(message)
        message.unattached = upstream not in attached
        if state.confirms:
            state.published += 1
            state.unconfirmed[state.published] = message
        elif message.unattached:
            state.mistaken = True
        if state.transaction is not None:
            message.transaction = state.transaction
            state.transaction.publishes.append(message)
        header = message.header
        frames = publish(state.number, address.exchange, address.key, header, body, client.room, mandatory=mandatory)
        client.send(state.number, *frames)

    def _commit(self, client: Client, state: ChannelState) -> None:
        if state.transaction is None:
            return
        transaction, state.transaction = state.transaction, Transaction()
        transaction.committed = True
        state.settled.clear()
        if not self.world.options.best_effort and len(self.world.options.names) > 1:
            # Whether several upstreams took part, the client cannot know.
            client.excuse(LogId.CLIENT_VIOLATION)

        def done(_: Any) -> None:
            state.check_published(transaction.publishes)
            took_part = {message.upstream for message in transaction.publishes if not message.unattached}
            text = f"a commit of {client.who} on channel {state.number} with {sorted(took_part)}"
            demand(self.world.options.best_effort or len(took_part) <= 1, "transactions", text)

        client.ask(state, call(state.number, Tx.Commit), (Tx.CommitOk,), done)

    def _roll_back(self, client: Client, state: ChannelState) -> None:
        if state.transaction is None:
            return
        state.transaction = Transaction()
        if state.settled:
            self.ledger.count("settlements rolled back")
        state.roll_back()
        client.ask(state, call(state.number, Tx.Rollback), (Tx.RollbackOk,))

    # Consuming

    def _settle(self, client: Client, state: ChannelState) -> None:
        if state.recovering or not state.outstanding:
            return
        random = self.random
        tag = random.choice(list(state.outstanding))
        multiple = random.random() < 0.3
        kind = random.choices(("ack", "nack", "reject"), (6, 1.5, 1.5))[0]
        requeue = random.random() < 0.6
        if kind == "ack":
            state.settle(tag, multiple=multiple, intent="ack")
            if multiple and not state.consumers and not state.fading and not state.expected and random.random() < 0.3:
                state.settle(0, multiple=True, intent="ack")
                tag = 0
            client.send(state.number, call(state.number, Basic.Ack, tag, multiple))
        elif kind == "nack":
            state.settle(tag, multiple=multiple, intent="requeue" if requeue else "reject")
            client.send(state.number, call(state.number, Basic.Nack, tag, multiple, requeue))
        else:
            state.settle(tag, multiple=False, intent="requeue" if requeue else "reject")
            client.send(state.number, call(state.number, Basic.Reject, tag, requeue))

    def settle_all(self, client: Client, state: ChannelState) -> bool:
        """Acknowledge everything; False when there is nothing."""
        if not state.usable or state.recovering:
            return False
        if not state.outstanding:
            if state.transaction is not None and state.settled:
                self._commit(client, state)
                return True
            return False
        if self.random.random() < 0.5:
            last = max(state.outstanding)
            state.settle(last, multiple=True, intent="ack")
            client.send(state.number, call(state.number, Basic.Ack, last, True))
        else:
            for tag in list(state.outstanding):
                state.settle(tag, multiple=False, intent="ack")
                client.send(state.number, call(state.number, Basic.Ack, tag, False))
        if state.transaction is not None:
            self._commit(client, state)
        return True

    def _consume(self, client: Client, state: ChannelState) -> None:
        random = self.random
        tag = f"c{random.randint(1, 4)}"
        if tag in state.consumers or tag in state.fading:
            return
        no_ack = random.random() < 0.2
        nowait = random.random() < 0.2
        queue = self._queue(client, state)
        exclusive = random.random() < 0.03
        consumer = Consumer(tag, queue, no_ack=no_ack, limit=state.prefetch, started=nowait)
        state.consumers[tag] = consumer
        octets = call(state.number, Basic.Consume, 0, queue, tag, False, no_ack, exclusive, nowait)
        if nowait:
            client.send(state.number, octets)
            return

        def started(_: Any) -> None:
            consumer.started = True

        client.ask(state, octets, (Basic.ConsumeOk,), started, tag)

    def _cancel(self, client: Client, state: ChannelState) -> None:
        running = [each for each in state.consumers.values() if not each.cancelling]
        if not running:
            return
        # Rather one whose window is full: something may be held for it.
        full = [each for each in running if each.limit and each.unacked >= each.limit]
        consumer = self.random.choice(full or running)
        consumer.cancelling = True
        tag = consumer.tag
        if self.random.random() < 0.25:
            del state.consumers[tag]
            state.fading[tag] = consumer
            client.send(state.number, call(state.number, Basic.Cancel, tag, True))
            return

        def cancelled(_: Any) -> None:
            # A broker's cancel may have been first, and the tag used again.
            if state.consumers.get(tag) is consumer:
                del state.consumers[tag]

        client.ask(state, call(state.number, Basic.Cancel, tag, False), (Basic.CancelOk,), cancelled, tag)

    def _get(self, client: Client, state: ChannelState) -> None:
        no_ack = self.random.random() < 0.2

        def got(reply: Any) -> None:
            if isinstance(reply, Whole):
                self.ledger.count("got")
                state.got(reply, no_ack=no_ack)

        queue = self._queue(client, state)
        client.ask(state, call(state.number, Basic.Get, 0, queue, no_ack), (Basic.GetOk, Basic.GetEmpty), got)

    def _qos(self, client: Client, state: ChannelState) -> None:
        count, whole = self.random.choice((0, 1, 1, 2, 3, 5)), self.random.random() < 0.4
        # RabbitMQ lifts the limit of the channel when one for consumers is set.
        state.limits.append(count if whole else 0)
        if not whole:
            state.prefetch = count

        def changed(_: Any) -> None:
            state.limits.pop(0)

        client.ask(state, call(state.number, Basic.Qos, 0, count, whole), (Basic.QosOk,), changed)

    def _recover(self, client: Client, state: ChannelState) -> None:
        # Where several links hold the same message, nobody could tell which of them sent it again.
        if state.settled or client.world.options.mirrors:
            return
        quiet = not state.consumers and not state.fading and not state.expected
        if quiet and self.random.random() < 0.3:
            state.outstanding.clear()
            state.recovers += 1
            client.send(state.number, call(state.number, Basic.RecoverAsync, True))
            return
        state.recovering += 1
        client.ask(state, call(state.number, Basic.Recover, True), (Basic.RecoverOk,), lambda _: state.recovered())

    # Queues and exchanges

    def _queue(self, client: Client, state: ChannelState) -> str:
        """A queue's name: mostly of one that is there."""
        roll = self.random.random()
        if roll < 0.05 and state.last_queue:
            return ""
        if roll < 0.13 and client.declared:
            return self.random.choice(client.declared)
        return self.random.choice(self.world.queue_names) if roll < 0.995 else "missing"

    def _declare(self, client: Client, state: ChannelState) -> None:
        random = self.random
        roll = random.random()
        nowait = random.random() < 0.15
        exclusive = auto_delete = False
        arguments: dict[str, Any] = {}
        if roll < 0.25:
            queue, exclusive, auto_delete = f"own-{client.who}", True, random.random() < 0.3
        elif roll < 0.55:
            queue, auto_delete = "auto", True
        elif roll < 0.65:
            queue, nowait = "", False
        else:
            queue = random.choice(self.world.queue_names)
            arguments = QUEUES[queue]
        durable = queue in QUEUES
        if durable and random.random() < 0.03:
            arguments = {"x-max-length": 77}
        state.last_queue = queue or GENERATED
        if queue and queue not in client.declared:
            client.declared.append(queue)
        octets = on(
            state.number,
            Queue.Declare(
                queue=queue,
                durable=durable,
                exclusive=exclusive,
                auto_delete=auto_delete,
                nowait=nowait,
                arguments=arguments,
            ),
        )
        if nowait:
            client.send(state.number, octets)
        else:
            client.ask(state, octets, (Queue.DeclareOk,))

    def _declare_passively(self, client: Client, state: ChannelState) -> None:
        queue = self._queue(client, state)
        state.last_queue = queue or state.last_queue
        client.ask(
            state, call(state.number, Queue.Declare, 0, queue, True, False, False, False, False), (Queue.DeclareOk,)
        )

    def _bind(self, client: Client, state: ChannelState) -> None:
        random = self.random
        queue = self._queue(client, state)
        exchange = random.choice(("xd", "xt", "xf"))
        key = f"{random.choice(self.world.options.names)}.{random.choice(('t', 'x', 'q0', 'nowhere'))}"
        if state.last_queue and random.random() < 0.5:
            queue, key = "", random.choice(("", "", key))
        if random.random() < 0.3:
            self._ask_for(client, state, Queue.Unbind(0, queue, exchange, key, {}), Queue.UnbindOk)
        else:
            nowait = random.random() < 0.2
            self._ask_for(client, state, Queue.Bind(0, queue, exchange, key, nowait, {}), Queue.BindOk)

    def _exchange(self, client: Client, state: ChannelState) -> None:
        nowait = self.random.random() < 0.2
        name = f"x-{self.random.randint(1, 2)}"
        roll = self.random.random()
        if roll < 0.4 or name not in client.exchanges:
            client.exchanges.add(name)
            declare = Exchange.Declare(exchange=name, exchange_type="fanout", auto_delete=True, nowait=nowait)
            self._ask_for(client, state, declare, Exchange.DeclareOk)
        elif roll < 0.65:
            self._ask_for(client, state, Exchange.Bind(0, name, "xf", "", nowait, {}), Exchange.BindOk)
        elif roll < 0.85:
            self._ask_for(client, state, Exchange.Unbind(0, name, "xf", "", nowait, {}), Exchange.UnbindOk)
        else:
            octets = on(state.number, Exchange.Delete(exchange=name, if_unused=False, nowait=nowait))
            if nowait:
                client.send(state.number, octets)
            else:
                client.ask(state, octets, (Exchange.DeleteOk,))

    def _ask_for(self, client: Client, state: ChannelState, method: Any, reply: type[Any]) -> None:
        """An exchange or a binding, which upstreams may get differently."""
        state.topology.append(meant(method, state.last_queue))
        if getattr(method, "nowait", False):
            client.send(state.number, on(state.number, method))
        else:
            client.ask(state, on(state.number, method), (reply,))

    def _purge(self, client: Client, state: ChannelState) -> None:
        octets = call(state.number, Queue.Purge, 0, self._queue(client, state), False)
        client.ask(state, octets, (Queue.PurgeOk,))

    def _delete(self, client: Client, state: ChannelState) -> None:
        nowait = self.random.random() < 0.2
        unused = self.random.random() < 0.2
        octets = call(state.number, Queue.Delete, 0, self._queue(client, state), unused, False, nowait)
        if nowait:
            client.send(state.number, octets)
        else:
            client.ask(state, octets, (Queue.DeleteOk,))

    # Channels

    def _flow(self, client: Client, state: ChannelState) -> None:
        client.ask(state, call(state.number, Channel.Flow, True), (Channel.FlowOk,))

    def _close(self, client: Client, state: ChannelState) -> None:
        state.closing = True
        client.send(state.number, call(state.number, Channel.Close, 200, "bye", 0, 0))

    def _mistake(self, client: Client, state: ChannelState) -> None:
        """What a client must not do."""
        kind = self.random.choice(
            ("unknown tag", "unknown tag", "no exchange", "no exchange", "tag in use", "closed", "garbage")
        )
        number = state.number
        self.ledger.count(f"mistake: {kind}")
        if kind == "unknown tag":
            state.mistaken = True
            for tap in state.taps():
                tap.mistaken = True
            client.send(number, call(number, Basic.Ack, 999_999, False))
        elif kind == "no exchange":
            state.mistaken = True
            self._publish_one(client, state, "missing")
        elif kind == "tag in use" and not any(each.cancelling for each in state.consumers.values()) and state.consumers:
            client.excuse(LogId.CLIENT_VIOLATION)
            tag = next(iter(state.consumers))
            consumer = Consumer(tag, "q0", no_ack=False, limit=state.prefetch, started=True)
            octets = call(number, Basic.Consume, 0, "q0", tag, False, False, False, False)
            # No mistake after all, if a broker's cancel was first.
            client.ask(state, octets, (Basic.ConsumeOk,), lambda _: state.consumers.setdefault(tag, consumer), tag)
        elif kind == "closed":
            client.excuse(LogId.CLIENT_VIOLATION)
            client.send(77, call(77, Basic.Get, 0, "q0", False))
        elif kind == "garbage":
            client.excuse(LogId.CLIENT_VIOLATION)
            client.push_all()
            client.pipe.write(b"GET / HTTP/1.0\r\n\r\n")


#: What is done, and how often, relatively.
STEPS: list[tuple[Step, float]] = [
    (Program._publish, 30),
    (Program._settle, 26),
    (Program._commit, 6),
    (Program._roll_back, 6),
    (Program._consume, 12),
    (Program._cancel, 4),
    (Program._get, 6),
    (Program._qos, 4),
    (Program._recover, 1.5),
    (Program._declare, 4),
    (Program._declare_passively, 1),
    (Program._bind, 1.5),
    (Program._exchange, 1.5),
    (Program._purge, 0.7),
    (Program._delete, 0.7),
    (Program._flow, 0.5),
    (Program._close, 1.5),
    (Program._mistake, 0.3),
]
