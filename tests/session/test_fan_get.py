"""basic.get over several links: tried in rotating order, the count is the sum, everything behind it waits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, consume
from tests.session.frames import HEARTBEAT, Basic, Channel, Queue, channel_close, deliver, get_ok, on, publish, split
from tests.session.playbook import Playbook
from trabbits.wire.encode import frame

GET = on(1, Basic.Get(queue="q"))
EMPTY = on(1, Basic.GetEmpty())


def counted(play: Playbook, token: int, count: int) -> None:
    play.do(lambda: play.session.messages_counted(token, count))


def got(play: Playbook, first: str, others: str, *, token: int = 1, counts: int = 0) -> None:
    """The client asks; the first link is asked after the others were counted."""
    play.client(GET)
    play.expect_actions(*(f"CountMessages {name} q {token + place}" for place, name in enumerate(others)))
    for place in range(len(others)):
        counted(play, token + place, counts)
    play.expect_link(first, GET)


def test_links_are_tried_in_rotating_order(opened: Opening) -> None:
    play = opened("a", "b", "c")
    for turn, order in enumerate(("abc", "bca", "cab", "abc")):
        got(play, order[0], order[1:], token=1 + 2 * turn)
        play.link(order[0], get_ok(1, 1 + turn // 3, b"x", 0))
        play.expect_client(get_ok(1, turn + 1, b"x", 0))


def test_the_next_link_is_tried_when_one_has_nothing(opened: Opening) -> None:
    play = opened("a", "b", "c")
    got(play, "a", "bc")
    play.link("a", EMPTY)
    play.expect_link("b", GET)
    play.link("b", EMPTY)
    play.expect_link("c", GET)
    play.link("c", get_ok(1, 1, b"found", 4))
    play.expect_client(get_ok(1, 1, b"found", 4))
    play.client(ack(1))
    play.expect_link("c", ack(1))


def test_nothing_anywhere(opened: Opening) -> None:
    play = opened("a", "b")
    got(play, "a", "b")
    play.link("a", EMPTY)
    play.expect_link("b", GET)
    play.link("b", EMPTY)
    play.expect_client(EMPTY)
    got(play, "b", "a", token=2)
    play.link("b", EMPTY)
    play.expect_link("a", GET)
    play.link("a", EMPTY)
    play.expect_client(EMPTY)


def test_the_count_is_the_sum(opened: Opening) -> None:
    """What the links hold that were not asked yet, and what is left where the message came from."""
    play = opened("a", "b", "c")
    play.client(GET)
    play.expect_actions("CountMessages b q 1", "CountMessages c q 2")
    counted(play, 2, 100)
    counted(play, 1, 10)
    play.expect_link("a", GET)
    play.link("a", get_ok(1, 1, b"x", 1))
    play.expect_client(get_ok(1, 1, b"x", 111))
    play.client(GET)
    play.expect_actions("CountMessages c q 3", "CountMessages a q 4")
    counted(play, 3, 2**32 - 1)
    counted(play, 4, 1)
    play.expect_link("b", GET)
    play.link("b", EMPTY)
    play.expect_link("c", GET)
    play.link("c", get_ok(1, 1, b"x", 2**32 - 1))
    play.expect_client(get_ok(1, 2, b"x", 2**32 - 1))


@pytest.mark.parametrize("cut", [30, 50, 70])
def test_a_message_streams_through(cut: int, opened: Opening) -> None:
    play = opened("a", "b")
    got(play, "a", "b")
    octets = get_ok(1, 1, b"x" * 20, 0)
    play.link("a", octets[:cut])
    sent = play.taken("client")
    play.link("a", octets[cut:])
    sent += play.taken("client")
    assert b"".join(sent) == octets


def test_without_acknowledgements(opened: Opening) -> None:
    play = opened("a", "b")
    get = on(1, Basic.Get(queue="q", no_ack=True))
    play.client(get)
    play.skip()
    counted(play, 1, 0)
    play.expect_link("a", get)
    play.link("a", get_ok(1, 7, b"x", 0))
    play.expect_client(get_ok(1, 1, b"x", 0))
    play.client(ack(1))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))
    assert play.logged[-1][1]["text"] == "PRECONDITION_FAILED - unknown delivery tag 1"


def test_tags_are_of_one_sequence_with_deliveries(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play)
    play.link("b", deliver(1, "c", 1))
    play.expect_client(deliver(1, "c", 1))
    got(play, "a", "b")
    play.link("a", get_ok(1, 1, b"x", 0), deliver(1, "c", 2))
    play.expect_client(get_ok(1, 2, b"x", 0), deliver(1, "c", 3))
    play.client(ack(3, multiple=True))
    play.expect_link("a", ack(2, multiple=True))
    play.expect_link("b", ack(1))


def test_the_queue_declared_last(opened: Opening) -> None:
    """An empty name means it, and is counted by its name."""
    play = opened("a", "b")
    play.client(on(1, Queue.Declare(queue="last")))
    play.skip()
    answered(play, Queue.DeclareOk("last", 0, 0))
    play.client(on(1, Basic.Get(queue="")))
    play.expect_actions("CountMessages b last 1")
    counted(play, 1, 0)
    play.expect_link("a", on(1, Basic.Get(queue="")))


def test_an_empty_name_without_a_declare(opened: Opening) -> None:
    """There is nothing to count; the upstream says what is wrong."""
    play = opened("a", "b")
    play.client(on(1, Basic.Get(queue="")))
    play.expect_link("a", on(1, Basic.Get(queue="")))
    error = channel_close(1, 404, "NOT_FOUND - no previously declared queue", Basic.Get)
    play.link("a", error)
    play.skip()
    play.link("b", on(1, Channel.CloseOk()))
    play.expect_client(error)


# Order


def test_what_comes_behind_waits(opened: Opening) -> None:
    """Everything of the client's: replies keep their order."""
    play = opened("a", "b")
    play.client(GET, on(1, Queue.Purge(queue="q")), publish(1, "b", b"x"))
    play.expect_actions("CountMessages b q 1")
    assert play.session.client_scanner.stalled
    play.client(GET, HEARTBEAT)
    counted(play, 1, 0)
    play.expect_link("a", GET)
    play.link("a", EMPTY)
    play.expect_link("b", GET)
    play.link("b", EMPTY)
    play.expect_client(EMPTY)
    play.expect_link("a", on(1, Queue.Purge(queue="q")))
    play.expect_link("b", on(1, Queue.Purge(queue="q")), publish(1, "b", b"x"))
    # The second get waits for the reply of the purge.
    assert play.session.client_scanner.stalled
    play.link("a", on(1, Queue.PurgeOk(1)))
    play.link("b", on(1, Queue.PurgeOk(1)))
    play.expect_client(on(1, Queue.PurgeOk(2)))
    play.expect_actions("CountMessages a q 2")
    assert not play.session.client_scanner.stalled


def test_several_gets_in_a_row(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(GET, GET, GET)
    for turn, (first, other) in enumerate([("a", "b"), ("b", "a"), ("a", "b")], 1):
        play.expect_actions(f"CountMessages {other} q {turn}")
        counted(play, turn, 0)
        play.expect_link(first, GET)
        play.link(first, get_ok(1, (turn + 1) // 2, b"x", 0))
        play.expect_client(get_ok(1, turn, b"x", 0))
    assert not play.session.client_scanner.stalled


def test_a_message_in_pieces_is_whole_before_the_next_reply(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(GET, GET)
    play.skip()
    counted(play, 1, 0)
    play.skip()
    frames = split(get_ok(1, 1, b"large", 0))
    play.link("a", *frames[:2])
    play.expect_client(*frames[:2])
    play.expect_actions("CountMessages a q 2")
    counted(play, 2, 0)
    play.expect_link("b", GET)
    play.link("b", EMPTY)
    play.expect_link("a", GET)
    play.link("a", frames[2], EMPTY)
    play.expect_client(frames[2], EMPTY)


def test_a_wrong_frame_behind_a_get(opened: Opening) -> None:
    """It is found when it is its turn."""
    play = opened("a", "b")
    play.client(GET, GET, b"\x07\0\1\0\0\0\0\xce")
    play.skip()
    counted(play, 1, 0)
    play.skip()
    play.link("a", get_ok(1, 1, b"x", 0))
    *sent, close = play.taken("client")
    assert b"".join(sent) == get_ok(1, 1, b"x", 0)
    assert b"unknown frame type 7" in close
    play.skip()


def test_a_plugin_that_fails_behind_a_get(opened: Opening) -> None:
    """That is found then, too, and closes everything."""

    class Broken:
        def rewrite(self, declare: Any) -> Any:
            raise RuntimeError("bug")

    play = opened("a", "b", rewriters={"a": Broken()})
    play.client(GET, on(1, Queue.Declare(queue="q")))
    play.skip()
    counted(play, 1, 0)
    play.skip()
    play.link("a", get_ok(1, 1, b"x", 0))
    assert b"INTERNAL_ERROR" in play.taken("client")[-1]
    play.skip()


@pytest.mark.parametrize("who", ["client", "link"])
def test_the_connection_is_closed_meanwhile(who: str, opened: Opening) -> None:
    """The count comes too late, or is never asked for."""
    play = opened("a", "b")
    play.client(GET)
    play.skip()
    if who == "client":
        play.do(lambda: play.session.client_lost("reset"))
    else:
        play.do(lambda: play.session.link_lost(play.links["a"], "reset"))
    play.skip()
    counted(play, 1, 0)


def test_a_count_for_a_channel_that_was_closed(opened: Opening) -> None:
    """The link that was counted closed the channel: the count belongs to nobody."""
    play = opened("a", "b")
    play.client(GET)
    play.skip()
    error = channel_close(1, 404, "NOT_FOUND - no queue")
    play.link("b", error)
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    play.expect_client(error)
    play.client(on(1, Channel.CloseOk()))
    play.open_channel(1)
    play.client(GET)
    play.expect_actions("CountMessages b q 2")
    counted(play, 1, 5)
    counted(play, 2, 0)
    play.expect_link("a", GET)
    counted(play, 2, 0)


def test_an_answer_nobody_asked_for(opened: Opening) -> None:
    """Of another link than the one that is asked: dropped with its content."""
    play = opened("a", "b")
    play.link("b", get_ok(1, 1, b"ghost", 0))
    got(play, "a", "b")
    play.link("b", get_ok(1, 1, b"ghost", 0), EMPTY)
    play.link("a", get_ok(1, 1, b"x", 0))
    play.expect_client(get_ok(1, 1, b"x", 0))


def test_a_malformed_get(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(frame(1, 1, b"\0\x3c\0\x46\0\0\x05q"))
    (close,) = play.taken("client")
    assert b"cannot decode basic.get" in close
    play.skip()


def test_a_publish_in_pieces_on_another_channel(opened: Opening) -> None:
    """A stall leaves contents of other channels as they are."""
    play = opened("a", "b")
    play.open_channel(2)
    frames = split(publish(2, "b", b"large"))
    play.client(*frames[:2], GET, on(1, Basic.Qos()))
    play.expect_link("b", *frames[:2])
    play.skip()
    play.client(frames[2])
    counted(play, 1, 0)
    play.expect_link("a", GET)
    play.link("a", get_ok(1, 1, b"x", 0))
    play.expect_client(get_ok(1, 1, b"x", 0))
    play.expect_link("a", on(1, Basic.Qos()))
    play.expect_link("b", on(1, Basic.Qos()), frames[2])


def test_get_waits_for_requests_of_its_own_channel_only(opened: Opening) -> None:
    play = opened("a", "b")
    play.open_channel(2)
    asked(play, Queue.Purge(queue="q"), channel=2)
    got(play, "a", "b")
