"""Both brokers say the same, word for word: programs of a few methods, run against RabbitMQ and the embedded broker.

A program is run on one channel; what comes back up to the last reply, or up to channel.close or connection.close, is
compared, reply texts and failing methods included.  Names that a broker makes, and when a message died, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from pamqp import base, commands

from tests.contract.embedded import EmbeddedNode
from tests.contract.programs import (
    CLOSE,
    CONSUME,
    GET,
    MESSAGE,
    PROGRAMS,
    Q_DECLARE,
    X_DECLARE,
    Awaited,
    B,
    E,
    Q,
    Step,
    X,
    carrying,
    dying,
    expiring,
    publish,
)
from tests.contract.target import HOST, Address, Node
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import CAPABILITIES, Closed, RawClient, eventually
from trabbits.wire.encode import method_frame
from trabbits.wire.methods import METHODS

PATIENCE = 10.0
VHOST = "same words"
VISITOR = "visitor"
#: An exclusive queue of another connection's, in each broker.
LOCKED = "locked"

P_DECLARE, ARRIVED = Q.Declare(queue="p"), Awaited("p")
#: Dead letters: what becomes of the message, octet by octet.
DEATHS: dict[str, Sequence[Step]] = {
    "die rejected": [
        P_DECLARE, dying("q", key="p"), publish("q", body=b"1", properties=carrying({"mine": 5, "x-zero": 0})),
        GET, B.Reject(1, requeue=False), ARRIVED,
    ],
    "die expired": [P_DECLARE, dying("q", key="p"), publish("q", properties=expiring(b"1")), ARRIVED],
    "die of the queue's time": [P_DECLARE, dying("q", key="p", x_message_ttl=1), MESSAGE, ARRIVED],
    "die where there is no room": [
        P_DECLARE, dying("q", key="p", x_max_length=1), publish("q", body=b"1"), publish("q", body=b"2"), ARRIVED, GET,
    ],
    "die refused": [
        P_DECLARE, dying("q", key="p", x_max_length=1, x_overflow="reject-publish-dlx"),
        publish("q", body=b"1"), publish("q", body=b"2"), ARRIVED, GET,
    ],
    "die under one's own keys": [
        X_DECLARE, P_DECLARE, Q.Bind(0, "p", "x", ""), dying("q", "x"),
        publish("q", body=b"1", properties=carrying({"CC": ["k", "l"], "BCC": ["m"]})),
        GET, B.Reject(1, requeue=False), ARRIVED,
    ],
    "die under another key": [
        P_DECLARE, dying("q", key="p"), publish("q", properties=carrying({"CC": ["k"]})),
        GET, B.Reject(1, requeue=False), ARRIVED,
    ],
    "die again and again": [
        dying("q"), publish("q", properties=carrying({"mine": 5})), GET, B.Reject(1, requeue=False),
        Awaited("q"), B.Reject(2, requeue=False), Awaited("q"), B.Reject(3, requeue=False), Awaited("q"),
    ],
    "die here and there": [
        dying("q", key="p"), dying("p", key="q", x_message_ttl=1), MESSAGE, GET, B.Reject(1, requeue=False),
        Awaited("q"), B.Reject(2, requeue=False), Awaited("q"),
    ],
    "die in a circle": [
        X_DECLARE, P_DECLARE, dying("q", "x", x_max_length=1), Q.Bind(0, "p", "x", ""), Q.Bind(0, "q", "x", ""),
        publish("q", body=b"1"), publish("q", body=b"2"), ARRIVED, GET, GET,
    ],
    "die with somebody else's story": [
        P_DECLARE, dying("q", key="p"), publish("q", properties=carrying({"x-death": "none"})),
        GET, B.Reject(1, requeue=False), ARRIVED,
    ],
    "die with a story that counts nothing": [
        P_DECLARE, dying("q", key="p"),
        publish("q", properties=carrying({"x-death": [{"queue": "q", "reason": "rejected"}]})),
        GET, B.Reject(1, requeue=False), ARRIVED,
    ],
    "die with the story of another death": [
        P_DECLARE, dying("q", key="p"),
        publish("q", properties=carrying({"x-death": [{"queue": "q", "reason": "expired"}]})),
        GET, B.Reject(1, requeue=False), ARRIVED,
    ],
}  # fmt: skip

SOMEBODY_ELSES: dict[str, Sequence[Step]] = {
    "declare somebody's queue": [Q.Declare(queue=LOCKED)],
    "declare somebody's queue exclusively": [Q.Declare(queue=LOCKED, exclusive=True)],
    "declare somebody's queue passively": [Q.Declare(queue=LOCKED, passive=True)],
    "purge somebody's queue": [Q.Purge(queue=LOCKED)],
    "delete somebody's queue": [Q.Delete(queue=LOCKED)],
    "bind somebody's queue": [Q.Bind(0, LOCKED, "amq.topic", "k")],
    "unbind somebody's queue": [Q.Unbind(0, LOCKED, "amq.direct", LOCKED)],
    "unbind somebody's queue where it is not bound": [Q.Unbind(0, LOCKED, "amq.topic", "k")],
    "get from somebody's queue": [B.Get(queue=LOCKED)],
    "consume from somebody's queue": [B.Consume(queue=LOCKED)],
}

#: What a user is told who may do everything with the queue q and nothing else.
REFUSALS: dict[str, Sequence[Step]] = {
    "declare": [Q.Declare(queue="p")],
    "declare an exchange": [X_DECLARE],
    "declare passively": [Q_DECLARE, Q.Declare(queue="q", passive=True), E.Declare(exchange="amq.topic", passive=True)],
    "declare with a dead letter exchange": [dying("q", "amq.topic")],
    "declare with the default exchange for dead letters": [dying("q")],
    "purge": [Q_DECLARE, Q.Purge(queue="q"), Q.Purge(queue="p")],
    "delete": [Q.Delete(queue="p")],
    "delete an exchange": [E.Delete(exchange="x")],
    "bind another queue": [Q.Bind(0, "p", "amq.topic", "k")],
    "bind to another exchange": [Q_DECLARE, Q.Bind(0, "q", "amq.topic", "k")],
    "unbind another queue": [Q.Unbind(0, "p", "amq.topic", "k")],
    "unbind from another exchange": [Q_DECLARE, Q.Unbind(0, "q", "amq.topic", "k")],
    "bind exchanges": [E.Bind(0, "amq.topic", "amq.direct", "k")],
    "unbind exchanges": [E.Unbind(0, "amq.topic", "amq.direct", "k")],
    "publish": [publish("k", "amq.topic")],
    "publish to the default exchange": [MESSAGE],
    "publish to what is not there": [publish("k", "nowhere")],
    "publish in a transaction": [X.Select(), MESSAGE, X.Commit()],
    "get": [Q_DECLARE, GET, B.Get(queue="p")],
    "consume": [Q_DECLARE, CONSUME, B.Consume(queue="p")],
}

#: RabbitMQ quotes octets here in Erlang's syntax, which chooses between text and numbers, or tells of its processes.
ONLY_CODES = re.compile(r"octets = <<.*|cannot decode <<.*|^INTERNAL_ERROR.*", re.DOTALL)
DIED_AT = re.compile(rb"\x04timeT.{8}", re.DOTALL)
MADE_NAMES = re.compile(r"amq\.(gen|ctag)-[A-Za-z0-9_-]{22}")


def transcript(address: Address, program: Sequence[Step], user: str = "guest") -> list[str]:
    """What a broker answers to `user`; it has neither the queues nor the exchange afterwards."""
    properties = {"capabilities": CAPABILITIES}
    client = RawClient.open(HOST, address.port, vhost=VHOST, username=user, password=user, client_properties=properties)
    lines: list[str] = []
    try:
        client.open_channel(1)
        for step in [*program, commands.Channel.Flow(active=True)]:
            if step is CLOSE:
                _next(client, lines)
                return lines
            if isinstance(step, bytes):
                client.send_octets(step)
                continue
            if isinstance(step, Awaited):
                eventually(partial(_got, client, step.queue, lines), PATIENCE)
                continue
            client.send_octets(method_frame(1, step))
            replies = METHODS[step.index].replies if not getattr(step, "nowait", False) else ()
            while replies:
                method = _next(client, lines)
                if isinstance(method, (commands.Channel.Close, commands.Connection.Close)):
                    return lines
                if method.index in replies or isinstance(method, commands.Channel.CloseOk):
                    break
            if isinstance(step, commands.Channel.Close):
                return lines
    finally:
        leave(client)
        cleaner = RawClient.open(HOST, address.port, vhost=VHOST)
        cleaner.open_channel(1)
        for queue in "qp":
            cleaner.call(Q.Delete(queue=queue), Q.DeleteOk)
        cleaner.call(E.Delete(exchange="x"), E.DeleteOk)
        cleaner.close_politely()
    return lines


def leave(client: RawClient) -> None:
    """Close the connection so that its exclusive queues are gone, if it is not closed by a mistake."""
    try:
        client.close_politely()
    except (OSError, Closed):
        client.close()


def _got(client: RawClient, queue: str, lines: list[str]) -> bool:
    """Whether the queue has a message; it is taken and written down."""
    client.send(B.Get(queue=queue), channel=1)
    answer: list[str] = []
    empty = isinstance(_next(client, answer), B.GetEmpty)
    if not empty:
        lines += answer
    return not empty


def _next(client: RawClient, lines: list[str]) -> base.Frame:
    """The next method; it is written down with its content."""
    frame = client.receive(PATIENCE)
    method = frame.method
    assert method is not None
    fields = {name: ONLY_CODES.sub("...", str(value)) for name, value in dict(method).items()}
    line = f"[{frame.channel}] {method.name} {fields}"
    if METHODS[method.index].has_content:
        header = client.receive(PATIENCE)
        size = int.from_bytes(header.payload[4:12], "big")
        body = b""
        while len(body) < size:
            body += client.receive(PATIENCE).payload
        line += f" {DIED_AT.sub(b'(died)', header.payload[12:])!r} {body!r}"
    lines.append(MADE_NAMES.sub("(made)", line))
    return method


@pytest.fixture(scope="module")
def places(rabbit_a: RabbitNode, embedded_pair: tuple[EmbeddedNode, EmbeddedNode]) -> Iterator[list[Address]]:
    """Both brokers, each with a virtual host of this module's, a visitor in it, and a queue that is somebody's."""
    nodes: list[Node] = [rabbit_a, embedded_pair[0]]
    owners = []
    for node in nodes:
        assert node.management is not None
        node.management.add_vhost(VHOST)
        node.management.add_user(VISITOR, VISITOR)
        node.management.set_permissions(VHOST, VISITOR, *["^q$"] * 3)
        owner = RawClient.open(HOST, node.port, vhost=VHOST)
        owner.open_channel(1)
        owner.call(Q.Declare(queue=LOCKED, exclusive=True), Q.DeclareOk)
        owner.call(Q.Bind(0, LOCKED, "amq.direct", LOCKED), Q.BindOk)
        owners.append(owner)
    yield [*nodes]
    for owner in owners:
        owner.close_politely()
    for node in nodes:
        assert node.management is not None
        node.management.delete_user(VISITOR)
        node.management.delete_vhost(VHOST)


ALL_MAY = {**PROGRAMS, **DEATHS, **SOMEBODY_ELSES}


@pytest.mark.parametrize("program", ALL_MAY.values(), ids=ALL_MAY.keys())
def test_both_brokers_say(program: Sequence[Step], places: list[Address]) -> None:
    real, embedded = (transcript(place, program) for place in places)
    assert embedded == real


@pytest.mark.parametrize("program", REFUSALS.values(), ids=REFUSALS.keys())
def test_both_brokers_say_to_a_visitor(program: Sequence[Step], places: list[Address]) -> None:
    real, embedded = (transcript(place, program, VISITOR) for place in places)
    assert embedded == real
