"""Publisher confirms over several links: one gapless sequence, nothing confirmed that is not, nacks kept.

Covered: the mapping back, multiple in both directions, order, nacks, what is sent to all links, early confirms.
Not covered here: random orders against a model (test_confirms.py).
"""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, confirm, consume, nack
from tests.session.frames import Channel, Confirm, deliver, on, publish, split
from tests.session.playbook import Playbook

KEY = "amq.rabbitmq.reply-to.whose"


def published(play: Playbook, keys: str) -> None:
    """Publish a message to each of these links in turn; "*" is a direct reply to all."""
    for key in keys:
        play.client(publish(1, KEY, b"x", exchange="") if key == "*" else publish(1, key, b"x"))
        play.skip()


@pytest.fixture
def confirming(opened: Opening) -> Playbook:
    """A session with two links whose channel 1 is in confirm mode."""
    play = opened("a", "b")
    confirm(play)
    return play


def test_confirms_are_mapped_back(confirming: Playbook) -> None:
    published(confirming, "abba")
    confirming.link("a", ack(1))
    confirming.expect_client(ack(1))
    confirming.link("b", ack(1), ack(2))
    confirming.expect_client(ack(2), ack(3))
    confirming.link("a", ack(2))
    confirming.expect_client(ack(4))


def test_confirms_out_of_order(confirming: Playbook) -> None:
    """Each is passed on at once; what completes a prefix does not repeat what was said."""
    published(confirming, "abba")
    confirming.link("b", ack(2))
    confirming.expect_client(ack(3))
    confirming.link("b", ack(1))
    confirming.expect_client(ack(2))
    confirming.link("a", ack(2))
    confirming.expect_client(ack(4))
    confirming.link("a", ack(1))
    confirming.expect_client(ack(1))


def test_multiple_of_a_link_covers_only_its_own(confirming: Playbook) -> None:
    published(confirming, "abab")
    confirming.link("b", ack(2, multiple=True))
    confirming.expect_client(ack(2), ack(4))
    confirming.link("a", ack(2, multiple=True))
    confirming.expect_client(ack(3, multiple=True))


def test_multiple_is_used_where_the_prefix_allows(confirming: Playbook) -> None:
    published(confirming, "aaab")
    confirming.link("a", ack(3, multiple=True))
    confirming.expect_client(ack(3, multiple=True))
    published(confirming, "aa")
    confirming.link("a", ack(0, multiple=True))
    confirming.expect_client(ack(5), ack(6))
    confirming.link("b", ack(1))
    confirming.expect_client(ack(4))


def test_nacks_are_kept(confirming: Playbook) -> None:
    """One by one: a multiple nack might cover what was confirmed."""
    published(confirming, "abab")
    confirming.link("a", nack(1, requeue=False))
    confirming.expect_client(nack(1, requeue=False))
    confirming.link("b", nack(2, multiple=True, requeue=False))
    confirming.expect_client(nack(2, requeue=False), nack(4, requeue=False))
    confirming.link("a", ack(2))
    confirming.expect_client(ack(3))


def test_a_reply_to_all_is_confirmed_once(confirming: Playbook) -> None:
    """When all have: only then the one that knows the key surely has."""
    published(confirming, "*a*")
    confirming.link("a", ack(1))
    confirming.link("b", ack(2, multiple=True))
    confirming.expect_client(ack(1))
    confirming.link("a", ack(3, multiple=True))
    confirming.expect_client(ack(3, multiple=True))


def test_a_reply_whose_owner_is_known_is_confirmed_by_it(confirming: Playbook) -> None:
    confirming.settings.reply_keys.note(bytes([len(KEY)]) + KEY.encode(), "b")
    published(confirming, "*")
    confirming.link("b", ack(1))
    confirming.expect_client(ack(1))


def test_confirms_that_mean_nothing_are_dropped(confirming: Playbook) -> None:
    """A link that confirms what it never got must not confuse the client."""
    published(confirming, "ab")
    confirming.link("a", ack(2), ack(0), nack(7), ack(1))
    confirming.expect_client(ack(1))
    confirming.link("a", ack(1), ack(1, multiple=True), ack(0, multiple=True))
    confirming.link("b", ack(5, multiple=True))
    confirming.expect_client(ack(2))


def test_without_confirm_select_there_are_none(opened: Opening) -> None:
    play = opened("a", "b")
    published(play, "ab")
    play.link("a", ack(1), ack(1, multiple=True), nack(1))


def test_channels_count_for_themselves(confirming: Playbook) -> None:
    confirming.open_channel(2)
    confirm(confirming, channel=2)
    published(confirming, "ab")
    confirming.client(publish(2, "b", b"x"))
    confirming.skip()
    confirming.link("b", ack(1, channel=2), ack(1))
    confirming.expect_client(ack(1, channel=2), ack(2))


def test_publishes_before_confirm_select_do_not_count(opened: Opening) -> None:
    play = opened("a", "b")
    published(play, "ab")
    confirm(play)
    published(play, "b")
    play.link("b", ack(1))
    play.expect_client(ack(1))


def test_nothing_is_confirmed_before_select_ok(opened: Opening) -> None:
    """A client that pipelines publishes hears of them in the order in which they were confirmed."""
    play = opened("a", "b")
    play.client(on(1, Confirm.Select()), publish(1, "a"), publish(1, "a"), publish(1, "a"), publish(1, "b"))
    play.skip()
    play.link("a", on(1, Confirm.SelectOk()), ack(1), nack(2, requeue=False), ack(3))
    play.link("b", on(1, Confirm.SelectOk()), ack(1))
    play.expect_client(on(1, Confirm.SelectOk()), ack(1), nack(2, requeue=False), ack(3), ack(4))


def test_confirm_select_twice_changes_nothing(confirming: Playbook) -> None:
    published(confirming, "a")
    confirm(confirming)
    confirming.link("a", ack(1))
    confirming.expect_client(ack(1))


def test_confirm_select_without_an_answer(opened: Opening) -> None:
    play = opened("a", "b")
    asked(play, Confirm.Select(nowait=True))
    published(play, "b")
    play.link("b", ack(1))
    play.expect_client(ack(1))


@pytest.mark.parametrize("confirms", [ack(1) + ack(2), ack(2, multiple=True), nack(1) + nack(2)])
def test_confirms_wait_for_the_end_of_another_links_message(confirms: bytes, confirming: Playbook) -> None:
    consume(confirming)
    published(confirming, "bb")
    frames = split(deliver(1, "c", 1, b"large"))
    confirming.link("a", *frames[:2])
    confirming.expect_client(*frames[:2])
    confirming.link("b", confirms)
    confirming.link("a", frames[2])
    expected = [nack(1, requeue=False), nack(2, requeue=False)] if confirms.startswith(nack(1)) else [confirms]
    confirming.expect_client(frames[2], *expected)


def test_confirms_may_come_in_the_middle_of_a_publish(confirming: Playbook) -> None:
    frames = split(publish(1, "a", b"large"))
    confirming.client(*frames[:2])
    confirming.skip()
    confirming.link("a", ack(1))
    confirming.expect_client(ack(1))
    confirming.client(frames[2])
    confirming.expect_link("a", frames[2])


def test_confirms_are_still_passed_on_while_the_client_closes(confirming: Playbook) -> None:
    published(confirming, "ab")
    asked(confirming, Channel.Close(200, "bye", 0, 0))
    confirming.link("a", ack(1))
    confirming.expect_client(ack(1))
    answered(confirming, Channel.CloseOk())
