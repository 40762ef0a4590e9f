"""What the program around a broker can do: users, virtual hosts, closing."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from tests.testing.broker.peers import B, E, Peer, Q, names
from trabbits.testing.broker import Broker, Permissions, User
from trabbits.wire.constants import PROTOCOL_HEADER

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
