"""The negotiation, from the protocol header to connection.open.

Covered: every state with every method, headers in any form, what is agreed, what upstreams are given.
Not covered here: what upstreams answer (test_connecting.py, test_login.py), the mechanisms
(test_authentication.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import base, commands

from tests.session.conftest import Opening
from tests.session.frames import PROTOCOL_HEADER, Channel, Connection, connection_close, decoded, on, publish
from tests.session.mechanisms import TwoSteps
from tests.session.playbook import Playbook
from trabbits.log_ids import LogId
from trabbits.plugins.plain import Plain
from trabbits.session.announced import DEFAULT_VERSION
from trabbits.session.handshake import CAPABILITIES, TRANSITIONS, Handshake, State
from trabbits.session.phase import Phase
from trabbits.session.settings import SessionSettings
from trabbits.wire import constants as amqp
from trabbits.wire.encode import frame, method_frame
from trabbits.wire.errors import Violation
from trabbits.wire.methods import METHODS, name_of
from trabbits.wire.table import encode_table

pytestmark = pytest.mark.filterwarnings("ignore:This command is deprecated")

START_OK = Connection.StartOk({}, "PLAIN", "\0user\0secret", "en_US")
TUNE_OK = Connection.TuneOk(2046, 131072, 0)


def in_state(play: Playbook, state: State) -> None:
    """Bring a fresh session into this state."""
    play.client(PROTOCOL_HEADER)
    if state is State.SECURE:
        play.skip()
        play.client(on(0, Connection.StartOk({}, "TWO-STEPS", "user")))
    elif state is not State.START:
        play.skip()
        play.client(on(0, START_OK))
    if state in (State.TUNE, State.OPEN):
        play.skip()
        play.log_in()
    if state is State.OPEN:
        play.skip()
        play.client(on(0, TUNE_OK))
    play.skip()


def giving_up(state: State) -> tuple[str, ...]:
    """What the end begins with: there may be links after the login."""
    links = ("CancelLinks",) if state not in (State.START, State.SECURE) else ()
    return (*links, "CancelTimer handshake", "CancelTimer heartbeat")


def closing(state: State) -> tuple[str, ...]:
    """What the session asks for when it closes the client's connection in this state."""
    return (*giving_up(state), "SetTimer close 1")


def test_the_whole_negotiation(fresh: Opening) -> None:
    play = fresh("a", "b", heartbeat=30)
    play.client(PROTOCOL_HEADER)
    (start,) = play.taken("client")
    announced: Any = decoded(start)
    assert isinstance(announced, Connection.Start)
    assert (announced.version_major, announced.version_minor) == (0, 9)
    assert announced.mechanisms == "PLAIN AMQPLAIN"
    assert announced.locales == "en_US"
    assert announced.server_properties["product"] == "RabbitMQ"
    assert announced.server_properties["version"] == DEFAULT_VERSION
    assert "trabbits" in str(announced.server_properties["information"])
    assert announced.server_properties["capabilities"] == CAPABILITIES
    play.client(on(0, START_OK))
    login = (
        "LoginRequest(mechanism='PLAIN', username='user', client_properties="
        "{'trabbits_client_address': '192.0.2.1:50000', 'trabbits_session': 'proxy-1'}, locale='en_US')"
    )
    play.expect_actions("CancelTimer handshake", f"OpenLinks a {login}, b {login}")
    play.log_in("b")
    play.log_in("a")
    play.expect_client(on(0, Connection.Tune(2046, 131072, 30)))
    play.expect_actions("SetTimer handshake 5")
    play.client(on(0, Connection.TuneOk(100, 8192, 20)))
    play.expect_actions("SetTimer heartbeat 10")
    play.client(on(0, Connection.Open("vhost")))
    request = "VirtualHostRequest(virtual_host='vhost', frame_max=8192, channel_max=100, heartbeat=20, own_channels=1)"
    play.expect_actions("CancelTimer handshake", f"OpenVirtualHost {request}")
    assert play.session.phase is Phase.CONNECTING
    assert (play.session.user, play.session.virtual_host) == ("user", "vhost")
    play.expect_log(LogId.CLIENT_CONNECTED, LogId.LINK_AUTHENTICATED, LogId.LINK_AUTHENTICATED)


@pytest.mark.parametrize("state", TRANSITIONS)
@pytest.mark.parametrize("index", METHODS, ids=name_of)
def test_every_method_in_every_state(state: State, index: int, fresh: Opening) -> None:
    """One method is taken in each state, connection.close in all of them; every other one is an error."""
    play = fresh(mechanisms=[Plain(), TwoSteps()])
    in_state(play, state)
    samples: dict[int, base.Frame] = {
        amqp.CONNECTION_START_OK: START_OK,
        amqp.CONNECTION_SECURE_OK: Connection.SecureOk("secret"),
        amqp.CONNECTION_TUNE_OK: Connection.TuneOk(1, 4096, 0),
        amqp.CONNECTION_OPEN: Connection.Open("/"),
        amqp.CONNECTION_CLOSE: Connection.Close(200, "bye", 0, 0),
    }
    expected, _ = TRANSITIONS[state]
    play.client(on(0, samples[index]) if index in samples else frame(1, 0, index.to_bytes(4, "big")))
    if index == amqp.CONNECTION_CLOSE:
        play.expect_client(on(0, Connection.CloseOk()))
        play.expect_actions(*giving_up(state), "CancelTimer close", "CloseClient")
    elif index == expected:
        after = {State.TUNE: Phase.TUNING, State.OPEN: Phase.CONNECTING}
        assert play.session.phase is after.get(state, Phase.AUTHENTICATING)
        play.skip()
    else:
        wrong = f"CHANNEL_ERROR - unexpected method {name_of(index)}, expected {state.value}"
        play.expect_client(connection_close(504, wrong, METHODS[index].frame_class))
        # What it sent may be the very answer that is waited for now.
        answered = ("CancelTimer close", "CloseClient") if index == amqp.CONNECTION_CLOSE_OK else ()
        play.expect_actions(*closing(state), *answered)
        play.expect_log(LogId.CLIENT_VIOLATION, LogId.CLIENT_CLOSED)


def test_nothing_is_taken_when_it_is_over() -> None:
    """Methods of an open connection are the session's business."""
    handshake = Handshake(SessionSettings((), None), bytes, list)  # type: ignore[arg-type]  # never asked for a route
    handshake.state = State.DONE
    with pytest.raises(Violation, match="expected nothing: the negotiation is over"):
        handshake.method_received(amqp.CONNECTION_OPEN, on(0, Connection.Open()))


@pytest.mark.parametrize("state", TRANSITIONS)
def test_channels_have_no_place_in_it(state: State, fresh: Opening) -> None:
    play = fresh(mechanisms=[Plain(), TwoSteps()])
    in_state(play, state)
    play.client(publish(3, "k", b"x"))
    text = "UNEXPECTED_FRAME - basic.publish on channel 3 before the connection is open"
    play.expect_client(connection_close(505, text, commands.Basic.Publish))
    play.expect_actions(*closing(state))


def test_octets_may_come_one_by_one(fresh: Opening) -> None:
    play = fresh()
    for part in (PROTOCOL_HEADER, on(0, START_OK), on(0, TUNE_OK, Connection.Open("/"))):
        for at in range(len(part)):
            play.client(part[at : at + 1])
            play.skip()
        if play.session.phase is Phase.AUTHENTICATING:
            play.log_in()
            play.skip()
    assert play.session.phase is Phase.CONNECTING


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_everything_may_come_at_once(size: int, fresh: Opening) -> None:
    """What comes before its time is read when that has come."""
    play = fresh("a", "b")
    octets = PROTOCOL_HEADER + on(0, START_OK, TUNE_OK, Connection.Open("/")) + on(1, Channel.Open())
    for at in range(0, len(octets), size):
        play.client(octets[at : at + size])
        play.skip()
    assert play.session.client_scanner.stalled
    play.log_in("a")
    play.log_in("b")
    play.expect_client(on(0, Connection.Tune(2046, 131072, 60)))
    request = "VirtualHostRequest(virtual_host='/', frame_max=131072, channel_max=2046, heartbeat=0, own_channels=1)"
    play.expect_actions("SetTimer handshake 5", "CancelTimer handshake", f"OpenVirtualHost {request}")
    assert play.session.phase is Phase.CONNECTING
    assert play.session.client_scanner.stalled
    play.link_opens("a")
    play.link_opens("b")
    play.expect_client(on(0, Connection.OpenOk()))
    play.expect_links(on(1, Channel.Open()))


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (b"GET / HTTP/1.1\r\n", b"GET / HT"),
        (b"\x16\x03\x01", b"\x16\x03\x01"),
        (b"AMQP\x00\x00\x08\x00", b"AMQP\x00\x00\x08\x00"),
        (b"AMQP\x01\x01\x08\x00", b"AMQP\x01\x01\x08\x00"),
        (b"AMQP\x00\x01\x00\x00", b"AMQP\x00\x01\x00\x00"),
        (b"AMQP\x03", b"AMQP\x03"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_another_header_gets_the_right_one_back(octets: bytes, shown: bytes, whole: bool, fresh: Opening) -> None:
    """Section 4.2.2: and then the socket is closed, as soon as the octets cannot become it any more."""
    play = fresh()
    if whole:
        play.client(octets)
    else:
        wrong = next(at for at in range(1, len(octets) + 1) if not PROTOCOL_HEADER.startswith(octets[:at]))
        for at in range(wrong):
            play.client(octets[at : at + 1])
        shown = octets[:wrong]
    play.expect_client(PROTOCOL_HEADER)
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CloseClient")
    assert play.logged[-1] == (LogId.BAD_PROTOCOL_HEADER, {"received": repr(shown)})
    play.client(PROTOCOL_HEADER)
    play.do(lambda: play.session.close(320, "shutting down"))
    play.do(lambda: play.session.client_lost("closed"))
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CancelTimer close")
    assert play.session.finished


@pytest.mark.parametrize("after", [b"", b"AMQP"])
def test_a_silent_client_is_dropped(after: bytes, fresh: Opening) -> None:
    """In time, and whatever it may say afterwards."""
    play = fresh(handshake_timeout=3.0)
    play.client(after)
    play.do(lambda: play.session.timer_fired("handshake"))
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CloseClient")
    assert play.logged[-1] == (LogId.HANDSHAKE_TIMEOUT, {"timeout": 3.0})
    play.client(PROTOCOL_HEADER)
    play.do(lambda: play.session.timer_fired("handshake"))
    play.do(lambda: play.session.client_lost("closed"))
    play.skip()
    assert play.session.finished


def test_the_timer_means_nothing_once_it_is_over(opened: Opening) -> None:
    play = opened()
    play.do(lambda: play.session.timer_fired("handshake"))


@pytest.mark.parametrize("state", [State.TUNE, State.OPEN])
def test_a_client_that_falls_silent_after_the_login_is_dropped(state: State, fresh: Opening) -> None:
    """And the links that wait for it with it."""
    play = fresh("a", "b")
    in_state(play, state)
    play.do(lambda: play.session.timer_fired("handshake"))
    play.expect_actions(*giving_up(state), "CloseClient")
    play.expect_log(LogId.HANDSHAKE_TIMEOUT)
    play.client(on(0, TUNE_OK))


@pytest.mark.parametrize("state", [*TRANSITIONS, State.LOGIN])
def test_closing_in_the_middle_of_it(state: State, fresh: Opening) -> None:
    """As when the proxy shuts down: the client hears why."""
    play = fresh(mechanisms=[Plain(), TwoSteps()])
    in_state(play, state)
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - shutting down"))
    play.expect_client(connection_close(320, "CONNECTION_FORCED - shutting down"))
    play.expect_actions(*closing(state))
    play.client(on(0, Connection.CloseOk()))
    play.expect_actions("CancelTimer close", "CloseClient")


@pytest.mark.parametrize("before", [b"", b"AMQP"])
def test_a_client_that_said_nothing_is_closed_without_words(before: bytes, fresh: Opening) -> None:
    """A frame before connection.start would be no AMQP."""
    play = fresh()
    play.client(before)
    play.do(lambda: play.session.close(320, "CONNECTION_FORCED - shutting down"))
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CloseClient")


# Who the client is


def test_a_response_may_be_octets_that_are_no_text(fresh: Opening) -> None:
    """pamqp decodes it to `bytes` then."""
    play = fresh()
    in_state(play, State.START)
    response = encode_table({"x": b"\xff\xfe", "LOGIN": "guest", "PASSWORD": "guest"})
    fields = [bytes(4), b"\x08AMQPLAIN", len(response).to_bytes(4, "big"), response, b"\x05de_DE"]
    play.client(frame(1, 0, amqp.CONNECTION_START_OK.to_bytes(4, "big") + b"".join(fields)))
    play.skip()
    assert play.session.user == "guest"


def test_client_properties_reach_the_upstreams(fresh: Opening) -> None:
    """With the client's address and the session added, so that the broker's own tools show who it is."""
    play = fresh()
    properties: Any = {"product": "p", "capabilities": {"basic.nack": True}, "trabbits_session": "a lie"}
    play.client(PROTOCOL_HEADER)
    play.skip()
    play.client(on(0, Connection.StartOk(properties, "PLAIN", "\0user\0secret")))
    play.expect_actions(
        "CancelTimer handshake",
        "OpenLinks a LoginRequest(mechanism='PLAIN', username='user', client_properties="
        "{'capabilities': {'basic.nack': True}, 'product': 'p', 'trabbits_session': 'proxy-1', "
        "'trabbits_client_address': '192.0.2.1:50000'}, locale='en_US')",
    )
    assert play.session.client_capabilities == {"basic.nack": True}


@pytest.mark.parametrize("capabilities", ["all of them", 7])
def test_capabilities_that_are_no_table_are_none(capabilities: Any, fresh: Opening) -> None:
    play = fresh(capabilities=capabilities)
    play.negotiate()
    assert play.session.client_capabilities == {}


# What is agreed


@pytest.mark.parametrize(
    ("tune_ok", "text"),
    [
        (Connection.TuneOk(2047, 131072, 0), "channel_max = 2047 is higher than the maximum allowed value (2046)"),
        (Connection.TuneOk(0, 131072, 0), "channel_max = no limit (0) is higher than the maximum allowed value (2046)"),
        (Connection.TuneOk(1, 131073, 0), "frame_max = 131073 is higher than the maximum allowed value (131072)"),
        (Connection.TuneOk(1, 0, 0), "frame_max = no limit (0) is higher than the maximum allowed value (131072)"),
        (Connection.TuneOk(1, 4095, 0), "frame_max = 4095 is lower than the minimum allowed value (4096)"),
    ],
)
def test_limits_that_were_not_offered(tune_ok: commands.Connection.TuneOk, text: str, fresh: Opening) -> None:
    """530, as RabbitMQ answers, with the method that was at fault."""
    play = fresh()
    in_state(play, State.TUNE)
    play.client(method_frame(0, tune_ok))
    play.expect_client(connection_close(530, f"NOT_ALLOWED - negotiated {text}", Connection.TuneOk))
    play.expect_actions(*closing(State.TUNE))


@pytest.mark.parametrize(("channel_max", "frame_max"), [(2046, 131072), (1, 4096)])
def test_limits_within_what_was_offered(channel_max: int, frame_max: int, fresh: Opening) -> None:
    """frame_max holds from the next frame on; a client that wants no heartbeats gets none."""
    play = fresh()
    in_state(play, State.TUNE)
    play.client(on(0, Connection.TuneOk(channel_max, frame_max, 0)))
    play.expect_actions()
    assert play.session.client_scanner.frame_max == frame_max
    assert play.session.channel_max == channel_max


def test_a_frame_larger_than_agreed(opened: Opening) -> None:
    play = opened(capabilities={})
    text = "FRAME_ERROR - frame of 131073 octets on channel 1 is larger than the negotiated frame_max of 131072"
    play.client(b"\x03\0\x01" + (131073 - 8).to_bytes(4, "big"))
    play.expect_client(connection_close(501, text))
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CloseLink a", "SetTimer close 1")


def test_a_frame_larger_than_a_stranger_may_send(fresh: Opening) -> None:
    """Before anything is agreed there is a limit of its own."""
    play = fresh()
    in_state(play, State.START)
    play.client(b"\x01\0\0" + (1 << 20).to_bytes(4, "big"))
    (close,) = play.taken("client")
    assert decoded(close).reply_code == 501  # type: ignore[attr-defined]  # it is a connection.close
    play.skip()


def test_the_top_channel_of_a_link_is_not_for_the_client(fresh: Opening) -> None:
    """A node may allow fewer channels than were offered to the client."""
    play = fresh("a", "b")
    play.negotiate()
    play.link_opens("a", own_channel=10)
    play.link_opens("b", own_channel=20)
    play.skip()
    assert play.session.channel_max == 9
    play.client(on(10, Channel.Open()))
    text = "NOT_ALLOWED - channel 10 is above the negotiated channel_max of 9"
    play.expect_client(connection_close(530, text, Channel.Open))
    play.skip()
