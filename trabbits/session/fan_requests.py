"""Requests of the client that every link gets: declares, bindings, consumers, prefetch, transactions and the like.

Lives here: what is remembered of a request and what goes to which link, one method after the other.
Must not know: how the answers become one (``requests.py``).
Source: the table "What a client sees" of the architecture document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve
from pamqp import commands

from trabbits.session.confirms import Confirms
from trabbits.session.consumers import Consumer
from trabbits.session.declares import GENERATED_TAG, for_upstream, generated_name, named
from trabbits.session.fan_channel import FanChannel, Transaction
from trabbits.session.fan_settle import freed
from trabbits.session.probing import as_it_is, flow
from trabbits.session.reply_keys import PREFIX as REPLY_KEY_PREFIX
from trabbits.session.requests import REPLIES, Request
from trabbits.session.topology import TOPOLOGY_METHODS
from trabbits.session.unusable import UnusableMethod
from trabbits.wire import constants as amqp
from trabbits.wire.declare import build_consume, parse_consume, parse_declare
from trabbits.wire.decode import decode_method
from trabbits.wire.encode import method_frame
from trabbits.wire.errors import Violation
from trabbits.wire.methods import name_of
from trabbits.wire.peek import nowait_of
from trabbits.wire.scanner import STALL, Destination

if TYPE_CHECKING:
    from trabbits.session.fan import FanRelay
    from trabbits.session.link import Link


class FanRequests:
    """The requests of one session's client."""

    def __init__(self, relay: FanRelay) -> None:
        self._relay = relay
        self._special: dict[int, Callable[[FanChannel, bytes], Destination | None]] = {
            amqp.QUEUE_DECLARE: self._declare,
            amqp.QUEUE_DELETE: self._delete,
            amqp.BASIC_CONSUME: self._consume,
            amqp.BASIC_CANCEL: self._cancel,
            amqp.BASIC_QOS: self._qos,
            amqp.BASIC_RECOVER: self._recover,
            amqp.BASIC_RECOVER_ASYNC: self._recover,
            amqp.CONFIRM_SELECT: self._confirm_select,
            amqp.TX_SELECT: self._tx_select,
            amqp.TX_COMMIT: self._tx_commit,
            amqp.TX_ROLLBACK: self._tx_rollback,
        }
        if any(link.topology is not None for link in relay.links):
            self._special |= dict.fromkeys(TOPOLOGY_METHODS, self._topology)

    def ask(self, state: FanChannel, index: int, frame: bytes) -> Destination | None:
        """Send a request to all links; raises `Violation` for a method that cannot be spread.

        STALL: not yet.
        """
        special = self._special.get(index)
        if special is not None:
            return special(state, frame)
        if index not in REPLIES:
            raise Violation(
                amqp.NOT_IMPLEMENTED,
                f"{name_of(index)} is not possible over several upstreams",
                class_id=index >> 16,
                method_id=index & 0xFFFF,
            )
        self._all(state, index, frame)
        return None

    def _all(
        self,
        state: FanChannel,
        index: int,
        frame: bytes | dict[Link, bytes],
        finish: Callable[[bytes], None] | None = None,
        *,
        each: Callable[[Link], None] | None = None,
        tag: bytes | None = None,
        links: list[Link] | None = None,
    ) -> None:
        """Send `frame` (or one for each link) to all links, or to `links`.

        The reply goes to `finish`, or to the client; `each` hears of every link that answered.  `tag` is the consumer
        that the request is about.
        """
        links = links or self._relay.links
        frames = frame if isinstance(frame, dict) else dict.fromkeys(links, frame)
        for link in links:
            self._relay.to_link(state, link, frames[link])
        if not nowait_of(frames[links[0]], 0, index):
            answer = finish or (lambda reply: self._relay.to_client(state, reply))
            request = Request(REPLIES[index], set(links), answer, tag)
            request.each = each
            state.requests.expect(request)

    # One method after the other

    def _declare(self, state: FanChannel, frame: bytes) -> Destination | None:
        original = parse_declare(frame)
        fields = named(original)
        if fields.passive and fields.queue.startswith(REPLY_KEY_PREFIX):
            # "Is the requester still there?": only its own broker can tell.
            upstream = self._relay.publishing.unattached_for_reply(fields.queue)
            if upstream is not None:
                text = f"upstream '{upstream}' is not attached to this connection, nor is the queue of its reply-to key"
                self._relay.closings.error(state, amqp.NOT_FOUND, text, amqp.QUEUE_DECLARE)
                return None
            self._all(state, amqp.QUEUE_DECLARE, frame, links=self._relay.publishing.links_for_reply(fields.queue))
            return None
        existing = self._relay.session.probing.existing(state.number, original, self._relay.links)
        if existing is None:
            return STALL
        state.last_queue = fields.queue
        upstreams = self._relay.session.settings.upstreams
        try:
            frames = {
                link: as_it_is(state.number, fields)
                if link in existing
                else for_upstream(state.number, original, fields, frame, upstreams[link.index].rewriter, link)
                for link in self._relay.links
            }
        except UnusableMethod as error:
            self._relay.closings.error(state, amqp.PRECONDITION_FAILED, error.text, amqp.QUEUE_DECLARE)
            return None
        if self._relay.session.auto_deletes is not None:
            self._relay.session.auto_deletes.declares(state.number, fields, frames)
        self._all(state, amqp.QUEUE_DECLARE, frames)
        return None

    def _delete(self, state: FanChannel, frame: bytes) -> None:
        if self._relay.session.auto_deletes is not None:
            self._relay.session.auto_deletes.deletes(state.number, frame, self._relay.links)
        self._all(state, amqp.QUEUE_DELETE, frame)

    def _topology(self, state: FanChannel, frame: bytes) -> None:
        """Exchanges and bindings, which some upstreams are asked for differently: all of them can, or none is asked."""
        index = int.from_bytes(frame[7:11], "big")
        frames = {}
        try:
            for link in self._relay.links:
                changed = frame if link.topology is None else link.topology.frame_for_link(frame, state.last_queue)
                if link.names is not None:
                    link.names.frame_for_link(changed)
                frames[link] = changed
        except UnusableMethod as error:
            self._relay.closings.error(state, amqp.PRECONDITION_FAILED, error.text, index)
            return
        self._all(state, index, frames)

    def barrier(self, channel: int, link: Link, passed: Callable[[], None]) -> None:
        """Call `passed` when the link has answered everything that it was asked for on the channel."""
        state = self._relay.channels[channel]
        self._relay.to_link(state, link, flow(channel))
        state.requests.expect(Request(amqp.CHANNEL_FLOW_OK, {link}, lambda _: passed()))

    def _consume(self, state: FanChannel, frame: bytes) -> Destination | None:
        fields = parse_consume(frame)
        if not fields.consumer_tag:
            fields = evolve(fields, consumer_tag=generated_name(GENERATED_TAG))
            frame = build_consume(state.number, fields)
            try:
                for link in self._relay.links:
                    link.check(frame)
            except UnusableMethod as error:
                self._relay.closings.error(state, amqp.PRECONDITION_FAILED, error.text, amqp.BASIC_CONSUME)
                return None
        tag = fields.consumer_tag
        if tag in state.consumers:
            if state.consumers[tag].cancelling:
                # Until it is cancelled everywhere, what comes under this tag is still the old consumer's.
                return STALL
            # Refused here: an upstream whose own cancel of the consumer is on its way to us would take the new one, and
            # nobody could tell whose deliveries come from which upstream.
            raise Violation(
                amqp.NOT_ALLOWED,
                f"attempt to reuse consumer tag '{tag.decode('utf-8', 'replace')}'",
                class_id=amqp.BASIC_CONSUME >> 16,
                method_id=amqp.BASIC_CONSUME & 0xFFFF,
            )
        consumer = Consumer(tag, set(self._relay.links), no_ack=fields.no_ack, limit=state.prefetch)
        state.consumers[tag] = consumer
        if fields.nowait:
            consumer.started = True
            self._all(state, amqp.BASIC_CONSUME, frame, tag=tag)
            return None

        def started(reply: bytes) -> None:
            self._relay.to_client(state, reply)
            consumer.started = True
            self._relay.release(state)

        self._all(state, amqp.BASIC_CONSUME, frame, started, tag=tag)
        return None

    def _cancel(self, state: FanChannel, frame: bytes) -> None:
        method = decode_method(frame)
        assert isinstance(method, commands.Basic.Cancel)
        nowait = method.nowait
        tag = (method.consumer_tag or "").encode()
        consumer = state.consumers.get(tag)
        if consumer is not None:
            consumer.cancelling = True
            self._relay.requeue(state, consumer)
        if nowait:
            # Asked with a reply all the same: after it, nothing comes for this consumer any more.
            method.nowait = False
            frame = method_frame(state.number, method)

        def cancelled(reply: bytes) -> None:
            if consumer is not None and state.consumers.get(consumer.tag) is consumer:
                del state.consumers[consumer.tag]
            if not nowait:
                self._relay.to_client(state, reply)

        self._all(state, amqp.BASIC_CANCEL, frame, cancelled, tag=tag)

    def link_cancelled(self, state: FanChannel, link: Link, index: int, frame: bytes) -> None:
        """A broker cancelled a consumer; the client hears of it when no link is left consuming."""
        method = decode_method(frame)
        assert isinstance(method, commands.Basic.Cancel)
        consumer = state.consumers.get((method.consumer_tag or "").encode())
        if consumer is None:
            return
        consumer.links.discard(link)
        if not consumer.links and not consumer.cancelling:
            self._relay.requeue(state, consumer)
            del state.consumers[consumer.tag]
            self._relay.to_client(state, frame)

    def _qos(self, state: FanChannel, frame: bytes) -> None:
        method = decode_method(frame)
        assert isinstance(method, commands.Basic.Qos)
        if method.global_:
            state.limit = method.prefetch_count
        else:
            # RabbitMQ lifts the limit of the channel with that (rabbit_channel, "unlimit_prefetch").
            state.prefetch, state.limit = method.prefetch_count, 0
        self._all(state, amqp.BASIC_QOS, frame)
        self._relay.release(state)

    def _recover(self, state: FanChannel, frame: bytes) -> None:
        """All that is outstanding comes back under new tags, and so does what is still on its way to us."""
        method = decode_method(frame)
        assert isinstance(method, commands.Basic.Recover | commands.Basic.RecoverAsync)
        answers = isinstance(method, commands.Basic.Recover)
        if not answers:
            # Asked with a reply all the same: it tells old deliveries from new ones.
            frame = method_frame(state.number, commands.Basic.Recover(method.requeue))
        state.deliveries.clear()
        state.forget_unacked()
        for consumer in state.consumers.values():
            if not consumer.no_ack:
                self._relay.forget_held(consumer)
        for each in state.links.values():
            each.recovering += 1

        state.recovering += 1

        def recovered(link: Link) -> None:
            state.links[link].recovering -= 1

        def all_recovered(reply: bytes) -> None:
            state.recovering -= 1
            if answers:
                self._relay.to_client(state, reply)
            self._relay.release(state)

        self._all(state, amqp.BASIC_RECOVER, frame, all_recovered, each=recovered)

    def _confirm_select(self, state: FanChannel, frame: bytes) -> None:
        if state.confirms is not None:
            self._all(state, amqp.CONFIRM_SELECT, frame)
            return
        confirms = state.confirms = Confirms()
        confirms.started = nowait_of(frame, 0, amqp.CONFIRM_SELECT)

        def started(reply: bytes) -> None:
            self._relay.to_client(state, reply)
            confirms.started = True
            self._relay.publishing.confirm_early(state)

        self._all(state, amqp.CONFIRM_SELECT, frame, started)

    def _tx_select(self, state: FanChannel, frame: bytes) -> None:
        if state.tx is None:
            state.tx = Transaction()
            state.mark()
        self._all(state, amqp.TX_SELECT, frame)

    def _tx_commit(self, state: FanChannel, frame: bytes) -> None:
        if state.tx is not None:
            links = state.tx.links
            if len(links) > 1 and not self._relay.session.settings.tx_best_effort:
                names = ", ".join(sorted(link.name for link in links))
                raise Violation(
                    amqp.NOT_IMPLEMENTED,
                    f"a transaction over several upstreams ({names}) cannot be atomic; "
                    "transactions.best_effort in trabbits' configuration allows it",
                    class_id=amqp.TX_COMMIT >> 16,
                    method_id=amqp.TX_COMMIT & 0xFFFF,
                )
            freed(state, state.tx.settled)
            if self._relay.session.mirroring is not None:
                self._relay.session.mirroring.committed(state.tx.copies)
            state.tx = Transaction()
        self._all(state, amqp.TX_COMMIT, frame)
        self._relay.release(state)

    def _tx_rollback(self, state: FanChannel, frame: bytes) -> None:
        if state.tx is not None:
            # What the transaction settled is the client's to settle again.
            state.deliveries.restore(state.tx.settled)
            if self._relay.session.mirroring is not None:
                self._relay.session.mirroring.forget(state.tx.copies)
            given_back = state.tx.given_back
            state.tx = Transaction()
            self._all(state, amqp.TX_ROLLBACK, frame)
            # What we gave back is rolled back, too, and nobody else would do it again.
            for link, tag in given_back:
                self._relay.give_back(state, link, tag)
            return
        self._all(state, amqp.TX_ROLLBACK, frame)
