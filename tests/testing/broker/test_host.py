"""What the program around a broker can do: users, virtual hosts, closing, faults."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.testing.broker.peers import B, C, E, Peer, Q, names
from trabbits.testing.broker import Broker, BrokerConnection, Faults, Permissions, Refused, User
from trabbits.wire.constants import PROTOCOL_HEADER
from trabbits.wire.methods import METHODS

MINE = User(
    "secret", {"/": Permissions(configure="^mine", write="^(mine|amq.default)", read="^mine"), "other": Permissions()}
)

#: What the table of operations says (https://www.rabbitmq.com/docs/access-control), tried on things that are not mine.
FORBIDDEN: dict[str, Any] = {
    "declare a queue": Q.Declare(queue="yours"),
    "delete a queue": Q.Delete(queue="yours"),
    "declare an exchange": E.Declare(exchange="yours", exchange_type="fanout"),
    "delete an exchange": E.Delete(exchange="yours"),
    "bind my queue to your exchange": Q.Bind(queue="mine", exchange="yours"),
    "bind your queue": Q.Bind(queue="yours", exchange="mine"),
    "unbind your queue": Q.Unbind(queue="yours", exchange="mine"),
    "bind your exchange": E.Bind(destination="yours", source="mine"),
    "get": B.Get(queue="yours"),
    "consume": B.Consume(queue="yours"),
    "purge": Q.Purge(queue="yours"),
    "dead letters to your exchange": Q.Declare(queue="mine2", arguments={"x-dead-letter-exchange": "yours"}),
    "an alternate that is yours": E.Declare(
        exchange="mine2", exchange_type="fanout", arguments={"alternate-exchange": "yours"}
    ),
}


@pytest.fixture
def broker() -> Broker:
    broker = Broker(users={"guest": User("guest"), "me": MINE}, vhosts=["/", "other", "third"])
    guest = Peer(broker)
    guest.ask(*(Q.Declare(queue=name) for name in ("mine", "yours")))
    guest.ask(*(E.Declare(exchange=name, exchange_type="fanout") for name in ("mine", "yours")))
    return broker


@pytest.mark.parametrize("method", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_user_may_not(broker: Broker, method: Any) -> None:
    close = Peer(broker, user="me", password="secret").ask(method)[0]
    assert (close.reply_code, close.class_id << 16 | close.method_id) == (403, method.index)
    assert close.reply_text.startswith("ACCESS_REFUSED - access to ")
    assert close.reply_text.endswith("'yours' in vhost '/' refused for user 'me'")


def test_a_user_may_not_publish_to_others(broker: Broker) -> None:
    client = Peer(broker, user="me", password="secret")
    client.publish("mine", b"1")
    client.publish("", b"2", exchange="mine")
    assert client.received() == []
    client.publish("", b"3", exchange="yours")
    assert client.received()[0].reply_text == (
        "ACCESS_REFUSED - access to exchange 'yours' in vhost '/' refused for user 'me'"
    )


@pytest.mark.parametrize(
    ("user", "password", "vhost", "code"),
    [
        ("me", "secret", "other", None),
        ("me", "secret", "third", 530),
        ("me", "wrong", "/", 403),
        ("nobody", "", "/", 403),
        ("guest", "guest", "none", 530),
    ],
)
def test_who_comes_in(broker: Broker, user: str, password: str, vhost: str, code: int | None) -> None:
    client = Peer(broker, open=False)
    client.send_octets(PROTOCOL_HEADER)
    properties: Any = {"capabilities": {"authentication_failure_close": True}}
    client.send(commands.Connection.StartOk(properties, "PLAIN", f"\0{user}\0{password}", "en_US"), channel=0)
    client.send(commands.Connection.TuneOk(0x7FF, 131072, 0), channel=0)
    opening = commands.Connection.Open()
    opening.virtual_host = vhost
    client.send(opening, channel=0)
    last = client.received()[-1]
    assert getattr(last, "reply_code", None) == code


def test_it_says_that_it_is_no_rabbitmq() -> None:
    client = Peer(Broker("mine", properties={"demo": "yes"}), open=False)
    client.send_octets(PROTOCOL_HEADER)
    properties = client.received()[0].server_properties
    assert properties["product"] == "RabbitMQ"  # clients decide by it
    assert "in memory" in properties["information"] and "testing" in properties["information"]
    assert (properties["cluster_name"], properties["demo"]) == ("mine", "yes")


def test_a_deleted_virtual_host_closes_its_connections(broker: Broker) -> None:
    here, there = Peer(broker), Peer(broker, vhost="other")
    there.ask(Q.Declare(queue="q"))
    broker.delete_vhost("other")
    assert there.received()[0].reply_code == 320
    assert names(here.ask(B.Qos())) == ["Basic.QosOk"]


class Fault(Faults):
    """Does one thing at the n-th frame of a client."""

    watches_frames = True

    def __init__(self, number: int, act: Any) -> None:
        self._number = number
        self._act = act
        self.seen: list[str] = []

    def frame(self, connection: BrokerConnection, number: int, octets: bytes) -> bytes | None:
        if octets[0] == 1:
            self.seen.append(METHODS[int.from_bytes(octets[7:11], "big")].name)
        return self._act(connection, octets) if number == self._number else octets


def refuse(code: int) -> Any:
    def act(connection: BrokerConnection, octets: bytes) -> bytes:
        raise Refused(code, "as the test wanted")

    return act


def drop(connection: BrokerConnection, octets: bytes) -> None:
    connection.drop()


#: Frames 1 to 4 are the opening of connection and channel; 5 is basic.qos, 6 confirm.select.
@pytest.mark.parametrize(
    ("act", "answers"),
    [
        (lambda connection, octets: octets, ["Basic.QosOk", "Confirm.SelectOk"]),
        (lambda connection, octets: None, ["Confirm.SelectOk"]),
        (lambda connection, octets: octets * 2, ["Basic.QosOk", "Basic.QosOk", "Confirm.SelectOk"]),
        (refuse(406), ["Channel.Close"]),
        (refuse(320), ["Connection.Close"]),
        (lambda connection, octets: connection.close(541, "broken"), ["Connection.Close"]),
        (drop, []),
    ],
    ids=["nothing", "lose", "double", "close the channel", "close the connection", "break", "drop"],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_fault_at_a_frame(act: Any, answers: list[str], size: int) -> None:
    fault = Fault(5, act)
    client = Peer(Broker(faults=fault))
    octets = b"".join(
        bytes((1, 0, 1)) + (len(payload)).to_bytes(4, "big") + payload + b"\xce"
        for payload in (b"\0\x3c\0\x0a" + b"\0" * 7, b"\0\x55\0\x0a\0")
    )
    for at in range(0, len(octets), size):
        client.send_octets(octets[at : at + size])
    assert names(client.received()) == answers
    assert client.connection.closing is (act is drop)
    assert fault.seen[:5] == [
        "connection.start-ok",
        "connection.tune-ok",
        "connection.open",
        "channel.open",
        "basic.qos",
    ]


def test_a_client_can_be_refused_before_a_word_is_said() -> None:
    class Refusing(Faults):
        def connected(self, connection: BrokerConnection) -> None:
            connection.drop()

    broker = Broker(faults=Refusing())
    client = Peer(broker, open=False)
    assert client.connection.closing and client.woken == 1
    client.send_octets(PROTOCOL_HEADER)
    assert client.take() == b""
    assert not broker.connections and broker.next_timer() is None


def test_without_faults_frames_are_not_shown_to_anybody() -> None:
    class Deaf(Fault):
        watches_frames = False

    fault = Deaf(1, drop)
    client = Peer(Broker(faults=fault))
    assert names(client.ask(C.Select())) == ["Confirm.SelectOk"]
    assert fault.seen == []
