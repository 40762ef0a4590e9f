"""The connection itself: what is announced and agreed, who the broker sees, heartbeats, alarms, its end."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from pamqp import commands, encode

from tests.clients import RawClient, eventually
from tests.contract.receiving import pump
from tests.contract.target import HOST, Node, Target, connections_named, only_fan, proxied, unique

CAPABILITIES = {
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
}


def test_every_capability_of_rabbitmq_is_announced(target: Target) -> None:
    client = target.dial()
    client.send_octets(b"AMQP\x00\x00\x09\x01")
    start = client.expect(commands.Connection.Start)
    assert (start.version_major, start.version_minor) == (0, 9)
    assert {"PLAIN", "AMQPLAIN"} <= set(start.mechanisms.split())
    assert "en_US" in start.locales.split()
    capabilities = start.server_properties["capabilities"]
    assert isinstance(capabilities, dict)
    assert {name for name, able in capabilities.items() if able} >= CAPABILITIES


def test_the_server_calls_itself_rabbitmq(target: Target) -> None:
    """Clients decide by it: kombu takes the meaning of basic.qos from product and version."""
    client = target.dial()
    client.send_octets(b"AMQP\x00\x00\x09\x01")
    properties = client.expect(commands.Connection.Start).server_properties
    assert properties["product"] == "RabbitMQ"
    assert tuple(map(int, str(properties["version"]).split(".")[:2])) >= (3, 3)


def test_the_offer_is_rabbitmqs(target: Target) -> None:
    client = target.dial()
    client.start("guest", "guest")
    tune = client.expect(commands.Connection.Tune)
    assert tune.frame_max == 131072
    assert tune.channel_max in (2047, 2046)
    assert tune.heartbeat == 60


@pytest.mark.parametrize("frame_max", [4096, 8192, 131072])
def test_a_client_may_agree_on_smaller_frames(target: Target, frame_max: int) -> None:
    client = target.raw(frame_max=frame_max)
    client.open_channel(1)
    queue = client.own_queue()
    client.publish("", queue, b"x" * 200_000)
    client.call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
    assert max(client.expect_content(commands.Basic.Deliver).pieces) == frame_max - 8


def test_amqplain_is_understood(target: Target) -> None:
    client = target.dial()
    client.send_octets(b"AMQP\x00\x00\x09\x01")
    client.expect(commands.Connection.Start)
    table = encode.field_table({"LOGIN": "guest", "PASSWORD": "guest"})[4:]
    client.send(commands.Connection.StartOk({}, "AMQPLAIN", table.decode("latin-1"), "en_US"))
    client.tune()
    client.open_vhost("/")
    client.expect(commands.Connection.OpenOk)
    client.close_politely()


def test_the_broker_sees_who_the_client_is(target: Target) -> None:
    name = unique("who")
    connection = target.connect(client_properties={"connection_name": name, "product": "contract", "shoe size": 43})
    connection.channel()
    for node in target.nodes.values():
        item = eventually(partial(connections_named, node, name))[0]
        properties = item["client_properties"]
        assert (item["user"], item["vhost"]) == ("guest", "/")
        assert (properties["product"], properties["shoe size"]) == ("contract", 43)
        assert properties["capabilities"]["consumer_cancel_notify"] is True
        if target.is_proxied:
            local_port = connection._impl._transport._sock.getsockname()[1]
            assert properties["trabbits_client_address"] == f"{HOST}:{local_port}"
            assert properties["trabbits_session"].startswith("proxy-")
    connection.close()
    eventually(lambda: not any(connections_named(node, name) for node in target.nodes.values()))


@pytest.mark.parametrize("politely", [True, False], ids=["closes", "vanishes"])
def test_nothing_is_left_at_the_broker_when_a_client(target: Target, politely: bool) -> None:
    name = unique("leaving")
    client = target.raw(client_properties={"connection_name": name})
    client.open_channel(1)
    for node in target.nodes.values():
        eventually(partial(connections_named, node, name))
    if politely:
        client.close_politely()
    else:
        client.close()
    eventually(lambda: not any(connections_named(node, name) for node in target.nodes.values()))


def test_virtual_hosts_keep_to_themselves(target: Target, vhost: str) -> None:
    there = target.channel(vhost=vhost)
    queue = unique("queue")
    there.queue_declare(queue)
    assert not any(place.has_queue(queue) for place in target.places)
    for node in target.nodes.values():
        assert node.management is not None
        assert node.management.queue(vhost, queue) is not None


def test_a_channel_with_requests_under_way_does_not_hold_up_the_end(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    client.send(*[commands.Queue.Declare(exclusive=True) for _ in range(20)], channel=1)
    client.send(commands.Connection.Close(200, "bye", 0, 0))
    while not isinstance(client.receive().method, commands.Connection.CloseOk):
        pass


def test_heartbeats_keep_a_client_and_silence_loses_it(target: Target) -> None:
    silent, lively = target.raw(heartbeat=1), target.raw(heartbeat=1)
    while lively.heartbeats_received < 7:  # two a second, so longer than silence is suffered
        lively.receive(heartbeats=True)
        lively.send_octets(b"\x08\x00\x00\x00\x00\x00\x00\xce")
    lively.open_channel(1)
    silent.expect_socket_closed()
    assert silent.heartbeats_received >= 2


def test_a_new_secret_is_taken(target: Target) -> None:
    client = target.raw()
    client.open_channel(1)
    client.send_octets(update_secret("guest", "rotated"))
    client.expect(commands.Connection.UpdateSecretOk)
    client.call(commands.Queue.Declare(exclusive=True), commands.Queue.DeclareOk)
    client.close_politely()


def update_secret(secret: str, reason: str) -> bytes:
    """connection.update-secret as octets."""
    payload = struct.pack(">HH", 10, 70) + struct.pack(">I", len(secret)) + secret.encode()
    payload += bytes([len(reason)]) + reason.encode()
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


@contextmanager
def alarm(*nodes: Node) -> Iterator[None]:
    """The nodes have run out of memory, so they say."""
    for node in nodes:
        node.ctl("set_vm_memory_high_watermark", "0")
    try:
        yield
    finally:
        for node in nodes:
            node.ctl("set_vm_memory_high_watermark", "0.4")


def raw_publisher(target: Target, capabilities: dict[str, bool], queue: str) -> RawClient:
    """A connection that has published on every link."""
    client = target.raw(client_properties={"capabilities": capabilities})
    client.open_channel(1)
    publish_to_both(target, client, queue)
    return client


def publish_to_both(target: Target, client: RawClient, queue: str) -> None:
    for upstream in "ab":
        client.publish("amq.direct", target.key_for(upstream, queue), b"x")


def test_an_alarm_blocks_and_its_end_unblocks(target: Target) -> None:
    """On upstream b only: the client is blocked when any link is."""
    connection = target.connect()
    events: list[str] = []
    connection.add_on_connection_blocked_callback(lambda _, frame: events.append(frame.method.reason))
    connection.add_on_connection_unblocked_callback(lambda _, __: events.append("unblocked"))
    channel = connection.channel()
    queue = target.spread_queue(channel)
    unaware = raw_publisher(target, {}, queue)
    eventually(lambda: target.depth(queue) == 2)
    with alarm(target.node("b")):
        target.publish_to(channel, "b", queue, b"waits")
        unaware.publish("amq.direct", target.key_for("b", queue), b"waits too")
        pump(connection, lambda: events)
        assert "low on memory" in events[0]
    pump(connection, lambda: len(events) > 1, within=20)
    assert events[1:] == ["unblocked"]
    eventually(lambda: target.depth(queue) == 4)
    unaware.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    channel.queue_delete(queue)


@only_fan
def test_the_client_is_blocked_once_and_until_no_link_is(target: Target) -> None:
    setup = target.channel()
    queue = target.spread_queue(setup)
    client = raw_publisher(target, {"connection.blocked": True}, queue)
    client.timeout = 20
    with alarm(target.node("b")):
        with alarm(target.node("a")):
            publish_to_both(target, client, queue)
            client.expect(commands.Connection.Blocked)
        # The alarm at a is over and what was held there has arrived: a has unblocked its link by now.
        eventually(lambda: target.at("a").depth(queue) == 2)
        with pytest.raises(TimeoutError):
            client.receive(timeout=0.3)
    client.expect(commands.Connection.Unblocked)
    client.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    assert target.depth(queue) == 4
    setup.queue_delete(queue)


@proxied
def test_a_client_can_leave_while_an_upstream_takes_nothing(target: Target) -> None:
    """A blocked node reads nothing, not even connection.close; the client's goodbye is answered all the same."""
    setup = target.channel()
    queue = target.spread_queue(setup)
    client = raw_publisher(target, {"connection.blocked": True}, queue)
    with alarm(target.node("b")):
        client.publish("amq.direct", target.key_for("b", queue), b"waits")
        client.expect(commands.Connection.Blocked)
        client.close_politely()
    setup.queue_delete(queue)
