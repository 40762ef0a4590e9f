"""A fan session one of whose upstreams, b, calls queues differently: every method that names one, up and down.

Covered: names on each link, deliveries that are held or wait for their turn, confirms and returns, what trabbits asks
for itself, names that cannot be.
Not covered: which field of a method is meant (tests/wire), what a renamer is asked (test_renaming.py), random schedules
(tests/simulation).
"""

from __future__ import annotations

import pytest
from pamqp import base
from zope.interface import implementer

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, confirm, prefetch, reject, transact
from tests.session.frames import (
    Basic,
    Channel,
    Exchange,
    Queue,
    channel_close,
    content,
    decoded,
    deliver,
    on,
    publish,
    returned,
    split,
)
from tests.session.playbook import Playbook
from tests.session.test_renaming import Prefixed
from trabbits.interfaces import IMessageRoutingStrategy, MessageProperties, QueueAttributes, QueueDeclare
from trabbits.log_ids import LogId
from trabbits.session.fan import FanRelay


class Routes:
    """The client's queue b goes to upstream b, everything else to a; what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def route(self, exchange: str, routing_key: str) -> str:
        """See `IRoutingStrategy`."""
        self.asked.append((exchange, routing_key))
        return "b" if routing_key.startswith("b") else "a"


@implementer(IMessageRoutingStrategy)
class HeaderRoutes(Routes):
    """The same, asked for every message."""

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str:
        """See `IMessageRoutingStrategy`."""
        return self.route(exchange, routing_key)


@pytest.fixture
def play(opened: Opening) -> Playbook:
    """Upstream a has the client's names, b has others."""
    return opened("a", "b", rewriters={"b": Prefixed()}, routing=Routes())


def relay_of(play: Playbook) -> FanRelay:
    relay = play.session.relay
    assert isinstance(relay, FanRelay)
    return relay


def to_queue(key: str, octets: bytes = b"", **options: bool) -> bytes:
    return publish(1, key, octets, exchange="", **options)


def message(queue: str, tag: int, octets: bytes = b"x", consumer: str = "c") -> bytes:
    """A delivery of what was published to a queue by its name."""
    return on(1, Basic.Deliver(consumer, tag, False, "", queue)) + content(1, octets)


def consume(play: Playbook, tag: str = "c", *, no_ack: bool = False) -> None:
    consuming = {name: Basic.Consume(queue=name, consumer_tag=tag, no_ack=no_ack) for name in ("q", "new.q")}
    play.client(on(1, consuming["q"]))
    play.expect_link("a", on(1, consuming["q"]))
    play.expect_link("b", on(1, consuming["new.q"]))
    answered(play, Basic.ConsumeOk(tag))


# Up


REQUESTS: list[tuple[base.Frame, base.Frame, base.Frame]] = [
    (Queue.Declare(queue="q", durable=True), Queue.Declare(queue="new.q", durable=True), Queue.DeclareOk("q", 0, 0)),
    (Queue.Declare(queue="q", passive=True), Queue.Declare(queue="new.q", passive=True), Queue.DeclareOk("q", 0, 0)),
    (
        Queue.Declare(queue="q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "d"}),
        Queue.Declare(queue="new.q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "new.d"}),
        Queue.DeclareOk("q", 0, 0),
    ),
    (
        Queue.Bind(queue="q", exchange="x", routing_key="q"),
        Queue.Bind(queue="new.q", exchange="x", routing_key="q"),
        Queue.BindOk(),
    ),
    (
        Queue.Unbind(queue="q", exchange="x", routing_key="q"),
        Queue.Unbind(queue="new.q", exchange="x", routing_key="q"),
        Queue.UnbindOk(),
    ),
    (Queue.Purge(queue="q"), Queue.Purge(queue="new.q"), Queue.PurgeOk(0)),
    (Queue.Delete(queue="q"), Queue.Delete(queue="new.q"), Queue.DeleteOk(0)),
    (Queue.Purge(queue=""), Queue.Purge(queue=""), Queue.PurgeOk(0)),
    (Exchange.Declare(exchange="q"), Exchange.Declare(exchange="q"), Exchange.DeclareOk()),
]


def name_of(value: base.Frame) -> str:
    return value.name


@pytest.mark.parametrize(("request_", "renamed", "reply"), REQUESTS, ids=name_of)
def test_each_upstream_gets_its_name(
    request_: base.Frame, renamed: base.Frame, reply: base.Frame, play: Playbook
) -> None:
    play.client(on(1, request_))
    play.expect_link("a", on(1, request_))
    play.expect_link("b", on(1, renamed))
    answered(play, reply)


@pytest.mark.parametrize("first", ["a", "b"])
def test_the_client_is_told_its_name(first: str, play: Playbook) -> None:
    """Whoever answers first, whose reply it is that the client gets."""
    play.client(on(1, Queue.Declare(queue="q")))
    play.skip()
    replies = {"a": Queue.DeclareOk("q", 1, 2), "b": Queue.DeclareOk("new.q", 10, 20)}
    for name in (first, "b" if first == "a" else "a"):
        play.expect_nothing()
        play.link(name, on(1, replies[name]))
    play.expect_client(on(1, Queue.DeclareOk("q", 11, 22)))


def test_server_named_queues_are_trabbits_own(play: Playbook) -> None:
    play.client(on(1, Queue.Declare(queue="")))
    (raw,) = play.taken("b")
    play.expect_link("a", raw)
    declare = decoded(raw)
    assert isinstance(declare, Queue.Declare)
    assert declare.queue.startswith("trabbits.gen-")
    play.all_links(on(1, Queue.DeclareOk(declare.queue, 0, 0)))
    play.expect_client(on(1, Queue.DeclareOk(declare.queue, 0, 0)))
    play.client(to_queue(declare.queue))
    play.expect_link("a", to_queue(declare.queue))


def test_the_broker_is_not_asked_for_the_key_of_a_binding(play: Playbook) -> None:
    bind = Queue.Bind(queue="", exchange="x", routing_key="")
    play.client(on(1, Queue.Declare(queue="q"), bind))
    play.expect_link("a", on(1, Queue.Declare(queue="q"), bind))
    play.expect_link("b", on(1, Queue.Declare(queue="new.q"), Queue.Bind(queue="", exchange="x", routing_key="q")))
    play.skip()


# Publishes


def test_a_publish_is_routed_by_the_clients_name_and_gets_the_upstreams(play: Playbook) -> None:
    """Among others in one chunk, in order; the routing is asked once for each."""
    chunk = [to_queue("b.q", b"1"), publish(1, "b.q", b"2"), to_queue("q", b"3"), to_queue("b.q", b"4", mandatory=True)]
    for _ in range(2):
        play.client(*chunk)
        play.expect_link("a", to_queue("q", b"3"))
        renamed = to_queue("new.b.q", b"1"), publish(1, "b.q", b"2"), to_queue("new.b.q", b"4", mandatory=True)
        play.expect_link("b", *renamed)
    assert isinstance(play.routing, Routes)
    assert play.routing.asked == [("", "b.q"), ("x", "b.q"), ("", "q")]
    assert play.session.observation.publishes() == {"a": 2, "b": 6}


def test_a_publish_in_pieces(play: Playbook) -> None:
    method, header, body = split(to_queue("b", b"one"))
    play.client(method, header[:5])
    play.expect_nothing()
    play.client(header[5:])
    play.expect_link("b", on(1, Basic.Publish(exchange="", routing_key="new.b")), header)
    play.client(body)
    play.expect_link("b", body)


def test_publishes_by_headers(opened: Opening) -> None:
    play = opened("a", "b", rewriters={"b": Prefixed()}, routing=HeaderRoutes())
    for _ in range(2):
        play.client(to_queue("b.q", b"1"), to_queue("q", b"2"), publish(1, "b.q", b"3"))
        play.expect_link("a", to_queue("q", b"2"))
        play.expect_link("b", to_queue("new.b.q", b"1"), publish(1, "b.q", b"3"))


def test_confirms_are_one_sequence(play: Playbook) -> None:
    confirm(play)
    play.client(to_queue("b", b"1"), to_queue("a", b"2"), publish(1, "b", b"3"), to_queue("b", b"4"))
    play.skip()
    play.link("b", ack(2))
    play.expect_client(ack(3))
    play.link("b", ack(3, multiple=True))
    play.expect_client(ack(1), ack(4))
    play.link("a", ack(1))
    play.expect_client(ack(2))


def test_a_publish_in_a_transaction(play: Playbook) -> None:
    transact(play)
    play.client(to_queue("b", b"1"))
    play.expect_link("b", to_queue("new.b", b"1"))


def test_a_return_has_the_clients_name(play: Playbook) -> None:
    play.client(to_queue("b", b"1", mandatory=True))
    play.skip()
    play.link("b", returned(1, "new.b", b"1", exchange=""), returned(1, "new.b", b"2"))
    play.expect_client(returned(1, "b", b"1", exchange=""), returned(1, "new.b", b"2"))


def test_direct_replies_keep_their_keys(play: Playbook) -> None:
    key = "amq.rabbitmq.reply-to.process.key"
    play.client(to_queue(key))
    play.expect_links(to_queue(key))


# Down


def test_deliveries_have_the_clients_name_and_one_sequence_of_tags(play: Playbook) -> None:
    consume(play)
    play.link("b", message("new.q", 1, b"one"), deliver(1, "c", 2, b"two"), message("q", 3, b"three"))
    play.expect_client(message("q", 1, b"one"), deliver(1, "c", 2, b"two"), message("q", 3, b"three"))
    play.link("a", message("new.q", 1, b"four"))
    play.expect_client(message("new.q", 4, b"four"))
    play.client(ack(3), ack(1), ack(4), ack(2))
    play.expect_link("b", ack(3), ack(1), ack(2))
    play.expect_link("a", ack(1))
    assert play.session.observation.deliveries() == {"a": 1, "b": 3}


def test_a_delivery_without_acknowledgement(play: Playbook) -> None:
    consume(play, no_ack=True)
    play.link("b", message("new.q", 1, b"one"))
    play.expect_client(message("q", 1, b"one"))
    assert play.session.unacknowledged(play.links["b"]) == 0


def test_a_delivery_waits_for_the_window(play: Playbook) -> None:
    """Held with the client's name, let go with the client's tag; also if it comes in pieces."""
    prefetch(play, 1)
    consume(play)
    play.link("a", message("q", 1, b"one"))
    play.expect_client(message("q", 1, b"one"))
    pieces = split(message("new.q", 1, b"two"))
    play.link("b", *pieces[:2])
    play.link("b", pieces[2], message("new.q", 2, b"three"))
    assert play.session.unacknowledged(play.links["b"]) == 2
    assert relay_of(play)._held_octets == len(message("q", 1, b"two") + message("q", 2, b"three"))
    play.client(ack(1))
    play.expect_link("a", ack(1))
    play.expect_client(message("q", 2, b"two"))
    play.client(ack(2))
    play.expect_link("b", ack(1))
    play.expect_client(message("q", 3, b"three"))
    assert relay_of(play)._held_octets == 0


def test_a_held_delivery_goes_back_when_its_consumer_is_cancelled(play: Playbook) -> None:
    prefetch(play, 1)
    consume(play)
    play.link("b", message("new.q", 1), message("new.q", 2))
    play.expect_client(message("q", 1))
    play.client(on(1, Basic.Cancel("c")))
    play.expect_link("a", on(1, Basic.Cancel("c")))
    play.expect_link("b", reject(2), on(1, Basic.Cancel("c")))
    play.link("b", message("new.q", 3))
    play.expect_link("b", reject(3))
    answered(play, Basic.CancelOk("c"))
    assert relay_of(play)._held_octets == 0


def test_a_delivery_waits_for_its_turn(play: Playbook) -> None:
    """While another link's message is under way, and the other way round."""
    consume(play)
    method, header, body = split(message("new.q", 1, b"one"))
    play.link("b", method)
    play.expect_client(split(message("q", 1))[0])
    play.link("a", message("q", 1, b"two"))
    play.link("b", header, body)
    play.expect_client(header, body, message("q", 2, b"two"))
    pieces = split(message("q", 2, b"three"))
    play.link("a", pieces[0])
    play.expect_client(split(message("q", 3))[0])
    play.link("b", message("new.q", 2, b"four"))
    play.link("a", *pieces[1:])
    play.expect_client(*pieces[1:], message("q", 4, b"four"))


def test_a_delivery_before_recover_ok_comes_again(play: Playbook) -> None:
    consume(play)
    asked(play, Basic.Recover(True))
    play.link("b", message("new.q", 1))
    play.expect_nothing()
    answered(play, Basic.RecoverOk())
    play.link("b", message("new.q", 2))
    play.expect_client(message("q", 1))


def test_a_delivery_on_a_channel_that_closes_is_dropped(play: Playbook) -> None:
    consume(play)
    bye = channel_close(1, 200, "bye")
    play.client(bye)
    play.expect_links(bye)
    play.link("b", message("new.q", 1, b"late"))
    answered(play, Channel.CloseOk())


def test_a_delivery_for_a_consumer_that_is_gone_goes_back(play: Playbook) -> None:
    play.link("b", message("new.q", 1))
    play.expect_link("b", reject(1))


def test_onlookers_see_what_each_side_sees(play: Playbook) -> None:
    """Held deliveries are seen when they go."""
    prefetch(play, 1)
    consume(play)
    play.client(to_queue("b", b"1"))
    play.skip()
    sent = play.session.sent_frames
    play.link("b", message("new.q", 1), message("new.q", 2))
    play.skip()
    assert play.session.sent_frames == sent + 2 * 3
    events = play.session.observation.events()
    seen = [(event.direction, event.arguments["routing_key"]) for event in events if "routing_key" in event.arguments]
    assert seen == [("c→t", "b"), ("t→u", "new.b"), ("u→t", "new.q"), ("t→c", "q"), ("u→t", "new.q")]
    before = play.session.sent_frames
    play.client(ack(1))
    play.skip()
    released = [event for event in play.session.observation.events() if event.direction == "t→c"][-1]
    assert released.arguments["routing_key"] == "q"
    assert play.session.sent_frames == before


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_get_asks_and_counts_each_under_its_name(first: str, play: Playbook) -> None:
    got = {"a": on(1, Basic.Get(queue="q")), "b": on(1, Basic.Get(queue="new.q"))}
    queues = {"a": "q", "b": "new.q"}
    other = "b" if first == "a" else "a"
    if first == "b":
        relay_of(play).channels[1].get_turn = 1
    play.client(got["a"])
    play.expect_actions(f"CountMessages {other} {queues[other]} 1")
    play.do(lambda: play.session.messages_counted(1, 5))
    play.expect_link(first, got[first])
    play.link(first, on(1, Basic.GetOk(1, False, "", queues[first], 2)) + content(1, b"one"))
    play.expect_client(on(1, Basic.GetOk(1, False, "", "q", 7)) + content(1, b"one"))


def test_a_get_from_the_queue_declared_last_counts_under_the_upstreams_name(play: Playbook) -> None:
    play.client(on(1, Queue.Declare(queue="q")))
    play.skip()
    play.link("a", on(1, Queue.DeclareOk("q", 0, 0)))
    play.link("b", on(1, Queue.DeclareOk("new.q", 0, 0)))
    play.skip()
    play.client(on(1, Basic.Get(queue="")))
    play.expect_actions("CountMessages b new.q 1")


def test_an_upstreams_error_names_the_clients_queue(play: Playbook) -> None:
    text = "NOT_FOUND - no queue '{}' in vhost '/'"
    play.client(on(1, Queue.Purge(queue="q")))
    play.skip()
    play.link("b", channel_close(1, 404, text.format("new.q"), Queue.Purge))
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_client(channel_close(1, 404, text.format("q"), Queue.Purge))


def test_trabbits_asks_for_the_upstreams_name(opened: Opening) -> None:
    """Whether it exists (try_passive), and to delete it (emulate_auto_delete)."""

    class Lasting(Prefixed):
        def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
            return QueueAttributes(auto_delete=False)

    play = opened("a", "b", rewriters={"b": Lasting()}, probe="b", emulate="b")
    play.client(on(1, Queue.Declare(queue="q", auto_delete=True)))
    play.skip()
    play.link("b", on(1, Channel.FlowOk(True)))
    play.expect_actions("ProbeQueue b new.q 1")
    play.do(lambda: play.session.queue_probed(1, exists=False))
    play.expect_link("a", on(1, Queue.Declare(queue="q", auto_delete=True)))
    play.expect_link("b", on(1, Queue.Declare(queue="new.q")))
    play.skip()
    play.link("a", on(1, Queue.DeclareOk("q", 0, 0)))
    play.link("b", on(1, Queue.DeclareOk("new.q", 0, 0)))
    play.skip()
    play.do(lambda: play.session.client_lost("gone"))
    play.skip()
    play.link("b", on(1, Channel.CloseOk()))
    play.expect_actions("DeleteQueue b new.q")


def test_a_queue_that_exists_is_declared_passively_under_the_upstreams_name(opened: Opening) -> None:
    play = opened("a", "b", rewriters={"b": Prefixed()}, probe="b")
    play.client(on(1, Queue.Declare(queue="q", durable=True)))
    play.skip()
    play.link("b", on(1, Channel.FlowOk(True)))
    play.skip()
    play.do(lambda: play.session.queue_probed(1, exists=True))
    play.expect_link("a", on(1, Queue.Declare(queue="q", durable=True)))
    play.expect_link("b", on(1, Queue.Declare(queue="new.q", passive=True)))
    play.skip()


# Names that cannot be

LONG = "b" * 252


@pytest.mark.parametrize(
    "request_",
    [
        Queue.Declare(queue=LONG),
        Queue.Purge(queue=LONG),
        Basic.Consume(queue=LONG, consumer_tag="c"),
        Basic.Get(queue=LONG),
    ],
    ids=name_of,
)
def test_a_name_that_one_upstream_cannot_have_reaches_none(request_: base.Frame, play: Playbook) -> None:
    play.client(on(1, request_), to_queue("a", b"late"))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    play.expect_log(LogId.CHANNEL_ERROR_SENT)
    play.all_links(on(1, Channel.CloseOk()))
    (raw,) = play.taken("client")
    close = decoded(raw)
    assert isinstance(close, Channel.Close)
    assert close.reply_code == 406
    assert raw[-5:-1] == request_.index.to_bytes(4, "big")
    assert close.reply_text.startswith("PRECONDITION_FAILED - upstream 'b' renames queues")
    play.client(on(1, Channel.CloseOk()))
    play.open_channel(1)


@pytest.mark.parametrize("routing", [Routes, HeaderRoutes])
def test_a_publish_for_such_a_queue_is_refused_and_its_content_swallowed(
    routing: type[Routes], opened: Opening
) -> None:
    play = opened("a", "b", rewriters={"b": Prefixed()}, routing=routing())
    confirm(play)
    play.client(to_queue(LONG, b"one"), publish(1, "k", b"late"))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    play.all_links(on(1, Channel.CloseOk()))
    (raw,) = play.taken("client")
    close = decoded(raw)
    assert isinstance(close, Channel.Close)
    assert close.reply_code == 406
    assert raw[-5:-1] == Basic.Publish.index.to_bytes(4, "big")


def test_a_publish_to_another_upstream_may_have_such_a_name(play: Playbook) -> None:
    key = "a" * 255
    for _ in range(2):
        play.client(to_queue(key, b"one"))
        play.expect_link("a", to_queue(key, b"one"))
