"""What must hold when nothing moves, and when everything is over.

Must not know: how it came to that.  What must hold at every moment is checked where it happens (``tap.py``,
``client_channel.py``, ``ledger.py``).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.client import Client, Life
from tests.simulation.client_channel import ChannelState
from tests.simulation.failure import demand
from tests.simulation.naming import RENAMED
from tests.simulation.tap import TapChannel
from trabbits.log_ids import LogId
from trabbits.session.fan import FanRelay
from trabbits.session.phase import Phase
from trabbits.wire.methods import METHODS

if TYPE_CHECKING:
    from tests.simulation.world import World


def at_rest(world: World) -> None:
    """Nothing is on its way: what the client may have, it has."""
    for client in world.clients:
        session = client.surroundings.session
        if client.life is not Life.OPEN or session.phase is not Phase.RUNNING:
            continue
        for state in client.channels.values():
            if state.usable and not state.recovering:
                for tap in state.taps():
                    if tap.live and tap.tap.live:
                        _nothing_held_back(client, state, tap)
        if isinstance(session.relay, FanRelay):
            _accounts_are_right(session.relay)
        if not session.client_scanner.stalled and not client.troubled:
            _onlookers_see_it(client)


def _onlookers_see_it(client: Client) -> None:
    """What the session shows to onlookers is what both ends of it know."""
    surroundings = client.surroundings
    session, who = surroundings.session, client.who
    seen = Counter(session.observation.methods())
    passed = Counter({int.from_bytes(index, "big"): count for index, count in surroundings.methods.items()})
    differ = {METHODS[each].name: (seen[each], passed[each]) for each in seen | passed if seen[each] != passed[each]}
    demand(not differ, "onlookers", f"methods of {who}, as shown and as passed: {differ}")
    opened = sum(state.opened and not state.closing for state in client.channels.values())
    demand(session.channel_count == opened, "onlookers", f"{who} has {opened} channels, not {session.channel_count}")
    published, delivered = session.observation.publishes(), session.observation.deliveries()
    for link, end in surroundings.ends.items():
        if end.down.octets:
            # It is paused: what it holds is still on its way.
            continue
        where = f"{link.name} of {who}"
        shown = published.get(link.name, 0), delivered.get(link.name, 0)
        counted = end.tap.published, end.tap.delivered
        demand(shown == counted, "onlookers", f"{where}: {counted} publishes and deliveries, shown {shown}")
        channels = [channel for number, channel in end.connection.channels.items() if number != end.own_channel]
        shown = session.unacknowledged(link), session.unconfirmed(link)
        confirming = sum(len(state.confirming or ()) for state in end.tap.channels.values() if state.live)
        counted = sum(len(channel.unacked) for channel in channels), confirming
        demand(shown == counted, "onlookers", f"{where}: {counted} unacknowledged and unconfirmed, shown {shown}")


def _nothing_held_back(client: Client, state: ChannelState, tap: TapChannel) -> None:
    where = f"channel {state.number} of {client.who} from {tap.tap.name}"
    for delivery in tap.unsettled.values():
        text = f"{delivery.intent} of m{delivery.message.number} on {where} was not passed on"
        demand(delivery.intent is None, "acknowledgements arrive", text)
    held = [consumer for _, consumer in (*state.outstanding.values(), *state.settled.values()) if consumer is not None]
    limit = state.limits[-1]
    for (tag, number), pending in tap.pending.items():
        if all(each.stale for each in pending):
            continue
        shown = f"m{number} for {tag!r} on {where}"
        demand(tag is not None, "nothing is stuck", f"get-ok of {shown} does not reach the client")
        assert tag is not None
        consumer = state.consumers.get(tag.decode())
        demand(consumer is not None, "nothing is stuck", f"{shown}: its consumer is gone")
        assert consumer is not None
        demand(not consumer.no_ack, "nothing is stuck", f"{shown}, which needs no room, does not reach the client")
        mine = sum(each is consumer for each in held)
        room = (not consumer.limit or mine < consumer.limit) and (not limit or len(held) < limit)
        demand(not room, "nothing is stuck", f"{shown} is held back although there is room")


def _accounts_are_right(relay: FanRelay) -> None:
    held = sum(
        each.size
        for state in relay.channels.values()
        for consumer in state.consumers.values()
        for each in consumer.held
        if each.content is None
    )
    demand(relay._held_octets == held, "bounds", f"{held} octets are held, the session thinks {relay._held_octets}")


def settled(world: World) -> None:
    """Everything that was sent has arrived, everything that was delivered is acknowledged."""
    for client in world.clients:
        surroundings = client.surroundings
        session = surroundings.session
        if client.life is Life.OVER:
            continue
        if client.life is not Life.OPEN or session.phase is not Phase.RUNNING:
            where = f"{client.who} is {client.life.name}, its session {session.phase.name}"
            demand(client.life is Life.CLOSING or client.troubled, "nothing is stuck", where)
            continue
        who = client.who
        demand(not session.client_scanner.stalled, "nothing is stuck", f"{who} is stalled")
        demand(
            not surroundings.client_paused_by, "nothing is stuck", f"{who} is paused by {surroundings.client_paused_by}"
        )
        for link, reasons in surroundings.link_paused_by.items():
            demand(not link.open or not reasons, "nothing is stuck", f"{link} of {who} is paused by {reasons}")
        demand(not client.secrets, "one reply", f"update-secret of {who} is not answered")
        demand(not client.blocked, "blocked", f"{who} is blocked, its brokers are not")
        if world.options.mirrors and not client.troubled:
            _copies_have_arrived(client)
        if client.onlooker is not None and not client.troubled:
            client.onlooker.compare()
        for state in client.channels.values():
            _channel_settled(client, state)
        if isinstance(session.relay, FanRelay):
            _relay_empty(client, session.relay)


def _copies_have_arrived(client: Client) -> None:
    """Whatever a broker took, the others have a copy of, or the log says otherwise.

    A message under way when another upstream closes its channel is none: the client never hears what became of it.
    """
    surroundings = client.surroundings
    excuses = {LogId.COPY_DROPPED, LogId.COPY_REFUSED, LogId.CHANNEL_CLOSED_BY_UPSTREAM, LogId.CHANNEL_ERROR_SENT}
    if excuses & set(surroundings.logged):
        return
    names = sorted(link.name for link in surroundings.ends)
    for message in client.published:
        if message.handled:
            wanted = [name for name in names if name != message.upstream]
            text = f"m{message.number} is mirrored at {message.mirrored}, not at {wanted}"
            demand(sorted(message.mirrored) == wanted, "copies", text)


def _channel_settled(client: Client, state: ChannelState) -> None:
    where = f"on channel {state.number} of {client.who}"
    demand(not state.closing and not state.opening, "one reply", f"open or close {where} is not answered")
    demand(not state.expected, "one reply", f"{list(state.expected)} {where} never came")
    numbers = [f"m{message.number}" for message in state.unconfirmed.values()]
    demand(not numbers, "confirms", f"{', '.join(numbers)} {where}: not confirmed")
    if not state.refused:
        state.check_published(state.messages.values())
        if state.opened:
            state.check_topology()


def _relay_empty(client: Client, relay: FanRelay) -> None:
    who = client.who
    for number, state in relay.channels.items():
        where = f"channel {number} of {who}"
        demand(client.channels[number].opened, "session state", f"{where} is open for the session only")
        demand(not state.deliveries.outstanding, "session state", f"{where}: {state.deliveries.outstanding}")
        demand(state.unacked == 0, "session state", f"{where}: {state.unacked} unacked")
        counts = [(consumer.tag, len(consumer.held), consumer.unacked) for consumer in state.consumers.values()]
        demand(not any(held or unacked for _, held, unacked in counts), "session state", f"{where}: {counts}")
        demand(state.turns.occupant is None, "session state", f"{where} is occupied")
        demand(not state.turns.waiting_octets, "session state", f"{where}: {state.turns.waiting_octets} octets wait")
        ours, theirs = set(state.consumers), {tag.encode() for tag in client.channels[number].consumers}
        demand(ours == theirs, "session state", f"{where}: consumers {ours}, the client's {theirs}")
        open_ = [len(each.confirms) for each in state.links.values()]
        demand(not any(open_), "session state", f"{where}: {open_} unconfirmed")
    demand(relay._held_octets == 0, "session state", f"{who}: {relay._held_octets} octets held")
    demand(not relay.session.settle_due, "session state", f"{who}: settle is due")


def gone(world: World) -> None:
    """Everybody has left: nothing of anything is left."""
    for client in world.clients:
        surroundings = client.surroundings
        session, who = surroundings.session, client.who
        demand(client.life is Life.OVER, "nothing is stuck", f"{who} is {client.life.name}")
        demand(surroundings.finished, "nothing is stuck", f"{session} of {who}, links {session.links}, is not finished")
        demand(not surroundings.timers, "no leaks", f"timers of {who}: {list(surroundings.timers)}")
        for end in surroundings.every_end:
            demand(end.gone, "no leaks", f"{end} is still there")
        left = [link for link in session.links if link.open or link.out or link.control]
        demand(
            not left and not session.to_client and not session.actions, "no leaks", f"{who}: {left} {session.actions}"
        )
    _brokers_are_empty(world)
    _auto_deletes_are_gone(world)


def _brokers_are_empty(world: World) -> None:
    counted: dict[tuple[str, str, int], int] = {}
    for name, broker in world.brokers.items():
        demand(not broker.connections, "no leaks", f"{list(broker.connections)} of {name}")
        for queue in broker.vhost().queues.values():
            demand(not queue.unacked, "no leaks", f"{queue.name} at {name} waits for acknowledgements")
            demand(not queue.consumers, "no leaks", f"{queue.name} at {name} has consumers")
            demand(queue.owner is None, "no leaks", f"{queue.name} at {name} is exclusive")
            for entry in queue.ready:
                number = int(entry.message.header.rsplit(b"m#", 1)[1].split(b"#")[0])
                counted[name, queue.name, number] = counted.get((name, queue.name, number), 0) + 1
    queued = {key: count for key, count in world.ledger.queued.items() if count}
    demand(counted == queued, "conservation", f"in queues: {counted}, by the ledger {queued}")


def _auto_deletes_are_gone(world: World) -> None:
    """`emulate_auto_delete`: "auto" was declared by sessions that all have ended."""
    for name in world.options.emulate:
        queue = RENAMED + "auto" if name in world.options.rename else "auto"
        if queue not in world.brokers[name].vhost().queues:
            continue
        logged = {entry for client in world.clients for entry in client.surroundings.logged}
        excused = LogId.QUEUE_NOT_DELETED in logged or any(client.troubled for client in world.clients)
        demand(excused, "auto-delete", f"auto is still at {name}, and nobody said so")
