"""Mistakes that the session core could have: what the simulation must find.

Each is made by changing one thing in the code that runs.  Must not know: how it is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from trabbits.session import blocked, fan_message_routes, named_properties, renamed_content, session
from trabbits.session.actions import CloseLink
from trabbits.session.auto_delete import AutoDeletes
from trabbits.session.confirms import Confirms, LinkConfirms
from trabbits.session.deliveries import Deliveries
from trabbits.session.ending import Ending
from trabbits.session.fan import FanRelay
from trabbits.session.fan_channel import FanChannel
from trabbits.session.fan_client import ClientRoutes
from trabbits.session.fan_close import Closings
from trabbits.session.fan_publish import Publishing
from trabbits.session.fan_requests import FanRequests
from trabbits.session.fan_settle import Settling
from trabbits.session.link import Link
from trabbits.session.probing import Probing
from trabbits.session.renaming import QueueNames
from trabbits.session.requests import Requests
from trabbits.session.topology import Topology
from trabbits.session.turns import Turns
from trabbits.wire import constants as amqp
from trabbits.wire.scanner import DISCARD

Patch = pytest.MonkeyPatch


def an_ack_is_not_passed_on(patch: Patch) -> None:
    def ack(self: ClientRoutes, octets: bytes, start: int, end: int, channel: int) -> Any:
        found = right(self, octets, start, end, channel)
        return None if found is None else DISCARD

    right = ClientRoutes.ack
    patch.setattr(ClientRoutes, "ack", ack)


def multiple_ends_one_too_early(patch: Patch) -> None:
    def settle_upto(self: Deliveries, tag: int) -> Any:
        found = right(self, tag)
        if len(found) > 1:
            last, entry = found.pop()
            self.restore([(last, entry)])
        return found

    right = Deliveries.settle_upto
    patch.setattr(Deliveries, "settle_upto", settle_upto)


def multiple_covers_what_is_held(patch: Patch) -> None:
    patch.setattr(Settling, "_spread", lambda self, state, link, tags: [(max(tags), len(tags) > 1)])


def a_held_delivery_is_forgotten(patch: Patch) -> None:
    patch.setattr(FanChannel, "_deliver", lambda self, held, consumer: None)


def held_deliveries_stay_held(patch: Patch) -> None:
    patch.setattr(FanRelay, "release", lambda self, state: None)


def a_prefetch_is_not_kept(patch: Patch) -> None:
    patch.setattr(FanChannel, "_window_open", lambda self, consumer: not self.recovering)


def held_deliveries_are_not_given_back(patch: Patch) -> None:
    patch.setattr(FanRelay, "requeue", lambda self, state, consumer: self.forget_held(consumer))


def answers_are_remembered_for_other_headers(patch: Patch) -> None:
    patch.setattr(fan_message_routes, "raw_header", lambda octets, at, end, key: b"")


def answers_are_remembered_for_other_properties(patch: Patch) -> None:
    patch.setattr(named_properties, "raw_property", lambda octets, at, end, place: b"")


def publishes_are_confirmed_too_early(patch: Patch) -> None:
    right = LinkConfirms.confirmed
    patch.setattr(LinkConfirms, "confirmed", lambda self, tag, multiple: right(self, tag + 1, True))


def a_rejected_publish_is_confirmed(patch: Patch) -> None:
    def due(self: Confirms, tags: Any, *, rejected: bool = False) -> Any:
        return right(self, tags)

    right = Confirms.due
    patch.setattr(Confirms, "due", due)


def multiple_confirms_cover_too_much(patch: Patch) -> None:
    right = Confirms.settle
    patch.setattr(Confirms, "settle", lambda self, tags: [(tag, True) for tag, _ in right(self, tags)])


def messages_are_mixed_on_a_channel(patch: Patch) -> None:
    patch.setattr(Turns, "destination", lambda self, source: self._out)


def acks_go_to_the_first_link(patch: Patch) -> None:
    def to_link(self: FanRelay, state: FanChannel, link: Link, frame: bytes) -> None:
        settles = int.from_bytes(frame[7:11], "big") in (amqp.BASIC_ACK, amqp.BASIC_NACK, amqp.BASIC_REJECT)
        right(self, state, self.links[0] if settles else link, frame)

    right = FanRelay.to_link
    patch.setattr(FanRelay, "to_link", to_link)


def other_links_are_leaked_when_one_is_lost(patch: Patch) -> None:
    def close(self: Ending, *arguments: Any) -> None:
        right(self, *arguments)
        kept = [action for action in self._session.actions if not isinstance(action, CloseLink)]
        self._session.actions[:] = kept

    right = Ending.close
    patch.setattr(Ending, "close", close)


def a_stall_never_ends(patch: Patch) -> None:
    patch.setattr(FanRelay, "settle", lambda self: self.fresh.clear())


def a_rollback_is_forgotten(patch: Patch) -> None:
    patch.setattr(Deliveries, "restore", lambda self, settled: None)


def the_first_reply_answers_for_all(patch: Patch) -> None:
    def answered(self: Requests, link: Link, index: int, frame: bytes) -> bool:
        for request in self._queue:
            if request.reply == index and len(request.awaited) > 1:
                request.awaited.intersection_update({link})
        return right(self, link, index, frame)

    right = Requests.answered
    patch.setattr(Requests, "answered", answered)


def recover_keeps_what_is_on_its_way(patch: Patch) -> None:
    def recover(self: FanRequests, state: FanChannel, frame: bytes) -> None:
        right(self, state, frame)
        for each in state.links.values():
            each.recovering = 0

    right = FanRequests._recover
    patch.setattr(FanRequests, "_recover", recover)


def a_channel_is_closed_before_all_links_are(patch: Patch) -> None:
    def finish(self: Closings, state: FanChannel) -> None:
        for each in state.links.values():
            each.open = each.close_sent = False
        right(self, state)

    right = Closings._finish
    patch.setattr(Closings, "_finish", finish)


def unblocked_is_swallowed(patch: Patch) -> None:
    def unblocked(links: list[Link], link: Link) -> list[bytes]:
        right(links, link)
        return []

    right = blocked.unblocked
    patch.setattr(blocked, "unblocked", unblocked)


def returns_are_dropped(patch: Patch) -> None:
    patch.setattr(Publishing, "link_returned", lambda self, state, link, index, frame: DISCARD)


def returns_without_confirms_are_dropped(patch: Patch) -> None:
    def link_returned(self: Publishing, state: FanChannel, link: Link, index: int, frame: bytes) -> Any:
        return DISCARD if state.confirms is None else right(self, state, link, index, frame)

    right = Publishing.link_returned
    patch.setattr(Publishing, "link_returned", link_returned)


def returns_give_another_reason(patch: Patch) -> None:
    def link_returned(self: Publishing, state: FanChannel, link: Link, index: int, frame: bytes) -> Any:
        return right(self, state, link, index, frame[:11] + amqp.NO_CONSUMERS.to_bytes(2, "big") + frame[13:])

    right = Publishing.link_returned
    patch.setattr(Publishing, "link_returned", link_returned)


def publishes_in_transactions_are_dropped(patch: Patch) -> None:
    def publish(self: Publishing, state: FanChannel, index: int, frame: bytes) -> Any:
        return right(self, state, index, frame) if state.tx is None else DISCARD

    right = Publishing.publish
    patch.setattr(Publishing, "publish", publish)


def transactions_over_several_links_are_committed(patch: Patch) -> None:
    def send(self: Publishing, state: FanChannel, way: Any, frame: bytes) -> Any:
        destination = right(self, state, way, frame)
        if state.tx is not None:
            state.tx.links.clear()
        return destination

    right = Publishing._send
    patch.setattr(Publishing, "_send", send)


def publishes_without_confirms_are_dropped(patch: Patch) -> None:
    def publish(self: Publishing, state: FanChannel, index: int, frame: bytes) -> Any:
        unheard = state.tx is None and state.confirms is None
        return DISCARD if unheard else right(self, state, index, frame)

    right = Publishing.publish
    patch.setattr(Publishing, "publish", publish)


def bodies_are_not_cut_for_a_link(patch: Patch) -> None:
    class Careless(Link):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.resplits = False

    patch.setattr(session, "Link", Careless)


def auto_delete_queues_stay(patch: Patch) -> None:
    patch.setattr(AutoDeletes, "take", lambda self, link: [])


def a_probe_never_ends(patch: Patch) -> None:
    patch.setattr(Probing, "answered", lambda self, token, exists, failure: None)
    patch.setattr(Probing, "timed_out", lambda self: None)


def paused_links_stay_paused(patch: Patch) -> None:
    def pause(self: FanRelay, wanted: list[Link]) -> None:
        if wanted:
            right(self, wanted)

    right = FanRelay._pause
    patch.setattr(FanRelay, "_pause", pause)


def held_octets_are_not_counted_down(patch: Patch) -> None:
    patch.setattr(FanRelay, "release", lambda self, state: state.release() and None)


def unbinds_are_not_rewritten(patch: Patch) -> None:
    def frame_for_link(self: Topology, frame: bytes, last_queue: bytes) -> bytes:
        unbinds = int.from_bytes(frame[7:11], "big") in (amqp.QUEUE_UNBIND, amqp.EXCHANGE_UNBIND)
        return frame if unbinds else right(self, frame, last_queue)

    right = Topology.frame_for_link
    patch.setattr(Topology, "frame_for_link", frame_for_link)


def bindings_without_names_are_not_rewritten(patch: Patch) -> None:
    right = Topology.frame_for_link
    patch.setattr(Topology, "frame_for_link", lambda self, frame, last_queue: right(self, frame, b""))


def one_upstreams_exchanges_go_to_all(patch: Patch) -> None:
    def ask_all(self: FanRequests, state: FanChannel, index: int, frame: Any, *rest: Any, **options: Any) -> None:
        if index == amqp.EXCHANGE_DECLARE and isinstance(frame, dict):
            frame = frame[self._relay.links[0]]
        right(self, state, index, frame, *rest, **options)

    right = FanRequests._all
    patch.setattr(FanRequests, "_all", ask_all)


def further_keys_are_not_renamed(patch: Patch) -> None:
    patch.setattr(QueueNames, "header_for_link", lambda self, publish, header: header)


def clients_see_where_messages_died_under_other_names(patch: Patch) -> None:
    patch.setattr(QueueNames, "header_for_client", lambda self, header, *, names_queue: header)


def dead_letters_pass_as_all_others(patch: Patch) -> None:
    patch.setattr(renamed_content, "DEATH", b"no header has this name")


MUTATIONS: Final[tuple[Callable[[Patch], None], ...]] = (
    an_ack_is_not_passed_on,
    multiple_ends_one_too_early,
    multiple_covers_what_is_held,
    a_held_delivery_is_forgotten,
    held_deliveries_stay_held,
    a_prefetch_is_not_kept,
    held_deliveries_are_not_given_back,
    answers_are_remembered_for_other_headers,
    answers_are_remembered_for_other_properties,
    publishes_are_confirmed_too_early,
    a_rejected_publish_is_confirmed,
    multiple_confirms_cover_too_much,
    messages_are_mixed_on_a_channel,
    acks_go_to_the_first_link,
    other_links_are_leaked_when_one_is_lost,
    a_stall_never_ends,
    a_rollback_is_forgotten,
    the_first_reply_answers_for_all,
    recover_keeps_what_is_on_its_way,
    a_channel_is_closed_before_all_links_are,
    unblocked_is_swallowed,
    returns_are_dropped,
    returns_without_confirms_are_dropped,
    returns_give_another_reason,
    publishes_in_transactions_are_dropped,
    transactions_over_several_links_are_committed,
    publishes_without_confirms_are_dropped,
    bodies_are_not_cut_for_a_link,
    auto_delete_queues_stay,
    a_probe_never_ends,
    paused_links_stay_paused,
    held_octets_are_not_counted_down,
    unbinds_are_not_rewritten,
    bindings_without_names_are_not_rewritten,
    one_upstreams_exchanges_go_to_all,
    further_keys_are_not_renamed,
    clients_see_where_messages_died_under_other_names,
    dead_letters_pass_as_all_others,
)


def main() -> None:
    """Print the first seed that finds each."""
    from tests.simulation.report import simulate

    for mutation in MUTATIONS:
        with Patch.context() as patch:
            mutation(patch)
            outcomes = map(simulate, range(3000))
            found = next((outcome for outcome in outcomes if outcome.failure), None)
        shown = f"{found.seed:6}  {found.failure.splitlines()[0][:100]}" if found is not None else "not found"
        print(f"{mutation.__name__:45}{shown}", flush=True)


if __name__ == "__main__":
    main()
