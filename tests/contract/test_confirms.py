"""confirm.select over several upstreams: one gapless sequence, acks and nacks mapped back to it."""

from __future__ import annotations

import pika
import pytest
from pamqp import commands
from pika.exceptions import ChannelClosedByBroker

from tests.contract.target import Target, each_upstream, unique
from trabbits.testing.raw_client import RawClient, encode_methods, encode_publish, tags_covered

PERSISTENT = b"\x10\x00\x02"


def confirming(target: Target, channel: int = 1) -> RawClient:
    """A raw connection with a channel in confirm mode."""
    client = target.raw()
    client.open_channel(channel)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk, channel)
    return client


def collect_confirms(client: RawClient, count: int, channel: int = 1) -> tuple[set[int], set[int]]:
    """Reads until `count` tags are confirmed; (acked, nacked). No tag is ever confirmed twice."""
    outstanding = set(range(1, count + 1))
    acked: set[int] = set()
    nacked: set[int] = set()
    while outstanding:
        number, method = client.receive_method()
        assert number == channel
        assert isinstance(method, (commands.Basic.Ack, commands.Basic.Nack)), method
        covered = tags_covered([(method.delivery_tag, method.multiple)], outstanding)
        assert covered and covered <= outstanding, f"{method.name} {dict(method)} again, outstanding {outstanding}"
        outstanding -= covered
        (acked if isinstance(method, commands.Basic.Ack) else nacked).update(covered)
    return acked, nacked


def nothing_more(client: RawClient, channel: int = 1) -> None:
    """No confirm too many: the next frame is the answer to a request."""
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk, channel)


@pytest.mark.parametrize("order", ["a", "b", "ab", "aab", "abbbbbbb"])
def test_every_message_is_confirmed_once_in_one_sequence(target: Target, order: str) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    client = confirming(target)
    routes = (order * 500)[:500]
    client.send_octets(
        b"".join(encode_publish("amq.direct", target.key_for(upstream, queue), b"x") for upstream in routes)
    )
    acked, nacked = collect_confirms(client, 500)
    assert (len(acked), nacked) == (500, set())
    nothing_more(client)
    assert target.depth(queue) == 500
    setup.queue_delete(queue)


def test_confirms_of_one_message_at_a_time_carry_its_own_tag(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    client = confirming(target)
    for tag in range(1, 21):
        client.publish("amq.direct", target.key_for("abb"[tag % 3], queue), b"x")
        ack = client.expect(commands.Basic.Ack, 1)
        assert ack.delivery_tag == tag
    setup.queue_delete(queue)


def test_slow_and_quick_confirms_mix(target: Target) -> None:
    """Persistent messages in a durable queue are confirmed after a disk write, transient ones at once."""
    setup = target.channel()
    queue = target.spread_queue(setup, durable=True)
    client = confirming(target)
    octets = []
    for number in range(200):
        upstream = "ab"[number % 2]
        properties = PERSISTENT if upstream == "a" or (target.links == 1 and number % 3) else b"\x00\x00"
        octets.append(encode_publish("amq.direct", target.key_for(upstream, queue), b"x", properties=properties))
    client.send_octets(b"".join(octets))
    acked, _ = collect_confirms(client, 200)
    assert len(acked) == 200
    nothing_more(client)
    setup.queue_delete(queue)


@each_upstream
def test_a_full_queue_nacks_just_what_it_refused(target: Target, upstream: str) -> None:
    setup = target.channel()
    full = target.spread_queue(setup, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    roomy = target.spread_queue(setup)
    client = confirming(target)
    other = "a" if upstream == "b" else "b"
    for place in target.places:
        place.put(full, b"there already")
    client.send_octets(
        b"".join(
            encode_publish("amq.direct", target.key_for(to, queue), b"x")
            for to, queue in [(other, roomy), (upstream, full), (other, roomy), (upstream, roomy), (upstream, full)]
        )
    )
    acked, nacked = collect_confirms(client, 5)
    assert acked == {1, 3, 4}
    assert nacked == {2, 5}
    nothing_more(client)
    setup.queue_delete(full)
    setup.queue_delete(roomy)


def test_nacks_of_both_upstreams_in_a_stream_are_kept_apart_from_acks(target: Target) -> None:
    setup = target.channel()
    full = target.spread_queue(setup, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    roomy = target.spread_queue(setup)
    for place in target.places:
        place.put(full, b"there already")
    client = confirming(target)
    queues = [full if number % 3 == 0 else roomy for number in range(300)]
    client.send_octets(
        b"".join(
            encode_publish("amq.direct", target.key_for("ab"[number % 2], queue), b"x")
            for number, queue in enumerate(queues)
        )
    )
    acked, nacked = collect_confirms(client, 300)
    assert nacked == {number + 1 for number, queue in enumerate(queues) if queue == full}
    assert target.depth(roomy) == len(acked) == 200
    setup.queue_delete(full)
    setup.queue_delete(roomy)


@each_upstream
def test_an_unroutable_mandatory_message_comes_back_before_its_confirm(target: Target, upstream: str) -> None:
    client = confirming(target)
    for tag in (1, 2):
        client.publish("", target.key_for(upstream, unique("nobody")), b"lost %d" % tag, mandatory=True)
        assert client.expect_content(commands.Basic.Return).body == b"lost %d" % tag
        assert client.expect(commands.Basic.Ack, 1).delivery_tag == tag


def test_confirms_and_mandatory_across_two_upstreams(target: Target) -> None:
    """The publisher of the proof list: every message confirmed, exactly the unroutable ones returned."""
    channel = target.channel()
    queue = target.spread_queue(channel)
    channel.confirm_delivery()
    for number in range(60):
        upstream = "ab"[number % 2]
        key = target.key_for(upstream, queue if number % 3 else unique("nobody"))
        if number % 3:
            channel.basic_publish("amq.direct", key, b"%d" % number, mandatory=True)
            continue
        with pytest.raises(pika.exceptions.UnroutableError) as caught:
            channel.basic_publish("amq.direct", key, b"%d" % number, mandatory=True)
        assert [message.body for message in caught.value.messages] == [b"%d" % number]
        assert caught.value.messages[0].method.routing_key == key
    assert target.depth(queue) == 40
    channel.queue_delete(queue)


def test_unroutable_messages_are_confirmed_without_mandatory(target: Target) -> None:
    client = confirming(target)
    client.send_octets(
        b"".join(encode_publish("", target.key_for(upstream, unique("nobody")), b"x") for upstream in "abba")
    )
    assert collect_confirms(client, 4) == ({1, 2, 3, 4}, set())


def test_the_sequence_starts_with_confirm_select(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    early = b"".join(encode_publish("", target.key_for(upstream, "nobody"), b"x") for upstream in "ab")
    late = b"".join(encode_publish("", target.key_for(upstream, "nobody"), b"x") for upstream in "bab")
    client.send_octets(early + encode_methods(commands.Confirm.Select(), channel=1) + late)
    client.expect(commands.Confirm.SelectOk, 1)
    assert collect_confirms(client, 3) == ({1, 2, 3}, set())
    nothing_more(client)


def test_the_sequence_starts_again_on_a_reopened_channel(target: Target) -> None:
    client = confirming(target)
    for _ in range(2):
        client.send_octets(b"".join(encode_publish("", target.key_for(upstream, "x"), b"x") for upstream in "aab"))
        assert collect_confirms(client, 3) == ({1, 2, 3}, set())
        client.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
        client.open_channel(1)
        client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)


def test_selecting_confirms_again_changes_nothing(target: Target) -> None:
    client = confirming(target)
    client.publish("", target.key_for("b", "nobody"), b"x")
    client.expect(commands.Basic.Ack, 1)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
    client.publish("", target.key_for("a", "nobody"), b"x")
    assert client.expect(commands.Basic.Ack, 1).delivery_tag == 2


def test_each_channel_has_its_own_sequence(target: Target) -> None:
    client = confirming(target, 1)
    client.open_channel(2)
    client.call(commands.Confirm.Select(), commands.Confirm.SelectOk, 2)
    for tag in (1, 2, 3):
        for channel in (1, 2):
            client.publish("", target.key_for("ab"[tag % 2], "nobody"), b"x", channel=channel)
            assert client.expect(commands.Basic.Ack, channel).delivery_tag == tag


def test_a_missing_exchange_in_the_middle_closes_the_channel_and_the_rest_is_not_confirmed(target: Target) -> None:
    client = confirming(target)
    client.send_octets(
        encode_publish("", target.key_for("b", "nobody"), b"x")
        + encode_publish("not-there", target.key_for("b", "key"), b"x")
        + encode_publish("", target.key_for("b", "nobody"), b"x")
    )
    seen = []
    while True:
        _, method = client.receive_method()
        if isinstance(method, commands.Channel.Close):
            break
        assert isinstance(method, commands.Basic.Ack)
        seen.append(method.delivery_tag)
    assert method.reply_code == 404
    assert seen in ([], [1])


def test_confirm_mode_and_transactions_exclude_each_other(target: Target) -> None:
    channel = target.channel()
    channel.tx_select()
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.confirm_delivery()
    assert caught.value.reply_code == 406
    assert "cannot switch from tx to confirm mode" in caught.value.reply_text
    channel = target.channel()
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.tx_select()
    assert caught.value.reply_code == 406
    assert "cannot switch from confirm to tx mode" in caught.value.reply_text
