"""From connection.open to open-ok: all links up, or the client told why not; it may close or vanish meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.session.conftest import Opening
from tests.session.frames import HEARTBEAT, Basic, Channel, Connection, Queue, connection_close, on, publish
from tests.session.playbook import Playbook
from trabbits.log_ids import LogId
from trabbits.session.phase import Phase

GIVING_UP = ("CancelLinks", "CancelTimer handshake", "CancelTimer heartbeat")


def connecting(fresh: Opening, *upstreams: str, **options: Any) -> Playbook:
    """A session whose links are being opened."""
    play = fresh(*upstreams, **options)
    play.negotiate()
    return play


def refused(play: Playbook, name: str, code: int = 403, text: str = "ACCESS_REFUSED - no") -> None:
    """An upstream refuses the client."""
    play.do(lambda: play.session.link_refused(name, f"{name}.example:5672", code, text, 10, 40))


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_open_ok_comes_with_the_last_link(order: str, fresh: Opening) -> None:
    """In whatever order they come, links are in the order of the configuration afterwards."""
    play = connecting(fresh, "a", "b", "c")
    for name in order[:-1]:
        play.link_opens(name)
        play.expect_log(LogId.LINK_OPENED)
    play.link_opens(order[-1])
    play.expect_client(on(0, Connection.OpenOk()))
    play.expect_log(LogId.LINK_OPENED, LogId.CLIENT_OPENED)
    assert [link.name for link in play.session.links] == ["a", "b", "c"]
    assert play.session.phase is Phase.RUNNING


def test_the_log_says_who_opened_what(fresh: Opening) -> None:
    play = connecting(fresh, "a", "b")
    play.link_opens("b")
    play.link_opens("a")
    play.skip_client()
    assert play.logged[-1] == (
        LogId.CLIENT_OPENED,
        {"user": "user", "vhost": "/", "address": "192.0.2.1:50000", "upstreams": ["a", "b"]},
    )


@pytest.mark.parametrize("upstreams", ["a", "ab"])
def test_frames_that_come_early_are_kept(upstreams: str, fresh: Opening) -> None:
    """A client may not wait for open-ok; what it sends is taken up when all links are there."""
    play = connecting(fresh, *upstreams)
    early = on(1, Channel.Open()) + publish(1, "a", b"early")
    play.client(HEARTBEAT, early[:5])
    play.client(early[5:25])
    assert play.session.client_scanner.stalled
    for name in upstreams:
        play.expect_nothing()
        play.link_opens(name)
    play.expect_client(on(0, Connection.OpenOk()))
    play.expect_link("a", on(1, Channel.Open()))
    if upstreams == "ab":
        play.expect_link("b", on(1, Channel.Open()))
    play.client(early[25:])
    play.expect_link("a", publish(1, "a", b"early"))


def test_early_frames_that_are_wrong_close_the_connection(fresh: Opening) -> None:
    play = connecting(fresh)
    play.client(publish(1, "a", b"early"))
    play.link_opens("a")
    text = "CHANNEL_ERROR - expected 'channel.open', got basic.publish on channel 1 that is not open"
    play.expect_client(on(0, Connection.OpenOk()), connection_close(504, text, Basic.Publish))
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CloseLink a", "SetTimer close 1")


# Refusals


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (403, "ACCESS_REFUSED - whatever the reason"),
        (530, "NOT_ALLOWED - vhost v not found"),
    ],
)
def test_a_refusal_reaches_the_client_as_the_upstream_said_it(code: int, text: str, fresh: Opening) -> None:
    play = connecting(fresh, "a", "b")
    play.link_opens("a")
    refused(play, "b", code, text)
    play.expect_client(connection_close(code, text, Connection.Open))
    play.expect_actions(*GIVING_UP, "CloseLink a", "SetTimer close 1")
    play.expect_log(LogId.LINK_OPENED, LogId.LINK_REFUSED, LogId.CLIENT_CLOSED)
    play.client(on(0, Connection.CloseOk()))
    play.expect_actions("CancelTimer close", "CloseClient")


@pytest.mark.parametrize("code", [403, 530])
def test_refusals_are_told_to_every_client(code: int, fresh: Opening) -> None:
    """The login is over: a closed socket would be no answer."""
    play = connecting(fresh, "a", "b", capabilities={})
    play.link_opens("b")
    refused(play, "a", code, "no")
    play.expect_client(connection_close(code, "no", Connection.Open))
    play.expect_actions(*GIVING_UP, "CloseLink b", "SetTimer close 1")
    play.client(publish(1, "a"))
    play.do(lambda: play.session.client_lost("closed"))
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CancelTimer close")
    assert not play.session.finished
    play.do(lambda: play.session.link_gone(play.links["b"]))
    assert play.session.finished


def test_an_upstream_that_cannot_be_reached_is_named(fresh: Opening) -> None:
    play = connecting(fresh, "a", "b")
    play.link_opens("a")
    text = "upstream 'b' (b.example:5672) did not answer within 5 s"
    play.do(lambda: play.session.link_unreachable("b", "b.example:5672", text))
    play.expect_client(connection_close(320, f"CONNECTION_FORCED - {text}"))
    play.expect_actions(*GIVING_UP, "CloseLink a", "SetTimer close 1")
    play.expect_log(LogId.LINK_OPENED, LogId.LINK_UNREACHABLE, LogId.CLIENT_CLOSED)


@pytest.mark.parametrize("first", ["refused", "unreachable"])
def test_only_the_first_failure_counts(first: str, fresh: Opening) -> None:
    """The others come too late to be told."""
    play = connecting(fresh, "a", "b", "c")
    if first == "refused":
        refused(play, "a", 530, "NOT_ALLOWED - no")
    else:
        play.do(lambda: play.session.link_unreachable("a", "", "gone"))
    play.skip()
    refused(play, "b")
    play.do(lambda: play.session.link_unreachable("c", "", "gone"))
    play.expect_log(LogId.LINK_REFUSED, LogId.LINK_UNREACHABLE)


def test_a_link_that_opens_too_late_is_closed_again(fresh: Opening) -> None:
    play = connecting(fresh, "a", "b")
    refused(play, "a", 530, "NOT_ALLOWED - no")
    play.skip()
    play.link_opens("b")
    play.expect_actions("CloseLink b")
    play.do(lambda: play.session.client_lost("closed"))
    play.skip()
    assert not play.session.finished
    play.do(lambda: play.session.link_gone(play.links["b"]))
    assert play.session.finished


def test_a_link_that_is_lost_before_the_others_are_there(fresh: Opening) -> None:
    play = connecting(fresh, "a", "b")
    play.link_opens("a")
    reason = "upstream 'a' (a.example:5672) reset the connection"
    play.do(lambda: play.session.link_lost(play.links["a"], reason))
    text = f"CONNECTION_FORCED - {reason}"
    play.expect_client(connection_close(320, text))
    play.expect_actions(*GIVING_UP, "SetTimer close 1")


# The client meanwhile


def test_a_plugin_that_fails_in_early_frames(fresh: Opening) -> None:
    class Broken:
        def rewrite(self, declare: object) -> object:
            raise RuntimeError("bug")

    play = connecting(fresh, rewriters={"a": Broken()})
    play.client(on(1, Channel.Open(), Queue.Declare(queue="q")))
    play.link_opens("a")
    play.expect_link("a", on(1, Channel.Open()))
    assert b"INTERNAL_ERROR" in play.taken("client")[-1]
    play.skip()


def test_the_client_may_close_meanwhile(fresh: Opening) -> None:
    play = connecting(fresh, "a", "b")
    play.client(on(0, Connection.Close(200, "changed my mind", 0, 0)))
    play.expect_client(on(0, Connection.CloseOk()))
    play.expect_actions(*GIVING_UP, "CancelTimer close", "CloseClient")
    play.expect_log(LogId.CLIENT_CLOSED)


def test_its_close_ok_waits_for_the_links_that_are_there(fresh: Opening) -> None:
    play = connecting(fresh, "a", "b")
    play.link_opens("a")
    play.client(on(0, Connection.Close(200, "changed my mind", 0, 0)))
    play.expect_actions(*GIVING_UP, "CloseLink a", "SetTimer close 1")
    play.do(lambda: play.session.link_gone(play.links["a"]))
    play.expect_client(on(0, Connection.CloseOk()))
    play.expect_actions("CancelTimer close", "CloseClient")


def test_a_close_behind_early_frames_is_found_when_connecting_fails(fresh: Opening) -> None:
    """The client closed as we did: it gets our close and the answer to its own, in this order."""
    play = connecting(fresh)
    play.client(on(1, Channel.Open()), on(0, Connection.Close(200, "changed my mind", 0, 0)))
    assert play.session.client_scanner.stalled
    refused(play, "a", 530, "NOT_ALLOWED - no")
    play.expect_client(connection_close(530, "NOT_ALLOWED - no", Connection.Open), on(0, Connection.CloseOk()))
    play.expect_actions(*GIVING_UP, "SetTimer close 1", "CancelTimer close", "CloseClient")


def test_the_client_may_vanish_meanwhile(fresh: Opening) -> None:
    play = connecting(fresh, "a", "b")
    play.link_opens("a")
    play.do(lambda: play.session.client_lost("connection reset"))
    timers = ("CancelTimer handshake", "CancelTimer heartbeat", "CancelTimer close")
    play.expect_actions(*GIVING_UP, "CloseLink a", *timers)
    play.expect_log(LogId.LINK_OPENED, LogId.CLIENT_VANISHED)
    play.link_opens("b")
    play.expect_actions("CloseLink b")
    for name in ("a", "b"):
        assert not play.session.finished
        play.do(lambda: play.session.link_gone(play.links[name]))  # noqa: B023 - called at once
    assert play.session.finished


def test_a_violation_meanwhile_gives_up_the_links(fresh: Opening) -> None:
    play = connecting(fresh)
    play.client(on(0, Connection.Open("/")))
    text = "CHANNEL_ERROR - unexpected method connection.open on channel 0, the connection is opening links"
    play.expect_client(connection_close(504, text, Connection.Open))
    play.expect_actions(*GIVING_UP, "SetTimer close 1")


def test_the_announced_version_is_that_of_the_upstreams(fresh: Opening) -> None:
    """As far as it is known: the next client is told the lowest."""
    play = connecting(fresh)
    session = play.session
    play.do(lambda: session.link_authenticated("a", "n", {"product": "RabbitMQ", "version": "3.13.1"}))
    assert play.settings.announced.version == "3.13.1"


def test_a_link_that_is_blocked_before_the_others_are_there(fresh: Opening) -> None:
    """The client hears of it as soon as it is told that the connection is open."""
    play = connecting(fresh, "a", "b")
    play.link_opens("a")
    play.do(lambda: play.session.link_blocked(play.links["a"], "low on disk"))
    play.link_opens("b")
    play.expect_client(on(0, Connection.OpenOk()), on(0, Connection.Blocked("low on disk (upstream 'a')")))
