"""What belongs to the connection as a whole: heartbeats, connection.blocked, connection.update-secret."""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.frames import HEARTBEAT, Basic, Connection, connection_close, on, publish
from tests.session.playbook import OWN_CHANNEL, Playbook
from trabbits.log_ids import LogId
from trabbits.wire.encode import frame

BLOCKED = {"connection.blocked": True}


def beat(play: Playbook) -> None:
    """Half an interval of 20 seconds passes."""
    play.do(lambda: play.session.timer_fired("heartbeat"))


# Heartbeats


def test_a_heartbeat_goes_out_every_half_interval(fresh: Opening) -> None:
    play = fresh("a")
    play.open(heartbeat=20)
    for _ in range(3):
        beat(play)
        play.expect_client(HEARTBEAT)
        play.expect_actions("SetTimer heartbeat 10")
        play.client(HEARTBEAT)


def test_heartbeats_are_not_relayed(fresh: Opening) -> None:
    play = fresh("a")
    play.open(heartbeat=20)
    play.client(HEARTBEAT)
    play.link("a", HEARTBEAT)


def test_a_silent_client_is_dropped_after_two_intervals(fresh: Opening) -> None:
    """Section 4.2.7: it is gone, so there is no connection.close; nothing of it is heard any more."""
    play = fresh("a", "b")
    play.open(heartbeat=20)
    play.client(HEARTBEAT)
    for _ in range(4):
        beat(play)
        play.expect_client(HEARTBEAT)
        play.expect_actions("SetTimer heartbeat 10")
    beat(play)
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CloseLink a", "CloseLink b", "AbortClient")
    assert play.logged[-1] == (LogId.HEARTBEAT_MISSED, {"peer": "client", "seconds": 40})
    play.client(publish(1, "a"))
    play.do(lambda: play.session.client_lost("aborted"))
    play.skip()
    for link in play.links.values():
        assert not play.session.finished
        play.session.link_gone(link)
    assert play.session.finished


@pytest.mark.parametrize("size", [len(HEARTBEAT), 1])
def test_any_octets_are_a_sign_of_life(size: int, fresh: Opening) -> None:
    play = fresh("a")
    play.open(heartbeat=20)
    stream = HEARTBEAT * 8
    for at in range(0, size * 8, size):
        for _ in range(3):
            beat(play)
            play.skip()
        play.client(stream[at : at + size])


def test_silence_means_nothing_while_the_client_is_not_read(fresh: Opening) -> None:
    """Its heartbeats wait where nobody looks; after that it has the full time again."""
    play = fresh("a")
    play.open(heartbeat=20)
    play.session.client_reading = False
    for _ in range(10):
        beat(play)
        play.skip()
    play.session.client_reading = True
    for _ in range(3):
        beat(play)
        play.expect_client(HEARTBEAT)
        play.expect_actions("SetTimer heartbeat 10")


# connection.blocked


def block(play: Playbook, name: str, reason: str = "low on memory") -> None:
    play.do(lambda: play.session.link_blocked(play.links[name], reason))


def unblock(play: Playbook, name: str) -> None:
    play.do(lambda: play.session.link_unblocked(play.links[name]))


def test_blocked_when_any_link_is_and_unblocked_when_none_is(opened: Opening) -> None:
    play = opened("a", "b")
    block(play, "b")
    play.expect_client(on(0, Connection.Blocked("low on memory (upstream 'b')")))
    block(play, "a")
    unblock(play, "b")
    block(play, "b")
    unblock(play, "a")
    unblock(play, "b")
    play.expect_client(on(0, Connection.Unblocked()))
    unblock(play, "b")
    block(play, "a", "low on disk")
    play.expect_client(on(0, Connection.Blocked("low on disk (upstream 'a')")))


@pytest.mark.parametrize("capabilities", [{}, {"connection.blocked": False}])
def test_clients_that_do_not_know_it_are_not_told(capabilities: dict[str, bool], opened: Opening) -> None:
    play = opened(capabilities=capabilities)
    block(play, "a")
    unblock(play, "a")


def test_nobody_is_told_while_links_are_being_opened(fresh: Opening) -> None:
    play = fresh("a", "b")
    play.negotiate()
    play.link_opens("a")
    play.skip()
    block(play, "a")
    unblock(play, "a")


@pytest.mark.parametrize("reason", ["x" * 300, "ü" * 200])
def test_a_long_reason_is_cut(reason: str, opened: Opening) -> None:
    play = opened("a")
    block(play, "a", reason)
    (blocked,) = play.taken("client")
    assert blocked[11] in (254, 255)
    assert blocked[12:-1].decode().endswith("...")


# connection.update-secret


UPDATE = on(0, Connection.UpdateSecret("new", "expired"))
UPDATE_OK = on(0, Connection.UpdateSecretOk())


def test_a_secret_is_updated_on_all_links(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(UPDATE)
    play.expect_actions("UpdateSecret a new expired", "UpdateSecret b new expired")
    play.do(lambda: play.session.secret_updated(play.links["b"]))
    play.do(lambda: play.session.secret_updated(play.links["a"]))
    play.expect_client(UPDATE_OK)


@pytest.mark.parametrize("order", ["aabb", "abab", "abba", "bbaa"])
def test_each_update_has_one_answer(order: str, opened: Opening) -> None:
    """However many are under way."""
    play = opened("a", "b")
    play.client(UPDATE)
    play.skip()
    play.do(lambda: play.session.secret_updated(play.links[order[0]]))
    play.client(UPDATE)
    play.skip()
    answers = []
    for name in order[1:]:
        play.do(lambda: play.session.secret_updated(play.links[name]))  # noqa: B023 - called at once
        answers += play.taken("client")
    assert answers == [UPDATE_OK] * 2


def test_a_secret_may_be_any_octets(opened: Opening) -> None:
    play = opened("a")
    play.client(frame(1, 0, b"\0\x0a\0\x46\0\0\0\x02\xff\xfe\x00"))
    play.expect_actions("UpdateSecret a \udcff\udcfe ")


def test_a_refused_secret_is_the_upstreams_close(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(UPDATE)
    play.skip()
    text = "ACCESS_REFUSED - New secret was refused by one of the backends"
    play.do(lambda: play.session.link_closed(play.links["a"], 403, text, 10, 70))
    play.expect_client(connection_close(403, f"{text} (upstream 'a')", Connection.UpdateSecret))
    play.skip()
    play.do(lambda: play.session.secret_updated(play.links["b"]))
    play.do(lambda: play.session.secret_updated(play.links["a"]))


# What is trabbits' own


@pytest.mark.parametrize("upstreams", ["a", "ab"])
def test_channel_0_and_the_own_channel_of_a_link_are_not_the_clients(upstreams: str, opened: Opening) -> None:
    """In the middle of whatever goes on, they reach trabbits' own conversation with the node, in order."""
    play = opened(*upstreams)
    own = on(OWN_CHANNEL, Basic.GetEmpty()) + on(0, Connection.Blocked("x"))
    play.link("a", own[:9])
    play.link("a", own[9:])
    play.expect_control("a", own)


def test_an_event_out_of_season_is_nothing(opened: Opening) -> None:
    play = opened("a")
    play.do(lambda: play.session.messages_counted(1, 1))
    play.do(lambda: play.session.timer_fired("close"))
    assert repr(play.session) == "<Session proxy-1 RUNNING>"
