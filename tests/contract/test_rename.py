"""`rename`: the brokers hold queues under other names, and clients see their own everywhere.

In the fan, upstream a has the client's names and b has others.  Behind what renames stands a rewriter of bindings, for
which queues have the client's names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pika
import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from tests.contract.conftest import running
from tests.contract.receiving import Inbox
from tests.contract.target import Target, Witness, each_upstream, fan_config, plain_config, unique
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.trabbits_process import TrabbitsProcess

PREFIX = "new."
RENAME = {"plugin": "rename", "options": {"prefix": PREFIX}}
#: Exchanges whose name begins with "keyed-" are topic exchanges, and their keys name the queue.
PLUGIN = """
from zope.interface import implementer

from trabbits.interfaces import BindingAttributes, ExchangeAttributes, ITopologyRewriter, QueueAttributes
from trabbits.interfaces import IQueueAttributeRewriter
from trabbits.plugins.declaring import Plugin, PluginOptions


@implementer(ITopologyRewriter)
class Keyed:
    def rewrite(self, declare):
        return QueueAttributes()

    def rewrite_exchange(self, declare):
        return ExchangeAttributes(type="topic" if declare.exchange.startswith("keyed-") else None)

    def rewrite_binding(self, binding):
        keyed = binding.source.startswith("keyed-")
        return BindingAttributes(routing_key=f"{binding.routing_key}.{binding.destination}" if keyed else None)


keyed = Plugin("keyed", IQueueAttributeRewriter, PluginOptions, lambda *_: Keyed())
"""


@pytest.fixture(scope="module", params=["plain", "fan"])
def renaming_proxy(
    request: pytest.FixtureRequest,
    rabbit_a: RabbitNode,
    rabbit_b: RabbitNode,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, TrabbitsProcess]]:
    """A proxy whose last upstream has other names for queues."""
    folder = tmp_path_factory.mktemp("site")
    plugins = folder / "trabbits" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "keyed_plugin.py").write_text(PLUGIN)
    config = plain_config(rabbit_a) if request.param == "plain" else fan_config(rabbit_a, rabbit_b)
    config["upstreams"][-1]["rewriters"] = [RENAME, {"plugin": "keyed"}]
    for proxy in running(TrabbitsProcess(config, env={"PYTHONPATH": str(folder)})):
        yield request.param, proxy


@pytest.fixture
def renaming(
    renaming_proxy: tuple[str, TrabbitsProcess],
    rabbit_a: RabbitNode,
    rabbit_b: RabbitNode,
    witness_a: Witness,
    witness_b: Witness,
) -> Iterator[Target]:
    """The target that renames."""
    kind, proxy = renaming_proxy
    nodes, witnesses = {"a": rabbit_a}, {"a": witness_a}
    if kind == "fan":
        nodes["b"], witnesses["b"] = rabbit_b, witness_b
    target = Target(kind, proxy, nodes, witnesses)
    yield target
    target.close_all()


def there(target: Target, upstream: str, queue: str) -> str:
    """What the queue is called at this upstream."""
    return queue if target.id == "fan" and upstream == "a" else PREFIX + queue


def put(target: Target, upstream: str, queue: str, *bodies: bytes) -> None:
    """Puts messages into the queue at this upstream, past the proxy."""
    target.at(upstream).put(there(target, upstream, queue), *bodies)


@each_upstream
def test_the_brokers_hold_queues_under_their_names(renaming: Target, upstream: str) -> None:
    channel = renaming.channel()
    queue = unique("q")
    assert channel.queue_declare(queue).method.queue == queue
    assert channel.queue_declare(queue, passive=True).method.queue == queue
    witness = renaming.at(upstream)
    assert witness.has_queue(there(renaming, upstream, queue))
    assert witness.has_queue(queue) is (there(renaming, upstream, queue) == queue)
    channel.queue_bind(queue, "amq.direct", queue)
    with witness.channel() as behind:
        behind.confirm_delivery()
        behind.basic_publish("amq.direct", queue, b"bound", mandatory=True)
    assert witness.depth(there(renaming, upstream, queue)) == 1
    assert channel.queue_purge(queue).method.message_count == 1
    channel.queue_unbind(queue, "amq.direct", queue)
    with witness.channel() as behind, pytest.raises(pika.exceptions.UnroutableError):
        behind.confirm_delivery()
        behind.basic_publish("amq.direct", queue, b"unbound", mandatory=True)
    channel.queue_delete(queue)
    assert not witness.has_queue(there(renaming, upstream, queue))


@each_upstream
def test_a_message_to_a_queue_comes_back_with_the_clients_name(renaming: Target, upstream: str) -> None:
    """Published to the default exchange, confirmed, consumed, and got."""
    channel = renaming.channel()
    channel.confirm_delivery()
    queue = renaming.key_for(upstream, unique("q"))
    channel.queue_declare(queue)
    for number in range(4):
        channel.basic_publish("", queue, b"%d" % number, mandatory=True)
    assert renaming.at(upstream).depth(there(renaming, upstream, queue)) == 4
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (method.routing_key, method.message_count, body) == (queue, 3, b"0")
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(3)
    assert inbox.bodies == [b"1", b"2", b"3"]
    assert {delivery.method.routing_key for delivery in inbox.deliveries} == {queue}
    inbox.deliveries[-1].ack(multiple=True)
    assert channel.queue_delete(queue).method.message_count == 0


def test_deliveries_of_all_upstreams_wait_for_the_window(renaming: Target) -> None:
    """Those that are held back, too, come with the client's name and in order."""
    channel = renaming.channel()
    channel.basic_qos(prefetch_count=2)
    queue = unique("q")
    channel.queue_declare(queue)
    upstreams = ("a", "b") if renaming.links == 2 else ("a",)
    for upstream in upstreams:
        put(renaming, upstream, queue, *(f"{upstream}{number}".encode() for number in range(20)))
    inbox = Inbox.consuming(channel, queue)
    for number in range(20 * renaming.links):
        inbox.wait_for(number + 1)
        inbox.deliveries[number].ack()
    for upstream in upstreams:
        mine = [body for body in inbox.bodies if body.startswith(upstream.encode())]
        assert mine == [f"{upstream}{number}".encode() for number in range(20)]
    assert {delivery.method.routing_key for delivery in inbox.deliveries} == {queue}
    channel.queue_delete(queue)


@each_upstream
def test_a_message_for_a_queue_that_is_not_there_is_returned_with_the_clients_name(
    renaming: Target, upstream: str
) -> None:
    client = renaming.raw()
    client.open_channel(1)
    queue = renaming.key_for(upstream, unique("q"))
    client.publish("", queue, b"lost", mandatory=True)
    returned = client.expect_content(commands.Basic.Return)
    assert (returned.method.exchange, returned.method.routing_key, returned.body) == ("", queue, b"lost")


def test_errors_name_the_clients_queue(renaming: Target) -> None:
    queue = unique("q")
    with pytest.raises(ChannelClosedByBroker) as caught:
        renaming.channel().queue_declare(queue, passive=True)
    assert (caught.value.reply_code, caught.value.reply_text) == (404, f"NOT_FOUND - no queue '{queue}' in vhost '/'")
    channel = renaming.channel()
    channel.queue_declare(queue)
    with pytest.raises(ChannelClosedByBroker) as caught:
        renaming.channel().queue_declare(queue, durable=True)
    assert caught.value.reply_code == 406
    assert f"for queue '{queue}' in vhost" in caught.value.reply_text
    channel.queue_delete(queue)


@each_upstream
def test_request_and_answer_over_queues(renaming: Target, upstream: str) -> None:
    """The answer's queue has the name that the requester gave in reply_to."""
    requester, server = renaming.channel(), renaming.channel()
    requests = renaming.key_for(upstream, unique("requests"))
    answers = renaming.key_for(upstream, unique("answers"))
    server.queue_declare(requests, auto_delete=True)
    requester.queue_declare(answers, exclusive=True)
    inbox, got = Inbox.consuming(server, requests, auto_ack=True), Inbox.consuming(requester, answers, auto_ack=True)
    requester.basic_publish("", requests, b"ping", pika.BasicProperties(reply_to=answers, correlation_id="1"))
    request = inbox.wait_for(1)[0]
    server.basic_publish("", request.properties.reply_to, b"pong")
    got.wait_for(1)
    assert got.bodies == [b"pong"]


@each_upstream
def test_direct_reply_to(renaming: Target, upstream: str) -> None:
    requester, server = renaming.channel(), renaming.channel()
    requests = renaming.key_for(upstream, unique("requests"))
    server.queue_declare(requests, auto_delete=True)
    inbox = Inbox.consuming(server, requests, auto_ack=True)
    got = Inbox.consuming(requester, "amq.rabbitmq.reply-to", auto_ack=True)
    requester.basic_publish("", requests, b"ping", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
    server.basic_publish("", inbox.wait_for(1)[0].properties.reply_to, b"pong")
    got.wait_for(1)
    assert got.bodies == [b"pong"]


@each_upstream
def test_dead_letters_find_their_queue(renaming: Target, upstream: str) -> None:
    channel = renaming.channel()
    queue, dead = renaming.key_for(upstream, unique("q")), unique("dead")
    channel.queue_declare(dead)
    letters: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    channel.queue_declare(queue, arguments=letters)
    channel.basic_publish("", queue, b"bad")
    inbox = Inbox.consuming(channel, queue)
    channel.basic_reject(inbox.wait_for(1)[0].method.delivery_tag, requeue=False)
    corpses = Inbox.consuming(channel, dead, auto_ack=True)
    assert corpses.wait_for(1)[0].method.routing_key == dead
    assert corpses.bodies == [b"bad"]
    for each in (queue, dead):
        channel.queue_delete(each)


@each_upstream
def test_further_keys_reach_their_queues(renaming: Target, upstream: str) -> None:
    """CC and BCC of a publish to the default exchange; what is delivered has the client's names, and no BCC."""
    channel = renaming.channel()
    channel.confirm_delivery()
    queue, carbon, blind = (renaming.key_for(upstream, unique(name)) for name in ("q", "cc", "bcc"))
    for each in (queue, carbon, blind):
        channel.queue_declare(each)
    properties = pika.BasicProperties(headers={"CC": [carbon], "BCC": [blind], "mine": 5})
    channel.basic_publish("", queue, b"for all", properties, mandatory=True)
    for each in (queue, carbon, blind):
        method, found, body = channel.basic_get(each, auto_ack=True)
        assert (method.routing_key, body) == (queue, b"for all")
        assert found.headers == {"CC": [carbon], "mine": 5}
        channel.queue_delete(each)


def test_a_further_key_that_does_not_fit_closes_the_channel_only(renaming: Target) -> None:
    connection = renaming.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    queue = renaming.key_for("b", unique("q"))
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.basic_publish("", queue, b"lost", pika.BasicProperties(headers={"CC": ["n" * 254]}))
    assert caught.value.reply_code == 406
    assert "renames queues" in caught.value.reply_text
    connection.channel(channel.channel_number).queue_declare(unique("q"), auto_delete=True, exclusive=True)


def deaths(properties: pika.BasicProperties) -> list[tuple[str, str, int, list[str]]]:
    """What ``x-death`` says."""
    headers: dict[str, Any] = properties.headers or {}
    return [(each["queue"], each["exchange"], each["count"], each["routing-keys"]) for each in headers["x-death"]]


@each_upstream
def test_a_dead_letter_names_the_clients_queues(renaming: Target, upstream: str) -> None:
    """Where it died, under which keys; once over the default exchange, once over another one."""
    channel = renaming.channel()
    queue, carbon, dead = (renaming.key_for(upstream, unique(name)) for name in ("q", "cc", "dead"))
    channel.queue_declare(dead)
    channel.queue_declare(queue, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    channel.queue_bind(queue, "amq.direct", queue)
    inbox, corpses = Inbox.consuming(channel, queue), Inbox.consuming(channel, dead, auto_ack=True)
    expected = [("", [queue, carbon]), ("amq.direct", [queue, carbon])]
    for number, (exchange, keys) in enumerate(expected, 1):
        channel.basic_publish(exchange, queue, b"bad", pika.BasicProperties(headers={"CC": [carbon]}))
        channel.basic_reject(inbox.wait_for(number)[-1].method.delivery_tag, requeue=False)
        letter = corpses.wait_for(number)[-1]
        assert deaths(letter.properties) == [(queue, exchange, 1, keys)]
        first = {name: value for name, value in letter.properties.headers.items() if name.startswith("x-first")}
        assert first["x-first-death-queue"] == queue
        assert first["x-first-death-exchange"] == exchange
    for each in (queue, dead):
        channel.queue_delete(each)


@each_upstream
def test_a_dead_letter_that_is_published_again_is_known_to_the_broker(renaming: Target, upstream: str) -> None:
    """It counts on for the queue that it died in before: the broker gets its own name for that back."""
    channel = renaming.channel()
    queue, dead = (renaming.key_for(upstream, unique(name)) for name in ("q", "dead"))
    channel.queue_declare(dead)
    channel.queue_declare(queue, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    inbox, corpses = Inbox.consuming(channel, queue), Inbox.consuming(channel, dead, auto_ack=True)
    properties = pika.BasicProperties()
    for count in (1, 2, 3):
        channel.basic_publish("", queue, b"again", properties)
        channel.basic_reject(inbox.wait_for(count)[-1].method.delivery_tag, requeue=False)
        properties = corpses.wait_for(count)[-1].properties
        assert deaths(properties) == [(queue, "", count, [queue])]
    for each in (queue, dead):
        channel.queue_delete(each)


@each_upstream
def test_a_returned_message_has_the_clients_names_in_its_headers(renaming: Target, upstream: str) -> None:
    channel = renaming.channel()
    channel.confirm_delivery()
    queue, carbon = (renaming.key_for(upstream, unique(name)) for name in ("q", "cc"))
    headers = {"CC": [carbon], "x-first-death-queue": queue}
    with pytest.raises(UnroutableError) as caught:
        channel.basic_publish("", queue, b"lost", pika.BasicProperties(headers=headers), mandatory=True)
    (returned,) = caught.value.messages
    assert (returned.method.routing_key, returned.properties.headers) == (queue, headers)


def test_a_binding_without_names_is_for_the_queue_declared_last(renaming: Target) -> None:
    channel = renaming.channel()
    queue = renaming.key_for("b", unique("q"))
    channel.queue_declare(queue)
    client = renaming.raw()
    client.open_channel(1)
    client.call(commands.Queue.Declare(queue=queue), commands.Queue.DeclareOk)
    client.call(commands.Queue.Bind(queue="", exchange="amq.direct", routing_key=""), commands.Queue.BindOk)
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", queue, b"bound", mandatory=True)
    assert renaming.at("b").take(there(renaming, "b", queue)) == [b"bound"]
    channel.queue_delete(queue)


def test_server_named_queues_keep_their_names(renaming: Target) -> None:
    channel = renaming.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    assert queue.startswith("trabbits.gen-")
    for witness in renaming.places:
        assert witness.has_queue(queue)
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"own", mandatory=True)
    inbox = Inbox.consuming(channel, queue, auto_ack=True)
    inbox.wait_for(1)
    assert inbox.bodies == [b"own"]


def test_a_name_that_does_not_fit_closes_the_channel_only(renaming: Target) -> None:
    connection = renaming.connect()
    channel = connection.channel()
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.queue_declare("n" * 254)
    assert caught.value.reply_code == 406
    assert "renames queues" in caught.value.reply_text
    again = connection.channel(channel.channel_number)
    queue = unique("q")
    again.queue_declare(queue)
    again.queue_delete(queue)


@each_upstream
def test_bindings_are_rewritten_by_the_clients_names(renaming: Target, upstream: str) -> None:
    """A bind without names and an unbind with all of them are the same binding, at each upstream."""
    exchange, queue = unique("keyed"), unique("q")
    client = renaming.raw()
    client.open_channel(1)
    client.call(commands.Exchange.Declare(exchange=exchange, auto_delete=True), commands.Exchange.DeclareOk)
    client.call(commands.Queue.Declare(queue=queue), commands.Queue.DeclareOk)
    client.call(commands.Queue.Bind(queue="", exchange=exchange, routing_key=""), commands.Queue.BindOk)
    client.call(commands.Queue.Bind(queue="", exchange=exchange, routing_key="k"), commands.Queue.BindOk)
    rewritten = there(renaming, upstream, queue) != queue
    keys = [f"{queue}.{queue}", f"k.{queue}"] if rewritten else [queue, "k"]
    witness = renaming.at(upstream)
    with witness.channel() as behind:
        behind.exchange_declare(exchange, "topic" if rewritten else "direct", auto_delete=True)
        behind.confirm_delivery()
        for key in keys:
            behind.basic_publish(exchange, key, key.encode(), mandatory=True)
        assert witness.take(there(renaming, upstream, queue)) == [key.encode() for key in keys]
        client.call(commands.Queue.Unbind(queue=queue, exchange=exchange, routing_key=queue), commands.Queue.UnbindOk)
        behind.basic_publish(exchange, keys[1], b"bound", mandatory=True)
        with pytest.raises(pika.exceptions.UnroutableError):
            behind.basic_publish(exchange, keys[0], b"unbound", mandatory=True)
    client.call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)


def test_a_key_that_does_not_fit_closes_the_channel_only(renaming: Target) -> None:
    exchange = unique("keyed")
    connection = renaming.connect()
    channel = connection.channel()
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.queue_bind("n" * 100, exchange, "k" * 160)
    assert caught.value.reply_code == 406
    assert "rewrites exchanges and bindings" in caught.value.reply_text
    again = connection.channel(channel.channel_number)
    queue = unique("q")
    again.queue_declare(queue)
    again.queue_delete(queue)
