"""The end of a session in all its forms: who closes first, who does not answer, what is lost on the way.

Covered: both directions and crossing, lost and misbehaving links, vanishing clients, errors of our own.
Not covered here: before the connection is open (test_handshake.py, test_connecting.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import base

from tests.session.conftest import Opening
from tests.session.fans import consume
from tests.session.frames import (
    HEARTBEAT,
    PROTOCOL_HEADER,
    Basic,
    Channel,
    Connection,
    connection_close,
    deliver,
    on,
    publish,
)
from trabbits.log_ids import LogId
from trabbits.session.phase import Phase
from trabbits.wire.encode import frame

TIMERS = ("CancelTimer handshake", "CancelTimer heartbeat")
CLOSED = ("CancelTimer close", "CloseClient")
BYE = on(0, Connection.Close(200, "bye", 0, 0))
CLOSE_OK = on(0, Connection.CloseOk())
SHUTDOWN = connection_close(320, "CONNECTION_FORCED - shutting down")

SESSIONS = pytest.mark.parametrize("upstreams", ["a", "ab"])


@SESSIONS
def test_the_client_closes(upstreams: str, opened: Opening) -> None:
    """Its close-ok says that all links are closed: exclusive queues are gone then."""
    play = opened(*upstreams)
    play.client(BYE)
    play.expect_actions(*TIMERS, *(f"CloseLink {name}" for name in upstreams), "SetTimer close 1")
    play.client(b"whatever")
    for name in upstreams:
        play.expect_nothing()
        play.do(lambda: play.session.link_gone(play.links[name]))  # noqa: B023 - called at once
    play.expect_client(CLOSE_OK)
    play.expect_actions(*CLOSED)
    assert not play.session.finished
    play.do(lambda: play.session.client_lost("closed"))
    play.expect_actions(*TIMERS, "CancelTimer close")
    assert play.session.finished
    play.expect_log(LogId.CLIENT_CLOSED)


def test_its_close_ok_does_not_wait_forever(opened: Opening) -> None:
    play = opened("a", "b")
    play.client(BYE)
    play.skip()
    play.do(lambda: play.session.link_gone(play.links["a"]))
    play.do(lambda: play.session.timer_fired("close"))
    play.expect_client(CLOSE_OK)
    play.expect_actions(*CLOSED)
    play.do(lambda: play.session.link_gone(play.links["b"]))
    play.do(lambda: play.session.timer_fired("close"))


def test_what_links_bring_while_they_close_reaches_nobody(opened: Opening) -> None:
    """But trabbits' own conversation must see the end of it."""
    play = opened("a", "b")
    play.client(BYE)
    play.skip()
    play.link("a", on(1, Basic.ConsumeOk("c")), deliver(1, "c", 1, b"late"), CLOSE_OK)
    play.expect_control("a", CLOSE_OK)


def test_a_message_under_way_when_the_client_closes_is_cut(opened: Opening) -> None:
    play = opened("a")
    message = deliver(1, "c", 1, b"late")
    play.link("a", message[:-12])
    play.skip()
    play.client(BYE)
    play.skip()
    play.link("a", message[-12:], CLOSE_OK)
    play.expect_control("a", CLOSE_OK)


@SESSIONS
def test_trabbits_closes(upstreams: str, opened: Opening) -> None:
    play = opened(*upstreams)
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - shutting down"))
    play.expect_client(SHUTDOWN)
    play.expect_actions(*TIMERS, *(f"CloseLink {name}" for name in upstreams), "SetTimer close 1")
    play.client(publish(1, "a", b"too late"), HEARTBEAT, CLOSE_OK, b"more")
    play.expect_actions(*CLOSED)
    play.client(CLOSE_OK)
    for name in upstreams:
        play.do(lambda: play.session.link_gone(play.links[name]))  # noqa: B023 - called at once
    play.do(lambda: play.session.client_lost("closed"))
    play.skip()
    assert play.session.finished


def test_trabbits_closes_in_the_middle_of_the_clients_frame(opened: Opening) -> None:
    """What is left of the frame is skipped; close-ok is found behind it."""
    play = opened("a")
    message = publish(1, "a", b"x" * 100)
    play.client(message[:-50])
    play.skip()
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - shutting down"))
    play.skip()
    play.client(message[-50:] + CLOSE_OK[:7])
    play.client(CLOSE_OK[7:])
    play.expect_actions(*CLOSED)


def test_both_close_at_once(opened: Opening) -> None:
    """Section 1.4.2.9: each answers the other's close, in whatever order they come."""
    play = opened("a")
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - shutting down"))
    play.skip()
    play.client(BYE)
    play.expect_client(CLOSE_OK)
    play.expect_actions(*CLOSED)
    play.client(CLOSE_OK)


def test_a_client_that_does_not_answer_is_dropped(opened: Opening) -> None:
    play = opened("a")
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - shutting down"))
    play.skip()
    play.do(lambda: play.session.timer_fired("close"))
    play.expect_actions("AbortClient")
    play.expect_log(LogId.CLOSE_TIMEOUT)
    play.do(lambda: play.session.client_lost("aborted"))
    play.expect_actions(*TIMERS, "CancelTimer close")


def test_only_the_first_reason_counts(opened: Opening) -> None:
    play = opened("a")
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - shutting down"))
    play.expect_client(SHUTDOWN)
    play.skip()
    play.do(lambda: play.session.close(541, "another"))
    play.do(lambda: play.session.link_lost(play.links["a"], "reset"))
    play.expect_log(LogId.LINK_LOST)


@SESSIONS
def test_the_client_vanishes(upstreams: str, opened: Opening) -> None:
    play = opened(*upstreams)
    play.client(publish(1, "a", b"cut off")[:-5])
    play.skip()
    play.do(lambda: play.session.client_lost("connection reset"))
    play.expect_actions(*TIMERS, *(f"CloseLink {name}" for name in upstreams), *TIMERS, "CancelTimer close")
    play.expect_log(LogId.CLIENT_VANISHED)
    play.do(lambda: play.session.client_lost("again"))
    play.client(b"ghost")
    for name in upstreams:
        assert not play.session.finished
        play.do(lambda: play.session.link_gone(play.links[name]))  # noqa: B023 - called at once
    assert play.session.finished
    assert play.session.phase is Phase.CLOSED


def test_the_client_vanishes_after_its_close(opened: Opening) -> None:
    play = opened("a")
    play.client(BYE)
    play.skip()
    play.do(lambda: play.session.client_lost("closed"))
    play.expect_actions(*TIMERS, "CancelTimer close")
    play.expect_log()
    play.do(lambda: play.session.link_gone(play.links["a"]))
    assert play.session.finished


# Links


@SESSIONS
def test_a_link_is_lost(upstreams: str, opened: Opening) -> None:
    play = opened(*upstreams)
    reason = "upstream 'a' (a.example:5672) reset the connection"
    play.do(lambda: play.session.link_lost(play.links["a"], reason))
    text = f"CONNECTION_FORCED - {reason}"
    play.expect_client(connection_close(320, text))
    play.expect_actions(*TIMERS, *(f"CloseLink {name}" for name in upstreams[1:]), "SetTimer close 1")
    play.link("a", deliver(1, "c", 1, b"ghost"))
    play.expect_log(LogId.LINK_LOST, LogId.CLIENT_CLOSED)
    assert repr(play.links["a"]) == "<Link a a.example:5672 gone>"


def test_what_waits_for_a_lost_link_is_dropped(opened: Opening) -> None:
    play = opened("a")
    play.links["a"].out.append(b"never written")
    play.links["a"].control.append(b"never read")
    play.do(lambda: play.session.link_lost(play.links["a"], "connection reset"))
    play.skip_client()
    play.expect_actions(*TIMERS, "SetTimer close 1")


@SESSIONS
def test_an_upstream_closes_the_connection(upstreams: str, opened: Opening) -> None:
    """The client gets its code and text, and the upstream's name."""
    play = opened(*upstreams)
    text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    play.do(lambda: play.session.link_closed(play.links["a"], 320, text, 60, 20))
    play.expect_client(connection_close(320, f"{text} (upstream 'a')", Basic.Consume))
    play.expect_actions(*TIMERS, *(f"CloseLink {name}" for name in upstreams[1:]), "SetTimer close 1")
    play.expect_log(LogId.LINK_CLOSED_BY_UPSTREAM, LogId.CLIENT_CLOSED)


@SESSIONS
@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"\x03\0\x01\0\0\0\x01x\xce", "expected a method frame on channel 1, got a content body instead"),
        (b"\x01\0\x01\x7f\0\0\0", "frame of 2130706440 octets on channel 1 is larger than the negotiated frame_max of "
         "131072"),
        (PROTOCOL_HEADER, "unknown frame type 65"),
    ],
)  # fmt: skip
def test_a_link_breaks_the_protocol(octets: bytes, words: str, upstreams: str, opened: Opening) -> None:
    """It was not the client's fault, so it is told about a lost upstream."""
    play = opened(*upstreams)
    play.link("a", octets)
    text = f"CONNECTION_FORCED - upstream 'a' (a.example:5672) broke the protocol: {words}"
    play.expect_client(connection_close(320, text))
    play.expect_actions(*TIMERS, *(f"CloseLink {name}" for name in upstreams), "SetTimer close 1")
    play.expect_log(LogId.LINK_VIOLATION, LogId.CLIENT_CLOSED)
    play.link("a", octets)


def test_a_delivery_that_does_not_fit_its_frame(opened: Opening) -> None:
    """Nothing behind the frame is taken for its delivery tag, or patched."""
    play = opened("a", "b")
    consume(play)
    short = frame(1, 1, b"\x00\x3c\x00\x3c\x01c\x00\x00")
    play.link("a", short + deliver(1, "c", 1, b"sound"))
    text = "broke the protocol: cannot decode basic.deliver: consumer tag and delivery tag do not fit the frame"
    play.expect_client(connection_close(320, f"CONNECTION_FORCED - upstream 'a' (a.example:5672) {text}"))
    play.expect_actions(*TIMERS, "CloseLink a", "CloseLink b", "SetTimer close 1")
    play.expect_log(LogId.LINK_VIOLATION, LogId.CLIENT_CLOSED)


# The client breaks the protocol


@SESSIONS
@pytest.mark.parametrize(
    ("octets", "code", "text", "method"),
    [
        (PROTOCOL_HEADER, 501, "FRAME_ERROR - unknown frame type 65", None),
        (on(1, Channel.Open())[:-1] + b"\0", 501,
         "FRAME_ERROR - frame on channel 1 ends with octet 0x00, expected 0xce", None),
        (b"\x03\0\x01\0\0\0\x01x\xce", 505,
         "UNEXPECTED_FRAME - expected a method frame on channel 1, got a content body instead", None),
        (on(7, Basic.Get(queue="q")), 504,
         "CHANNEL_ERROR - expected 'channel.open', got basic.get on channel 7 that is not open", Basic.Get),
        (on(1, Channel.Open()), 504, "CHANNEL_ERROR - second 'channel.open' seen on channel 1", Channel.Open),
        (on(2047, Channel.Open()), 530,
         "NOT_ALLOWED - channel 2047 is above the negotiated channel_max of 2046", Channel.Open),
        (on(0, Connection.OpenOk()), 504,
         "CHANNEL_ERROR - unexpected method connection.open-ok on channel 0, the connection is open",
         Connection.OpenOk),
        (on(1, Basic.ConsumeOk("c")), 503, "COMMAND_INVALID - basic.consume-ok is sent by servers only",
         Basic.ConsumeOk),
        (deliver(1, "c", 1), 503, "COMMAND_INVALID - basic.deliver is sent by servers only", Basic.Deliver),
        (on(1, Connection.Open("/")), 503, "COMMAND_INVALID - connection.open belongs to channel 0", Connection.Open),
    ],
)  # fmt: skip
def test_a_client_breaks_the_protocol(
    octets: bytes, code: int, text: str, method: type[base.Frame] | None, upstreams: str, opened: Opening
) -> None:
    """What was right before is done, nothing behind is; the answer names the method."""
    play = opened(*upstreams)
    play.client(publish(1, "a", b"x"), octets, publish(1, "a", b"y"))
    play.expect_link("a", publish(1, "a", b"x"))
    play.expect_client(connection_close(code, text, method))
    play.expect_actions(*TIMERS, *(f"CloseLink {name}" for name in upstreams), "SetTimer close 1")
    play.expect_log(LogId.CLIENT_VIOLATION, LogId.CLIENT_CLOSED)
    play.client(CLOSE_OK)
    # Behind what is no frame at all nothing can be found; the timeout is for that.
    play.expect_actions(*(CLOSED if octets != PROTOCOL_HEADER else ()))


@SESSIONS
def test_a_method_that_does_not_exist(upstreams: str, opened: Opening) -> None:
    play = opened(*upstreams)
    play.client(b"\x01\0\x01\0\0\0\x04\0\x3c\0\x99\xce")
    ids = Connection.Close(540, "NOT_IMPLEMENTED - unknown method: class 60 method 153", 60, 153)
    play.expect_client(on(0, ids))
    play.skip()


# Our own errors


def broken(index: int, channel: int, frame: bytes) -> Any:
    """What a scanner calls for a method, with a bug."""
    raise RuntimeError("bug")


INTERNAL = connection_close(541, "INTERNAL_ERROR - trabbits failed on this connection; its log has more on proxy-1")


@SESSIONS
def test_an_error_of_our_own_closes_everything(upstreams: str, opened: Opening) -> None:
    """Rather than leave a session half alive; close-ok is found wherever the chunk was cut."""
    play = opened(*upstreams)
    play.session.client_scanner.method = broken
    declare = b"\x01\0\x01\0\0\0\x0d\0\x32\0\x0a\0\0\x01q\0\0\0\0\0\xce"
    play.client(declare, CLOSE_OK[:5])
    play.expect_client(INTERNAL)
    play.expect_actions(*TIMERS, *(f"CloseLink {name}" for name in upstreams), "SetTimer close 1")
    play.expect_log(LogId.INTERNAL_ERROR, LogId.CLIENT_CLOSED)
    play.client(CLOSE_OK[5:])
    play.expect_actions(*CLOSED)


def test_an_error_of_our_own_in_what_a_link_brings(opened: Opening) -> None:
    play = opened("a", "b")
    # A basic.deliver whose consumer tag reaches behind its frame: the hot path does not look that closely.
    play.link("a", b"\x01\0\x01\0\0\0\x05\0\x3c\0\x3c\xff\xce")
    play.taken("client")
    play.expect_actions(*TIMERS, "CloseLink a", "CloseLink b", "SetTimer close 1")
    play.link("a", CLOSE_OK)
    play.skip()
    assert play.session.phase is Phase.CLOSING


def test_an_error_of_our_own_while_closing_drops_the_client(opened: Opening) -> None:
    play = opened("a")
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - shutting down"))
    play.skip()
    link = play.links["a"]
    link.scanner.method = broken
    play.link("a", on(1, Channel.OpenOk()))
    play.expect_actions("AbortClient")
    play.expect_log(LogId.INTERNAL_ERROR)
