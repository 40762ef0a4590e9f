"""Upstreams that are not there, are no AMQP servers, or break AMQP later: 320, naming the upstream; nothing is left.

The proxy runs in this process.  With two upstreams the other one is a real node, whose link must go, too.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from pamqp import commands
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from tests.contract.target import HOST
from tests.faults import fake_upstream
from tests.faults.embedded import Proxy, State
from tests.faults.fake_upstream import FakeUpstream, Script, misbehave
from trabbits.log_ids import LogId
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import BODY, HEARTBEAT, METHOD, RawClient, encode_methods, raw_frame

#: Seconds that the false upstream gets.
TIMEOUT = 1.0

both_sessions = pytest.mark.parametrize("kind", ["plain", "fan"])


@implementer(ILogObserver)
class Lines:
    """What is logged meanwhile."""

    def __init__(self) -> None:
        self.all: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.all.append(event)

    def about(self, entry: LogId) -> list[dict[str, Any]]:
        """The fields of all lines of this kind."""
        return [line["log_fields"] for line in self.all if line.get("log_entry") is entry]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The log, in which there must be nothing that only a bug can cause."""
    lines = Lines()
    globalLogPublisher.addObserver(lines)
    yield lines
    globalLogPublisher.removeObserver(lines)
    assert [line for line in lines.all if line.get("log_level") is LogLevel.critical] == []


def config(kind: str, address: str, node: RabbitNode) -> dict[str, Any]:
    """The false upstream, alone or after a true one."""
    upstreams = [{"name": "false", "address": address, "timeout": TIMEOUT}]
    if kind == "fan":
        upstreams.insert(0, {"name": "true", "address": node.address})
    # Nobody waits long for a false upstream to say goodbye.
    return {"upstreams": upstreams, "connection_close_timeout": "100ms"}


def knock(port: int) -> commands.Connection.Close:
    """A client that comes as far as it is let; what it gets for it, after which the socket is closed properly."""
    client = RawClient.dial(HOST, port, timeout=10)
    client.start("guest", "guest")
    received = client.receive().method
    if isinstance(received, commands.Connection.Tune):
        client.send(commands.Connection.TuneOk(received.channel_max, received.frame_max, 0))
        client.open_vhost("/")
        received = client.receive().method
    assert isinstance(received, commands.Connection.Close), received
    close = received
    client.send(commands.Connection.CloseOk())
    client.expect_socket_closed()
    client.close()
    return close


def assert_blamed(close: commands.Connection.Close, address: str, words: str) -> None:
    assert close.reply_code == 320, close.reply_text
    for part in ("CONNECTION_FORCED - ", "upstream 'false'", address, words):
        assert part in close.reply_text


async def refuse(proxy: Proxy, address: str, words: str, lines: Lines) -> None:
    """A client is refused within the upstream's time, and nothing stays."""
    before, began = State.now(), time.monotonic()
    close = await deferToThread(knock, proxy.port)
    assert_blamed(close, address, words)
    assert time.monotonic() - began < TIMEOUT + 4
    (line,) = lines.about(LogId.LINK_UNREACHABLE)
    assert line["upstream"] == "false"
    assert words in line["text"]
    await proxy.nothing_is_left(before)
    await proxy.stop()


@both_sessions
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (fake_upstream.say_nothing, "within 1s: no connection.start"),
        (fake_upstream.never_open, "within 1s: no connection.open-ok"),
        (fake_upstream.hang_up, "where connection.start was due"),
        (fake_upstream.hang_up_after_start, "where connection.tune was due"),
        (fake_upstream.speak_http, "does not speak AMQP 0-9-1"),
        (fake_upstream.speak_amqp_1, "does not speak AMQP 0-9-1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest_twisted.ensureDeferred
async def test_no_broker(kind: str, script: Script, words: str, rabbit_a: RabbitNode, lines: Lines) -> None:
    """It accepts the connection, but is no AMQP 0-9-1 server, or not a sound one."""
    with FakeUpstream(script) as fake:
        await refuse(Proxy(config(kind, fake.address, rabbit_a)), fake.address, words, lines)


@both_sessions
@pytest_twisted.ensureDeferred
async def test_nobody_listens(kind: str, rabbit_a: RabbitNode, lines: Lines) -> None:
    """A port that refuses connections, because it is bound and not listened on."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        address = f"{HOST}:{bound.getsockname()[1]}"
        await refuse(Proxy(config(kind, address, rabbit_a)), address, "refused the TCP connection", lines)


@both_sessions
@pytest_twisted.ensureDeferred
async def test_no_such_host(kind: str, rabbit_a: RabbitNode, lines: Lines) -> None:
    """A name that no name service knows; `.invalid` never is one (RFC 2606)."""
    address = "nowhere.invalid:5672"
    await refuse(Proxy(config(kind, address, rabbit_a)), address, "nowhere.invalid", lines)


OK = encode_methods(commands.Queue.DeclareOk("nobody asked", 0, 0), channel=1)
#: What a broker must not send: octets, which sessions notice, words of the reason.
MISBEHAVIOURS = {
    "a bad frame end": (OK[:-1] + b"\xcf", "ends with octet 0xcf"),
    "an unknown frame type": (raw_frame(7, 1, b""), "unknown frame type 7"),
    "garbage": (b"an error occurred: out of memory", "unknown frame type 97"),
    "a frame too large": (struct.pack(">BHI", BODY, 1, 131073), "larger than"),
    "a body out of the blue": (raw_frame(BODY, 1, b"?"), "expected a method frame"),
    "a heartbeat on a channel": (raw_frame(HEARTBEAT, 1, b""), "heartbeat on channel 1"),
    "a method without an id": (raw_frame(METHOD, 1, b"\x00"), "no method id"),
    "a method in a message": (
        encode_methods(commands.Basic.Deliver("t", 1, False, "", "q"), channel=1) * 2,
        "expected",
    ),
}


def work(port: int) -> commands.Connection.Close:
    """A client on whose first channel the upstream misbehaves."""
    client = RawClient.open(HOST, port, timeout=10)
    client.send(commands.Channel.Open(), channel=1)
    received = client.receive()
    while received.channel == 1:
        # What came before the mistake: open-ok if all links were in time, and the sound part of the octets.
        received = client.receive()
    close = received.method
    assert isinstance(close, commands.Connection.Close), received
    client.send(commands.Connection.CloseOk())
    client.expect_socket_closed()
    client.close()
    return close


@both_sessions
@pytest.mark.parametrize(("octets", "words"), MISBEHAVIOURS.values(), ids=MISBEHAVIOURS.keys())
@pytest_twisted.ensureDeferred
async def test_a_broker_that_breaks_amqp(
    kind: str, octets: bytes, words: str, rabbit_a: RabbitNode, lines: Lines
) -> None:
    """The client is told about a lost upstream, since it is not at fault; the log says what was wrong."""
    with FakeUpstream(misbehave(octets)) as fake:
        proxy = Proxy(config(kind, fake.address, rabbit_a))
        before = State.now()
        assert_blamed(await deferToThread(work, proxy.port), fake.address, words)
        (line,) = lines.about(LogId.LINK_VIOLATION)
        assert (line["upstream"], line["node"]) == ("false", fake.address)
        assert words in line["text"]
        await proxy.nothing_is_left(before)
        await proxy.stop()


UNASKED = {
    "an answer nobody asked for": (OK, "queue.declare-ok"),
    "a second start": (encode_methods(commands.Connection.Start(server_properties={}), channel=0), "connection.start"),
    "an answer on our own channel": (encode_methods(commands.Queue.DeclareOk("q", 0, 0), channel=2047), "declare-ok"),
}


@pytest.mark.parametrize(("octets", "words"), UNASKED.values(), ids=UNASKED.keys())
@pytest_twisted.ensureDeferred
async def test_a_broker_that_says_what_nobody_asked_for(
    octets: bytes, words: str, rabbit_a: RabbitNode, lines: Lines
) -> None:
    """Sound frames with no place in the conversation of a fan session."""
    with FakeUpstream(misbehave(octets)) as fake:
        proxy = Proxy(config("fan", fake.address, rabbit_a))
        before = State.now()
        assert_blamed(await deferToThread(work, proxy.port), fake.address, words)
        (line,) = lines.about(LogId.LINK_VIOLATION) + lines.about(LogId.LINK_LOST)
        assert line["upstream"] == "false"
        await proxy.nothing_is_left(before)
        await proxy.stop()
