"""The harness itself: it notices what was not expected, says so in words, and watches the order of contents."""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.frames import HEARTBEAT, Basic, Channel, Follower, content, on, publish, split
from tests.session.playbook import Playbook


def test_what_nobody_expected_is_noticed_at_the_next_event(opened: Opening) -> None:
    play = Playbook("a")
    play.open()
    play.client(on(1, Channel.Open()))
    with pytest.raises(AssertionError, match=r"to a (?s:.*)\+ \[1\] Channel.Open"):
        play.client(HEARTBEAT)


def test_what_was_expected_and_not_sent_is_noticed() -> None:
    play = Playbook("a")
    play.open()
    play.client(on(1, Channel.Open()))
    with pytest.raises(AssertionError, match=r"- \[1\] Channel.Close(?s:.*)t->u a \[1\] Channel.Open"):
        play.expect_link("a", on(1, Channel.Open()), on(1, Channel.CloseOk()))


def test_actions_are_compared_in_order() -> None:
    play = Playbook("a")
    play.do(lambda: play.session.client_lost("gone"))
    with pytest.raises(AssertionError, match="to actions"):
        play.expect_actions("CancelTimer close", "CancelTimer handshake", "CancelTimer heartbeat")


@pytest.mark.parametrize(
    "octets",
    [
        content(1),
        publish(1, "k", b"x") + content(1, b"x"),
        on(1, Basic.Publish()) + on(1, Channel.Open()),
        on(1, Basic.Publish()) + content(1, b"ab", 1)[:-9] + on(1, Channel.Open()),
        on(1, Basic.Publish()) + content(1, b"")[:0] + content(2, b""),
    ],
)
def test_contents_out_of_order_are_noticed(octets: bytes) -> None:
    with pytest.raises(AssertionError):
        Follower().follow(split(octets))


def test_messages_are_put_together() -> None:
    follower = Follower()
    first, second = (
        split(publish(1, "a", b"xyz")),
        split(on(2, Basic.Publish(exchange="y", routing_key="b")) + content(2, b"abc", 2)),
    )
    follower.follow([*second[:2], *first[:2], HEARTBEAT, second[2], first[2], second[3]])
    assert [(channel, body) for channel, _, body in follower.messages] == [(1, b"xyz"), (2, b"abc")]
