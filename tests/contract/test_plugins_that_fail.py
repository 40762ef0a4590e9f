"""Plugins that fail, in a trabbits that others use: the client hears why, they notice nothing.

Covered: what the client is told, what the log says, a bystander in the same process that goes on with its work;
``sys.exit()`` in plugins of every kind.
Not covered here: mechanisms that raise (test_authentication.py), policies that do (tests/frontend/test_admission.py),
every kind of answer that is none (tests/session/test_plugins_that_fail.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from attrs import frozen
from pamqp import base, commands

from tests.contract.target import HOST, fan_config
from tests.faults.bystander import Bystander
from tests.faults.conftest import running
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import CAPABILITIES, PROTOCOL_HEADER, RawClient
from trabbits.testing.trabbits_process import TrabbitsProcess

PLUGINS = """
import sys

from twisted.internet.defer import Deferred
from zope.interface import implementer

from trabbits.interfaces import BindingAttributes, ExchangeAttributes, QueueAttributes
from trabbits.interfaces import IAuthExchange, IAuthMechanism, IConnectionPolicy, IDataPolicy, INodeSelector
from trabbits.interfaces import IMessageRoutingStrategy, IQueueAttributeRewriter, IRoutingStrategy, ITopologyRewriter
from trabbits.plugins.declaring import Plugin, PluginOptions


def decided(word):
    if word == "raise":
        raise LookupError("no such tenant")
    if word == "exit":
        sys.exit("no such tenant")
    return {"nowhere": "nowhere", "deferred": Deferred(), "b": "b"}.get(word)


@implementer(IRoutingStrategy)
class ByKey:
    def route(self, exchange, routing_key):
        return decided(routing_key.partition(".")[0])


@implementer(IMessageRoutingStrategy)
class ByHeaders(ByKey):
    def route_message(self, exchange, routing_key, properties):
        headers = properties.headers
        return decided(headers["way"]) if "way" in headers else self.route(exchange, routing_key)


@implementer(ITopologyRewriter)
class Unlucky:
    def rewrite_exchange(self, declare):
        return 7 if declare.exchange.startswith("nothing") else ExchangeAttributes()

    def rewrite_binding(self, binding):
        if binding.source == "amq.headers":
            raise LookupError("no such tenant")
        return BindingAttributes()

    def rewrite(self, declare):
        if declare.queue.startswith("exit"):
            sys.exit("no such tenant")
        if declare.queue.startswith("raise"):
            raise LookupError("no such tenant")
        return None if declare.queue.startswith("nothing") else QueueAttributes()


@implementer(IAuthMechanism, IAuthExchange)
class Leaving:
    name, priority, needs_tls, verifies = "LEAVING", -1, False, False

    def begin(self, peer):
        return self

    def respond(self, response):
        sys.exit("no such tenant")


@implementer(INodeSelector)
class LeavingSelector:
    def order(self, nodes):
        sys.exit("no such tenant")


@implementer(IDataPolicy)
class LeavingPolicy:
    def leaves(self, visitor, where):
        if visitor.properties.get("product") == where:
            sys.exit("no such tenant")

    def admit(self, visitor):
        self.leaves(visitor, "admit")

    def received(self, visitor, octets):
        self.leaves(visitor, "received")
        return 0

    def left(self, visitor):
        self.leaves(visitor, "left")


leaving = Plugin("leaving", IAuthMechanism, PluginOptions, lambda *_: Leaving())
leaving_selector = Plugin("leaving", INodeSelector, PluginOptions, lambda *_: LeavingSelector())
leaving_policy = Plugin("leaving", IConnectionPolicy, PluginOptions, lambda *_: LeavingPolicy())
by_key = Plugin("odd_by_key", IRoutingStrategy, PluginOptions, lambda *_: ByKey())
by_headers = Plugin("odd_by_headers", IRoutingStrategy, PluginOptions, lambda *_: ByHeaders())
unlucky = Plugin("unlucky", IQueueAttributeRewriter, PluginOptions, lambda *_: Unlucky())
"""
#: Where the rewriter raises.
LINE = PLUGINS[: PLUGINS.rindex("raise LookupError")].count("\n") + 1


@frozen
class Site:
    """A proxy with these plugins, the routing strategy that it uses, and somebody who uses the proxy all the time."""

    proxy: TrabbitsProcess
    strategy: str
    bystander: Bystander
    vhost: str

    def client(self) -> RawClient:
        """A client with channel 1 open."""
        client = RawClient.open(HOST, self.proxy.port, vhost=self.vhost)
        client.open_channel(1)
        return client

    def publish(self, client: RawClient, way: str) -> None:
        """A message that the strategy decides about by this word."""
        if self.strategy == "odd_by_key":
            client.publish("amq.fanout", f"{way}.key", b"x")
        else:
            properties = commands.Basic.Properties(headers={"way": way}).marshal()
            client.publish("amq.fanout", "key", b"x", properties=properties)

    def is_told(self, client: RawClient, text: str, method: tuple[int, int]) -> None:
        """The client's connection is closed with this text, for this method."""
        close = client.expect(commands.Connection.Close)
        assert (close.reply_code, close.reply_text) == (541, f"INTERNAL_ERROR - {text}")
        assert (close.class_id, close.method_id) == method
        client.send(commands.Connection.CloseOk())
        client.expect_socket_closed()

    def blames_nobody_else(self, seen: int) -> None:
        """In the log, as far as it was not seen; and the bystander goes on."""
        self.proxy.wait_for_log(event="client_closed", code=541, after=seen)
        events = {entry["event"] for entry in self.proxy.logs[seen:]}
        assert events.isdisjoint({"client_violation", "link_violation", "internal_error"})
        self.bystander.goes_on(3)


@pytest.fixture(scope="module")
def shared_vhost(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[str]:
    name = f"odd-{secrets.token_hex(4)}"
    for node in (rabbit_a, rabbit_b):
        assert node.management is not None
        node.management.add_vhost(name)
    yield name
    for node in (rabbit_a, rabbit_b):
        assert node.management is not None
        node.management.delete_vhost(name)


@pytest.fixture(scope="module", params=["odd_by_key", "odd_by_headers"])
def site(
    request: pytest.FixtureRequest,
    rabbit_a: RabbitNode,
    rabbit_b: RabbitNode,
    shared_vhost: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    plugins = folder / "trabbits" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "odd_plugins.py").write_text(PLUGINS)
    config = fan_config(rabbit_a, rabbit_b, routing={"plugin": request.param})
    config["upstreams"][1]["rewriters"] = [{"plugin": "queue_attributes"}, {"plugin": "unlucky"}]
    config["upstreams"][1]["selector"] = {"plugin": "leaving"}
    config["authentication"] = {"mechanisms": [{"plugin": "PLAIN"}, {"plugin": "leaving"}]}
    config["policies"] = [{"plugin": "leaving"}]
    for proxy in running(TrabbitsProcess(config, ["--debug"], {"PYTHONPATH": str(folder)})):
        with Bystander(HOST, proxy.port, shared_vhost) as bystander:
            yield Site(proxy, request.param, bystander, shared_vhost)


@pytest.mark.parametrize(
    ("way", "told", "logged"),
    [
        ("raise", "it raised LookupError", "LookupError: no such tenant"),
        ("exit", "it raised SystemExit", "SystemExit: no such tenant"),
        ("nowhere", *["it answered with 'nowhere', which is no upstream of the configuration (a, b)"] * 2),
        ("deferred", *["it answered with a Deferred, which is not the name of an upstream"] * 2),
    ],
)
def test_a_strategy_that_fails_disturbs_nobody(site: Site, way: str, told: str, logged: str) -> None:
    seen = len(site.proxy.logs)
    with closing(site.client()) as client:
        site.publish(client, "b")
        site.publish(client, way)
        site.is_told(client, f"routing strategy '{site.strategy}' failed: {told}", (60, 40))
    entry = site.proxy.wait_for_log(event="routing_failed", after=seen)
    assert (entry["plugin"], entry["exchange"], entry["text"]) == (site.strategy, "amq.fanout", logged)
    site.blames_nobody_else(seen)


@pytest.mark.parametrize(
    ("queue", "told", "logged"),
    [
        ("raise", "it raised LookupError", f"LookupError in odd_plugins.py, line {LINE}: no such tenant"),
        ("exit", "it raised SystemExit", f"SystemExit in odd_plugins.py, line {LINE - 2}: no such tenant"),
        ("nothing", *["it answered with None, not with QueueAttributes"] * 2),
    ],
)
def test_a_rewriter_that_fails_disturbs_nobody(site: Site, queue: str, told: str, logged: str) -> None:
    seen = len(site.proxy.logs)
    with closing(site.client()) as client:
        client.send(commands.Queue.Declare(queue=queue, exclusive=True), channel=1)
        site.is_told(client, f"rewriter 'unlucky' of upstream 'b' failed: {told}", (50, 10))
    entry = site.proxy.wait_for_log(event="rewriter_failed", after=seen)
    fields = {"plugin": "unlucky", "upstream": "b", "queue": queue, "text": logged}
    assert {name: entry[name] for name in fields} == fields
    site.blames_nobody_else(seen)


@pytest.mark.parametrize(
    ("method", "told", "subject"),
    [
        (
            commands.Exchange.Declare(exchange="nothing"),
            "it answered with an int, not with ExchangeAttributes",
            "exchange nothing",
        ),
        (
            commands.Queue.Unbind(queue="q", exchange="amq.headers", routing_key="k"),
            "it raised LookupError",
            "the binding of queue q to exchange amq.headers",
        ),
        (
            commands.Exchange.Bind(destination="amq.topic", source="amq.headers"),
            "it raised LookupError",
            "the binding of exchange amq.topic to exchange amq.headers",
        ),
    ],
    ids=["declare", "unbind", "bind"],
)
def test_a_rewriter_of_exchanges_and_bindings_that_fails_disturbs_nobody(
    site: Site, method: base.Frame, told: str, subject: str
) -> None:
    seen = len(site.proxy.logs)
    with closing(site.client()) as client:
        client.send(method, channel=1)
        site.is_told(client, f"rewriter 'unlucky' of upstream 'b' failed: {told}", divmod(method.index, 1 << 16))
    entry = site.proxy.wait_for_log(event="rewriter_failed", after=seen)
    assert (entry["plugin"], entry["upstream"], entry["subject"]) == ("unlucky", "b", subject)
    site.blames_nobody_else(seen)


# sys.exit()


def test_a_mechanism_that_exits_disturbs_nobody(site: Site) -> None:
    seen = len(site.proxy.logs)
    with closing(RawClient.dial(HOST, site.proxy.port)) as client:
        client.send_octets(PROTOCOL_HEADER)
        client.expect(commands.Connection.Start)
        properties: Any = {"capabilities": CAPABILITIES}
        client.send(commands.Connection.StartOk(properties, "LEAVING", "x", "en_US"))
        site.is_told(client, "authentication mechanism 'leaving' failed; the log of trabbits has more", (0, 0))
    entry = site.proxy.wait_for_log(event="mechanism_failed", after=seen)
    assert entry["plugin"] == "leaving"
    assert entry["text"].startswith("SystemExit in odd_plugins.py, line ")
    site.blames_nobody_else(seen)


@pytest.mark.parametrize(("where", "method"), [("admit", (10, 40)), ("received", (0, 0)), ("left", None)])
def test_a_policy_that_exits_disturbs_nobody(site: Site, where: str, method: tuple[int, int] | None) -> None:
    """When the client is admitted, when something came from it, and when it has left: then it was served before."""
    seen = len(site.proxy.logs)
    with closing(RawClient.dial(HOST, site.proxy.port)) as client:
        client.start("guest", "guest", {"capabilities": CAPABILITIES, "product": where})
        client.tune()
        client.open_vhost(site.vhost)
        if method is None:
            client.expect(commands.Connection.OpenOk)
        else:
            site.is_told(client, "policy 'leaving' failed; the log of trabbits has more", method)
    entry = site.proxy.wait_for_log(event="policy_failed", after=seen)
    assert (entry["plugin"], entry["text"]) == ("leaving", "SystemExit: no such tenant")
    site.bystander.goes_on(3)


def test_a_selector_that_exits_keeps_nobody_from_its_upstream(site: Site) -> None:
    seen = len(site.proxy.logs)
    with closing(site.client()) as client:
        site.publish(client, "b")
        client.own_queue()
    entry = site.proxy.wait_for_log(event="selector_failed", after=seen)
    assert (entry["upstream"], entry["plugin"], entry["text"]) == ("b", "leaving", "SystemExit: no such tenant")
    site.bystander.goes_on(3)
