"""Where messages go beyond what the contract tests ask: alternates, further keys, dead letters, answers."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import decode

from tests.testing.broker.peers import B, C, E, Message, Peer, Q, names, with_headers
from trabbits.testing.broker import Broker
from trabbits.testing.broker.tables import read_table
from trabbits.wire.table import split_array


@pytest.fixture
def client() -> Peer:
    return Peer(Broker())


def bodies_in(client: Peer, queue: str) -> list[bytes]:
    return [entry.message.body for entry in client.broker.vhost().queues[queue].ready]


def death_counts(client: Peer, queue: str) -> list[tuple[str, str, int]]:
    """Queue, reason and count of each death of the first message."""
    value = client.broker.vhost().queues[queue].ready[0].message.headers()["x-death"].value
    tables = [read_table(item[5:]) for item in split_array(value)]
    return [(table["queue"].value, table["reason"].value, table["count"].value) for table in tables]


def dying(queue: str, to: str, **arguments: Any) -> Any:
    """A queue whose dead letters go to the queue `to`."""
    table: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": to}
    return Q.Declare(queue=queue, arguments={**table, **arguments})


def test_what_an_exchange_cannot_route_goes_to_its_alternate(client: Peer) -> None:
    alternate: Any = {"alternate-exchange": "rest"}
    client.ask(
        E.Declare(exchange="rest", exchange_type="fanout"),
        E.Declare(exchange="x", exchange_type="direct", arguments=alternate),
        Q.Declare(queue="q"),
        Q.Declare(queue="r"),
        Q.Bind(queue="q", exchange="x", routing_key="known"),
        Q.Bind(queue="r", exchange="rest"),
    )
    client.publish("known", b"1", exchange="x", mandatory=True)
    client.publish("unknown", b"2", exchange="x", mandatory=True)
    assert client.received() == []
    assert (bodies_in(client, "q"), bodies_in(client, "r")) == ([b"1"], [b"2"])


def test_exchanges_that_are_bound_in_a_circle_deliver_once(client: Peer) -> None:
    client.ask(
        E.Declare(exchange="x", exchange_type="fanout"),
        E.Declare(exchange="y", exchange_type="fanout"),
        E.Bind(destination="y", source="x"),
        E.Bind(destination="x", source="y"),
        Q.Declare(queue="q"),
        Q.Bind(queue="q", exchange="x"),
        Q.Bind(queue="q", exchange="y"),
    )
    client.publish("", b"1", exchange="x")
    assert bodies_in(client, "q") == [b"1"]


def test_cc_and_bcc_are_keys_as_well_and_bcc_is_not_seen(client: Peer) -> None:
    client.ask(*(Q.Declare(queue=queue) for queue in "abc"))
    client.publish("a", b"1", properties=with_headers({"CC": ["b"], "BCC": ["c"], "other": 1}))
    for queue in "abc":
        message = client.ask(B.Get(queue=queue, no_ack=True))[0]
        assert isinstance(message, Message) and message.method.routing_key == "a"
        assert decode.field_table(message.properties[2:])[1] == {"CC": ["b"], "other": 1}


def test_a_rejected_message_tells_how_often_and_why(client: Peer) -> None:
    client.ask(dying("q", "morgue"), Q.Declare(queue="morgue"))
    client.publish("q", b"1", properties=with_headers({"mine": 5}))
    for _ in range(2):
        tag = client.ask(B.Get(queue="q"))[0].method.delivery_tag
        client.ask(B.Reject(tag, requeue=False))
        if _ == 0:
            again = client.ask(B.Get(queue="morgue", no_ack=True))[0]
            client.publish("q", again.body, properties=again.properties)
    assert death_counts(client, "morgue") == [("q", "rejected", 2)]
    assert client.broker.vhost().queues["morgue"].ready[0].message.headers()["mine"].value == 5


def test_a_full_queue_buries_its_head(client: Peer) -> None:
    client.ask(dying("q", "morgue", **{"x-max-length": 2}), Q.Declare(queue="morgue"))
    client.publish("q", b"1", b"2", b"3")
    assert (bodies_in(client, "q"), bodies_in(client, "morgue")) == ([b"2", b"3"], [b"1"])
    assert death_counts(client, "morgue") == [("q", "maxlen", 1)]


def test_a_full_queue_by_octets(client: Peer) -> None:
    client.ask(Q.Declare(queue="q", arguments={"x-max-length-bytes": 10}))
    client.publish("q", b"12345", b"67890", b"x")
    assert bodies_in(client, "q") == [b"67890", b"x"]


@pytest.mark.parametrize(("overflow", "buried"), [("reject-publish", []), ("reject-publish-dlx", [b"2"])])
def test_a_full_queue_refuses_what_comes(client: Peer, overflow: str, buried: list[bytes]) -> None:
    arguments = {"x-max-length": 1, "x-overflow": overflow}
    client.ask(dying("q", "morgue", **arguments), Q.Declare(queue="morgue"), C.Select())
    client.publish("q", b"1", b"2")
    client.publish("morgue", b"3")
    confirms = client.received()
    assert names(confirms) == ["Basic.Ack", "Basic.Nack", "Basic.Ack"]
    assert [confirm.delivery_tag for confirm in confirms] == [1, 2, 3]
    assert bodies_in(client, "q") == [b"1"]
    assert bodies_in(client, "morgue") == [*buried, b"3"]


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_a_full_queue_that_refuses_drops_nothing_that_it_has_taken(client: Peer, overflow: str) -> None:
    client.ask(dying("q", "dead", **{"x-max-length": 1, "x-overflow": overflow}), Q.Declare(queue="dead"))
    client.publish("q", b"1")
    client.ask(B.Get(queue="q"))
    client.publish("q", b"2")
    client.ask(B.Nack(delivery_tag=1, requeue=True))
    client.publish("q", b"3")
    assert bodies_in(client, "q") == [b"1", b"2"]


def test_dead_letters_that_go_round_in_circles_are_dropped(client: Peer) -> None:
    client.ask(dying("a", "b", **{"x-max-length": 0}), dying("b", "a", **{"x-max-length": 0}))
    client.publish("a", b"1")
    assert bodies_in(client, "a") == bodies_in(client, "b") == []
    assert client.broker.memory.used == 0


def test_a_dead_letter_exchange_that_is_not_there_takes_nothing(client: Peer) -> None:
    client.ask(Q.Declare(queue="q", arguments={"x-dead-letter-exchange": "nowhere", "x-max-length": 0}))
    client.publish("q", b"1")
    assert bodies_in(client, "q") == []


def test_a_dead_letter_that_nobody_could_be_given_is_dropped(client: Peer) -> None:
    for key in ("k" * 255, "k" * 256):
        arguments: Any = {"x-dead-letter-exchange": "amq.fanout", "x-dead-letter-routing-key": key, "x-max-length": 0}
        client.ask(Q.Declare(queue=str(len(key)), arguments=arguments))
    client.ask(Q.Declare(queue="morgue"), Q.Bind(queue="morgue", exchange="amq.fanout"))
    client.publish("255", b"1")
    client.publish("256", b"2")
    assert bodies_in(client, "morgue") == [b"1"]
    assert bodies_in(client, "256") == []
    assert names(client.ask(B.Get(queue="morgue"))) == ["Basic.GetOk"]


def test_an_answer_goes_to_the_channel_that_asked(client: Peer) -> None:
    server = Peer(client.broker)
    server.ask(Q.Declare(queue="work"))
    client.ask(B.Consume(queue="amq.rabbitmq.reply-to", consumer_tag="answers", no_ack=True))
    name = b"amq.rabbitmq.reply-to"
    client.publish("work", b"question", properties=b"\x02\x00" + bytes((len(name),)) + name)
    question = server.ask(B.Get(queue="work", no_ack=True))[0]
    reply_to = question.properties[3:].decode()
    assert reply_to.startswith("amq.rabbitmq.reply-to.")
    assert server.ask(Q.Declare(queue=reply_to))[0].consumer_count == 1
    server.publish(reply_to, b"answer")
    (answer,) = client.received()
    assert (answer.method.consumer_tag, answer.body) == ("answers", b"answer")
    assert names(client.ask(B.Cancel(consumer_tag="answers"))) == ["Basic.CancelOk"]
    server.publish(reply_to, b"too late")
    assert client.received() == []
    assert server.ask(Q.Declare(queue=reply_to))[0].reply_code == 404


def test_routes_follow_every_change(client: Peer) -> None:
    client.ask(Q.Declare(queue="q"), Q.Bind(queue="q", exchange="amq.topic", routing_key="a.*"))
    for step, routed in [
        (B.Qos(), True),
        (Q.Unbind(queue="q", exchange="amq.topic", routing_key="a.*"), False),
        (Q.Bind(queue="q", exchange="amq.topic", routing_key="#"), True),
        (Q.Delete(queue="q"), False),
        (Q.Declare(queue="q"), False),
    ]:
        client.ask(step)
        client.publish("a.b", b"1", exchange="amq.topic", mandatory=True)
        assert (client.received() == []) is routed
