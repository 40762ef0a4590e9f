"""Logging in through trabbits at real brokers: every built-in mechanism, mapped credentials, TLS.

Covered: who gets in and who does not, what each broker is told, plugins that fail, ends and slow readers over TLS.
Not covered here: the mechanisms by themselves (tests/plugins), faults in the handshake (tests/session), reloads of the
TLS port (tests/service/test_secure_listening.py).
"""

from __future__ import annotations

import secrets
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import pika
import pytest
from attrs import frozen
from pamqp import commands
from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import AMQPConnectionError

from tests.certificates import Authority
from tests.contract.target import HOST, parameters, unique
from tests.faults.conftest import running
from trabbits.testing.rabbitmq import RabbitNode
from trabbits.testing.raw_client import CAPABILITIES, PROTOCOL_HEADER, Closed, RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

OLD, NEW = f"old-{secrets.token_hex(6)}", f"new-{secrets.token_hex(6)}"

MECHANISMS = '''
from zope.interface import implementer

from trabbits.interfaces import Challenge, Credentials, IAuthExchange, IAuthMechanism, Identity
from trabbits.plugins.declaring import Plugin, PluginOptions


@implementer(IAuthMechanism, IAuthExchange)
class Broken:
    name, priority, needs_tls, verifies = "BROKEN", -1, False, False

    def begin(self, peer):
        return self

    def respond(self, response):
        raise LookupError(response)


@implementer(IAuthMechanism)
class Demo:
    """RABBIT-CR-DEMO: the name, then the password."""

    name, priority, needs_tls, verifies = "RABBIT-CR-DEMO", -1, False, False

    def begin(self, peer):
        return Exchange()


@implementer(IAuthExchange)
class Exchange:
    user = None

    def respond(self, response):
        if self.user is None:
            self.user = response.decode()
            return Challenge(b"Please tell me your password")
        password = response.decode().removeprefix("My password is ")
        return Identity(self.user, Credentials(self.user, password))


broken = Plugin("broken", IAuthMechanism, PluginOptions, lambda *_: Broken())
demo = Plugin("demo", IAuthMechanism, PluginOptions, lambda *_: Demo())
'''


@frozen
class Site:
    """A proxy in front of both nodes that listens for TLS as well, and the authority behind its certificates.

    `app` logs in at node A with the password that applications know, and at node B with another one.
    """

    proxy: TrabbitsProcess
    tls_port: int
    authority: Authority
    app: str

    def secured(self, name: str | None = None) -> ssl.SSLContext:
        """For a client with a certificate for `name`, or without one."""
        return self.authority.context(self.authority.issue(name) if name else None)

    def raw(self, context: ssl.SSLContext | None = None) -> RawClient:
        """A client that has said nothing yet."""
        if context is None:
            return RawClient.dial(HOST, self.proxy.port)
        plain = socket.create_connection((HOST, self.tls_port), timeout=10)
        # An end without TLS's own goodbye is an error.
        return RawClient(context.wrap_socket(plain, server_hostname=HOST, suppress_ragged_eofs=False))

    def announced(self, context: ssl.SSLContext | None = None) -> list[str]:
        client = self.raw(context)
        client.send_octets(PROTOCOL_HEADER)
        mechanisms = client.expect(commands.Connection.Start).mechanisms
        client.close()
        return mechanisms.split()

    def pika(self, vhost: str, user: str, password: str, **options: Any) -> BlockingConnection:
        return BlockingConnection(parameters(self.proxy, vhost, user, password, **options))


@pytest.fixture(scope="module")
def users(rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> Iterator[str]:
    app = unique("app")
    for node, password in ((rabbit_a, OLD), (rabbit_b, NEW)):
        assert node.management is not None
        node.management.add_user(app, password, "")
    yield app
    for node in (rabbit_a, rabbit_b):
        assert node.management is not None
        node.management.delete_user(app)


@pytest.fixture(scope="module")
def site(
    rabbit_a: RabbitNode, rabbit_b: RabbitNode, users: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    plugins = folder / "trabbits" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "odd_mechanisms.py").write_text(MECHANISMS)
    (folder / "new-password").write_text(f"{NEW}\n")
    authority = Authority(folder)
    server = authority.issue("server", dns=["localhost"], ip=[HOST])
    guest = {"username": "guest", "password": "guest"}
    config = {
        "upstreams": [
            {
                "name": "a",
                "address": rabbit_a.address,
                "credentials": {"orders": {"username": users, "password": "${OLD_PASSWORD}"}},
            },
            {
                "name": "b",
                "address": rabbit_b.address,
                "routing": {"key_patterns": ["b.#"]},
                "credentials": {
                    users: {"password_file": str(folder / "new-password")},
                    "orders": {"username": users, "password_file": str(folder / "new-password")},
                    "lonely": guest,
                },
            },
        ],
        "authentication": {
            "mechanisms": [
                {"plugin": "PLAIN"},
                {"plugin": "AMQPLAIN"},
                {"plugin": "EXTERNAL", "options": {"user_from": "common_name"}},
                {"plugin": "broken"},
                {"plugin": "demo"},
            ]
        },
        "tls": {
            "listen": f"{HOST}:0",
            "certificate": server.certificate,
            "key": server.key,
            "client_ca": authority.file,
            "client_certificate": "optional",
        },
        "handshake_timeout": "2s",
    }
    proxy = TrabbitsProcess(config, ["--debug"], {"PYTHONPATH": str(folder), "OLD_PASSWORD": OLD})
    for started in running(proxy):
        secure = proxy.wait_for_log(event="listening", socket=lambda kind: "TLS" in kind)
        yield Site(started, int(secure["port"]), authority, users)
        assert not [line for line in proxy.logs if OLD in str(line) or NEW in str(line)]


@pytest.fixture
def shared(vhost: str, site: Site, rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> str:
    """A virtual host that `app` may use on both nodes."""
    for node in (rabbit_a, rabbit_b):
        assert node.management is not None
        node.management.set_permissions(vhost, site.app)
    return vhost


def works(connection: BlockingConnection) -> None:
    """A message each by way of both brokers."""
    channel = connection.channel()
    queues = [unique("q"), f"b.{unique('q')}"]
    for queue in queues:
        channel.queue_declare(queue, exclusive=True)
        channel.basic_publish("", queue, queue.encode())
    for queue in queues:
        assert eventually(lambda: channel.basic_get(queue, auto_ack=True)[2]) == queue.encode()  # noqa: B023


def logged_in(node: RabbitNode, vhost: str) -> set[str]:
    """The users that a node has connections of."""
    assert node.management is not None
    return {each["user"] for each in node.management.connections(vhost) if each.get("user")}


# Who gets in


def test_what_is_announced(site: Site) -> None:
    """EXTERNAL only where there is TLS, and first there."""
    others = ["PLAIN", "AMQPLAIN", "BROKEN", "RABBIT-CR-DEMO"]
    assert site.announced() == others
    assert site.announced(site.secured()) == ["EXTERNAL", *others]


def test_an_old_password_at_one_broker_and_a_new_one_at_the_other(
    site: Site, shared: str, rabbit_a: RabbitNode, rabbit_b: RabbitNode
) -> None:
    with site.pika(shared, site.app, OLD) as connection:
        works(connection)
        for node in (rabbit_a, rabbit_b):
            eventually(lambda: logged_in(node, shared) == {site.app})  # noqa: B023 - called at once


@pytest.mark.parametrize("password", [NEW, "wrong", ""], ids=["of the other broker", "of nobody", "empty"])
def test_a_wrong_password_is_refused(site: Site, shared: str, password: str) -> None:
    """The new one as well: no application is to know it."""
    with pytest.raises(AMQPConnectionError, match="403"):
        site.pika(shared, site.app, password)


def test_amqplain(site: Site, vhost: str) -> None:
    connection = amqp.Connection(
        f"{HOST}:{site.proxy.port}", "guest", "guest", login_method="AMQPLAIN", virtual_host=vhost
    )
    connection.connect()
    assert connection.connected
    connection.close()
    wrong = amqp.Connection(f"{HOST}:{site.proxy.port}", "guest", "no", login_method="AMQPLAIN", virtual_host=vhost)
    with pytest.raises(amqp.AccessRefused):
        wrong.connect()


def test_a_mechanism_of_several_steps(site: Site, vhost: str) -> None:
    for password, answer in (("guest", commands.Connection.Tune), ("wrong", commands.Connection.Close)):
        client = site.raw()
        client.send_octets(PROTOCOL_HEADER)
        client.expect(commands.Connection.Start)
        properties: Any = {"capabilities": CAPABILITIES}
        client.send(commands.Connection.StartOk(properties, "RABBIT-CR-DEMO", "guest", "en_US"))
        assert client.expect(commands.Connection.Secure).challenge == "Please tell me your password"
        client.send(commands.Connection.SecureOk(f"My password is {password}"))
        client.expect(answer)
        client.close()


def external(proxy: TrabbitsProcess, port: int, context: ssl.SSLContext, vhost: str) -> BlockingConnection:
    """A client that shows its certificate and says nothing else of itself."""
    through_tls = parameters(proxy, vhost, ssl_options=pika.SSLOptions(context, HOST))
    through_tls.port, through_tls.credentials = port, pika.credentials.ExternalCredentials()
    return BlockingConnection(through_tls)


def test_external(site: Site, shared: str, rabbit_a: RabbitNode, rabbit_b: RabbitNode) -> None:
    """The certificate is enough; the brokers get a user of their own, with a password from a variable or a file."""
    with external(site.proxy, site.tls_port, site.secured("orders"), shared) as connection:
        works(connection)
        for node in (rabbit_a, rabbit_b):
            eventually(lambda: logged_in(node, shared) == {site.app})  # noqa: B023 - called at once
    assert site.proxy.wait_for_log(event="client_opened", user="orders")


@pytest.fixture(scope="module")
def by_names(rabbit_a: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TrabbitsProcess, Any]]:
    """A proxy that certificates open, and what a client needs whose certificate has alternative names."""
    folder = tmp_path_factory.mktemp("by-names")
    authority = Authority(folder)
    server = authority.issue("server", dns=["localhost"], ip=[HOST])
    alternatives: Any = {
        "dns": ["other.example", "orders.example"],
        "email": ["orders@example"],
        "uri": ["urn:app:orders"],
        "ip": ["192.0.2.7"],
    }
    tls = {
        "listen": f"{HOST}:0",
        "certificate": server.certificate,
        "key": server.key,
        "client_ca": authority.file,
    }
    for proxy in running(TrabbitsProcess(by_certificate(rabbit_a, tls, {}, "nobody"))):
        yield proxy, (tls, authority.context(authority.issue("orders", **alternatives)))


def by_certificate(node: RabbitNode, tls: Any, options: Any, user: str) -> Any:
    """A configuration that lets in `user`, whom a certificate names."""
    guest = {"username": "guest", "password": "guest"}
    return {
        "upstreams": [{"name": "a", "address": node.address, "credentials": {user: guest}}],
        "authentication": {"mechanisms": [{"plugin": "EXTERNAL", "options": options}]},
        "tls": tls,
    }


@pytest.mark.parametrize(
    ("options", "user"),
    [
        ({"user_from": "san_dns"}, "other.example"),
        ({"user_from": "san_dns", "san_index": 1}, "orders.example"),
        ({"user_from": "san_email"}, "orders@example"),
        ({"user_from": "san_uri"}, "urn:app:orders"),
        ({"user_from": "san_ip"}, "192.0.2.7"),
        ({"user_from": "distinguished_name"}, "O=Example,CN=orders"),
    ],
)
def test_external_by_other_names_of_a_certificate(
    by_names: tuple[TrabbitsProcess, Any], vhost: str, rabbit_a: RabbitNode, options: Any, user: str
) -> None:
    """Who the client is has credentials at the broker, and nobody else has."""
    proxy, (tls, context) = by_names
    port = int(proxy.wait_for_log(event="listening", socket=lambda kind: "TLS" in kind)["port"])
    reload(proxy, by_certificate(rabbit_a, tls, options, user))
    with external(proxy, port, context, vhost) as connection:
        works(connection)
        eventually(lambda: logged_in(rabbit_a, vhost) == {"guest"})
    assert proxy.wait_for_log(event="client_opened", user=user)["vhost"] == vhost
    reload(proxy, by_certificate(rabbit_a, tls, options, "somebody else"))
    with pytest.raises(AMQPConnectionError, match="403"):
        external(proxy, port, context, vhost)


def reload(proxy: TrabbitsProcess, config: Any) -> None:
    """Change to another configuration."""
    seen = len(proxy.logs)
    proxy.write_config(config)
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_for_log(event="config_reloaded", after=seen)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (None, "EXTERNAL login refused: the client has shown no certificate"),
        ("lonely", "user 'lonely' has no credentials for upstream 'a'"),
        ("stranger", "user 'stranger' has no credentials for upstream 'a'"),
    ],
)
def test_external_refused(site: Site, name: str | None, why: str) -> None:
    client = site.raw(site.secured(name))
    closed = choosing(client, "EXTERNAL")
    assert closed.reply_code == 403
    assert why in closed.reply_text
    assert site.proxy.wait_for_log(event="login_refused", text=lambda text: why in text)
    client.send(commands.Connection.CloseOk())
    client.expect_socket_closed()
    client.close()


def choosing(client: RawClient, mechanism: str, capabilities: Any = None) -> commands.Connection.Close:
    """Why a client is not let in by a mechanism."""
    client.send_octets(PROTOCOL_HEADER)
    client.expect(commands.Connection.Start)
    properties: Any = {"capabilities": CAPABILITIES if capabilities is None else capabilities}
    client.send(commands.Connection.StartOk(properties, mechanism, "\0guest\0wrong", "en_US"))
    return client.expect(commands.Connection.Close)


def test_a_certificate_of_somebody_else(site: Site, tmp_path: Path) -> None:
    """Also where certificates are optional; and the log says that it was TLS."""
    other = Authority(tmp_path)
    context = site.secured()
    issued = other.issue("orders")
    context.load_cert_chain(issued.certificate, issued.key)
    seen = len(site.proxy.logs)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        site.announced(context)
    lost = site.proxy.wait_for_log(event="client_vanished", after=seen)
    assert lost["reason"] == "TLS: certificate verify failed"


def test_a_mechanism_that_fails_disturbs_nobody(site: Site, vhost: str) -> None:
    with site.pika(vhost, "guest", "guest") as bystander:
        seen = len(site.proxy.logs)
        client = site.raw()
        closed = choosing(client, "BROKEN")
        assert (closed.reply_code, closed.reply_text) == (
            541,
            "INTERNAL_ERROR - authentication mechanism 'broken' failed; the log of trabbits has more",
        )
        client.close()
        logged = site.proxy.wait_for_log(event="mechanism_failed", after=seen)
        assert logged["plugin"] == "broken"
        assert logged["text"].startswith("LookupError in odd_mechanisms.py, line ")
        works(bystander)


# TLS


@pytest.mark.parametrize("capabilities", [{}, CAPABILITIES])
def test_a_refused_login_over_tls(site: Site, capabilities: Any) -> None:
    """The reason arrives, and then TLS's own end; or the end alone where the reason would not be understood."""
    client = site.raw(site.secured())
    if capabilities:
        assert choosing(client, "PLAIN", capabilities).reply_code == 403
        client.send(commands.Connection.CloseOk())
        client.expect_socket_closed()
    else:
        with pytest.raises(Closed, match="end of stream"):
            choosing(client, "PLAIN", capabilities={"x": True})
    client.close()


def test_nobody_waits_for_a_tls_handshake_that_never_comes(site: Site) -> None:
    with socket.create_connection((HOST, site.tls_port), timeout=10) as silent:
        seen = len(site.proxy.logs)
        site.proxy.wait_for_log(event="handshake_timeout", after=seen)
        try:
            assert silent.recv(1) == b""
        except ConnectionResetError:
            pass
