"""Bad input over real sockets: the specified error with a text that helps, a log line, and nobody else disturbed.

Covered: the octets; what RabbitMQ says to the same octets is compared in ``tests/contract/test_bad_input.py``.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from attrs import frozen
from pamqp import base, commands

from tests.contract.target import HOST
from tests.faults.bystander import Bystander
from tests.faults.mistakes import CHANNEL_MAX, FRAME_MAX, MISTAKES, Mistake
from trabbits.testing.raw_client import (
    CAPABILITIES,
    HEADER,
    HEARTBEAT,
    METHOD,
    PROTOCOL_HEADER,
    RawClient,
    encode_methods,
    raw_frame,
)
from trabbits.testing.trabbits_process import TrabbitsProcess

TLS_CLIENT_HELLO = bytes.fromhex("16030100f8010000f40303") + bytes(240)

GREETINGS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": TLS_CLIENT_HELLO,
    "AMQP 0-8": b"AMQP\x01\x01\x08\x00",
    "AMQP 0-9": b"AMQP\x01\x01\x00\x09",
    "AMQP 0-9-2": b"AMQP\x00\x00\x09\x02",
    "AMQP 0-10": b"AMQP\x01\x01\x00\x0a",
    "AMQP 1.0": b"AMQP\x00\x01\x00\x00",
    "AMQP 1.0 with SASL": b"AMQP\x03\x01\x00\x00",
    "lower case": b"amqp\x00\x00\x09\x01",
    "one octet": b"x",
    "a frame": bytes(8),
    "a long text": b"A" + b"garbage " * 20000,
}


def session_of(proxy: TrabbitsProcess, client: RawClient) -> str:
    """The id of this client's session."""
    address = f"{HOST}:{client.sock.getsockname()[1]}"
    return str(proxy.wait_for_log(event="client_connected", address=address)["session"])


def assert_alive(proxy: TrabbitsProcess, bystander: Bystander) -> None:
    assert proxy.status is None, proxy.log_text
    bystander.goes_on()


def expect_close(client: RawClient, code: int, words: str) -> commands.Connection.Close:
    """connection.close with this code, and words of the text; then the end of the stream."""
    close = client.expect(commands.Connection.Close)
    assert close.reply_code == code, close.reply_text
    assert words in close.reply_text
    try:
        client.send(commands.Connection.CloseOk())
    except ConnectionError:
        pass  # too late on a busy machine: the proxy waits 300 ms
    client.expect_socket_closed()
    client.close()
    return close


def read_to_the_end(client: RawClient) -> bytes:
    """Everything up to the end of the stream."""
    octets = b""
    client.sock.settimeout(10)
    while data := client.sock.recv(4096):
        octets += data
    return octets


@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=GREETINGS.keys())
def test_a_wrong_greeting(proxy: TrabbitsProcess, bystander: Bystander, greeting: bytes) -> None:
    """Section 4.2.2: the answer is the right protocol header and a closed socket."""
    client = RawClient.dial(HOST, proxy.port)
    session = session_of(proxy, client)
    client.send_octets(greeting)
    assert read_to_the_end(client) == PROTOCOL_HEADER
    client.close()
    entry = proxy.wait_for_log(event="bad_protocol_header", session=session)
    assert repr(greeting[:1])[2:-1] in entry["message"]
    assert len(entry["message"]) < 200
    assert_alive(proxy, bystander)


@pytest.mark.parametrize("octets", [b"", b"AMQP\x00", PROTOCOL_HEADER[:7]], ids=["nothing", "half", "all but one"])
def test_a_greeting_that_ends_too_soon(proxy: TrabbitsProcess, bystander: Bystander, octets: bytes) -> None:
    """Half a header and the end of the stream: nothing can be said to that, and nothing is kept."""
    client = RawClient.dial(HOST, proxy.port)
    session = session_of(proxy, client)
    client.send_octets(octets)
    client.sock.shutdown(socket.SHUT_WR)
    assert read_to_the_end(client) == b""
    client.close()
    proxy.wait_for_log(event="client_vanished", session=session)
    assert_alive(proxy, bystander)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_on_an_open_connection(
    proxy: TrabbitsProcess, bystander: Bystander, faults_vhost: str, mistake: Mistake, request: pytest.FixtureRequest
) -> None:
    """connection.close with code, text and failing method; one line in the log; others work on."""
    client = RawClient.open(HOST, proxy.port, vhost=faults_vhost, frame_max=FRAME_MAX, channel_max=CHANNEL_MAX)
    session = session_of(proxy, client)
    client.open_channel(1)
    client.send_octets(mistake.octets)
    upstream_says = mistake.from_upstream if "plain" in request.node.name else None
    code, words = upstream_says or (mistake.code, mistake.words)
    close = expect_close(client, code, words)
    assert (close.class_id, close.method_id) == (mistake.failing or (0, 0))
    event = "link_closed_by_upstream" if upstream_says else "client_violation"
    entry = proxy.wait_for_log(event=event, session=session)
    assert entry["code"] == code
    assert words in entry["message"]
    assert_alive(proxy, bystander)


def start_ok(mechanism: str = "PLAIN", response: str = "\0guest\0guest") -> base.Frame:
    properties: dict[str, Any] = {"product": "raw", "capabilities": CAPABILITIES}
    return commands.Connection.StartOk(properties, mechanism, response, "en_US")


def tune_ok(channel_max: int = CHANNEL_MAX, frame_max: int = FRAME_MAX) -> base.Frame:
    return commands.Connection.TuneOk(channel_max, frame_max, 0)


def on_0(*methods: base.Frame) -> bytes:
    return encode_methods(*methods, channel=0)


@frozen
class FalseStart:
    """Octets sent after so many right steps of the handshake (header, start-ok, tune-ok) and what they bring."""

    name: str
    steps: int
    octets: bytes
    code: int
    words: str
    event: str = "client_violation"


OPEN = on_0(commands.Connection.Open("/"))
CHANNEL_OPEN = encode_methods(commands.Channel.Open(), channel=1)

FALSE_STARTS = [
    FalseStart("an unknown mechanism", 1, on_0(start_ok("EXTERNAL", "")), 503, "supported are PLAIN, AMQPLAIN"),
    FalseStart(
        "a PLAIN response without NULs",
        *(1, on_0(start_ok(response="guest")), 403, "NUL user NUL password", "login_refused"),
    ),
    FalseStart(
        "an AMQPLAIN response that is no table",
        *(1, on_0(start_ok("AMQPLAIN", "guest")), 502, "not a field table", "login_refused"),
    ),
    FalseStart(
        "an AMQPLAIN response without login",
        *(1, on_0(start_ok("AMQPLAIN", "")), 403, "user or password missing", "login_refused"),
    ),
    FalseStart("tune-ok before start-ok", 1, on_0(tune_ok()), 504, "expected connection.start-ok"),
    FalseStart("open before start-ok", 1, OPEN, 504, "expected connection.start-ok"),
    FalseStart("a channel before start-ok", 1, CHANNEL_OPEN, 505, "channel.open on channel 1 before"),
    FalseStart("content before start-ok", 1, raw_frame(HEADER, 1, bytes(14)), 505, "expected a method frame"),
    FalseStart("a huge frame before start-ok", 1, struct.pack(">BHI", METHOD, 0, 1 << 30), 501, "larger than"),
    FalseStart("a bad frame end of start-ok", 1, on_0(start_ok())[:-1] + b"\x00", 501, "frame on channel 0 ends with"),
    FalseStart("start-ok cut off", 1, raw_frame(METHOD, 0, struct.pack(">HHI", 10, 11, 99)), 501, "client_properties"),
    FalseStart("a second header", 1, PROTOCOL_HEADER, 501, "unknown frame type 65"),
    FalseStart("a server's method", 1, on_0(commands.Connection.Tune(0, 0, 0)), 504, "connection.tune"),
    FalseStart("a second start-ok", 2, on_0(start_ok()), 504, "expected connection.tune-ok"),
    FalseStart("open before tune-ok", 2, OPEN, 504, "expected connection.tune-ok"),
    FalseStart("frame_max without limit", 2, on_0(tune_ok(frame_max=0)), 530, "frame_max = no limit (0)"),
    FalseStart("frame_max too small", 2, on_0(tune_ok(frame_max=4095)), 530, "frame_max = 4095 is lower"),
    FalseStart("frame_max too large", 2, on_0(tune_ok(frame_max=131073)), 530, "frame_max = 131073 is higher"),
    FalseStart("channel_max without limit", 2, on_0(tune_ok(channel_max=0)), 530, "channel_max = no limit (0)"),
    FalseStart("channel_max too large", 2, on_0(tune_ok(channel_max=2048)), 530, "channel_max = 2048 is higher"),
    FalseStart("a second tune-ok", 3, on_0(tune_ok()), 504, "expected connection.open"),
    FalseStart("a channel before open", 3, CHANNEL_OPEN, 505, "channel.open on channel 1 before"),
    FalseStart("open cut off", 3, raw_frame(METHOD, 0, struct.pack(">HHB", 10, 40, 9)), 501, "virtual_host"),
    FalseStart("a heartbeat on a channel", 3, raw_frame(HEARTBEAT, 3, b""), 503, "heartbeat on channel 3"),
    FalseStart("open twice at once", 3, OPEN + OPEN, 504, "unexpected method connection.open"),
    FalseStart("open and garbage", 3, OPEN + b"garbage that is long enough", 501, "unknown frame type 103"),
]


def dial(proxy: TrabbitsProcess, steps: int) -> RawClient:
    """A client that has taken so many steps of the handshake."""
    client = RawClient.dial(HOST, proxy.port)
    if steps > 0:
        client.send_octets(PROTOCOL_HEADER)
        client.expect(commands.Connection.Start)
    if steps > 1:
        client.send(start_ok())
        client.expect(commands.Connection.Tune)
    if steps > 2:
        client.send(tune_ok())
    return client


@pytest.mark.parametrize("false_start", FALSE_STARTS, ids=lambda false_start: false_start.name)
def test_a_mistake_in_the_handshake(proxy: TrabbitsProcess, bystander: Bystander, false_start: FalseStart) -> None:
    """connection.close at once, where RabbitMQ itself closes the socket after a while and without a word."""
    client = dial(proxy, false_start.steps)
    session = session_of(proxy, client)
    client.send_octets(false_start.octets)
    expect_close(client, false_start.code, false_start.words)
    entry = proxy.wait_for_log(event=false_start.event, session=session)
    assert entry["code"] == false_start.code
    assert false_start.words in entry["message"]
    assert_alive(proxy, bystander)


def test_clients_that_stop_in_the_handshake(proxy: TrabbitsProcess, bystander: Bystander) -> None:
    """Whoever says nothing, or nothing more, is let go after the handshake timeout; all of them at the same time."""
    clients = {f"after {steps} steps": dial(proxy, steps) for steps in range(4)}
    for name, part in {
        "in the header": PROTOCOL_HEADER[:5],
        "in start-ok": PROTOCOL_HEADER + on_0(start_ok())[:40],
        "with heartbeats only": PROTOCOL_HEADER + raw_frame(HEARTBEAT, 0, b"") * 3,
    }.items():
        clients[name] = dial(proxy, 0)
        clients[name].send_octets(part)
    sessions = {name: session_of(proxy, client) for name, client in clients.items()}
    for name, client in clients.items():
        entry = proxy.wait_for_log(event="handshake_timeout", session=sessions[name])
        assert entry["timeout"] == 1.5
        octets = read_to_the_end(client)
        # The greeting of those who said too little to get it before, and no connection.close: RabbitMQ says none.
        assert octets.startswith(b"\x01\x00\x00") == (name in ("in start-ok", "with heartbeats only")), name
        client.close()
    assert_alive(proxy, bystander)


def test_a_client_that_is_slow_in_the_handshake(
    proxy: TrabbitsProcess, bystander: Bystander, faults_vhost: str
) -> None:
    """The timeout counts the whole handshake: an octet now and then does not prolong it.  A client in time is fine."""
    slow = dial(proxy, 1)
    session = session_of(proxy, slow)
    octets = iter(on_0(start_ok()))
    slow.sock.settimeout(0.05)
    received = None
    while received is None:
        slow.sock.send(bytes([next(octets)]))
        try:
            received = slow.sock.recv(100)
        except TimeoutError:
            continue
    assert received == b""
    slow.close()
    proxy.wait_for_log(event="handshake_timeout", session=session)
    in_time = dial(proxy, 3)
    in_time.open_vhost(faults_vhost)
    in_time.expect(commands.Connection.OpenOk)
    in_time.close_politely()
    assert_alive(proxy, bystander)
