"""Octets of any kind: the broker never raises, answers in whole frames, and goes on for everybody else."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from tests.testing.broker.peers import B, C, E, Message, Peer, Q, X
from trabbits.testing.broker import Broker
from trabbits.wire.constants import PROTOCOL_HEADER
from trabbits.wire.encode import frame, method_frame
from trabbits.wire.methods import METHODS

#: Each is a whole story; thousands of each kind found nothing more when this was written.
EXAMPLES = 40

NAMES = st.sampled_from(["", "q", "p", "x", "amq.topic", "amq.headers", "amq.rabbitmq.reply-to", "t"])
#: As somebody might send them who never died.
DEATHS = st.sampled_from([1, -1, "many", 2**63 - 1]).map(
    lambda count: [{"queue": "q", "reason": "maxlen", "count": count}, {"reason": 1}, "q"]
)
TABLES: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from(
        [
            "x-max-length",
            "x-message-ttl",
            "x-dead-letter-exchange",
            "x-overflow",
            "x-match",
            "CC",
            "x-death",
            "x-delivery-count",
            "x-queue-type",
            "a",
        ]
    ),
    st.one_of(
        st.integers(-5, 5),
        st.text(max_size=4),
        st.booleans(),
        st.none(),
        st.lists(st.text(max_size=2)),
        st.sampled_from(["quorum", "classic"]),
        DEATHS,
    ),
    max_size=3,
)
#: Values for fields by their AMQP type.
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "bit": st.booleans(),
    "octet": st.integers(0, 255),
    "short": st.sampled_from([0, 1, 2, 65535]),
    "long": st.sampled_from([0, 1, 2**32 - 1]),
    "longlong": st.sampled_from([0, 1, 2, 3, 2**64 - 1]),
    "shortstr": NAMES,
    "longstr": NAMES,
    "table": TABLES,
}
TYPICAL: list[Any] = [
    B.Publish, B.Ack, B.Nack, B.Get, B.Consume, B.Cancel, B.Qos, B.Recover, B.Reject, C.Select, E.Declare, E.Delete,
    E.Bind, E.Unbind, Q.Declare, Q.Bind, Q.Unbind, Q.Delete, Q.Purge, X.Select, X.Commit, X.Rollback,
    commands.Channel.Open, commands.Channel.Close, commands.Channel.Flow,
]  # fmt: skip


@st.composite
def methods(draw: st.DrawFn) -> bytes:
    """A method frame with any values, and the content of a publish behind it."""
    index = draw(st.sampled_from([kind.index for kind in TYPICAL] + list(METHODS)))
    info = METHODS[index]
    method = info.frame_class.__new__(info.frame_class)
    for name, kind in info.fields:
        setattr(method, name, draw(FIELDS[kind]))
    octets = method_frame(draw(st.sampled_from([0, 1, 1, 1, 1, 2])), method)
    if info is METHODS[B.Publish.index] and draw(st.integers(0, 9)):
        octets += draw(contents(int.from_bytes(octets[1:3], "big")))
    return octets


@st.composite
def contents(draw: st.DrawFn, channel: int) -> bytes:
    """A content header and bodies, most of the time sound."""
    body = draw(st.binary(max_size=20))
    properties = draw(
        st.one_of(
            st.just(b"\0\0"),
            st.binary(min_size=2, max_size=12),
            TABLES.map(lambda table: b"\x20\0" + method_frame(0, Q.Declare(arguments=table))[15:-1]),
            st.sampled_from([b"1", b"x", b"-1"]).map(lambda text: b"\x01\0\x01" + text[:1]),
        )
    )
    octets = frame(2, channel, b"\0\x3c\0\0" + len(body).to_bytes(8, "big") + properties)
    return octets + (frame(3, channel, body) if body else b"")


def behaves(client: Peer, bystander: Peer) -> None:
    """What has come are whole frames, and somebody else can go on."""
    client.broker.advance()
    client.received()
    assert [item.name for item in bystander.ask(B.Qos())] == ["Basic.QosOk"]
    client.connection.lost()
    client.broker.advance()
    assert list(client.broker.connections) == [bystander.connection]
    vhost = client.broker.vhost()
    assert not any(queue.consumers or queue.unacked for queue in vhost.queues.values())
    held = sum(entry.message.size for queue in vhost.queues.values() for entry in queue.ready)
    assert client.broker.memory.used == held


@settings(max_examples=EXAMPLES)
@given(octets=st.binary(max_size=200))
def test_octets_instead_of_a_greeting(octets: bytes) -> None:
    broker = Broker()
    bystander = Peer(broker)
    client = Peer(broker, open=False)
    client.send_octets(octets)
    assert client.take() in (b"", PROTOCOL_HEADER)
    behaves(client, bystander)


@settings(max_examples=EXAMPLES)
@given(octets=st.binary(max_size=200), opened=st.booleans())
def test_octets_instead_of_frames(octets: bytes, opened: bool) -> None:
    broker = Broker()
    bystander = Peer(broker)
    client = Peer(broker, open=opened)
    client.send_octets(octets if opened else PROTOCOL_HEADER + octets)
    behaves(client, bystander)


@settings(max_examples=EXAMPLES)
@given(program=st.lists(methods(), min_size=1, max_size=25), cuts=st.lists(st.integers(1, 60), max_size=5))
def test_methods_of_any_kind_in_any_order(program: list[bytes], cuts: list[int]) -> None:
    broker = Broker()
    bystander = Peer(broker)
    client = Peer(broker)
    octets = b"".join(program)
    for cut in cuts:
        client.send_octets(octets[:cut])
        octets = octets[cut:]
    client.send_octets(octets)
    behaves(client, bystander)


@settings(max_examples=EXAMPLES)
@given(program=st.lists(methods(), min_size=1, max_size=10), data=st.data())
def test_octets_that_were_changed_on_the_way(program: list[bytes], data: st.DataObject) -> None:
    broker = Broker()
    bystander = Peer(broker)
    client = Peer(broker)
    octets = bytearray(b"".join(program))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    client.send_octets(bytes(octets))
    behaves(client, bystander)


@settings(max_examples=EXAMPLES)
@given(program=st.lists(methods(), min_size=1, max_size=12), size=st.integers(1, 40))
def test_the_same_octets_are_answered_the_same_however_they_are_cut(program: list[bytes], size: int) -> None:
    octets = b"".join(program)
    answers = []
    for step in (len(octets), size):
        client = Peer(Broker())
        for at in range(0, len(octets), step):
            client.send_octets(octets[at : at + step])
        # Confirms are collected within a read, so these may differ in how many there are.
        answers.append([item for item in client.received() if getattr(item, "name", "") != "Basic.Ack"])
    whole, in_pieces = ([shown(item) for item in items] for items in answers)
    assert in_pieces == whole


def shown(item: Any) -> str:
    """Something received, as text."""
    if isinstance(item, Message):
        return f"{shown(item.method)} {item.properties!r} {item.body!r}"
    return f"{item.name} {dict(item)}"
