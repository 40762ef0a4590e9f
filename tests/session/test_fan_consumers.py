"""Consumers of a fan session: one tag on all links, from consume to whoever cancels; deliveries on their way.

Covered: consume-ok and what comes before it, cancel from the client, from one upstream and from all, tags used again,
deliveries of two links in pieces on one channel.
Not covered here: prefetch windows (test_fan_windows.py), acknowledgements (test_fan_settle.py).
"""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, consume, prefetch, reject
from tests.session.frames import Basic, Channel, Queue, content, decoded, deliver, get_ok, on, split
from trabbits.log_ids import LogId
from trabbits.wire.encode import frame

CONSUME = Basic.Consume(queue="q", consumer_tag="c")
CONSUME_NO_ACK = Basic.Consume(queue="q", consumer_tag="c", no_ack=True)
CONSUME_OK = on(1, Basic.ConsumeOk("c"))
CANCEL = Basic.Cancel("c")
CANCEL_OK = on(1, Basic.CancelOk("c"))


def message(tag: int, octets: bytes = b"x", consumer: str = "c", channel: int = 1) -> bytes:
    """A delivery with a body."""
    return deliver(channel, consumer, tag, octets)


# Consuming


def test_deliveries_have_one_increasing_sequence(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    play.link("a", message(1, b"one"), message(2, b"two"))
    play.expect_client(message(1, b"one"), message(2, b"two"))
    play.link("b", message(1, b"three"))
    play.expect_client(message(3, b"three"))
    play.link("a", message(3, b"four"))
    play.expect_client(message(4, b"four"))


def test_the_sequence_is_per_channel(opened: Opening) -> None:
    play = opened("a", "b")
    play.open_channel(2)
    consume(play)
    consume(play, channel=2)
    play.link("a", message(1), message(1, channel=2))
    play.expect_client(message(1), message(1, channel=2))
    play.link("b", message(1, channel=2), message(1))
    play.expect_client(message(2, channel=2), message(2))


def test_a_consumer_without_a_tag_gets_ours(opened: Opening) -> None:
    """The same everywhere; an argument table keeps its octets."""
    play = opened("a", "b")
    play.client(frame(1, 1, b"\0\x3c\0\x14\0\0\x01q\0\x02\0\0\0\x05\x01xs\0\x07"))
    sent = {name: play.taken(name) for name in ("a", "b")}
    assert sent["a"] == sent["b"]
    (octets,) = sent["a"]
    assert octets.endswith(b"\x02\0\0\0\x05\x01xs\0\x07\xce")
    tag = octets[16 : 16 + octets[15]].decode()
    assert tag.startswith("trabbits.ctag-")
    answered(play, Basic.ConsumeOk(tag))
    play.link("b", message(1, consumer=tag))
    play.expect_client(message(1, consumer=tag))


def test_no_two_tags_of_ours_are_the_same(opened: Opening) -> None:
    play = opened("a", "b")
    tags = set()
    for _ in range(2):
        play.client(on(1, Basic.Consume(queue="q")))
        method = decoded(play.taken("a")[0])
        assert isinstance(method, Basic.Consume)
        tags.add(method.consumer_tag)
        play.skip()
    assert len(tags) == 2


def test_nothing_is_delivered_before_consume_ok(opened: Opening) -> None:
    """RabbitMQ does not; clients would not know what to do with it."""
    play = opened("a", "b")
    asked(play, CONSUME)
    play.link("a", CONSUME_OK, message(1, b"one"), message(2, b"two")[:-3])
    play.link("b", CONSUME_OK, message(1, b"three"))
    play.expect_client(CONSUME_OK, message(1, b"one"))
    play.link("a", message(2, b"two")[-3:])
    play.expect_client(message(2, b"two"), message(3, b"three"))


def test_without_waiting_deliveries_may_come_at_once(opened: Opening) -> None:
    play = opened("a", "b")
    asked(play, Basic.Consume(queue="q", consumer_tag="c", nowait=True))
    play.link("a", message(1))
    play.expect_client(message(1))


def test_an_empty_message(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    play.link("a", message(1, b""), message(2, b"")[:-5])
    play.expect_client(message(1, b""), split(message(2))[0])
    play.link("a", message(2, b"")[-5:])
    play.expect_client(content(1))


# Deliveries of two links at once


def test_frames_of_a_message_stay_together(opened: Opening) -> None:
    """While a message of one link is under way, what the others bring for the channel waits, in order."""
    play = opened("a", "b")
    consume(play)
    one, two, three = (split(message(tag, body)) for tag, body in ((1, b"one"), (2, b"two"), (3, b"three")))
    link_two, link_three = split(message(1, b"two")), split(message(2, b"three"))
    play.link("a", one[0])
    play.expect_client(one[0])
    play.link("b", *link_two, link_three[0])
    play.link("a", *one[1:])
    play.expect_client(*one[1:], *two, three[0])
    play.link("a", *split(message(2, b"four")))
    play.link("b", link_three[1])
    play.expect_client(three[1])
    play.link("b", link_three[2])
    play.expect_client(three[2], message(4, b"four"))


@pytest.mark.parametrize("order", sorted(set(permutations("aaaabbbb"))))
def test_any_interleaving_of_two_messages(order: tuple[str, ...], opened: Opening) -> None:
    """Large ones, in pieces: nothing is lost, nothing mixed; the harness watches every frame."""
    play = opened("a", "b")
    consume(play)
    left = {
        name: split(on(1, Basic.Deliver("c", 1, False, "x", "k")) + content(1, name.encode() * 5, 3)) for name in "ab"
    }
    for name in order:
        play.link(name, left[name].pop(0))
        play.skip_client()
    bodies = [octets for _, _, octets in play.messages("client")]
    assert sorted(bodies) == [b"aaaaa", b"bbbbb"]
    tags = [getattr(method, "delivery_tag", 0) for _, method, _ in play.messages("client")]
    assert tags == [1, 2]


def test_channels_do_not_wait_for_each_other(opened: Opening) -> None:
    play = opened("a", "b")
    play.open_channel(2)
    consume(play)
    consume(play, channel=2)
    play.link("a", split(message(1))[0])
    play.expect_client(split(message(1))[0])
    play.link("b", message(1, channel=2))
    play.expect_client(message(1, channel=2))


def test_replies_wait_for_the_end_of_a_message(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    asked(play, Queue.Purge(queue="q"))
    frames = split(message(1))
    play.link("b", on(1, Queue.PurgeOk(1)))
    play.link("a", on(1, Queue.PurgeOk(1)), frames[0])
    play.expect_client(on(1, Queue.PurgeOk(2)), frames[0])
    asked(play, Basic.Qos(prefetch_count=9))
    play.link("b", on(1, Basic.QosOk()))
    play.link("a", *frames[1:], on(1, Basic.QosOk()))
    play.expect_client(*frames[1:], on(1, Basic.QosOk()))


def test_a_chain_of_messages_in_pieces(opened: Opening) -> None:
    """Three links, each in the middle of a message: one after the other gets its turn."""
    play = opened("a", "b", "c")
    consume(play)
    frames = {
        name: split(on(1, Basic.Deliver("c", 1, False, "x", "k")) + content(1, name.encode() * 4, 2)) for name in "abc"
    }
    ours = {name: on(1, Basic.Deliver("c", tag, False, "x", "k")) for tag, name in enumerate("abc", 1)}
    play.link("a", *frames["a"][:2])
    play.expect_client(ours["a"], frames["a"][1])
    play.link("b", *frames["b"][:2])
    play.link("c", *frames["c"][:2])
    play.link("c", *frames["c"][2:])
    play.link("a", *frames["a"][2:])
    play.expect_client(*frames["a"][2:], ours["b"], frames["b"][1])
    play.link("b", *frames["b"][2:])
    play.expect_client(*frames["b"][2:], ours["c"], *frames["c"][1:])


# Cancelling


def test_the_client_cancels(opened: Opening) -> None:
    """Deliveries on their way still reach it."""
    play = opened("a", "b")
    consume(play)
    asked(play, CANCEL)
    play.link("a", message(1), CANCEL_OK)
    play.expect_client(message(1))
    play.link("b", message(1), CANCEL_OK)
    play.expect_client(message(2), CANCEL_OK)
    consume(play)


def test_cancelling_without_an_answer_is_answered_to_us(opened: Opening) -> None:
    """So that we know when nothing comes any more; the client hears nothing of it."""
    play = opened("a", "b")
    consume(play)
    play.client(on(1, Basic.Cancel("c", nowait=True)))
    play.expect_links(on(1, CANCEL))
    play.link("a", message(1), CANCEL_OK)
    play.expect_client(message(1))
    play.link("b", CANCEL_OK)
    play.link("a", message(2))
    play.expect_link("a", reject(2))


def test_cancelling_what_is_not_there(opened: Opening) -> None:
    """RabbitMQ answers it all the same."""
    play = opened("a", "b")
    asked(play, CANCEL)
    answered(play, Basic.CancelOk("c"))


def test_held_deliveries_go_back_when_the_client_cancels(opened: Opening) -> None:
    """To the links that brought them, those still on their way, too."""
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play)
    play.link("a", message(1, b"first"))
    play.expect_client(message(1, b"first"))
    play.link("b", message(1, b"held"), message(2, b"held")[:-3])
    play.client(on(1, CANCEL))
    play.expect_link("a", on(1, CANCEL))
    play.expect_link("b", reject(1), reject(2), on(1, CANCEL))
    play.link("b", message(2, b"held")[-3:], message(3, b"more"))
    play.expect_link("b", reject(3))
    play.link("b", CANCEL_OK)
    play.link("a", CANCEL_OK)
    play.expect_client(CANCEL_OK)
    play.client(ack(1))
    play.expect_link("a", ack(1))


def test_messages_that_nobody_takes_back_reach_the_client(opened: Opening) -> None:
    """Without acknowledgements what is delivered before consume-ok cannot be requeued; cancelling loses none."""
    play = opened("a", "b")
    asked(play, CONSUME_NO_ACK)
    play.link("a", CONSUME_OK, message(1, b"one"))
    asked(play, CANCEL)
    play.link("a", message(2, b"two")[:-2])
    play.link("b", CONSUME_OK)
    play.expect_client(CONSUME_OK, message(1, b"one"))
    play.link("b", message(1, b"three"), CANCEL_OK)
    play.link("a", message(2, b"two")[-2:], CANCEL_OK)
    play.expect_client(message(2, b"two"), message(3, b"three"), CANCEL_OK)


def test_cancelling_before_consume_ok(opened: Opening) -> None:
    """Acknowledged messages go back; consume-ok and cancel-ok come in order."""
    play = opened("a", "b")
    asked(play, CONSUME)
    asked(play, CANCEL)
    play.link("a", CONSUME_OK, message(1))
    play.expect_link("a", reject(1))
    play.link("a", CANCEL_OK)
    play.link("b", CONSUME_OK, CANCEL_OK)
    play.expect_client(CONSUME_OK, CANCEL_OK)


def test_a_tag_may_be_used_again_at_once(opened: Opening) -> None:
    """Pipelined: cancel and consume with the same tag.  Until all have cancelled, deliveries are the old consumer's."""
    play = opened("a", "b")
    consume(play)
    asked(play, CANCEL)
    play.client(on(1, CONSUME))
    play.link("a", CANCEL_OK)
    play.link("b", message(1, b"old"))
    play.expect_client(message(1, b"old"))
    play.link("b", CANCEL_OK)
    play.expect_client(CANCEL_OK)
    play.expect_links(on(1, CONSUME))
    play.link("a", CONSUME_OK, message(1, b"new"))
    play.link("b", CONSUME_OK)
    play.expect_client(CONSUME_OK, message(2, b"new"))


def test_a_tag_used_again_with_another_mode(opened: Opening) -> None:
    """What is on its way to a consumer without acknowledgements must not become one that is acknowledged."""
    play = opened("a", "b")
    consume(play, no_ack=True)
    play.client(on(1, Basic.Cancel(consumer_tag="c", nowait=True)), on(1, CONSUME))
    play.expect_links(on(1, CANCEL))
    play.link("a", message(1, b"on its way"), CANCEL_OK)
    play.expect_client(message(1, b"on its way"))
    play.link("b", CANCEL_OK)
    play.expect_links(on(1, CONSUME))
    play.client(on(1, Basic.Ack(1)))
    play.expect_log(LogId.CHANNEL_ERROR_SENT)
    play.skip()


def test_an_upstream_cancels_and_the_others_go_on(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    play.link("a", on(1, CANCEL))
    play.link("b", message(1))
    play.expect_client(message(1))
    play.link("b", on(1, CANCEL))
    play.expect_client(on(1, CANCEL))
    play.client(CANCEL_OK)
    consume(play)


def test_deliveries_before_the_cancel_of_an_upstream_stay(opened: Opening) -> None:
    """Held ones of a link that cancelled are delivered when there is room; all gone when no link is left."""
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play)
    play.link("b", message(1, b"one"))
    play.expect_client(message(1, b"one"))
    play.link("a", message(1, b"held"), message(2, b"held, too"), on(1, CANCEL))
    play.client(ack(1))
    play.expect_link("b", ack(1))
    play.expect_client(message(2, b"held"))
    play.link("b", on(1, CANCEL))
    play.expect_link("a", reject(2))
    play.expect_client(on(1, CANCEL))
    play.client(ack(2))
    play.expect_link("a", ack(1))


def test_upstreams_and_client_cancel_at_once(opened: Opening) -> None:
    """The client asked first, so cancel-ok is all it gets."""
    play = opened("a", "b")
    consume(play)
    asked(play, CANCEL)
    play.link("a", on(1, CANCEL), CANCEL_OK)
    play.link("b", on(1, CANCEL), CANCEL_OK)
    play.expect_client(CANCEL_OK)


def test_an_upstream_cancels_what_nobody_knows(opened: Opening) -> None:
    play = opened("a", "b")
    play.link("a", on(1, CANCEL))


def test_a_delivery_for_nobody_goes_back(opened: Opening) -> None:
    """In pieces, and in the middle of the client's own message."""
    play = opened("a", "b")
    publishing = split(on(1, Basic.Publish(exchange="x", routing_key="a")) + content(1, b"large"))
    play.client(*publishing[:2])
    play.skip()
    play.link("a", message(7, b"what is it")[:-4])
    play.link("a", message(7, b"what is it")[-4:])
    play.client(publishing[2])
    play.expect_link("a", publishing[2], reject(7))


def test_the_answers_of_consumers_may_overtake(opened: Opening) -> None:
    """RabbitMQ's queues answer consume and cancel, maybe later than what came behind."""
    play = opened("a", "b")
    asked(play, CONSUME)
    asked(play, Basic.Consume(queue="r", consumer_tag="d"))
    asked(play, Queue.Purge(queue="q"))
    play.link("a", on(1, Queue.PurgeOk(1)), CONSUME_OK, on(1, Basic.ConsumeOk("d")))
    play.link("b", on(1, Basic.ConsumeOk("d"), Queue.PurgeOk(1)))
    play.expect_client(on(1, Basic.ConsumeOk("d")), on(1, Queue.PurgeOk(2)))
    play.link("b", CONSUME_OK)
    play.expect_client(CONSUME_OK)


def test_only_consumers_may_be_overtaken(opened: Opening) -> None:
    play = opened("a", "b")
    asked(play, Queue.Purge(queue="q"))
    asked(play, CONSUME)
    play.link("a", on(1, Queue.PurgeOk(1)), CONSUME_OK)
    play.link("b", CONSUME_OK)
    play.link("b", on(1, Queue.PurgeOk(1)))
    play.expect_client(on(1, Queue.PurgeOk(2)), CONSUME_OK)


def test_get_ok_in_the_middle_of_a_delivery(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    play.client(on(1, Basic.Get(queue="q")))
    play.expect_actions("CountMessages b q 1")
    play.do(lambda: play.session.messages_counted(1, 0))
    play.expect_link("a", on(1, Basic.Get(queue="q")))
    delivery, got = split(message(1, b"large")), split(get_ok(1, 1, b"got", 0))
    play.link("b", *delivery[:2])
    play.expect_client(*delivery[:2])
    play.link("a", *got[:2])
    play.link("b", delivery[2])
    play.expect_client(delivery[2], *split(get_ok(1, 2, b"got", 0))[:2])
    play.link("b", message(2, b"waits"))
    play.link("a", got[2])
    play.expect_client(got[2], message(3, b"waits"))


def test_a_channel_closed_while_others_wait(opened: Opening) -> None:
    """What waits still leaves before close-ok: frames of a message stay together to the last."""
    play = opened("a", "b")
    consume(play)
    one, two = split(message(1, b"one")), split(message(1, b"two"))
    play.link("a", *one[:2])
    play.expect_client(*one[:2])
    play.link("b", *two[:2])
    play.client(on(1, Channel.Close(200, "bye", 0, 0)))
    play.skip()
    play.link("a", one[2], on(1, Channel.CloseOk()))
    play.expect_client(one[2], *split(message(2, b"two"))[:2])
    play.link("b", two[2], on(1, Channel.CloseOk()))
    play.expect_client(two[2], on(1, Channel.CloseOk()))
