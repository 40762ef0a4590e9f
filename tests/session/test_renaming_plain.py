"""A plain session whose upstream calls queues differently: every method that names one, up and down.

Covered: names, accounts of what is under way, names that cannot be, channels that trabbits closes.
Not covered: which field of a method is meant (tests/wire), what a renamer is asked (test_renaming.py).
"""

from __future__ import annotations

import pytest
from pamqp import base, commands

from tests.session.conftest import Opening
from tests.session.frames import (
    Basic,
    Channel,
    Confirm,
    Queue,
    channel_close,
    connection_close,
    content,
    decoded,
    deliver,
    get_ok,
    on,
    publish,
    returned,
    split,
)
from tests.session.playbook import Playbook
from tests.session.test_renaming import Muddled, Prefixed
from trabbits.interfaces import QueueAttributes, QueueDeclare
from trabbits.log_ids import LogId

pytestmark = pytest.mark.filterwarnings("ignore:This command is deprecated")


def name_of(value: base.Frame) -> str:
    return value.name


def renaming(opened: Opening, **options: str) -> Playbook:
    play = opened("a", rewriters={"a": Prefixed()}, **options)
    play.skip()
    return play


#: What the client sends, and what the upstream gets.
UP: list[tuple[base.Frame, base.Frame]] = [
    (Queue.Declare(queue="q", durable=True), Queue.Declare(queue="new.q", durable=True)),
    (Queue.Declare(queue="q", passive=True), Queue.Declare(queue="new.q", passive=True)),
    (
        Queue.Declare(queue="q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "d"}),
        Queue.Declare(queue="new.q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "new.d"}),
    ),
    (
        Queue.Bind(queue="q", exchange="x", routing_key="q"),
        Queue.Bind(queue="new.q", exchange="x", routing_key="q"),
    ),
    (
        Queue.Unbind(queue="q", exchange="x", routing_key="q"),
        Queue.Unbind(queue="new.q", exchange="x", routing_key="q"),
    ),
    (Queue.Purge(queue="q"), Queue.Purge(queue="new.q")),
    (Queue.Delete(queue="q", if_empty=True), Queue.Delete(queue="new.q", if_empty=True)),
    (Basic.Consume(queue="q", consumer_tag="q"), Basic.Consume(queue="new.q", consumer_tag="q")),
    (Basic.Get(queue="q", no_ack=True), Basic.Get(queue="new.q", no_ack=True)),
    (Basic.Get(queue=""), Basic.Get(queue="")),
    (Queue.Purge(queue="amq.gen-x"), Queue.Purge(queue="amq.gen-x")),
    (Queue.Purge(queue="trabbits.gen-x"), Queue.Purge(queue="trabbits.gen-x")),
    (Basic.Consume(queue="amq.rabbitmq.reply-to"), Basic.Consume(queue="amq.rabbitmq.reply-to")),
]
#: What the upstream sends, and what the client gets.
DOWN: list[tuple[bytes, bytes]] = [
    (on(1, Queue.DeclareOk("new.q", 1, 2)), on(1, Queue.DeclareOk("q", 1, 2))),
    (
        on(1, Basic.Deliver("c", 1, False, "", "new.q")) + content(1, b"one"),
        on(1, Basic.Deliver("c", 1, False, "", "q")) + content(1, b"one"),
    ),
    (
        on(1, Basic.GetOk(1, False, "", "new.q", 0)) + content(1, b"one"),
        on(1, Basic.GetOk(1, False, "", "q", 0)) + content(1, b"one"),
    ),
    (returned(1, "new.q", b"one", exchange=""), returned(1, "q", b"one", exchange="")),
    (returned(1, "new.q", b"one"), returned(1, "new.q", b"one")),
    (deliver(1, "new.c", 1, b"one"), deliver(1, "new.c", 1, b"one")),
    (get_ok(1, 1, b"one", 0), get_ok(1, 1, b"one", 0)),
    (
        channel_close(1, 404, "NOT_FOUND - no queue 'new.q' in vhost '/'", Queue.Declare),
        channel_close(1, 404, "NOT_FOUND - no queue 'q' in vhost '/'", Queue.Declare),
    ),
]


@pytest.mark.parametrize(("sent", "got"), UP, ids=name_of)
def test_the_upstream_gets_its_name(sent: base.Frame, got: base.Frame, opened: Opening) -> None:
    play = renaming(opened)
    octets = on(1, sent)
    play.client(octets[:15])
    play.client(octets[15:])
    play.expect_link("a", on(1, got))


@pytest.mark.parametrize(("sent", "got"), DOWN)
def test_the_client_gets_its_name(sent: bytes, got: bytes, opened: Opening) -> None:
    play = renaming(opened)
    play.link("a", sent[:15])
    play.link("a", sent[15:], sent)
    play.expect_client(got, got)


def test_publishes_to_the_default_exchange_get_the_upstreams_key(opened: Opening) -> None:
    """In the middle of others, in order, with content cut anywhere."""
    play = renaming(opened)
    named, other = publish(1, "q", b"one", exchange="", mandatory=True), publish(1, "q", b"two")
    renamed = publish(1, "new.q", b"one", exchange="", mandatory=True)
    play.client(other, named, other, named[:10])
    play.expect_link("a", other, renamed, other)
    play.client(named[10:-3])
    method, header, body = split(renamed)
    play.expect_link("a", method, header)
    play.client(named[-3:])
    play.expect_link("a", body)


def test_a_chunk_that_names_no_queue_passes_uncopied(opened: Opening) -> None:
    play = renaming(opened)
    chunk = deliver(1, "c", 1, b"one") + deliver(1, "c", 2, b"two")
    play.session.link_received(play.links["a"], chunk)
    assert play.session.to_client[0] is chunk
    play.session.to_client.clear()


def test_server_named_queues_are_trabbits_own(opened: Opening) -> None:
    play = renaming(opened)
    play.client(on(1, Queue.Declare(queue="")))
    (declare,) = play.taken("a")
    assert b"trabbits.gen-" in declare
    assert b"new." not in declare


def test_rewriters_see_the_clients_name(opened: Opening) -> None:
    class Rewriting(Prefixed):
        def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
            assert declare.queue == "q"
            return QueueAttributes(durable=True)

    play = opened("a", rewriters={"a": Rewriting()})
    play.client(on(1, Queue.Declare(queue="q")))
    play.expect_link("a", on(1, Queue.Declare(queue="new.q", durable=True)))


def test_the_broker_is_not_asked_for_the_key_of_a_binding(opened: Opening) -> None:
    play = renaming(opened)
    play.client(on(1, Queue.Declare(queue="q"), Queue.Bind(queue="", exchange="x", routing_key="")))
    play.expect_link("a", on(1, Queue.Declare(queue="new.q"), Queue.Bind(queue="", exchange="x", routing_key="q")))


def test_what_is_under_way_is_counted(opened: Opening) -> None:
    """As on the common way: publishes without confirm, deliveries without acknowledgement."""
    play = renaming(opened)
    link = play.links["a"]
    play.client(on(1, Confirm.Select(), Basic.Consume(queue="q", consumer_tag="c"), Basic.Get(queue="q")))
    play.skip()
    play.client(publish(1, "q", b"one", exchange=""), publish(1, "q", b"two"))
    play.skip()
    assert play.session.unconfirmed(link) == 2
    named = on(1, Basic.Deliver("c", 1, False, "", "new.q")) + content(1, b"one")
    got = on(1, Basic.GetOk(2, False, "", "new.q", 0)) + content(1, b"two")
    play.link("a", on(1, Confirm.SelectOk(), Basic.ConsumeOk("c")), named, got, deliver(1, "c", 3, b"three"))
    play.skip()
    assert play.session.unacknowledged(link) == 3
    play.client(on(1, Basic.Ack(3, True)))
    play.skip()
    play.link("a", on(1, Basic.Ack(2, True)))
    play.skip()
    assert play.session.unacknowledged(link) == play.session.unconfirmed(link) == 0
    assert play.session.observation.deliveries() == {"a": 3}
    assert play.session.observation.publishes() == {"a": 2}


def test_onlookers_see_what_each_side_sees(opened: Opening) -> None:
    play = renaming(opened)
    play.client(publish(1, "q", b"one", exchange=""))
    play.skip()
    play.link("a", returned(1, "new.q", b"one", exchange=""))
    play.skip()
    seen = [(event.direction, event.arguments["routing_key"]) for event in play.session.observation.events()[-4:]]
    assert seen == [("c→t", "q"), ("t→u", "new.q"), ("u→t", "new.q"), ("t→c", "q")]


def test_an_upstream_that_closes_the_connection_names_the_clients_queue(opened: Opening) -> None:
    play = renaming(opened)
    text = "INTERNAL_ERROR - queue '{}' in vhost '/' is gone"
    play.do(lambda: play.session.link_closed(play.links["a"], 541, text.format("new.q"), 0, 0))
    play.expect_client(connection_close(541, text.format("q") + " (upstream 'a')"))
    play.skip()


def test_trabbits_asks_for_the_upstreams_name(opened: Opening) -> None:
    """Whether it exists (try_passive), and to delete it (emulate_auto_delete)."""

    class Lasting(Prefixed):
        def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
            return QueueAttributes(auto_delete=False)

    play = opened("a", rewriters={"a": Lasting()}, probe="a", emulate="a")
    play.client(on(1, Queue.Declare(queue="q", auto_delete=True)))
    play.expect_link("a", on(1, Channel.Flow(True)))
    play.expect_actions("SetTimer probe 5")
    play.link("a", on(1, Channel.FlowOk(True)))
    play.expect_actions("ProbeQueue a new.q 1")
    play.do(lambda: play.session.queue_probed(1, exists=False))
    play.expect_link("a", on(1, Queue.Declare(queue="new.q")))
    play.skip()
    play.link("a", on(1, Queue.DeclareOk("new.q", 0, 0)))
    play.expect_client(on(1, Queue.DeclareOk("q", 0, 0)))
    play.do(lambda: play.session.client_lost("gone"))
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_actions("DeleteQueue a new.q")


def test_a_queue_that_the_client_deletes_is_not_deleted_again(opened: Opening) -> None:
    class Lasting(Prefixed):
        def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
            return QueueAttributes(auto_delete=False)

    play = opened("a", rewriters={"a": Lasting()}, emulate="a")
    play.client(on(1, Queue.Declare(queue="q", auto_delete=True)))
    play.skip()
    play.link("a", on(1, Queue.DeclareOk("new.q", 0, 0)))
    play.skip()
    play.client(on(1, Queue.Delete(queue="")))
    play.skip()
    play.link("a", on(1, Queue.DeleteOk(0)))
    play.skip()
    play.do(lambda: play.session.client_lost("gone"))
    assert "CloseLink a" in play.taken_actions()
    play.skip()


# Names that cannot be

LONG = "n" * 252
GOODBYE = channel_close(1, 200, "CHANNEL_CLOSED - error of the client")


REFUSED: list[bytes] = [
    on(1, Queue.Declare(queue=LONG)),
    on(1, Queue.Bind(queue=LONG, exchange="x", routing_key="k")),
    on(1, Basic.Consume(queue=LONG, consumer_tag="c")),
    on(1, Basic.Get(queue=LONG)),
    publish(1, LONG, b"one", exchange=""),
    on(1, Queue.Declare(queue="q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": LONG})),
]


@pytest.mark.parametrize("octets", REFUSED)
def test_a_name_that_cannot_be_closes_the_channel(octets: bytes, opened: Opening) -> None:
    """The client hears of it when the upstream's channel is closed; what it sent meanwhile goes nowhere."""
    play = renaming(opened)
    play.client(octets, publish(1, "k", b"late"), on(1, Queue.Purge(queue="q")))
    play.expect_link("a", GOODBYE)
    play.expect_log(LogId.CHANNEL_ERROR_SENT)
    play.link("a", deliver(1, "c", 1, b"late"), on(1, Basic.Ack(1)), on(1, Channel.CloseOk()))
    (close,) = play.taken("client")
    method = decoded(close)
    assert isinstance(method, Channel.Close)
    assert method.reply_code == 406
    assert close[-5:-1] == octets[7:11]
    assert method.reply_text.startswith("PRECONDITION_FAILED - upstream 'a' renames queues, and its name for queue 'n")
    play.client(publish(1, "k", b"late"), on(1, Channel.CloseOk()))
    play.open_channel(1)
    play.client(publish(1, "k", b"again"))
    play.expect_link("a", publish(1, "k", b"again"))


def test_the_reason_is_told(opened: Opening) -> None:
    play = opened("a", rewriters={"a": Muddled()})
    play.client(on(1, Queue.Purge(queue="q")))
    play.expect_link("a", GOODBYE)
    assert play.session.channels_at(play.links["a"]) == [(1, True)]
    play.link("a", on(1, Channel.CloseOk()))
    reason = "upstream 'a' renames queues, and its name 'new.q' for queue 'q' means queue 'something'"
    play.expect_client(channel_close(1, 406, f"PRECONDITION_FAILED - {reason}", Queue.Purge))
    assert play.session.channels_at(play.links["a"]) == []
    play.client(on(1, Channel.CloseOk()))


def test_a_client_that_closes_meanwhile_gets_its_answer(opened: Opening) -> None:
    play = renaming(opened)
    play.client(on(1, Queue.Purge(queue=LONG)), channel_close(1, 200, "bye"))
    play.expect_link("a", GOODBYE)
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_client(on(1, Channel.CloseOk()))
    play.open_channel(1)


def test_both_sides_may_close_at_once(opened: Opening) -> None:
    """The upstream while ours is on its way, the client before it has read ours."""
    play = renaming(opened)
    play.client(on(1, Queue.Purge(queue=LONG)))
    play.expect_link("a", GOODBYE)
    play.link("a", channel_close(1, 404, "NOT_FOUND - gone"))
    play.expect_link("a", on(1, Channel.CloseOk()))
    play.link("a", on(1, Channel.CloseOk()))
    assert len(play.taken("client")) == 1
    play.client(channel_close(1, 200, "bye"))
    play.expect_client(on(1, Channel.CloseOk()))
    play.client(on(1, Channel.CloseOk()))
    play.open_channel(1)


def test_a_message_under_way_to_the_client_is_completed_first(opened: Opening) -> None:
    play = renaming(opened)
    first, *rest = split(deliver(1, "c", 1, b"one"))
    play.link("a", first)
    play.expect_client(first)
    play.client(on(1, Queue.Purge(queue=LONG)))
    play.expect_link("a", GOODBYE)
    play.link("a", *rest, on(1, Channel.CloseOk()))
    *before, close = play.taken("client")
    assert before == rest
    assert close[7:11] == b"\0\x14\0\x28"


def test_on_a_channel_that_is_closing_nobody_minds_a_name(opened: Opening) -> None:
    play = renaming(opened)
    play.client(channel_close(1, 200, "bye"), on(1, Queue.Purge(queue=LONG)))
    play.expect_link("a", channel_close(1, 200, "bye"))
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_client(on(1, Channel.CloseOk()))


def test_a_channel_that_is_not_open_is_that_mistake_first(opened: Opening) -> None:
    play = renaming(opened)
    play.client(on(2, Queue.Purge(queue=LONG)))
    text = "CHANNEL_ERROR - expected 'channel.open', got queue.purge on channel 2 that is not open"
    play.expect_client(connection_close(504, text, commands.Queue.Purge))
    play.skip()


def test_a_renamer_that_raises_ends_the_session_only(opened: Opening) -> None:
    class Broken(Prefixed):
        def renamed(self, queue: str) -> str:
            raise LookupError

    play = opened("a", rewriters={"a": Broken()})
    play.client(on(1, Queue.Purge(queue="q")))
    text = "INTERNAL_ERROR - rewriter 'Broken' of upstream 'a' failed: it raised LookupError"
    play.expect_client(connection_close(541, text))
    play.expect_log(LogId.REWRITER_FAILED, LogId.CLIENT_CLOSED)
    play.skip()
