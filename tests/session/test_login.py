"""From start-ok to tune: all upstreams accept user and password, or the client told why not, where it expects it.

Covered as well: links that break while the client is waited for, and clients that say too much, close or vanish.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.session.conftest import Opening
from tests.session.frames import HEARTBEAT, PROTOCOL_HEADER, Basic, Channel, Connection, connection_close, on, publish
from tests.session.playbook import CAPABILITIES, Playbook
from trabbits.log_ids import LogId
from trabbits.session.phase import Phase

TUNE = Connection.Tune(2046, 131072, 60)
TUNE_OK = Connection.TuneOk(2046, 131072, 0)
GIVING_UP = ("CancelLinks", "CancelTimer handshake", "CancelTimer heartbeat")


def logging_in(fresh: Opening, *upstreams: str, capabilities: Any = None, **options: Any) -> Playbook:
    """A session whose upstreams are asked who the client is."""
    play = fresh(*upstreams, **options)
    properties: Any = {"capabilities": CAPABILITIES if capabilities is None else capabilities}
    play.client(PROTOCOL_HEADER, on(0, Connection.StartOk(properties, "PLAIN", "\0user\0secret")))
    play.skip()
    assert play.session.phase is Phase.AUTHENTICATING
    return play


def tuning(fresh: Opening, *upstreams: str, **options: Any) -> Playbook:
    """A session whose links wait for the client."""
    play = logging_in(fresh, *upstreams, **options)
    play.log_in()
    play.skip()
    assert play.session.phase is Phase.TUNING
    return play


def refused(play: Playbook, name: str, code: int = 403, text: str = "ACCESS_REFUSED - no") -> None:
    """An upstream refuses the client."""
    play.do(lambda: play.session.link_refused(name, f"{name}.example:5672", code, text, 0, 0))


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_tune_comes_with_the_last_login(order: str, fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b", "c")
    for name in order[:-1]:
        play.log_in(name)
        play.expect_nothing()
    play.log_in(order[-1])
    play.expect_client(on(0, TUNE))
    play.expect_actions("SetTimer handshake 5")
    play.expect_log(*[LogId.LINK_AUTHENTICATED] * 3)


def test_the_handshake_timer_rests_while_upstreams_are_waited_for(fresh: Opening) -> None:
    """It belongs to the client; one that fires all the same means nothing."""
    play = logging_in(fresh, "a")
    play.do(lambda: play.session.timer_fired("handshake"))
    play.log_in("a")
    play.expect_client(on(0, TUNE))
    play.expect_actions("SetTimer handshake 5")


# Refusals


def test_a_wrong_password_is_told_in_place_of_tune(fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b")
    play.log_in("a")
    text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."
    refused(play, "b", 403, text)
    play.expect_client(connection_close(403, text))
    play.expect_actions(*GIVING_UP, "SetTimer close 1")
    play.expect_log(LogId.LINK_AUTHENTICATED, LogId.LINK_REFUSED, LogId.CLIENT_CLOSED)
    play.client(on(0, Connection.CloseOk()))
    play.expect_actions("CancelTimer close", "CloseClient")


@pytest.mark.parametrize("capabilities", [{}, {"authentication_failure_close": False}])
def test_403_is_a_closed_socket_for_clients_that_know_no_better(capabilities: Any, fresh: Opening) -> None:
    """RabbitMQ's "Authentication Failure Notifications": others would take connection.close for garbage."""
    play = logging_in(fresh, "a", "b", capabilities=capabilities)
    play.log_in("b")
    refused(play, "a")
    play.expect_actions(*GIVING_UP, "CloseClient")
    play.client(publish(1, "a"))
    play.do(lambda: play.session.client_lost("closed"))
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CancelTimer close")
    assert play.session.finished


@pytest.mark.parametrize("capabilities", [CAPABILITIES, {}])
def test_other_refusals_are_told_to_every_client(capabilities: Any, fresh: Opening) -> None:
    play = logging_in(fresh, capabilities=capabilities)
    refused(play, "a", 320, "CONNECTION_FORCED - broker forced connection closure")
    play.expect_client(connection_close(320, "CONNECTION_FORCED - broker forced connection closure"))
    play.expect_actions(*GIVING_UP, "SetTimer close 1")


def test_an_upstream_that_cannot_be_reached_is_named(fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b")
    play.log_in("a")
    text = "upstream 'b' (b.example:5672) refused the TCP connection"
    play.do(lambda: play.session.link_unreachable("b", "b.example:5672", text))
    play.expect_client(connection_close(320, f"CONNECTION_FORCED - {text}"))
    play.expect_actions(*GIVING_UP, "SetTimer close 1")


def test_a_login_that_comes_too_late_changes_nothing(fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b")
    refused(play, "a")
    play.skip()
    play.log_in("b")


# Links that break while the client is waited for


@pytest.mark.parametrize("step", ["tune-ok", "open"])
def test_a_link_that_breaks_while_the_client_is_waited_for(step: str, fresh: Opening) -> None:
    play = tuning(fresh, "a", "b")
    if step == "open":
        play.client(on(0, TUNE_OK))
    text = "upstream 'b' (b.example:5672) closed the connection before the client had opened a virtual host"
    play.do(lambda: play.session.link_unreachable("b", "b.example:5672", text))
    play.expect_client(connection_close(320, f"CONNECTION_FORCED - {text}"))
    play.expect_actions(*GIVING_UP, "SetTimer close 1")


@pytest.mark.parametrize("capabilities", [CAPABILITIES, {}])
def test_a_link_that_is_closed_while_the_client_is_waited_for_is_named(capabilities: Any, fresh: Opening) -> None:
    play = tuning(fresh, "a", "b", capabilities=capabilities)
    refused(play, "b", 320, "CONNECTION_FORCED - broker forced connection closure")
    text = "CONNECTION_FORCED - broker forced connection closure (upstream 'b')"
    play.expect_client(connection_close(320, text))
    play.expect_actions(*GIVING_UP, "SetTimer close 1")


# The client meanwhile


@pytest.mark.parametrize(
    ("early", "closing"),
    [
        (
            on(0, Connection.Open("/")),
            connection_close(
                504, "CHANNEL_ERROR - unexpected method connection.open, expected connection.tune-ok", Connection.Open
            ),
        ),
        (
            on(0, Connection.TuneOk(1, 1, 0)),
            connection_close(
                530,
                "NOT_ALLOWED - negotiated frame_max = 1 is lower than the minimum allowed value (4096)",
                Connection.TuneOk,
            ),
        ),
        (
            publish(1, "k", b"x"),
            connection_close(
                505, "UNEXPECTED_FRAME - basic.publish on channel 1 before the connection is open", Basic.Publish
            ),
        ),
    ],
)
def test_what_comes_too_early_is_judged_after_tune(early: bytes, closing: bytes, fresh: Opening) -> None:
    play = logging_in(fresh)
    play.client(HEARTBEAT, early)
    assert play.session.client_scanner.stalled
    play.log_in()
    play.expect_client(on(0, TUNE), closing)
    play.expect_actions("SetTimer handshake 5", *GIVING_UP, "SetTimer close 1")


def test_octets_that_are_no_frame_are_not_waited_with(fresh: Opening) -> None:
    play = logging_in(fresh)
    play.client(b"garbage that is long enough")
    play.expect_client(connection_close(501, "FRAME_ERROR - unknown frame type 103"))
    play.expect_actions(*GIVING_UP, "SetTimer close 1")


@pytest.mark.parametrize("waits", ["for the upstreams", "for the client"])
def test_the_client_may_close_meanwhile(waits: str, fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b") if waits == "for the upstreams" else tuning(fresh, "a", "b")
    play.client(on(0, Connection.Close(200, "changed my mind", 0, 0)))
    play.expect_client(on(0, Connection.CloseOk()))
    play.expect_actions(*GIVING_UP, "CancelTimer close", "CloseClient")


def test_a_close_behind_early_frames_is_found_when_the_login_fails(fresh: Opening) -> None:
    play = logging_in(fresh)
    play.client(on(0, TUNE_OK, Connection.Open("/")), on(1, Channel.Open()), on(0, Connection.Close(200, "", 0, 0)))
    assert play.session.client_scanner.stalled
    refused(play, "a")
    play.expect_client(connection_close(403, "ACCESS_REFUSED - no"), on(0, Connection.CloseOk()))
    play.expect_actions(*GIVING_UP, "SetTimer close 1", "CancelTimer close", "CloseClient")


@pytest.mark.parametrize("waits", ["for the upstreams", "for the client"])
def test_the_client_may_vanish_meanwhile(waits: str, fresh: Opening) -> None:
    play = logging_in(fresh, "a", "b") if waits == "for the upstreams" else tuning(fresh, "a", "b")
    play.do(lambda: play.session.client_lost("connection reset"))
    play.expect_actions(*GIVING_UP, "CancelTimer handshake", "CancelTimer heartbeat", "CancelTimer close")
    assert play.session.finished
