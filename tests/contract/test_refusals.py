"""Who is not let in, and what is said when an upstream is not there or breaks."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from pamqp import commands
from pika.exceptions import ConnectionClosedByBroker, ProbableAuthenticationError

from tests.contract.embedded import EmbeddedManagement
from tests.contract.relay import Relay
from tests.contract.target import (
    HOST,
    Node,
    Target,
    connections_named,
    fan_config,
    only_fan,
    proxied,
    unique,
)
from tests.proxy import ProxyFactory
from trabbits.testing.management import Management
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import CAPABILITIES, RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess


def management(node: Node) -> Management | EmbeddedManagement:
    assert node.management is not None
    return node.management


def knock(
    client: RawClient, username: str = "guest", password: str = "guest", vhost: str = "/"
) -> commands.Connection.Close:
    """Tries to get in without waiting for the server's opinion; the refusal."""
    client.timeout = 15
    client.start(username, password)
    received = client.receive().method
    if isinstance(received, commands.Connection.Tune):
        client.send(commands.Connection.TuneOk(received.channel_max, received.frame_max, 0))
        client.open_vhost(vhost)
        received = client.receive().method
    assert isinstance(received, commands.Connection.Close), received
    return received


@contextmanager
def user(*nodes: Node, vhosts: tuple[str, ...] = ("/",)) -> Iterator[str]:
    """A user with the password "secret" on these nodes."""
    name = unique("user")
    for node in nodes:
        management(node).add_user(name, "secret")
        for vhost in vhosts:
            management(node).set_permissions(vhost, name)
    try:
        yield name
    finally:
        for node in nodes:
            management(node).delete_user(name)


def test_a_wrong_password_is_403(target: Target) -> None:
    close = knock(target.dial(), "guest", "wrong")
    assert close.reply_code == 403
    assert close.reply_text.startswith("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.")


def test_a_wrong_password_is_told_before_tune_and_a_wrong_virtual_host_after_open(target: Target) -> None:
    """Clients draw their conclusions from that: pika and aiormq have an exception for each."""
    wrong_password, wrong_vhost = target.dial(), target.dial()
    wrong_password.timeout = wrong_vhost.timeout = 15
    wrong_password.start("guest", "wrong")
    assert wrong_password.expect(commands.Connection.Close).reply_code == 403
    wrong_vhost.start("guest", "guest")
    wrong_vhost.tune()
    wrong_vhost.open_vhost("not-there")
    assert wrong_vhost.expect(commands.Connection.Close).reply_code == 530


def test_pika_says_that_the_credentials_were_wrong(target: Target) -> None:
    with pytest.raises(ProbableAuthenticationError) as caught:
        target.connect(username="nobody", password="wrong")
    assert "403" in str(caught.value) and "ACCESS_REFUSED" in str(caught.value)


def test_a_client_that_does_not_know_authentication_failure_close_just_loses_its_socket(target: Target) -> None:
    client = target.dial()
    capabilities = {name: able for name, able in CAPABILITIES.items() if name != "authentication_failure_close"}
    client.start("guest", "wrong", {"capabilities": capabilities})
    client.expect_socket_closed(timeout=15)


def test_a_missing_virtual_host_is_530(target: Target) -> None:
    close = knock(target.dial(), vhost="not-there")
    assert (close.reply_code, close.class_id, close.method_id) == (530, 10, 40)
    assert "vhost not-there not found" in close.reply_text


def test_a_virtual_host_without_permission_is_530(target: Target, vhost: str) -> None:
    with user(*target.nodes.values()) as name:
        close = knock(target.dial(), name, "secret", vhost)
    assert (close.reply_code, close.class_id, close.method_id) == (530, 10, 40)
    assert f"access to vhost '{vhost}' refused for user '{name}'" in close.reply_text


def test_a_user_may_be_another_than_guest(target: Target, vhost: str) -> None:
    with user(*target.nodes.values(), vhosts=(vhost,)) as name:
        connection = target.connect(username=name, password="secret", vhost=vhost)
        assert connection.channel().queue_declare("", exclusive=True).method.queue
        connection.close()


@only_fan
@pytest.mark.parametrize("missing_at", ["a", "b"])
def test_a_user_missing_on_one_upstream_is_403_and_no_link_stays(target: Target, missing_at: str) -> None:
    present = target.node("b" if missing_at == "a" else "a")
    with user(present) as name:
        close = knock(target.dial(), name, "secret")
        assert close.reply_code == 403
        eventually(lambda: not [item for item in management(present).connections() if item.get("user") == name])


@only_fan
@pytest.mark.parametrize("missing_at", ["a", "b"])
def test_a_virtual_host_missing_on_one_upstream_is_530(target: Target, missing_at: str) -> None:
    vhost = unique("vhost")
    present = management(target.node("b" if missing_at == "a" else "a"))
    present.add_vhost(vhost)
    try:
        close = knock(target.dial(), vhost=vhost)
        assert close.reply_code == 530
        assert f"vhost {vhost} not found" in close.reply_text
    finally:
        present.delete_vhost(vhost)


def test_a_refused_client_can_try_again(target: Target) -> None:
    for _ in range(3):
        assert knock(target.dial(), vhost="not-there").reply_code == 530
    assert target.channel().queue_declare("", exclusive=True).method.queue


def dial(proxy: TrabbitsProcess) -> RawClient:
    return RawClient.dial(HOST, proxy.port)


@pytest.mark.parametrize("silent", ["a", "b"])
def test_an_upstream_that_refuses_connections_is_320_and_named(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode, silent: str
) -> None:
    config = fan_config(rabbit_a, rabbit_b)
    with socket.socket() as closed:
        closed.bind((HOST, 0))  # bound and not listening: connections are refused
        config["upstreams"]["ab".index(silent)]["address"] = f"{HOST}:{closed.getsockname()[1]}"
        close = knock(dial(trabbits(config)))
    assert close.reply_code == 320
    assert close.reply_text.startswith("CONNECTION_FORCED - ")
    assert f"upstream '{silent}'" in close.reply_text or f'upstream "{silent}"' in close.reply_text


def test_an_upstream_that_does_not_answer_is_320_after_its_timeout(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode
) -> None:
    config = fan_config(rabbit_a, rabbit_b)
    with socket.create_server((HOST, 0)) as mute:
        config["upstreams"][1] |= {"address": f"{HOST}:{mute.getsockname()[1]}", "timeout": "0.5s"}
        client = dial(trabbits(config))
        began = time.monotonic()
        close = knock(client)
        assert 0.4 < time.monotonic() - began < 5
    assert close.reply_code == 320
    assert "b" in close.reply_text.split(" - ", 1)[1]


@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_link_that_breaks_is_320_and_named(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode, broken: str
) -> None:
    name = unique("broken")
    config = fan_config(rabbit_a, rabbit_b)
    upstream = config["upstreams"]["ab".index(broken)]
    with Relay(upstream["address"]) as relay:
        upstream["address"] = f"{HOST}:{relay.port}"
        proxy = trabbits(config)
        client = RawClient.open(
            HOST, proxy.port, client_properties={"connection_name": name, "capabilities": CAPABILITIES}
        )
        client.open_channel(1)
        relay.cut()
        close = client.expect(commands.Connection.Close, timeout=10)
        assert close.reply_code == 320
        assert f"upstream '{broken}'" in close.reply_text or f'upstream "{broken}"' in close.reply_text
        client.send(commands.Connection.CloseOk())
        client.expect_socket_closed()
        again = RawClient.open(HOST, proxy.port)
        again.open_channel(1)
        again.close_politely()
    eventually(lambda: not any(connections_named(node, name) for node in (rabbit_a, rabbit_b)))


@pytest.mark.parametrize("broken", ["a", "b"])
def test_a_link_that_breaks_while_the_client_is_waited_for_is_320_and_named(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode, broken: str
) -> None:
    """Between tune and connection.open."""
    config = fan_config(rabbit_a, rabbit_b)
    upstream = config["upstreams"]["ab".index(broken)]
    with Relay(upstream["address"]) as relay:
        upstream["address"] = f"{HOST}:{relay.port}"
        client = dial(trabbits(config))
        client.start("guest", "guest")
        client.expect(commands.Connection.Tune)
        relay.cut()
        close = client.expect(commands.Connection.Close, timeout=10)
    assert close.reply_code == 320
    assert f"upstream '{broken}'" in close.reply_text


def test_a_slow_client_does_not_use_up_its_upstreams_time(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode
) -> None:
    config = fan_config(rabbit_a, rabbit_b)
    for upstream in config["upstreams"]:
        upstream["timeout"] = "500ms"
    client = dial(trabbits(config))
    client.start("guest", "guest")
    offer = client.expect(commands.Connection.Tune)
    with pytest.raises(TimeoutError):
        client.receive(timeout=0.8)
    client.send(commands.Connection.TuneOk(offer.channel_max, offer.frame_max, 0))
    client.open_vhost("/")
    client.expect(commands.Connection.OpenOk)
    client.close_politely()


@proxied
def test_a_connection_closed_at_the_broker_tells_the_client_why(target: Target) -> None:
    name = unique("evicted")
    connection = target.connect(client_properties={"connection_name": name})
    node = target.node("b")
    found = eventually(partial(connections_named, node, name))
    management(node).close_connection(found[0]["name"], reason="maintenance")
    with pytest.raises(ConnectionClosedByBroker) as caught:
        while True:
            connection.process_data_events(time_limit=10)
    assert caught.value.reply_code == 320
    assert "maintenance" in caught.value.reply_text


def test_a_frozen_node_is_noticed_by_its_missing_heartbeats(
    trabbits: ProxyFactory, rabbit_a: RabbitNode, rabbit_b: RabbitNode
) -> None:
    proxy = trabbits(fan_config(rabbit_a, rabbit_b, heartbeat=1))
    client = RawClient.open(HOST, proxy.port, heartbeat=1)
    client.open_channel(1)
    rabbit_b.pause()
    try:
        received = None
        while received is None:
            client.send_octets(b"\x08\x00\x00\x00\x00\x00\x00\xce")
            frame = client.receive(timeout=10, heartbeats=True)
            received = frame.method
        assert isinstance(received, commands.Connection.Close)
        assert received.reply_code == 320
        assert "upstream 'b'" in received.reply_text
    finally:
        rabbit_b.resume()
