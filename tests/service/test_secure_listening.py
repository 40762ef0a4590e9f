"""The port for TLS of a running proxy: files and addresses change with a reload, or nothing does."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from tests.certificates import Authority, Issued
from tests.proxy import ProxyFactory
from trabbits.testing.processes import StartError
from trabbits.testing.raw_client import PROTOCOL_HEADER, RawClient, eventually
from trabbits.testing.trabbits_process import TrabbitsProcess

HOST = "127.0.0.1"
FAR = {"name": "far", "address": "[::1]:1"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server(authority: Authority) -> Issued:
    return authority.issue("server", ip=[HOST])


def config(server: Issued, **tls: Any) -> dict[str, Any]:
    files = {"certificate": server.certificate, "key": server.key}
    return {"upstreams": [FAR], "handshake_timeout": "20s", "tls": {"listen": f"{HOST}:0", **files, **tls}}


def port_of(proxy: TrabbitsProcess, after: int = 0) -> int:
    return int(proxy.wait_for_log(event="listening", socket=lambda kind: "TLS" in kind, after=after)["port"])


def greeted(port: int, context: ssl.SSLContext) -> tuple[RawClient, bytes]:
    """A client that has got connection.start, and the server's certificate."""
    encrypted = context.wrap_socket(socket.create_connection((HOST, port), timeout=10), server_hostname=HOST)
    client = RawClient(encrypted)
    client.send_octets(PROTOCOL_HEADER)
    client.expect(commands.Connection.Start)
    shown = encrypted.getpeercert(binary_form=True)
    assert shown is not None
    return client, shown


def reloaded(proxy: TrabbitsProcess, wanted: dict[str, Any], event: str) -> int:
    """Reload with this configuration; where the log was before."""
    seen = len(proxy.logs)
    proxy.write_config(wanted)
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_for_log(event=event, after=seen)
    return seen


def copied(issued: Issued, to: Issued) -> None:
    shutil.copy(issued.certificate, to.certificate)
    shutil.copy(issued.key, to.key)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_the_port_says_where_it_is_and_which_versions_it_speaks(
    trabbits: ProxyFactory, authority: Authority, server: Issued
) -> None:
    proxy = trabbits(config(server))
    port = port_of(proxy)
    assert port != proxy.port
    client, _ = greeted(port, authority.context())
    assert client.sock.version() in ("TLSv1.2", "TLSv1.3")  # type: ignore[attr-defined]  # it is an SSLSocket
    client.close()
    old = authority.context()
    # Otherwise it would be the client that refuses.
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        greeted(port, old)


def test_certificates_are_read_again_with_every_reload(
    trabbits: ProxyFactory, authority: Authority, server: Issued
) -> None:
    """Though the configuration is the same; who is connected stays, and the port as well."""
    proxy = trabbits(config(server))
    port = port_of(proxy)
    client, before = greeted(port, authority.context())
    copied(authority.issue("renewed", ip=[HOST]), server)
    reloaded(proxy, config(server), "config_unchanged")
    other, after = greeted(port, authority.context())
    assert after != before
    # The old one is still served.
    client.send(commands.Connection.StartOk({}, "PLAIN", "", "en_US"))
    client.expect_socket_closed()
    other.close()


def test_a_reload_moves_it(trabbits: ProxyFactory, authority: Authority, server: Issued) -> None:
    proxy = trabbits(config(server))
    first = port_of(proxy)
    client, _ = greeted(first, authority.context())
    seen = reloaded(proxy, config(server, listen="[::1]:0"), "config_reloaded")
    second = port_of(proxy, seen)
    with socket.create_connection(("::1", second), timeout=10):
        pass
    wait_until_closed(first)
    # Again where it is: nothing moves, and nobody notices.
    reloaded(proxy, config(server, listen=f"[::1]:{second}"), "config_reloaded")
    reloaded(proxy, {"upstreams": [FAR], "handshake_timeout": "20s"}, "config_reloaded")
    wait_until_closed(second, "::1")
    client.send(commands.Connection.StartOk({}, "PLAIN", "", "en_US"))
    client.expect_socket_closed()
    seen = reloaded(proxy, config(server), "config_reloaded")
    greeted(port_of(proxy, seen), authority.context())[0].close()
    assert len(proxy.find_logs(event="listening")) == 4
    assert proxy.terminate() == 0


def wait_until_closed(port: int, host: str = HOST) -> None:
    def refused() -> bool:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        except (ConnectionResetError, TimeoutError):
            return False
        return False

    eventually(refused, what="the port is closed")


def test_a_reload_that_cannot_work_changes_nothing(
    trabbits: ProxyFactory, authority: Authority, server: Issued
) -> None:
    """... and neither do others behind it."""
    proxy = trabbits(config(server), ["--no-reuse-port"])
    port = port_of(proxy)
    _, before = greeted(port, authority.context())
    other = authority.issue("other")
    with socket.create_server((HOST, 0)) as taken:
        for what, wanted, path in (
            ("no file", config(server, certificate="/nowhere"), "tls.certificate"),
            ("no certificate", config(server, certificate=server.key), "tls.certificate"),
            ("another key", config(server, key=other.key), "tls.key"),
            ("no authority", config(server, client_ca=server.key), "tls.client_ca"),
            ("a port in use", config(other, listen=f"{HOST}:{taken.getsockname()[1]}"), "tls.listen"),
        ):
            seen = reloaded(proxy, wanted, "config_refused")
            assert seen, what
            assert path in str(proxy.wait_for_log(event="config_refused", after=seen)["text"]), what
            client, after = greeted(port, authority.context())
            client.close()
            assert after == before, what
            assert not proxy.find_logs(event="listening")[2:], what


def test_a_start_that_cannot_work(trabbits: ProxyFactory, server: Issued) -> None:
    proxy = trabbits(config(server, key="/nowhere"), start=False)
    with pytest.raises(StartError):
        proxy.start()
    assert "trabbits: cannot start: tls.key: /nowhere: No such file or directory" in proxy.log_text


def test_clients_must_have_certificates_unless_said_otherwise(
    trabbits: ProxyFactory, authority: Authority, server: Issued
) -> None:
    proxy = trabbits(config(server, client_ca=authority.file))
    port = port_of(proxy)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        greeted(port, authority.context())
    assert proxy.wait_for_log(event="client_vanished")["reason"] == "TLS: peer did not return a certificate"
    client, _ = greeted(port, authority.context(authority.issue("client")))
    client.close()
