"""Channels of a fan session: opened, closed and reopened on all links, in every order that things can happen.

Covered: channel.open, channel.close from either side, crossing, in the middle of messages; channel.flow.
Not covered here: what is closed because of a mistake with delivery tags (test_fan_settle.py).
"""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, consume, prefetch
from tests.session.frames import (
    Basic,
    Channel,
    Queue,
    channel_close,
    connection_close,
    content,
    deliver,
    get_ok,
    on,
    publish,
    split,
)
from tests.session.playbook import Playbook
from trabbits.log_ids import LogId

CLOSE_OK = on(1, Channel.CloseOk())
BYE = channel_close(1, 200, "bye")
NOT_FOUND = channel_close(1, 404, "NOT_FOUND - no queue 'q' in vhost '/'", Basic.Consume)
FOR_OTHERS = channel_close(1, 200, "CHANNEL_CLOSED - closed on another upstream")


def both(play: Playbook, *frames: bytes) -> None:
    """Both links bring this."""
    play.all_links(*frames)


def test_a_channel_is_open_when_it_is_open_everywhere(fresh: Opening) -> None:
    play = fresh("a", "b", "c")
    play.open()
    asked(play, Channel.Open(), channel=7)
    answered(play, Channel.OpenOk(), channel=7)
    play.client(publish(7, "b", b"x"))
    play.expect_link("b", publish(7, "b", b"x"))


def test_what_is_sent_before_open_ok_passes(fresh: Opening) -> None:
    """Clients may pipeline; so do we."""
    play = fresh("a", "b")
    play.open()
    play.client(on(1, Channel.Open(), Queue.Purge(queue="q")), publish(1, "b", b"x"))
    play.expect_link("a", on(1, Channel.Open(), Queue.Purge(queue="q")))
    play.expect_link("b", on(1, Channel.Open(), Queue.Purge(queue="q")), publish(1, "b", b"x"))
    play.link("a", on(1, Channel.OpenOk(), Queue.PurgeOk(1)))
    play.link("b", on(1, Channel.OpenOk(), Queue.PurgeOk(2)))
    play.expect_client(on(1, Channel.OpenOk(), Queue.PurgeOk(3)))


def test_the_client_closes(opened: Opening) -> None:
    """Its close-ok comes when the last link is done: only then the number may be used again."""
    play = opened("a", "b")
    play.client(BYE)
    play.expect_links(BYE)
    play.link("b", CLOSE_OK)
    play.client(publish(1, "a", b"a mistake that RabbitMQ ignores, too"))
    play.link("a", CLOSE_OK)
    play.expect_client(CLOSE_OK)
    play.client(publish(1, "a"))
    text = "CHANNEL_ERROR - expected 'channel.open', got basic.publish on channel 1 that is not open"
    play.expect_client(connection_close(504, text, Basic.Publish))
    play.skip()


def test_a_channel_can_be_reopened_at_once(opened: Opening) -> None:
    """Tags begin anew and nothing of the old one is left."""
    play = opened("a", "b")
    consume(play)
    play.link("a", deliver(1, "c", 5, b"x"))
    play.expect_client(deliver(1, "c", 1, b"x"))
    play.client(BYE)
    play.skip()
    both(play, CLOSE_OK)
    play.expect_client(CLOSE_OK)
    play.open_channel(1)
    consume(play, "other")
    play.link("b", deliver(1, "other", 1, b"y"))
    play.expect_client(deliver(1, "other", 1, b"y"))


def test_what_was_asked_before_closing_is_answered(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(on(1, Queue.Purge(queue="q")), BYE)
    play.expect_links(on(1, Queue.Purge(queue="q")), BYE)
    both(play, on(1, Queue.PurgeOk(2)))
    play.expect_client(on(1, Queue.PurgeOk(4)))
    both(play, CLOSE_OK)
    play.expect_client(CLOSE_OK)


def test_deliveries_behind_the_clients_close_are_dropped(opened: Opening) -> None:
    """Held ones, too; the links requeue them."""
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play)
    play.link("a", deliver(1, "c", 1, b"x"))
    play.skip_client()
    play.link("b", deliver(1, "c", 1, b"held"))
    play.client(BYE)
    play.expect_links(BYE)
    both(play, deliver(1, "c", 2, b"late"), CLOSE_OK)
    play.expect_client(CLOSE_OK)


# Errors of an upstream


def test_an_upstream_closes_a_channel(opened: Opening) -> None:
    """The client gets code, text and method, once the channel is closed on the others as well."""
    play = opened("a", "b")
    play.link("b", NOT_FOUND)
    play.expect_link("b", CLOSE_OK)
    play.expect_link("a", FOR_OTHERS)
    play.client(publish(1, "a", b"does not know yet"), on(1, Basic.Get(queue="q")), ack(1), CLOSE_OK)
    play.link("a", deliver(1, "c", 1, b"nobody wants this now"), get_ok(1, 2, b"", 0), on(1, Queue.PurgeOk(1)))
    play.link("a", CLOSE_OK)
    play.expect_client(NOT_FOUND)
    assert play.logged[-1] == (
        LogId.CHANNEL_CLOSED_BY_UPSTREAM,
        {"upstream": "b", "channel": 1, "code": 404, "text": "NOT_FOUND - no queue 'q' in vhost '/'"},
    )
    play.client(publish(1, "a", b"does not know yet"), CLOSE_OK)
    play.open_channel(1)


def test_other_channels_are_not_disturbed(opened: Opening) -> None:
    play = opened("a", "b")
    play.open_channel(2)
    play.link("b", NOT_FOUND)
    play.skip()
    play.client(publish(2, "b", b"x"))
    play.expect_link("b", publish(2, "b", b"x"))
    asked(play, Queue.Purge(queue="q"), channel=2)


def test_the_first_error_wins(opened: Opening) -> None:
    """All links fail for the same reason, mostly; replies of those that do not are swallowed."""
    play = opened("a", "b", "c")
    asked(play, Basic.Consume(queue="q", consumer_tag="c"))
    play.link("c", on(1, Basic.ConsumeOk("c")))
    play.link("b", NOT_FOUND)
    play.expect_link("b", CLOSE_OK)
    play.expect_link("a", FOR_OTHERS)
    play.expect_link("c", FOR_OTHERS)
    play.link("a", channel_close(1, 403, "ACCESS_REFUSED - no"))
    play.expect_link("a", CLOSE_OK)
    play.link("a", CLOSE_OK)
    play.link("c", CLOSE_OK)
    play.expect_client(NOT_FOUND)
    play.client(CLOSE_OK)


@pytest.mark.parametrize("answers_first", [True, False])
def test_the_client_closes_before_it_hears_of_an_error(answers_first: bool, opened: Opening) -> None:
    """It gets the answer to its own close, and nothing else."""
    play = opened("a", "b")
    play.link("a", NOT_FOUND)
    play.skip()
    if answers_first:
        play.client(BYE)
        play.link("b", CLOSE_OK)
    else:
        play.client(BYE)
        play.client(BYE)
        play.link("b", deliver(1, "c", 1), CLOSE_OK)
    play.expect_client(CLOSE_OK)
    play.open_channel(1)


@pytest.mark.parametrize("link_first", [True, False])
def test_client_and_upstream_close_at_once(link_first: bool, opened: Opening) -> None:
    """A link whose channel.close crosses ours owes close-ok all the same."""
    play = opened("a", "b")
    play.client(BYE)
    play.expect_links(BYE)
    if link_first:
        play.link("a", NOT_FOUND)
        play.expect_link("a", CLOSE_OK)
        play.link("b", CLOSE_OK)
    else:
        play.link("b", CLOSE_OK)
        play.link("a", NOT_FOUND)
        play.expect_link("a", CLOSE_OK)
    play.link("a", CLOSE_OK)
    play.expect_client(CLOSE_OK)


def test_the_clients_close_crosses_the_error(opened: Opening) -> None:
    """It gets the error and the answer to its own close, and the channel is closed when it has answered ours."""
    play = opened("a", "b")
    play.link("a", NOT_FOUND)
    play.skip()
    play.link("b", CLOSE_OK)
    play.expect_client(NOT_FOUND)
    play.client(BYE)
    play.expect_client(CLOSE_OK)
    play.client(CLOSE_OK)
    play.open_channel(1)


def test_what_a_link_brings_for_a_channel_that_is_closed(opened: Opening) -> None:
    """There is none after close-ok; but a broken node must not break the session."""
    play = opened("a", "b")
    play.client(BYE)
    play.skip()
    both(play, CLOSE_OK)
    play.skip()
    play.link("a", deliver(1, "c", 1, b"ghost"), ack(1), on(1, Basic.QosOk()), CLOSE_OK)


def test_a_close_ok_nobody_asked_for(opened: Opening) -> None:
    """On an open channel: nobody is told, nothing changes."""
    play = opened("a", "b")
    play.client(CLOSE_OK)
    play.client(publish(1, "a"))
    play.expect_link("a", publish(1, "a"))
    play.link("a", CLOSE_OK)
    play.client(publish(1, "b"))
    play.expect_link("b", publish(1, "b"))


# In the middle of messages


def test_an_error_while_the_client_publishes_to_another_link(opened: Opening) -> None:
    """No method may stand between the frames of a message: the other link's channel.close waits."""
    play = opened("a", "b")
    frames = split(on(1, Basic.Publish(exchange="x", routing_key="a")) + content(1, b"large", 3))
    play.client(*frames[:3])
    play.expect_link("a", *frames[:3])
    play.link("b", NOT_FOUND)
    play.expect_link("b", CLOSE_OK)
    play.client(frames[3])
    play.expect_link("a", frames[3], FOR_OTHERS)
    play.link("a", CLOSE_OK)
    play.expect_client(NOT_FOUND)
    play.client(CLOSE_OK)


def test_an_error_while_the_client_publishes_to_the_same_link(opened: Opening) -> None:
    """The answer waits for the end of the message, which the link ignores."""
    play = opened("a", "b")
    frames = split(publish(1, "a", b"large"))
    play.client(*frames[:2])
    play.expect_link("a", *frames[:2])
    play.link("a", NOT_FOUND)
    play.expect_link("b", FOR_OTHERS)
    play.link("b", CLOSE_OK)
    play.expect_client(NOT_FOUND)
    play.client(frames[2], CLOSE_OK)
    play.expect_link("a", frames[2], CLOSE_OK)
    play.open_channel(1)


def test_an_error_of_both_while_the_client_publishes(opened: Opening) -> None:
    """Whatever waits for the end of the message leaves in order."""
    play = opened("a", "b")
    frames = split(publish(1, "a", b"large"))
    play.client(frames[0])
    play.expect_link("a", frames[0])
    play.link("b", NOT_FOUND)
    play.expect_link("b", CLOSE_OK)
    play.link("a", NOT_FOUND)
    play.client(*frames[1:])
    play.expect_link("a", *frames[1:], FOR_OTHERS, CLOSE_OK)
    play.link("a", CLOSE_OK)
    play.expect_client(NOT_FOUND)
    play.client(CLOSE_OK)


def test_an_error_on_another_channel_while_the_client_publishes(opened: Opening) -> None:
    play = opened("a", "b")
    play.open_channel(2)
    frames = split(publish(2, "a", b"large"))
    play.client(frames[0])
    play.expect_link("a", frames[0])
    play.link("b", NOT_FOUND)
    play.expect_link("b", CLOSE_OK)
    play.expect_link("a", FOR_OTHERS)
    play.link("a", CLOSE_OK)
    play.expect_client(NOT_FOUND)
    play.client(*frames[1:], CLOSE_OK)
    play.expect_link("a", *frames[1:])


def test_an_error_in_the_middle_of_a_delivery_of_another_link(opened: Opening) -> None:
    """The client gets the delivery to its end and then the error."""
    play = opened("a", "b")
    consume(play)
    frames = split(deliver(1, "c", 1, b"large"))
    play.link("a", *frames[:2])
    play.expect_client(*frames[:2])
    play.link("b", NOT_FOUND)
    play.skip()
    play.link("a", frames[2], CLOSE_OK)
    play.expect_client(frames[2], NOT_FOUND)
    play.client(CLOSE_OK)


def test_the_client_closes_in_the_middle_of_a_delivery(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    frames = split(deliver(1, "c", 1, b"large"))
    play.link("a", *frames[:2])
    play.expect_client(*frames[:2])
    play.client(BYE)
    play.skip()
    play.link("b", CLOSE_OK)
    play.link("a", frames[2], deliver(1, "c", 2, b"dropped"), CLOSE_OK)
    play.expect_client(frames[2], CLOSE_OK)


def test_a_get_is_under_way_when_the_channel_is_closed(opened: Opening) -> None:
    """What the client sent behind it is taken up again."""
    play = opened("a", "b")
    play.client(on(1, Basic.Get(queue="q")), BYE)
    play.expect_actions("CountMessages b q 1")
    play.do(lambda: play.session.messages_counted(1, 0))
    play.expect_link("a", on(1, Basic.Get(queue="q")))
    play.link("a", channel_close(1, 404, "NOT_FOUND - no queue 'q'", Basic.Get))
    play.expect_link("a", CLOSE_OK)
    play.expect_link("b", FOR_OTHERS)
    play.link("b", CLOSE_OK)
    play.expect_client(CLOSE_OK)
    play.open_channel(1)


# channel.flow


@pytest.mark.parametrize("active", [True, False])
def test_flow_of_the_client_goes_to_all_links(active: bool, opened: Opening) -> None:
    play = opened("a", "b")
    asked(play, Channel.Flow(active))
    answered(play, Channel.FlowOk(active))


def test_flow_of_an_upstream_is_answered_to_it(opened: Opening) -> None:
    """In the order they asked."""
    play = opened("a", "b")
    for name, active in (("b", False), ("a", False), ("b", True)):
        play.link(name, on(1, Channel.Flow(active)))
        play.expect_client(on(1, Channel.Flow(active)))
    play.client(on(1, Channel.FlowOk(False)))
    play.expect_link("b", on(1, Channel.FlowOk(False)))
    play.client(on(1, Channel.FlowOk(False), Channel.FlowOk(True)))
    play.expect_link("a", on(1, Channel.FlowOk(False)))
    play.expect_link("b", on(1, Channel.FlowOk(True)))
    play.client(on(1, Channel.FlowOk(True)))
