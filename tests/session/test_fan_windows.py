"""Prefetch windows of a fan session: the client never holds more unacknowledged than it asked for.

Covered: windows of consumers and of the channel, held deliveries in order and in pieces, changes, pausing of links.
Not covered here: random schedules (tests/simulation).
"""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, consume, nack, prefetch, reject
from tests.session.frames import Basic, Channel, Confirm, Connection, Queue, channel_close, deliver, on, publish, split
from tests.session.playbook import Playbook
from trabbits.session import fan
from trabbits.session.fan import FanRelay


def message(tag: int, octets: bytes = b"x", consumer: str = "c") -> bytes:
    """A delivery on channel 1."""
    return deliver(1, consumer, tag, octets)


def relay_of(play: Playbook) -> FanRelay:
    relay = play.session.relay
    assert isinstance(relay, FanRelay)
    return relay


def held_octets(play: Playbook) -> int:
    return relay_of(play)._held_octets


@pytest.fixture
def one(opened: Opening) -> Playbook:
    """A consumer with a prefetch count of one over two links."""
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play)
    return play


def test_surplus_deliveries_wait_in_order(one: Playbook) -> None:
    one.link("a", message(1, b"one"))
    one.expect_client(message(1, b"one"))
    one.link("b", message(1, b"two"))
    one.link("a", message(2, b"three"))
    assert held_octets(one) == len(message(1, b"two") + message(2, b"three"))
    one.client(ack(1))
    one.expect_link("a", ack(1))
    one.expect_client(message(2, b"two"))
    one.client(ack(2))
    one.expect_link("b", ack(1))
    one.expect_client(message(3, b"three"))
    assert held_octets(one) == 0
    one.client(ack(3))
    one.expect_link("a", ack(2))
    one.link("b", message(2, b"four"))
    one.expect_client(message(4, b"four"))


@pytest.mark.parametrize("settled", [ack(1), nack(1), reject(1), ack(1, multiple=True), ack(0, multiple=True)])
def test_any_settling_makes_room(settled: bytes, one: Playbook) -> None:
    one.link("a", message(1))
    one.expect_client(message(1))
    one.link("b", message(1, b"two"))
    one.client(settled)
    one.expect_link("a", settled if settled in (nack(1), reject(1)) else ack(1))
    one.expect_client(message(2, b"two"))


def test_held_deliveries_in_pieces(one: Playbook) -> None:
    """Nothing of a message leaves before it is whole; room made meanwhile is used then."""
    one.link("a", message(1, b"one"))
    one.expect_client(message(1, b"one"))
    frames = split(message(1, b"two"))
    one.link("b", frames[0])
    one.link("b", frames[1])
    one.client(ack(1))
    one.expect_link("a", ack(1))
    one.link("a", message(2, b"three"))
    one.link("b", frames[2])
    one.expect_client(message(2, b"two"))
    one.client(ack(2))
    one.expect_link("b", ack(1))
    one.expect_client(message(3, b"three"))
    assert held_octets(one) == 0


def test_the_account_of_held_octets_does_not_drift(one: Playbook) -> None:
    """When room is made while a held message is not whole, it leaves with its last octet."""
    for turn in range(1, 4):
        frames = split(message(turn, b"two"))
        one.link("a", message(turn, b"one"))
        one.expect_client(message(2 * turn - 1, b"one"))
        one.link("b", frames[0])
        one.client(ack(2 * turn - 1))
        one.expect_link("a", ack(turn))
        one.link("b", *frames[1:])
        one.expect_client(message(2 * turn, b"two"))
        assert held_octets(one) == 0
        one.client(ack(2 * turn))
        one.expect_link("b", ack(turn))


def test_several_consumers_have_windows_of_their_own(opened: Opening) -> None:
    """A count holds for consumers that come after it."""
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play, "c")
    prefetch(play, 0)
    consume(play, "free")
    prefetch(play, 2)
    consume(play, "d")
    play.link("a", message(1), message(2, b"d", "d"), message(3, b"f", "free"))
    play.expect_client(message(1), message(2, b"d", "d"), message(3, b"f", "free"))
    play.link("b", message(1, b"held"), message(2, b"d", "d"), message(3, b"held, too", "d"), message(4, b"f", "free"))
    play.expect_client(message(4, b"d", "d"), message(5, b"f", "free"))
    play.client(ack(2))
    play.expect_link("a", ack(2))
    play.expect_client(message(6, b"held, too", "d"))
    play.client(ack(1))
    play.expect_link("a", ack(1))
    play.expect_client(message(7, b"held"))


def test_a_window_of_the_whole_channel(opened: Opening) -> None:
    """RabbitMQ's global: all consumers together."""
    play = opened("a", "b")
    prefetch(play, 2, whole_channel=True)
    consume(play, "c")
    consume(play, "d")
    play.link("a", message(1, b"1", "c"), message(2, b"2", "d"))
    play.expect_client(message(1, b"1", "c"), message(2, b"2", "d"))
    play.link("b", message(1, b"3", "d"), message(2, b"4", "c"))
    play.client(ack(1))
    play.expect_link("a", ack(1))
    play.expect_client(message(3, b"4", "c"))
    play.client(ack(3, multiple=True))
    play.expect_link("a", ack(2))
    play.expect_link("b", ack(2))
    play.expect_client(message(4, b"3", "d"))


def test_the_window_of_the_channel_may_change(opened: Opening) -> None:
    """A larger one lets go of what waits, a smaller one holds from now on."""
    play = opened("a", "b")
    prefetch(play, 1, whole_channel=True)
    consume(play)
    play.link("a", message(1, b"one"))
    play.expect_client(message(1, b"one"))
    play.link("b", message(1, b"two"), message(2, b"three"), message(3, b"four"))
    play.client(on(1, Basic.Qos(prefetch_count=3, global_=True)))
    play.expect_links(on(1, Basic.Qos(prefetch_count=3, global_=True)))
    play.expect_client(message(2, b"two"), message(3, b"three"))
    answered(play, Basic.QosOk())
    prefetch(play, 1, whole_channel=True)
    play.client(ack(2, multiple=True))
    play.expect_link("a", ack(1))
    play.expect_link("b", ack(1))
    play.client(ack(3))
    play.expect_link("b", ack(2))
    play.expect_client(message(4, b"four"))
    play.client(on(1, Basic.Qos(prefetch_count=0, global_=True)))
    play.expect_links(on(1, Basic.Qos(prefetch_count=0, global_=True)))
    play.link("a", message(2, b"five"), message(3, b"six"))
    play.expect_client(message(5, b"five"), message(6, b"six"))


def test_a_prefetch_for_consumers_lifts_that_of_the_channel(opened: Opening) -> None:
    """As in RabbitMQ: else a client would wait for deliveries that its broker has sent."""
    play = opened("a", "b")
    prefetch(play, 1, whole_channel=True)
    consume(play)
    play.link("a", message(1))
    play.expect_client(message(1))
    play.link("b", message(1, b"two"))
    play.expect_nothing()
    asked(play, Basic.Qos(prefetch_count=3))
    play.expect_client(message(2, b"two"))
    answered(play, Basic.QosOk())


def test_both_windows_hold(opened: Opening) -> None:
    play = opened("a", "b")
    prefetch(play, 2)
    prefetch(play, 3, whole_channel=True)
    consume(play, "c")
    consume(play, "d")
    for tag, consumer in enumerate("ccd", 1):
        play.link("a", message(tag, b"x", consumer))
        play.skip_client()
    play.link("b", message(1, b"c", "c"), message(2, b"d", "d"))
    play.client(ack(3))
    play.expect_link("a", ack(3))
    play.expect_client(message(4, b"d", "d"))
    play.client(ack(1))
    play.expect_link("a", ack(1))
    play.expect_client(message(5, b"c", "c"))


def test_without_acknowledgements_there_is_no_window(opened: Opening) -> None:
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play, no_ack=True)
    play.link("a", message(1), message(2))
    play.expect_client(message(1), message(2))
    play.link("b", message(1))
    play.expect_client(message(3))


def test_what_was_got_does_not_count(one: Playbook) -> None:
    one.client(on(1, Basic.Get(queue="q")))
    one.expect_actions("CountMessages b q 1")
    one.do(lambda: one.session.messages_counted(1, 0))
    one.skip()
    got = on(1, Basic.GetOk(1, False, "x", "k", 0))
    one.link("a", got + message(1)[len(split(message(1))[0]) :])
    one.skip()
    one.link("b", message(1))
    one.expect_client(message(2))


def test_a_channel_error_drops_what_is_held(one: Playbook) -> None:
    """Even what came in the same chunk; a message that is not whole yet is dropped to its end."""
    one.link("a", message(1))
    one.skip()
    error = channel_close(1, 404, "NOT_FOUND - no queue")
    one.link("b", message(1, b"held"), error)
    one.skip()
    assert held_octets(one) == 0
    one.link("a", message(2, b"held")[:-5])
    one.link("a", message(2, b"held")[-5:], on(1, Channel.CloseOk()))
    one.expect_client(error)
    assert held_octets(one) == 0
    one.client(on(1, Channel.CloseOk()))


def test_a_held_delivery_waits_its_turn_when_it_is_let_go(opened: Opening) -> None:
    """Into the middle of another message it may not go."""
    play = opened("a", "b")
    prefetch(play, 1)
    consume(play, "c")
    consume(play, "d")
    play.link("a", message(1, b"one"))
    play.expect_client(message(1, b"one"))
    play.link("a", message(2, b"held"))
    large = split(message(1, b"large", "d"))
    play.link("b", *large[:2])
    play.expect_client(*split(message(2, b"large", "d"))[:2])
    play.client(ack(1))
    play.expect_link("a", ack(1))
    play.link("b", large[2])
    play.expect_client(large[2], message(3, b"held"))


# Pausing links: memory has a bound


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that are reached by a few small messages."""
    monkeypatch.setattr(fan, "HELD_MAX", 300)
    monkeypatch.setattr(fan, "WAITING_MAX", 300)


@pytest.mark.usefixtures("small")
def test_links_pause_when_too_much_is_held(one: Playbook) -> None:
    one.link("a", message(1))
    one.expect_client(message(1))
    one.link("b", message(1, bytes(200)))
    one.link("b", message(2, bytes(200)))
    one.expect_actions("PauseLink a", "PauseLink b")
    one.client(ack(1))
    one.expect_link("a", ack(1))
    one.expect_client(message(2, bytes(200)))
    one.expect_actions("ResumeLink a", "ResumeLink b")


@pytest.mark.usefixtures("small")
def test_a_link_of_which_something_is_awaited_is_not_paused(one: Playbook) -> None:
    """The client may need the answer before it acknowledges anything."""
    one.link("a", message(1))
    one.skip()
    one.client(on(1, Queue.Purge(queue="q")))
    one.skip()
    one.link("a", on(1, Queue.PurgeOk(0)))
    one.link("b", message(1, bytes(400)))
    one.expect_actions("PauseLink a")
    one.link("b", on(1, Queue.PurgeOk(0)))
    one.expect_client(on(1, Queue.PurgeOk(0)))
    one.expect_actions("PauseLink b")
    one.client(on(1, Queue.Purge(queue="q")))
    one.expect_links(on(1, Queue.Purge(queue="q")))
    one.expect_actions("ResumeLink a", "ResumeLink b")


@pytest.mark.usefixtures("small")
def test_a_full_link_is_not_paused(one: Playbook) -> None:
    """The client is not read because of it, so what would end the pause cannot come; and its node may wait for us."""
    a, b = one.links["a"], one.links["b"]
    one.link("a", message(1))
    one.skip()
    one.link("b", message(1, bytes(400)))
    one.expect_actions("PauseLink a", "PauseLink b")
    one.do(lambda: one.session.link_full(b))
    one.expect_actions("ResumeLink b")
    one.link("b", message(2, bytes(400)))
    one.expect_nothing()
    one.do(lambda: one.session.link_full(a))
    one.expect_actions("ResumeLink a")
    one.do(lambda: one.session.link_drained(b))
    one.link("b", message(3, bytes(400)))
    one.expect_actions("PauseLink b")


@pytest.mark.usefixtures("small")
def test_a_link_that_owes_confirms_is_not_paused(one: Playbook) -> None:
    asked(one, Confirm.Select())
    answered(one, Confirm.SelectOk())
    one.link("a", message(1))
    one.skip()
    one.client(publish(1, "a"))
    one.skip()
    one.link("b", message(1, bytes(400)))
    one.expect_actions("PauseLink b")
    one.link("a", ack(1))
    one.expect_client(ack(1))
    one.expect_actions("PauseLink a")


@pytest.mark.usefixtures("small")
def test_a_link_whose_message_others_wait_for_is_not_paused(one: Playbook) -> None:
    """A held message in the middle, with whole ones behind it."""
    one.link("a", message(1))
    one.skip()
    frames = split(message(1, b"in pieces"))
    one.link("b", *frames[:2])
    one.link("a", message(2, bytes(400)))
    one.expect_actions("PauseLink a")
    one.client(ack(1))
    one.expect_link("a", ack(1))
    one.link("b", frames[2])
    one.expect_client(message(2, b"in pieces"))
    one.expect_actions("PauseLink b")


@pytest.mark.usefixtures("small")
def test_a_get_that_was_stalled_is_not_forgotten(one: Playbook) -> None:
    """It is taken up when the requests before it are answered, at the moment when links would be paused."""
    one.link("a", message(1))
    one.skip()
    one.client(on(1, Queue.Purge(queue="q"), Basic.Get(queue="q")))
    one.skip()
    one.link("b", on(1, Queue.PurgeOk(0)), message(1, bytes(400)))
    one.expect_actions("PauseLink b")
    one.link("a", on(1, Queue.PurgeOk(0)))
    one.expect_client(on(1, Queue.PurgeOk(0)))
    one.expect_actions("CountMessages b q 1", "ResumeLink b")


@pytest.mark.usefixtures("small")
def test_a_link_that_takes_a_new_secret_is_not_paused(one: Playbook) -> None:
    one.link("a", message(1))
    one.skip()
    one.client(on(0, Connection.UpdateSecret("new", "expired")))
    one.skip()
    one.do(lambda: one.session.secret_updated(one.links["a"]))
    one.link("b", message(1, bytes(400)))
    one.expect_actions("PauseLink a")
    one.do(lambda: one.session.secret_updated(one.links["b"]))
    one.expect_client(on(0, Connection.UpdateSecretOk()))


@pytest.mark.usefixtures("small")
def test_links_pause_when_too_much_waits_for_a_message(opened: Opening) -> None:
    """All but the one that is in the middle of it."""
    play = opened("a", "b", "c")
    consume(play)
    frames = split(message(1, b"large"))
    play.link("a", *frames[:2])
    play.expect_client(*frames[:2])
    play.link("b", message(1, bytes(400)))
    play.expect_actions("PauseLink b", "PauseLink c")
    play.link("a", frames[2])
    play.expect_client(frames[2], message(2, bytes(400)))
    play.expect_actions("ResumeLink b", "ResumeLink c")
    play.link("b", message(2))
    play.expect_client(message(3))
    assert not play.session.settle_due
