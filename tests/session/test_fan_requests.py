"""Requests of a fan session that go to all links: one answer when all have answered, counts summed, order kept.

Covered: exchanges, queues, bindings, qos, access to what does not exist, nowait, rewriting, pipelining, wrong replies.
Not covered here: consumers (test_fan_consumers.py), recover and transactions (test_fan_tx.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import base, commands

from tests.session.conftest import Opening
from tests.session.fans import answered, asked, confirm, consume, transact
from tests.session.frames import (
    Basic,
    Channel,
    Confirm,
    Exchange,
    Queue,
    Tx,
    channel_close,
    connection_close,
    decoded,
    deliver,
    on,
    publish,
)
from tests.session.playbook import Playbook
from tests.session.test_plain import Rewriter
from trabbits.interfaces import QueueAttributes
from trabbits.log_ids import LogId
from trabbits.wire.encode import frame

SPREAD: list[tuple[base.Frame, base.Frame]] = [
    (Exchange.Declare(exchange="x", durable=True, arguments={"alternate-exchange": "y"}), Exchange.DeclareOk()),
    (Exchange.Declare(exchange="x", passive=True), Exchange.DeclareOk()),
    (Exchange.Delete(exchange="x", if_unused=True), Exchange.DeleteOk()),
    (Exchange.Bind(destination="y", source="x", routing_key="k"), Exchange.BindOk()),
    (Exchange.Unbind(destination="y", source="x", routing_key="k"), Exchange.UnbindOk()),
    (Queue.Declare(queue="q", durable=True, arguments={"x-max-length": 7}), Queue.DeclareOk("q", 0, 0)),
    (Queue.Bind(queue="q", exchange="x", routing_key="k", arguments={"a": "b"}), Queue.BindOk()),
    (Queue.Unbind(queue="q", exchange="x", routing_key="k"), Queue.UnbindOk()),
    (Basic.Qos(prefetch_count=5), Basic.QosOk()),
    (Basic.Qos(prefetch_count=5, global_=True), Basic.QosOk()),
    (Confirm.Select(), Confirm.SelectOk()),
    (Tx.Select(), Tx.SelectOk()),
    (Tx.Commit(), Tx.CommitOk()),
    (Tx.Rollback(), Tx.RollbackOk()),
]


def name_of(value: object) -> str:
    return value.name if isinstance(value, base.Frame) else ""


@pytest.mark.parametrize(("request_", "reply"), SPREAD, ids=name_of)
def test_one_reply_when_all_have_answered(request_: base.Frame, reply: base.Frame, opened: Opening) -> None:
    play = opened("a", "b", "c")
    asked(play, request_)
    answered(play, reply)


@pytest.mark.parametrize(("request_", "reply"), SPREAD, ids=name_of)
def test_the_order_of_answers_does_not_matter(request_: base.Frame, reply: base.Frame, opened: Opening) -> None:
    """Two of the same kind under way: each link answers in its own time."""
    play = opened("a", "b")
    asked(play, request_)
    asked(play, request_)
    play.link("b", on(1, reply, reply))
    play.link("a", on(1, reply))
    play.expect_client(on(1, reply))
    play.link("a", on(1, reply))
    play.expect_client(on(1, reply))


COUNTED: list[tuple[base.Frame, list[base.Frame], base.Frame]] = [
    (
        Queue.Declare(queue="q"),
        [Queue.DeclareOk("q", 1, 2), Queue.DeclareOk("q", 10, 20), Queue.DeclareOk("q", 100, 200)],
        Queue.DeclareOk("q", 111, 222),
    ),
    (Queue.Purge(queue="q"), [Queue.PurgeOk(1), Queue.PurgeOk(0), Queue.PurgeOk(3)], Queue.PurgeOk(4)),
    (Queue.Delete(queue="q"), [Queue.DeleteOk(0), Queue.DeleteOk(0), Queue.DeleteOk(9)], Queue.DeleteOk(9)),
    (
        Queue.Purge(queue="q"),
        [Queue.PurgeOk(2**32 - 1), Queue.PurgeOk(2**32 - 1), Queue.PurgeOk(0)],
        Queue.PurgeOk(2**32 - 1),
    ),
    (
        Queue.Declare(queue="q"),
        [Queue.DeclareOk("q", 2**32 - 1, 0), Queue.DeclareOk("q", 1, 0), Queue.DeclareOk("q", 0, 1)],
        Queue.DeclareOk("q", 2**32 - 1, 1),
    ),
]


@pytest.mark.parametrize(("request_", "replies", "reply"), COUNTED, ids=name_of)
def test_counts_are_summed(request_: base.Frame, replies: list[base.Frame], reply: base.Frame, opened: Opening) -> None:
    """As far as the field can hold them."""
    play = opened("a", "b", "c")
    asked(play, request_)
    for name, each in zip("cab", replies, strict=True):
        play.link(name, on(1, each))
    play.expect_client(on(1, reply))


def test_replies_keep_the_order_of_the_requests(opened: Opening) -> None:
    """Each link answers in order, so whoever is last answers both."""
    play = opened("a", "b")
    asked(play, Queue.Purge(queue="q"))
    asked(play, Exchange.Declare(exchange="x"))
    play.link("a", on(1, Queue.PurgeOk(1), Exchange.DeclareOk()))
    play.link("b", on(1, Queue.PurgeOk(1), Exchange.DeclareOk()))
    play.expect_client(on(1, Queue.PurgeOk(2), Exchange.DeclareOk()))


def test_channels_do_not_wait_for_each_other(opened: Opening) -> None:
    play = opened("a", "b")
    play.open_channel(2)
    asked(play, Queue.Purge(queue="q"), channel=1)
    asked(play, Queue.Purge(queue="q"), channel=2)
    play.all_links(on(2, Queue.PurgeOk(1)))
    play.expect_client(on(2, Queue.PurgeOk(2)))
    play.all_links(on(1, Queue.PurgeOk(1)))
    play.expect_client(on(1, Queue.PurgeOk(2)))


NOWAIT: list[base.Frame] = [
    Exchange.Declare(exchange="x", nowait=True),
    Exchange.Delete(exchange="x", nowait=True),
    Exchange.Bind(destination="y", source="x", nowait=True),
    Exchange.Unbind(destination="y", source="x", nowait=True),
    Queue.Declare(queue="q", nowait=True),
    Queue.Bind(queue="q", exchange="x", routing_key="k", nowait=True),
    Queue.Purge(queue="q", nowait=True),
    Queue.Delete(queue="q", nowait=True),
    Confirm.Select(nowait=True),
]


@pytest.mark.parametrize("request_", NOWAIT, ids=name_of)
def test_nowait_is_honoured(request_: base.Frame, opened: Opening) -> None:
    """Nothing is waited for: what is asked next is what is answered next."""
    play = opened("a", "b")
    asked(play, request_)
    asked(play, Queue.Purge(queue="q"))
    play.link("a", on(1, Queue.PurgeOk(1)))
    play.link("b", on(1, Queue.PurgeOk(2)))
    play.expect_client(on(1, Queue.PurgeOk(3)))


@pytest.mark.parametrize(
    "request_", [Queue.Declare(queue="q", passive=True), Exchange.Delete(exchange="x", nowait=True)], ids=name_of
)
def test_an_error_closes_the_channel(request_: base.Frame, opened: Opening) -> None:
    play = opened("a", "b")
    asked(play, request_)
    play.link("b", channel_close(1, 404, "NOT_FOUND - no", type(request_)))
    play.skip()
    play.link("a", on(1, Queue.DeclareOk("q", 0, 0)), on(1, Channel.CloseOk()))
    play.expect_client(channel_close(1, 404, "NOT_FOUND - no", type(request_)))
    play.client(on(1, Channel.CloseOk()))


# Queues


def declares(play: Playbook) -> dict[str, commands.Queue.Declare]:
    """The declare that each link got."""
    found = {}
    for name in play.links:
        (octets,) = play.taken(name)
        method = decoded(octets)
        assert isinstance(method, commands.Queue.Declare)
        found[name] = method
    return found


def test_each_upstream_has_its_own_rewriting(opened: Opening) -> None:
    rewriters = {
        "a": Rewriter(QueueAttributes(durable=True, arguments={"x-queue-type": "quorum"})),
        "b": Rewriter(QueueAttributes(exclusive=False)),
    }
    play = opened("a", "b", "c", rewriters=rewriters)
    play.client(on(1, Queue.Declare(queue="q", exclusive=True, arguments={"x": 1})))
    found = declares(play)
    shown = {name: (each.durable, each.exclusive, each.arguments) for name, each in found.items()}
    assert shown == {
        "a": (True, True, {"x": 1, "x-queue-type": "quorum"}),
        "b": (False, False, {"x": 1}),
        "c": (False, True, {"x": 1}),
    }
    answered(play, Queue.DeclareOk("q", 0, 0))


def test_a_server_named_queue_has_the_same_name_everywhere(opened: Opening) -> None:
    """It is exclusive and nobody rewrites it; what asks for the last queue means it, everywhere."""
    play = opened("a", "b", rewriters={"a": Rewriter(QueueAttributes(exclusive=False))})
    play.client(on(1, Queue.Declare(queue="")))
    found = declares(play)
    names = {each.queue for each in found.values()}
    assert len(names) == 1
    assert names.pop().startswith("trabbits.gen-")
    assert all(each.exclusive for each in found.values())
    answered(play, Queue.DeclareOk(found["a"].queue, 0, 0))
    asked(play, Queue.Bind(queue="", exchange="x", routing_key="k"))


def test_a_reply_key_is_looked_for_where_it_was_made(opened: Opening) -> None:
    """A passive declare of a direct reply-to key asks whether the requester is still there."""
    play = opened("a", "b")
    key = "amq.rabbitmq.reply-to.g1gCUk.x"
    asked(play, Queue.Declare(queue=key, passive=True))
    play.link("a", on(1, Queue.DeclareOk(key, 0, 1)))
    play.link("b", on(1, Queue.DeclareOk(key, 0, 0)))
    play.expect_client(on(1, Queue.DeclareOk(key, 0, 1)))
    key = "amq.rabbitmq.reply-to.g1gCUk.y"
    play.settings.reply_keys.note(bytes([len(key)]) + key.encode(), "b")
    play.client(on(1, Queue.Declare(queue=key, passive=True)))
    play.expect_link("b", on(1, Queue.Declare(queue=key, passive=True)))
    play.link("b", on(1, Queue.DeclareOk(key, 0, 1)))
    play.expect_client(on(1, Queue.DeclareOk(key, 0, 1)))


# What cannot be


def test_a_request_of_amqp_0_8_is_spread_as_well(opened: Opening) -> None:
    play = opened("a", "b")
    request, reply = frame(1, 1, b"\0\x1e\0\x0a\0\0"), frame(1, 1, b"\0\x1e\0\x0b\0\x01")
    play.client(request)
    play.expect_links(request)
    play.link("a", reply)
    play.link("b", reply)
    play.expect_client(reply)


@pytest.mark.parametrize(("class_id", "method_id", "name"), [(60, 200, "basic.credit")])
def test_what_cannot_be_spread_is_refused(class_id: int, method_id: int, name: str, opened: Opening) -> None:
    play = opened("a", "b")
    play.client(frame(1, 1, class_id.to_bytes(2, "big") + method_id.to_bytes(2, "big")))
    (close,) = play.taken("client")
    method: Any = decoded(close)
    assert (method.reply_code, method.class_id, method.method_id) == (540, class_id, method_id)
    assert method.reply_text == f"NOT_IMPLEMENTED - {name} is not possible over several upstreams"
    play.skip()


@pytest.mark.parametrize(
    "reply", [Queue.PurgeOk(1), Exchange.DeclareOk(), Basic.ConsumeOk("c"), Basic.CancelOk("c"), Basic.QosOk()]
)
def test_a_reply_that_nobody_asked_for(reply: base.Frame, opened: Opening) -> None:
    """A link that is out of step is of no use: the client is told that the upstream is lost."""
    play = opened("a", "b")
    asked(play, Queue.Bind(queue="q", exchange="x", routing_key="k"))
    play.link("b", on(1, reply))
    (close,) = play.taken("client")
    method: Any = decoded(close)
    assert method.reply_code == 320
    assert "upstream 'b' (b.example:5672) broke the protocol" in method.reply_text
    assert "that nobody asked for on channel 1" in method.reply_text
    play.expect_actions(
        "CancelTimer handshake", "CancelTimer heartbeat", "CloseLink a", "CloseLink b", "SetTimer close 1"
    )
    play.expect_log(LogId.LINK_VIOLATION, LogId.CLIENT_CLOSED)


def test_a_request_does_not_break_into_a_publish(opened: Opening) -> None:
    """The scanner sees to it: a method in the middle of content is the client's mistake."""
    play = opened("a", "b")
    play.client(publish(1, "a", b"x")[:-9], on(1, Queue.Purge(queue="q")))
    play.taken("a")
    text = "UNEXPECTED_FRAME - expected content body on channel 1, got a method frame instead"
    play.expect_client(connection_close(505, text))
    play.skip()


def test_confirm_and_tx_are_told_apart_by_the_upstreams(opened: Opening) -> None:
    """RabbitMQ's 406 reaches the client."""
    play = opened("a", "b")
    confirm(play)
    asked(play, Tx.Select())
    play.link("a", channel_close(1, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", Tx.Select))
    play.skip()
    play.open_channel(2)
    transact(play, channel=2)
    asked(play, Confirm.Select(), channel=2)


def test_a_tag_in_use_is_refused(opened: Opening) -> None:
    """With RabbitMQ's 530, and no upstream is asked.

    One that has just cancelled the consumer, of which we do not know yet, would take the new one: its deliveries went
    back and came again without end once all cancels had come.
    """
    play = opened("a", "b")
    consume(play)
    play.link("a", on(1, Basic.Cancel("c")))
    play.client(on(1, Basic.Consume(queue="q", consumer_tag="c")))
    text = "NOT_ALLOWED - attempt to reuse consumer tag 'c'"
    play.expect_client(connection_close(530, text, Basic.Consume))
    play.expect_log(LogId.CLIENT_VIOLATION, LogId.CLIENT_CLOSED)
    play.skip()


def test_a_tag_is_free_when_every_upstream_has_cancelled_its_consumer(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    play.link("a", on(1, Basic.Cancel("c")))
    play.link("b", on(1, Basic.Cancel("c")))
    play.expect_client(on(1, Basic.Cancel("c")))
    consume(play)
    play.link("a", deliver(1, "c", 1, b"new"))
    play.expect_client(deliver(1, "c", 1, b"new"))
