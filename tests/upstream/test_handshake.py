"""A link's handshake against a scripted upstream."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost

from tests.upstream.scripted import (
    CLOSE_OK,
    FORCED,
    HEARTBEAT,
    LOGIN,
    OPEN_OK,
    START,
    TIMEOUT,
    ScriptedLink,
    in_sevens,
    method,
    octet_by_octet,
    tune,
    whole,
)
from trabbits.upstream.errors import LinkRefused, LinkUnreachable
from trabbits.wire.constants import PROTOCOL_HEADER

CHUNKINGS = pytest.mark.parametrize("cut", [whole, octet_by_octet, in_sevens])


@CHUNKINGS
def test_opens_whatever_the_chunking(cut: Any) -> None:
    scripted = ScriptedLink()
    assert scripted.transport.value() == PROTOCOL_HEADER
    scripted.transport.clear()
    scripted.feed(START, tune(), OPEN_OK, cut=cut)
    assert scripted.opened == [None]
    start_ok, tune_ok, opening = scripted.sent()
    assert start_ok.mechanism == "PLAIN"
    assert start_ok.response == "\0guest\0guest"
    assert start_ok.locale == "en_US"
    assert (tune_ok.channel_max, tune_ok.frame_max, tune_ok.heartbeat) == (2047, 131072, 60)
    assert opening.virtual_host == "/"
    link = scripted.link
    assert (link.frame_max, link.channel_max, link.own_channel, link.heartbeat) == (131072, 2047, 2047, 60)
    assert link.server_properties == {"product": "Scripted"}


@CHUNKINGS
def test_waits_for_the_client_after_tune(cut: Any) -> None:
    scripted = ScriptedLink(waits=True)
    scripted.transport.clear()
    scripted.feed(START, tune(), HEARTBEAT, cut=cut)
    assert scripted.opened == [None]
    assert scripted.link.server_properties == {"product": "Scripted"}
    assert [type(sent) for sent in scripted.sent()] == [commands.Connection.StartOk]
    scripted.tick(1000)
    assert scripted.clock.getDelayedCalls() == [], "nobody expects heartbeats yet"
    scripted.go_on()
    assert [type(sent) for sent in scripted.sent()] == [commands.Connection.TuneOk, commands.Connection.Open]
    assert scripted.opened == []
    scripted.feed(OPEN_OK, cut=cut)
    assert scripted.opened == [None]


def test_client_properties_keep_their_capabilities_and_ask_for_a_spoken_refusal() -> None:
    properties = {"x": b"\xff\xfe", "ratio": 0.1, "nested": {"list": [1, "two", None]}, "capabilities": {"a": False}}
    scripted = ScriptedLink(client_properties=properties)
    scripted.transport.clear()
    scripted.feed(START)
    (start_ok,) = scripted.sent()
    assert start_ok.client_properties == {
        **properties,
        "capabilities": {"a": False, "authentication_failure_close": True},
    }
    assert properties["capabilities"] == {"a": False}


def test_amqplain_sends_a_table_without_a_second_length() -> None:
    scripted = ScriptedLink(mechanism="AMQPLAIN", password="pässword")
    scripted.transport.clear()
    scripted.feed(START)
    octets = scripted.transport.value()
    table = b"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x09p\xc3\xa4ssword"
    assert b"\x08AMQPLAIN" + len(table).to_bytes(4, "big") + table in octets


def test_a_username_beyond_ascii_is_counted_in_octets() -> None:
    scripted = ScriptedLink(username="jürgen")
    scripted.transport.clear()
    scripted.feed(START)
    (start_ok,) = scripted.sent()
    assert start_ok.response == "\0jürgen\0guest"


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        # channel_max (of the client), frame_max, heartbeat; the link's channel_max includes its own channel
        ((2046, 131072, 60), (2047, 131072, 60), (2047, 131072, 60)),
        ((10, 4096, 5), (2047, 131072, 60), (11, 4096, 5)),
        ((2046, 131072, 60), (128, 8192, 10), (128, 8192, 10)),
        ((2046, 131072, 0), (0, 0, 30), (2047, 131072, 30)),
        ((2046, 131072, 30), (0, 0, 0), (2047, 131072, 30)),
        ((0, 0, 0), (0, 0, 0), (65535, 0, 0)),
        ((65535, 0, 0), (0, 0, 0), (65535, 0, 0)),
        ((0, 0, 0), (100, 4096, 0), (100, 4096, 0)),
    ],
)
def test_tune(ours: tuple[int, int, int], theirs: tuple[int, int, int], agreed: tuple[int, int, int]) -> None:
    scripted = ScriptedLink(channel_max=ours[0], frame_max=ours[1], heartbeat=ours[2])
    scripted.transport.clear()
    scripted.feed(START, tune(*theirs))
    _, tune_ok, _ = scripted.sent()
    assert (tune_ok.channel_max, tune_ok.frame_max, tune_ok.heartbeat) == agreed
    link = scripted.link
    assert (link.channel_max, link.frame_max, link.heartbeat) == agreed
    assert link.own_channel == link.channel_max


@pytest.mark.parametrize(("clients", "agreed"), [(10, 12), (65535, 65535), (65534, 65535), (0, 65535)])
def test_a_link_that_needs_more_channels_of_its_own(clients: int, agreed: int) -> None:
    scripted = ScriptedLink(channel_max=clients, own_channels=2)
    scripted.transport.clear()
    scripted.feed(START, tune(0))
    assert scripted.sent()[1].channel_max == agreed


REFUSAL = method(commands.Connection.Close(403, "ACCESS_REFUSED - no", 10, 11))


@CHUNKINGS
@pytest.mark.parametrize("before", [(), (START,), (START, tune())], ids=["start", "tune", "open-ok"])
def test_a_refusal_keeps_code_text_and_method(cut: Any, before: tuple[bytes, ...]) -> None:
    scripted = ScriptedLink()
    scripted.feed(*before, REFUSAL, cut=cut)
    error = scripted.error()
    assert isinstance(error, LinkRefused)
    assert (error.upstream, error.node) == ("primary", "localhost:5672")
    assert (error.code, error.text, error.class_id, error.method_id) == (403, "ACCESS_REFUSED - no", 10, 11)
    assert isinstance(scripted.sent()[-1], commands.Connection.CloseOk)
    assert scripted.transport.disconnecting
    assert not scripted.aborted()
    scripted.lose()
    assert scripted.clock.getDelayedCalls() == []


def test_a_refused_link_that_stays_connected_is_aborted() -> None:
    scripted = ScriptedLink().feed(START, REFUSAL)
    scripted.tick(3)
    assert scripted.aborted()


GARBAGE = {
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "another version": b"AMQP\x00\x01\x00\x00",
    "zeros": bytes(64),
    "huge frame": b"\x01\x00\x00\x7f\xff\xff\xff" + bytes(100),
    "frame end": START[:-1] + b"\x00",
    "content": b"\x03\x00\x00\x00\x00\x00\x01x\xce",
    "unknown method": b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\xff\xff\xce",
    "empty method": b"\x01\x00\x00\x00\x00\x00\x00\xce",
    "cut arguments": b"\x01\x00\x00\x00\x00\x00\x08\x00\x0a\x00\x0a\x00\x09\x00\x00\xce",
    "table longer than its frame": b"\x01\x00\x00\x00\x00\x00\x0a\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x09\xce",
    "tune first": tune(),
    "start twice": START + START,
    "tune twice": START + tune() + tune(),
    "open-ok before tune": START + OPEN_OK,
    "tiny frame_max": START + tune(frame_max=100),
    "secure": START + method(commands.Connection.Secure("more")),
    "open-ok first": OPEN_OK,
    "close-ok first": CLOSE_OK,
    "another channel": method(commands.Channel.OpenOk(), 7),
    "a delivery": START + method(commands.Basic.Deliver("tag", 1, False, "", "key")),
    "a client's method": START + method(commands.Queue.Declare(queue="q")),
    "channel.close on channel 0": START + method(commands.Channel.Close(404, "no", 0, 0)),
}


@CHUNKINGS
@pytest.mark.parametrize("octets", GARBAGE.values(), ids=GARBAGE)
def test_garbage_ends_the_handshake(octets: bytes, cut: Any) -> None:
    scripted = ScriptedLink().feed(octets, cut=cut)
    assert scripted.aborted()
    assert len(scripted.link._buffer) < 64 * 1024
    scripted.feed(START, tune(), OPEN_OK)
    assert scripted.opened == []
    scripted.lose()
    error = scripted.error()
    assert isinstance(error, LinkUnreachable)
    assert error.text.startswith("upstream 'primary' (localhost:5672) ")
    assert "closed the connection" not in error.text
    assert scripted.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("before", "due"),
    [((), "connection.start"), ((START,), "connection.tune"), ((START, tune()), "connection.open-ok")],
)
def test_a_lost_connection_ends_the_handshake(before: tuple[bytes, ...], due: str) -> None:
    scripted = ScriptedLink().feed(*before).lose()
    error = scripted.error()
    assert isinstance(error, LinkUnreachable)
    assert error.text == (
        f"upstream 'primary' (localhost:5672) closed the connection in the AMQP handshake, where {due} was due"
    )
    assert scripted.clock.getDelayedCalls() == []


def test_a_reset_connection_is_told_as_such() -> None:
    scripted = ScriptedLink().lose(ConnectionLost("Connection reset by peer"))
    assert "lost the connection (Connection" in scripted.error().text


@pytest.mark.parametrize("before", [(), (START,), (START, tune())], ids=["start", "tune", "open-ok"])
def test_a_cancelled_handshake_leaves_nothing(before: tuple[bytes, ...]) -> None:
    scripted = ScriptedLink().feed(*before)
    scripted.handshake.cancel()
    scripted.link.abort()
    assert scripted.aborted()
    scripted.lose()
    assert isinstance(scripted.error(), CancelledError | LinkUnreachable)
    assert scripted.clock.getDelayedCalls() == []


def test_opening_the_virtual_host_is_bounded() -> None:
    scripted = ScriptedLink(heartbeat=1000).feed(START, tune())
    scripted.tick(TIMEOUT - 1)
    assert scripted.opened == []
    scripted.tick(1)
    error = scripted.error()
    assert isinstance(error, LinkUnreachable)
    assert error.text == (
        "upstream 'primary' (localhost:5672) did not finish the AMQP handshake within 7s: no connection.open-ok"
    )
    assert scripted.aborted()
    scripted.lose()
    assert scripted.clock.getDelayedCalls() == []


def test_cancelling_the_opening_of_the_virtual_host_aborts() -> None:
    scripted = ScriptedLink(waits=True).feed(START, tune()).go_on()
    scripted.handshake.cancel()
    assert isinstance(scripted.error(), CancelledError)
    assert scripted.aborted()
    scripted.feed(OPEN_OK).lose()
    assert scripted.clock.getDelayedCalls() == []


# Between login and opening, while the client is waited for


def broken(scripted: ScriptedLink) -> list[LinkRefused | LinkUnreachable]:
    """What is told about a link that nobody has opened yet."""
    told: list[LinkRefused | LinkUnreachable] = []
    scripted.link.when_broken(told.append)
    return told


@pytest.mark.parametrize("late", [False, True])
def test_a_link_that_is_lost_while_the_client_is_waited_for(late: bool) -> None:
    scripted = ScriptedLink(waits=True).feed(START, tune())
    told = [] if late else broken(scripted)
    scripted.lose()
    (error,) = broken(scripted) if late else told
    assert isinstance(error, LinkUnreachable)
    assert error.text == (
        "upstream 'primary' (localhost:5672) closed the connection before the client had opened a virtual host"
    )
    assert scripted.clock.getDelayedCalls() == []


def test_a_link_that_is_closed_while_the_client_is_waited_for() -> None:
    scripted = ScriptedLink(waits=True).feed(START, tune())
    told = broken(scripted)
    scripted.transport.clear()
    scripted.feed(FORCED)
    assert [type(sent) for sent in scripted.sent()] == [commands.Connection.CloseOk]
    assert scripted.transport.disconnecting
    assert not scripted.aborted()
    scripted.lose()
    (error,) = told
    assert isinstance(error, LinkRefused)
    assert (error.code, error.text) == (320, "CONNECTION_FORCED - bye")
    assert scripted.clock.getDelayedCalls() == []


@CHUNKINGS
def test_garbage_while_the_client_is_waited_for(cut: Any) -> None:
    scripted = ScriptedLink(waits=True).feed(START, tune())
    told = broken(scripted)
    scripted.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n", cut=cut)
    assert scripted.aborted()
    scripted.lose()
    (error,) = told
    assert "does not speak AMQP 0-9-1" in error.text


@pytest.mark.parametrize("end", ["abort", "close"])
def test_nothing_is_told_about_a_link_that_we_gave_up(end: str) -> None:
    scripted = ScriptedLink(waits=True).feed(START, tune())
    told = broken(scripted)
    if end == "abort":
        scripted.link.abort()
    else:
        scripted.link.close_link(5)
    assert scripted.aborted()
    scripted.feed(FORCED).lose()
    assert told == []
    assert scripted.clock.getDelayedCalls() == []


@pytest.mark.parametrize("end", ["lose", "forced"])
def test_a_link_that_has_ended_cannot_be_opened(end: str) -> None:
    scripted = ScriptedLink(waits=True).feed(START, tune())
    if end == "forced":
        scripted.feed(FORCED)
    else:
        scripted.lose()
    scripted.go_on()
    assert isinstance(scripted.error(), LinkRefused if end == "forced" else LinkUnreachable)
    if end == "forced":
        scripted.lose()
    assert scripted.clock.getDelayedCalls() == []


@pytest.mark.parametrize("end", ["lose", "forced"])
def test_what_breaks_while_the_virtual_host_is_opened_is_told_once(end: str) -> None:
    scripted = ScriptedLink(waits=True).feed(START, tune())
    told = broken(scripted)
    scripted.go_on()
    if end == "forced":
        scripted.feed(FORCED)
    scripted.lose()
    assert isinstance(scripted.error(), LinkRefused if end == "forced" else LinkUnreachable)
    assert told == []
    assert scripted.clock.getDelayedCalls() == []


def test_properties_that_cannot_be_encoded_end_the_handshake(unhandled_errors: list[Any]) -> None:
    """That is our own fault, so it is logged with its traceback."""
    scripted = ScriptedLink(client_properties={"x": object()}).feed(START).lose()
    assert isinstance(scripted.error(), LinkUnreachable)
    assert "object" in str(unhandled_errors.pop()["log_failure"].value)


def test_heartbeats_of_the_upstream_may_come_between() -> None:
    scripted = ScriptedLink().feed(START, HEARTBEAT, tune(), HEARTBEAT, OPEN_OK, HEARTBEAT)
    assert scripted.opened == [None]


def test_the_password_is_not_shown() -> None:
    assert "guest'" not in repr(LOGIN).replace("username='guest'", "")
