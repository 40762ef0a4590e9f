"""tx: exact while one link takes part, refused with 540 over several, unless best effort is configured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker

from tests.contract.conftest import running
from tests.contract.receiving import Inbox, barrier
from tests.contract.target import Target, Witness, each_upstream, fan_config, only_fan, unique
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess


@pytest.fixture(scope="module")
def best_effort_proxy(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[TrabbitsProcess]:
    """A fan proxy that commits on every link and hopes for the best."""
    config = fan_config(rabbit_a, rabbit_b, transactions={"best_effort": True})
    yield from running(TrabbitsProcess(config))


@pytest.fixture
def best_effort(
    best_effort_proxy: TrabbitsProcess,
    rabbit_a: RabbitNode,
    rabbit_b: RabbitNode,
    witness_a: Witness,
    witness_b: Witness,
) -> Iterator[Target]:
    """The target behind which transactions span upstreams."""
    nodes = {"a": rabbit_a, "b": rabbit_b}
    target = Target("fan", best_effort_proxy, nodes, {"a": witness_a, "b": witness_b})
    yield target
    target.close_all()


@each_upstream
def test_publishes_are_seen_when_committed_and_not_before(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    channel.tx_select()
    for number in range(3):
        target.publish_to(channel, upstream, queue, b"%d" % number)
    barrier(channel, queue)
    assert target.depth(queue) == 0
    channel.tx_commit()
    assert target.at(upstream).take(queue) == [b"0", b"1", b"2"]
    channel.queue_delete(queue)


@each_upstream
def test_publishes_are_forgotten_when_rolled_back(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    channel.tx_select()
    target.publish_to(channel, upstream, queue, b"forgotten")
    channel.tx_rollback()
    channel.tx_commit()
    assert target.depth(queue) == 0
    target.publish_to(channel, upstream, queue, b"kept")
    channel.tx_commit()
    assert target.at(upstream).take(queue) == [b"kept"]
    channel.queue_delete(queue)


@each_upstream
def test_acks_count_when_committed(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.at(upstream).put(queue, b"0", b"1", b"2", b"3")
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(4)
    channel.tx_select()
    channel.basic_ack(1)
    channel.basic_ack(3)
    channel.tx_commit()
    channel.basic_ack(2)
    channel.close()
    assert target.at(upstream).take(queue) == [b"1", b"3"]
    target.channel().queue_delete(queue)


@each_upstream
def test_acks_that_are_rolled_back_were_never_given(target: Target, upstream: str) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    target.at(upstream).put(queue, b"0", b"1", b"2")
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(3)
    channel.tx_select()
    channel.basic_ack(2, multiple=True)
    channel.tx_rollback()
    channel.basic_ack(1)
    channel.tx_commit()
    channel.close()
    assert target.at(upstream).take(queue) == [b"1", b"2"]
    target.channel().queue_delete(queue)


@each_upstream
def test_publishes_and_acks_of_one_upstream_commit_together(target: Target, upstream: str) -> None:
    """Take from one queue, put into another: the reason to use transactions at all."""
    channel = target.channel()
    source, sink = target.spread_queue(channel), target.spread_queue(channel)
    target.at(upstream).put(source, b"0", b"1", b"2", b"3")
    inbox = Inbox.consuming(channel, source)
    inbox.wait_for(4)
    channel.tx_select()
    for delivery in inbox.deliveries:
        target.publish_to(channel, upstream, sink, b"done " + delivery.body)
        delivery.ack()
        if delivery.tag % 2:
            channel.tx_commit()
        else:
            channel.tx_rollback()
    channel.close()
    assert target.at(upstream).take(sink) == [b"done 0", b"done 2"]
    assert target.at(upstream).take(source) == [b"1", b"3"]
    tidy = target.channel()
    for queue in (source, sink):
        tidy.queue_delete(queue)


def test_transactions_may_take_turns_between_upstreams(target: Target) -> None:
    channel = target.channel()
    queue = target.spread_queue(channel)
    channel.tx_select()
    for upstream in "abab":
        target.publish_to(channel, upstream, queue, upstream.encode())
        channel.tx_commit()
    assert target.depth(queue) == 4
    channel.queue_delete(queue)


def test_an_empty_transaction_commits_and_rolls_back(target: Target) -> None:
    channel = target.channel()
    channel.tx_select()
    channel.tx_commit()
    channel.tx_rollback()
    channel.tx_select()
    channel.tx_commit()


@each_upstream
def test_unroutable_mandatory_messages_come_back_with_the_commit(target: Target, upstream: str) -> None:
    client = target.raw()
    client.open_channel(1)
    client.call(commands.Tx.Select(), commands.Tx.SelectOk)
    client.publish("", target.key_for(upstream, unique("nobody")), b"lost", mandatory=True)
    client.send(commands.Tx.Commit(), channel=1)
    assert client.expect_content(commands.Basic.Return).body == b"lost"
    client.expect(commands.Tx.CommitOk, 1)


@pytest.mark.parametrize("method", ["tx_commit", "tx_rollback"])
def test_without_tx_select_there_is_no_transaction(target: Target, method: str) -> None:
    with pytest.raises(ChannelClosedByBroker) as caught:
        getattr(target.channel(), method)()
    assert caught.value.reply_code == 406
    assert "channel is not transactional" in caught.value.reply_text


def refusal_of(client: RawClient) -> commands.Connection.Close:
    """Reads up to the connection.close that has to come."""
    while True:
        _, method = client.receive_method()
        if isinstance(method, commands.Connection.Close):
            return method
        assert not isinstance(method, commands.Tx.CommitOk), "committed"


@only_fan
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_publishes_to_two_upstreams_in_one_transaction_are_540_and_none_is_seen(target: Target, order: str) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    client = target.raw()
    client.open_channel(1)
    client.call(commands.Tx.Select(), commands.Tx.SelectOk)
    for upstream in order:
        client.publish("amq.direct", target.key_for(upstream, queue), b"x")
    client.send(commands.Tx.Commit(), channel=1)
    close = refusal_of(client)
    assert close.reply_code == 540
    assert "transaction" in close.reply_text
    client.send(commands.Connection.CloseOk())
    assert target.depth(queue) == 0
    setup.queue_delete(queue)


@only_fan
def test_an_ack_for_one_upstream_and_a_publish_to_the_other_are_540(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    target.at("a").put(queue, b"held")
    client = target.raw()
    client.open_channel(1)
    client.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    client.expect_content(commands.Basic.Deliver)
    client.call(commands.Tx.Select(), commands.Tx.SelectOk)
    client.send(commands.Basic.Ack(delivery_tag=1), channel=1)
    client.publish("amq.direct", target.key_for("b", queue), b"x")
    client.send(commands.Tx.Commit(), channel=1)
    assert refusal_of(client).reply_code == 540
    client.send(commands.Connection.CloseOk())
    eventually(lambda: target.depth(queue) == 1)
    assert target.at("a").take(queue) == [b"held"]
    setup.queue_delete(queue)


def test_best_effort_commits_on_every_upstream(best_effort: Target) -> None:
    channel = best_effort.channel()
    queue = best_effort.spread_queue(channel)
    channel.tx_select()
    for upstream in "aabb":
        best_effort.publish_to(channel, upstream, queue, upstream.encode())
    barrier(channel, queue)
    assert best_effort.depth(queue) == 0
    channel.tx_commit()
    assert best_effort.at("a").take(queue) == [b"a", b"a"]
    assert best_effort.at("b").take(queue) == [b"b", b"b"]
    channel.queue_delete(queue)


def test_best_effort_rolls_back_on_every_upstream(best_effort: Target) -> None:
    channel = best_effort.channel()
    queue = best_effort.spread_queue(channel)
    best_effort.fill(queue, 2)
    inbox = Inbox.consuming(channel, queue)
    inbox.wait_for(4)
    channel.tx_select()
    for upstream in "ab":
        best_effort.publish_to(channel, upstream, queue, b"forgotten")
    channel.basic_ack(4, multiple=True)
    channel.tx_rollback()
    channel.close()
    taken = [body for place in best_effort.places for body in place.take(queue)]
    assert sorted(taken) == [b"a0", b"a1", b"b0", b"b1"]
    best_effort.channel().queue_delete(queue)
