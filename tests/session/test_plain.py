"""A plain session is transparent: whatever AMQP defines passes, octet for octet, but for names of queues.

Covered: every method in its direction, channels that open and close in both directions, rewriting of declares,
nodes with smaller frames.
Not covered here: mistakes of the client (test_closing.py).
"""

from __future__ import annotations

import pytest
from pamqp import commands

from tests.session.conftest import Opening
from tests.session.frames import (
    Basic,
    Channel,
    Connection,
    Exchange,
    Queue,
    channel_close,
    connection_close,
    content,
    decoded,
    deliver,
    get_ok,
    on,
    publish,
    returned,
    split,
)
from tests.session.playbook import Playbook
from trabbits.interfaces import QueueAttributes, QueueDeclare
from trabbits.log_ids import LogId
from trabbits.wire import constants as amqp
from trabbits.wire.encode import frame
from trabbits.wire.methods import METHODS, MethodInfo
from trabbits.wire.table import encode_table

pytestmark = pytest.mark.filterwarnings("ignore:This command is deprecated")

#: Methods that have a meaning for the session itself.
SPECIAL = {amqp.CHANNEL_OPEN, amqp.CHANNEL_CLOSE, amqp.CHANNEL_CLOSE_OK, amqp.QUEUE_DECLARE}
ORDINARY = [info for info in METHODS.values() if info.class_id != 10 and info.index not in SPECIAL]


def octets_of(info: MethodInfo) -> bytes:
    """A frame of this method on channel 1, with arguments that nobody will look at, and a content if it has one."""
    method = frame(1, 1, info.index.to_bytes(4, "big") + b"any arguments")
    return method + content(1, b"content") if info.has_content else method


@pytest.mark.parametrize("info", [info for info in ORDINARY if info.from_client], ids=lambda info: info.name)
def test_methods_of_the_client_pass_as_they_are(info: MethodInfo, opened: Opening) -> None:
    play = opened("a")
    octets = octets_of(info)
    play.client(octets[:15])
    play.client(octets[15:], octets)
    play.expect_link("a", octets, octets)


@pytest.mark.parametrize("info", [info for info in ORDINARY if info.from_server], ids=lambda info: info.name)
def test_methods_of_the_upstream_pass_as_they_are(info: MethodInfo, opened: Opening) -> None:
    play = opened("a")
    octets = octets_of(info)
    play.link("a", octets[:15])
    play.link("a", octets[15:], octets)
    play.expect_client(octets, octets)


def test_a_chunk_of_deliveries_passes_uncopied(opened: Opening) -> None:
    play = opened("a")
    chunk = deliver(1, "c", 1, b"one") + deliver(1, "c", 2, b"two")
    play.session.link_received(play.links["a"], chunk)
    assert play.session.to_client[0] is chunk
    play.session.to_client.clear()


def test_an_upstreams_method_nobody_knows_passes(opened: Opening) -> None:
    play = opened("a")
    unknown = frame(1, 1, b"\0\x3c\0\x99")
    play.link("a", unknown)
    play.expect_client(unknown)


def test_messages_interleave_over_channels(opened: Opening) -> None:
    play = opened("a")
    play.open_channel(2)
    first, second = split(publish(1, "k", b"one")), split(publish(2, "k", b"two"))
    mixed = [first[0], second[0], second[1], first[1], first[2], second[2]]
    play.client(*mixed)
    play.expect_link("a", *mixed)
    play.link("a", get_ok(1, 1, b"one", 0), returned(2, "k", b"two"))
    play.expect_client(get_ok(1, 1, b"one", 0), returned(2, "k", b"two"))


# Channels


def test_the_client_closes_a_channel_and_opens_it_again(opened: Opening) -> None:
    play = opened("a")
    bye = channel_close(1, 200, "bye")
    play.client(bye)
    play.expect_link("a", bye)
    play.link("a", deliver(1, "c", 1, b"late"), on(1, Channel.CloseOk()))
    play.expect_client(deliver(1, "c", 1, b"late"), on(1, Channel.CloseOk()))
    play.open_channel(1)


def test_nothing_may_be_sent_on_a_channel_that_is_closed(opened: Opening) -> None:
    play = opened("a")
    play.client(channel_close(1, 200, "bye"))
    play.skip()
    play.link("a", on(1, Channel.CloseOk()))
    play.skip()
    play.client(publish(1, "k"))
    text = "CHANNEL_ERROR - expected 'channel.open', got basic.publish on channel 1 that is not open"
    play.expect_client(connection_close(504, text, commands.Basic.Publish))
    play.skip()


def test_the_upstream_closes_a_channel(opened: Opening) -> None:
    """What the client sends before it knows still passes; after its close-ok the channel may be opened again."""
    play = opened("a")
    error = channel_close(1, 404, "NOT_FOUND - no queue 'q' in vhost '/'", Basic.Consume)
    play.link("a", error)
    play.expect_client(error)
    assert play.logged[-1] == (
        LogId.CHANNEL_CLOSED_BY_UPSTREAM,
        {"upstream": "a", "channel": 1, "code": 404, "text": "NOT_FOUND - no queue 'q' in vhost '/'"},
    )
    play.client(publish(1, "k", b"did not know"))
    play.expect_link("a", publish(1, "k", b"did not know"))
    play.client(on(1, Channel.CloseOk()))
    play.expect_link("a", on(1, Channel.CloseOk()))
    play.open_channel(1)


@pytest.mark.parametrize("client_first", [True, False])
@pytest.mark.parametrize("client_closes_first", [True, False])
def test_both_close_a_channel_at_once(client_closes_first: bool, client_first: bool, opened: Opening) -> None:
    """Each answers the other's close; the channel may be opened again when both have."""
    play = opened("a")
    bye, error = channel_close(1, 200, "bye"), channel_close(1, 404, "NOT_FOUND - no")
    for step in ("client", "link") if client_closes_first else ("link", "client"):
        if step == "client":
            play.client(bye)
            play.expect_link("a", bye)
        else:
            play.link("a", error)
            play.expect_client(error)
    for step in ("client", "link") if client_first else ("link", "client"):
        if step == "client":
            play.client(on(1, Channel.CloseOk()))
            play.expect_link("a", on(1, Channel.CloseOk()))
        else:
            play.link("a", on(1, Channel.CloseOk()))
            play.expect_client(on(1, Channel.CloseOk()))
    play.open_channel(1)


def test_a_close_ok_nobody_asked_for_passes(opened: Opening) -> None:
    play = opened("a")
    play.client(on(1, Channel.CloseOk()))
    play.expect_link("a", on(1, Channel.CloseOk()))
    play.client(publish(1, "k"))
    play.expect_link("a", publish(1, "k"))


# Declares


class Rewriter:
    """A rewriter that notes what it was asked and gives a fixed answer."""

    def __init__(self, answer: QueueAttributes) -> None:
        self.answer = answer
        self.asked: list[QueueDeclare] = []

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        self.asked.append(declare)
        return self.answer


def declared(play: Playbook, name: str = "a") -> commands.Queue.Declare:
    """The declare that a link got."""
    (octets,) = play.taken(name)
    method = decoded(octets)
    assert isinstance(method, commands.Queue.Declare)
    return method


def test_a_declare_passes_as_it_is(opened: Opening) -> None:
    """The argument table is not decoded and encoded again."""
    play = opened("a")
    arguments = b"\x01as\0\x05" + b"\x01fF\0\0\0\0" + b"\x01aS\0\0\0\x01x"
    octets = frame(1, 1, b"\0\x32\0\x0a\0\x07\x01q\xe2" + len(arguments).to_bytes(4, "big") + arguments)
    play.client(octets)
    play.expect_link("a", octets)


def test_a_server_named_queue_gets_our_name(opened: Opening) -> None:
    """A name made by the broker could not be declared again on another link; it is exclusive, as is fitting."""
    rewriter = Rewriter(QueueAttributes(durable=True))
    play = opened("a", rewriters={"a": rewriter})
    play.client(on(1, Queue.Declare(arguments={"x": 1})))
    first = declared(play)
    assert first.queue.startswith("trabbits.gen-")
    assert first.exclusive
    assert not first.durable
    assert first.arguments == {"x": 1}
    play.client(on(1, Queue.Declare()))
    assert declared(play).queue != first.queue
    assert rewriter.asked == []


def test_a_passive_declare_is_not_changed(opened: Opening) -> None:
    rewriter = Rewriter(QueueAttributes(durable=True))
    play = opened("a", rewriters={"a": rewriter})
    for name in ("q", ""):
        octets = on(1, Queue.Declare(queue=name, passive=True))
        play.client(octets)
        play.expect_link("a", octets)
    assert rewriter.asked == []


@pytest.mark.parametrize(
    "answer",
    [QueueAttributes(), QueueAttributes(durable=False, auto_delete=True, exclusive=True), QueueAttributes(
        arguments={"x-absent": None})],
)  # fmt: skip
def test_a_rewriter_that_changes_nothing(answer: QueueAttributes, opened: Opening) -> None:
    """The octets stay; it was asked with everything the client said."""
    rewriter = Rewriter(answer)
    play = opened("a", rewriters={"a": rewriter})
    octets = on(1, Queue.Declare(queue="q", auto_delete=True, exclusive=True, arguments={"x-expires": 5}))
    play.client(octets)
    play.expect_link("a", octets)
    assert rewriter.asked == [
        QueueDeclare("q", exclusive=True, auto_delete=True, arguments={"x-expires": 5}),
    ]


def test_a_rewriter_that_changes_everything(opened: Opening) -> None:
    attributes = QueueAttributes(
        durable=True, auto_delete=False, exclusive=False, arguments={"x-queue-type": "quorum", "x-expires": None}
    )
    play = opened("a", rewriters={"a": Rewriter(attributes)})
    arguments = encode_table({"x-expires": 5, "x-max-length": 7})
    head = b"\0\x32\0\x0a\0\x07\x01q" + b"\xec"  # exclusive, auto-delete and bits that mean nothing
    play.client(frame(1, 1, head + len(arguments).to_bytes(4, "big") + arguments))
    kept = encode_table({"x-max-length": 7, "x-queue-type": "quorum"})
    head = b"\0\x32\0\x0a\0\x07\x01q" + b"\xe2"
    play.expect_link("a", frame(1, 1, head + len(kept).to_bytes(4, "big") + kept))


def test_a_malformed_declare_is_the_clients_fault(opened: Opening) -> None:
    play = opened("a")
    play.client(frame(1, 1, b"\0\x32\0\x0a\0\0\xff"))
    (close,) = play.taken("client")
    assert isinstance(decoded(close), commands.Connection.Close)
    play.expect_log(LogId.CLIENT_VIOLATION, LogId.CLIENT_CLOSED)
    play.skip()


# Nodes with smaller frames


def test_bodies_are_cut_for_a_node_that_takes_smaller_frames(fresh: Opening) -> None:
    """Frames to the client always fit: a node may not exceed what it was offered."""
    play = fresh("a")
    play.open(link_frame_max={"a": 4096})
    play.open_channel(1)
    octets = bytes(10_000)
    play.client(publish(1, "k", octets))
    method = split(publish(1, "k"))[0]
    play.expect_link("a", method, content(1, octets, 4088))
    play.link("a", deliver(1, "c", 1, b"x" * 4000))
    play.expect_client(deliver(1, "c", 1, b"x" * 4000))


def test_a_method_that_a_node_cannot_take_does_not_matter_behind_a_close(fresh: Opening) -> None:
    play = fresh("a")
    play.open(link_frame_max={"a": 4096})
    play.open_channel(1)
    play.client(
        on(1, Exchange.Declare(exchange="x", arguments={"x": "y" * 5000})), on(0, Connection.Close(200, "bye", 0, 0))
    )
    play.expect_actions("CancelTimer handshake", "CancelTimer heartbeat", "CloseLink a", "SetTimer close 1")


def test_a_method_that_a_node_cannot_take_closes_the_connection(fresh: Opening) -> None:
    """It cannot be cut; the client is told, and the node never sees it."""
    play = fresh("a")
    play.open(link_frame_max={"a": 4096})
    play.open_channel(1)
    play.client(on(1, Exchange.Declare(exchange="x", arguments={"x": "y" * 5000})))
    (close,) = play.taken("client")
    assert close[11:13] == (501).to_bytes(2, "big")
    assert b"cannot be split" in close
    play.skip()
