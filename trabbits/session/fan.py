"""A fan session: several links behind one client, and the same contract as over one.

Lives here: which part of the session takes which method, and what these parts share.
    fan_client.py    the routes of what the client sends
    fan_link.py      the routes of what a link sends
    fan_publish.py   which link gets a publish, returns
    fan_settle.py    acknowledgements that are not the common case
    fan_requests.py  requests that go to all links
    fan_get.py       basic.get
    fan_close.py     the end of a channel
    mirroring.py     copies of publishes for other links
Must not know: channel 0 (``session.py``).

Source: the table "What a client sees" of the architecture document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trabbits.session.actions import Action, PauseLink, ResumeLink
from trabbits.session.consumers import Consumer, Held
from trabbits.session.fan_channel import FanChannel
from trabbits.session.fan_client import ClientRoutes
from trabbits.session.fan_close import Closings
from trabbits.session.fan_get import Gets
from trabbits.session.fan_link import LinkRoutes, delivered
from trabbits.session.fan_publish import Publishing
from trabbits.session.fan_requests import FanRequests
from trabbits.session.fan_settle import Settling
from trabbits.session.link import Link
from trabbits.session.mirroring import Copying
from trabbits.session.observation import not_held
from trabbits.session.relay import channel_not_open, check_channel_open, check_from_client
from trabbits.session.renaming import UnusableName
from trabbits.session.tee import goes_to
from trabbits.session.turns import PROXY, Turns
from trabbits.wire import constants as amqp
from trabbits.wire.encode import reject_frame
from trabbits.wire.errors import Violation
from trabbits.wire.methods import name_of
from trabbits.wire.scanner import DISCARD, STALL, Destination

if TYPE_CHECKING:
    from trabbits.session.session import Session

#: Octets of deliveries that may wait for the client's windows before links are paused.
HELD_MAX: Final = 64 * 1024 * 1024
#: Octets that may wait for another link's message to end before links are paused.
WAITING_MAX: Final = 1024 * 1024


class FanRelay:
    """The relay of a session with several links."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.links = session.links
        self.channels: dict[int, FanChannel] = {}
        #: Deliveries that were held since the last `settle`, not counted yet.
        self.fresh: list[Held] = []
        self._held_octets = 0
        self._contended: set[Turns] = set()
        self._paused: set[Link] = set()
        #: Links that call queues differently.
        self._renaming = [link for link in session.links if link.names is not None]
        self.closings = Closings(self)
        self.publishing = Publishing(self)
        self.settling = Settling(self)
        self.requests = FanRequests(self)
        self.gets = Gets(self)
        settled = self.settling.client_settled
        self._client_acts: dict[int, Callable[[FanChannel, int, bytes], Destination | None]] = {
            amqp.BASIC_PUBLISH: self.publishing.publish,
            amqp.BASIC_ACK: settled,
            amqp.BASIC_NACK: settled,
            amqp.BASIC_REJECT: settled,
            amqp.BASIC_GET: self.gets.asked,
            amqp.CHANNEL_FLOW_OK: self._client_flow_ok,
            amqp.CHANNEL_CLOSE_OK: _nothing,
            amqp.BASIC_CANCEL_OK: _nothing,
        }
        self._link_acts: dict[int, Callable[[FanChannel, Link, int, bytes], Destination | None]] = {
            amqp.CHANNEL_CLOSE: self.closings.link_closed,
            amqp.CHANNEL_CLOSE_OK: self.closings.link_answered,
            amqp.BASIC_ACK: self.publishing.link_confirmed,
            amqp.BASIC_NACK: self.publishing.link_confirmed,
            amqp.BASIC_DELIVER: lambda state, link, _, frame: delivered(self, state, link, frame),
            amqp.BASIC_RETURN: self.publishing.link_returned,
            amqp.BASIC_GET_OK: self.gets.answered,
            amqp.BASIC_GET_EMPTY: self.gets.answered,
            amqp.BASIC_CANCEL: self.requests.link_cancelled,
            amqp.CHANNEL_FLOW: self._link_flow,
        }

    def start(self) -> None:
        self.session.probing.barrier = self.requests.barrier
        scanner = self.session.client_scanner
        of_client = ClientRoutes(self)
        scanner.carrying = {amqp.BASIC_PUBLISH: of_client.publish()}
        scanner.bare = {amqp.BASIC_ACK: of_client.ack}
        observation = self.session.observation
        names = {id(link.out): link.name for link in self.links}
        labels: Callable[[Destination], str | None] = lambda to: names.get(id(to))  # noqa: E731 - or the other one
        if self.session.mirroring is not None:
            labels = lambda to: to.link.name if isinstance(to, Copying) else names.get(id(to))  # noqa: E731
        scanner.observe = observation.client_tap(labels=labels)
        for link in self.links:
            routes = LinkRoutes(self, link)
            deliver = routes.deliver if link.names is None else routes.deliver_unless_named
            link.scanner.carrying = {amqp.BASIC_DELIVER: deliver}
            link.scanner.bare = {amqp.BASIC_ACK: routes.ack}
            link.scanner.observe = observation.link_tap(link.name, labels=not_held)
            link.scanner.began = routes.began
            link.scanner.watch = routes.note_reply_keys

    def client_method(self, index: int, channel: int, frame: bytes) -> Destination | None:
        state = self.channels.get(channel)
        if index == amqp.CHANNEL_OPEN:
            check_channel_open(channel, self.session.channel_max, already=state is not None)
            state = FanChannel(
                channel, self.links, self.session.to_client, self._contend, self.session.observation.released_to_client
            )
            self.channels[channel] = state
            if self.session.auto_deletes is not None:
                self.session.auto_deletes.opened(channel)
            self.requests.ask(state, index, frame)
            return None
        if state is None:
            raise channel_not_open(index, channel)
        if state.get is not None:
            return STALL
        if index == amqp.CHANNEL_CLOSE:
            self.closings.client_closed(state, frame)
            return None
        if state.closing is not None:
            if index == amqp.CHANNEL_CLOSE_OK:
                self.closings.client_answered(state)
            return DISCARD
        if self._renaming and index != amqp.BASIC_PUBLISH and self.refused(state, self._renaming, index, frame):
            return None
        return self._client_acts.get(index, self._client_asks)(state, index, frame)

    def _client_asks(self, state: FanChannel, index: int, frame: bytes) -> Destination | None:
        check_from_client(index)
        return self.requests.ask(state, index, frame)

    def _client_flow_ok(self, state: FanChannel, index: int, frame: bytes) -> None:
        if state.flow_asked:
            self.to_link(state, state.flow_asked.pop(0), frame)

    def link_method(self, link: Link, index: int, channel: int, frame: bytes) -> Destination | None:
        state = self.channels.get(channel)
        if state is None:
            return DISCARD
        if not state.muted:
            destination = self._link_acts.get(index, self._link_replied)(state, link, index, frame)
        else:
            destination = DISCARD
            if index in (amqp.CHANNEL_CLOSE, amqp.CHANNEL_CLOSE_OK):
                self._link_acts[index](state, link, index, frame)
        if self.session.client_scanner.stalled:
            self.session.settle_due = True
        return destination

    def _link_replied(self, state: FanChannel, link: Link, index: int, frame: bytes) -> None:
        if not state.requests.answered(link, index, frame):
            text = f"{name_of(index)} that nobody asked for on channel {state.number}"
            raise Violation(amqp.COMMAND_INVALID, text, channel=state.number)

    def _link_flow(self, state: FanChannel, link: Link, index: int, frame: bytes) -> None:
        state.flow_asked.append(link)
        self.to_client(state, frame)

    def channels_at(self, link: Link) -> list[tuple[int, bool]]:
        found = ((channel, state.links[link]) for channel, state in self.channels.items())
        return [(channel, each.close_sent) for channel, each in found if each.open]

    @property
    def channel_count(self) -> int:
        return sum(state.closing is None for state in self.channels.values())

    @property
    def consumer_count(self) -> int:
        return sum(len(state.consumers) for state in self.channels.values())

    def unacknowledged(self, link: Link) -> int:
        return sum(state.unacknowledged(link) for state in self.channels.values())

    def unconfirmed(self, link: Link) -> int:
        return sum(len(state.links[link].confirms) for state in self.channels.values())

    def messages_counted(self, token: int, count: int) -> None:
        self.gets.counted(token, count)

    # What the parts share

    def to_client(self, state: FanChannel, frame: bytes) -> None:
        """Send a frame of our own to the client, in turn."""
        self.session.observation.sent_to_client(frame)
        state.turns.destination(PROXY).append(frame)

    def to_link(self, state: FanChannel, link: Link, frame: bytes) -> None:
        """Send a frame of our own to a link, but not into the middle of a message of the client's."""
        content = self.session.client_scanner.contents.get(state.number)
        if content is None or not goes_to(content.destination, link):
            link.send(frame)
            return
        before = content.done

        def after() -> None:
            if before is not None:
                before()
            link.send(frame)

        content.done = after

    def refused(self, state: FanChannel, links: list[Link], index: int, frame: bytes) -> bool:
        """Whether the channel was closed because a method names a queue that one of these links cannot have."""
        for link in links:
            try:
                if link.names is not None:
                    link.names.frame_for_link(frame)
            except UnusableName as error:
                self.closings.error(state, amqp.PRECONDITION_FAILED, error.text, index)
                return True
        return False

    def act(self, action: Action) -> None:
        """Ask the surroundings for something."""
        self.session.actions.append(action)

    def release(self, state: FanChannel) -> None:
        """Let go of held deliveries what the windows have room for."""
        self._held_octets -= state.release()

    def hold(self, state: FanChannel, link: Link, consumer: Consumer, tag: int, tag_offset: int) -> Destination:
        """Keep a delivery back; returns where its octets go."""
        if consumer.cancelling and not consumer.no_ack:
            self.give_back(state, link, tag)
            return DISCARD
        held = Held(link, tag, tag_offset)
        consumer.held.append(held)
        self.fresh.append(held)
        self.session.settle_due = True
        return held.octets

    def give_back(self, state: FanChannel, link: Link, tag: int) -> None:
        """Have a delivery requeued that the client never got."""
        if state.tx is not None:
            state.tx.given_back.append((link, tag))
        self.to_link(state, link, reject_frame(state.number, tag, True))

    def requeue(self, state: FanChannel, consumer: Consumer) -> None:
        """Give held deliveries back to where they came from: the consumer is going."""
        if consumer.no_ack:
            # Nobody takes these back; they reach the client between consume-ok and cancel-ok, as without us.
            return
        for held in consumer.held:
            self.give_back(state, held.link, held.tag)
        self.forget_held(consumer)

    def forget_held(self, consumer: Consumer) -> None:
        """Drop held deliveries."""
        for held in consumer.held:
            held.discard()
            self._held_octets -= held.counted
        consumer.held.clear()

    def settle(self) -> None:
        # First of all, because it may ask for something that the decision about pausing must know of.
        if self.session.client_scanner.stalled:
            self.session.client_scanner.resume()
        for held in self.fresh:
            if held.waits:
                held.counted = held.size
                self._held_octets += held.counted
        self.fresh.clear()
        self._contended = {turns for turns in self._contended if turns.waiting_octets}
        waiting = sum(turns.waiting_octets for turns in self._contended)
        if self._held_octets > HELD_MAX or waiting > WAITING_MAX:
            self._pause([link for link in self.links if self._may_pause(link)])
        else:
            self._pause([])
        # While links are paused or frames wait, every event may be the one that ends it.
        self.session.settle_due = bool(self._paused or self._contended)

    def link_full(self, link: Link) -> None:
        if link in self._paused:
            self._paused.discard(link)
            self.act(ResumeLink(link))

    def _may_pause(self, link: Link) -> bool:
        """Not while something is awaited from the link, nor in the middle of a message others wait for.

        Nor while it is full: the client is not read then, and its acknowledgements are what held deliveries wait for.
        A node that is not read from may stop reading itself.
        What is awaited may be what the client needs before it settles anything; so nothing can lock up.
        """
        if link.full or self.session.awaits_secret(link) or self.session.probing.awaits(link):
            return False
        return not any(
            state.requests.awaits(link)
            or len(state.links[link].confirms)
            or state.turns.occupant is link
            or state.held_back_by(link)
            or state.get is not None
            or state.closing is not None
            for state in self.channels.values()
        )

    def _pause(self, wanted: list[Link]) -> None:
        for link in self.links:
            if link in wanted and link not in self._paused:
                self._paused.add(link)
                self.act(PauseLink(link))
            elif link not in wanted and link in self._paused:
                self._paused.discard(link)
                self.act(ResumeLink(link))

    def _contend(self, turns: Turns) -> None:
        self._contended.add(turns)
        self.session.settle_due = True


def _nothing(state: FanChannel, index: int, frame: bytes) -> None:
    """A client's answer that nobody needs."""
