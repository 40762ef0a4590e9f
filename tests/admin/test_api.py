"""The admin API over its real socket: errors, bodies, configurations, logs, the beginning and the end of the process.

Covered: everything that needs no broker.  Not covered: clients (``test_clients.py``), TCP (``test_port.py``).
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from tests.admin.asking import CONFIG, FAR, json_of, raw, refused
from tests.proxy import ProxyFactory
from trabbits.admin.site import BODY_LIMIT, SWALLOWED
from trabbits.api_client import Answer, ApiClient, ApiError
from trabbits.testing.raw_client import eventually
from trabbits.testing.trabbits_process import TrabbitsProcess


def test_the_socket_is_the_users_own(proxy: TrabbitsProcess) -> None:
    found = os.stat(proxy.api_socket)
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert proxy.terminate() == 0
    assert not proxy.api_socket.exists()


def test_the_index_names_what_there_is(shared: ApiClient) -> None:
    index = shared.get("/")
    assert index["name"] == "trabbits"
    assert {"/clients", "/config", "/upstreams", "/logs", "/openapi.json"} <= set(index["links"])


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nothing", 404, "/nothing"),
        ("GET", "/clients/", 404, "nothing at"),
        ("GET", "/clients/proxy-1", 404, "proxy-1"),
        ("DELETE", "/clients/proxy-1", 404, "proxy-1"),
        ("GET", "/clients/proxy-1/probe", 404, "proxy-1"),
        ("DELETE", "/clients", 405, "DELETE"),
        ("OPTIONS", "/clients", 405, "OPTIONS"),
        ("GET", "/config/diff", 405, "POST"),
        ("GET", "/clients?sort=colour", 400, "client_banner"),
        ("GET", "/clients?limit=0", 400, "limit"),
        ("GET", "/clients?limit=-1", 400, "limit"),
        ("GET", "/clients?offset=%D9%A1", 400, "offset"),
        ("GET", "/clients?offset=99999999999999999999", 400, "offset"),
        ("GET", "/clients?q=%ff", 400, "UTF-8"),
        ("GET", "/clients?q=a&q=b", 400, "2 times"),
        ("GET", "/clients?colour=red", 400, "colour"),
        ("GET", "/logs?level=loud", 400, "critical"),
        ("GET", "/upstreams?x=", 400, "none is expected"),
        ("GET", "/clients/%ff", 400, "text"),
        ("GET", "/clients/a%0Ab", 404, r"a\nb"),
        ("DELETE", "/clients/x?reason=a%0Ab", 400, "printable"),
        ("DELETE", f"/clients/x?reason={'%C3%A4' * 101}", 400, "200 octets"),
    ],
)
def test_what_cannot_be_answered(shared: ApiClient, method: str, path: str, status: int, text: str) -> None:
    """... is refused with a fitting status and a JSON error that helps."""
    error = refused(shared, method, path)
    assert error.status == status
    assert text in error.text


def test_a_wrong_method_names_the_right_ones(calm: TrabbitsProcess) -> None:
    answer = raw(calm, b"POST /config HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert b"\r\nAllow: GET, HEAD, PUT\r\n" in answer
    assert json_of(answer)[0] == 405


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n",
        b"GET nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_nonsense_is_a_bad_request(calm: TrabbitsProcess, octets: bytes) -> None:
    """... without a line in the log."""
    status, content = json_of(raw(calm, octets))
    assert status == 400
    assert content["error"]
    assert not calm.find_logs(level="critical")


@pytest.mark.parametrize(
    "octets",
    [b"\x00\x01\x02\r\n\r\n", b"\xff / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET\r\n\r\n"],
)
def test_what_is_no_http_ends_the_connection(calm: TrabbitsProcess, shared: ApiClient, octets: bytes) -> None:
    assert raw(calm, octets).startswith(b"HTTP/1.1 400 ")
    assert shared.get("/health/live") == {"status": "live"}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_bounded_while_it_arrives(proxy: TrabbitsProcess, api: ApiClient, chunked: bool) -> None:
    """One that is too large is refused, with little memory for it, and one that is far too large before its end."""
    before = resident(proxy.pid)
    head = b"PUT /config HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    size = SWALLOWED // 2
    if chunked:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b" " * size)
        answer = raw(proxy, head + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    else:
        answer = raw(proxy, head + b"Content-Length: %d\r\n\r\n" % size + b" " * size)
    status, content = json_of(answer)
    assert status == 413
    assert str(BODY_LIMIT) in content["error"]
    assert resident(proxy.pid) - before < 12 * 1024 * 1024
    answer = raw(proxy, head + b"Content-Length: %d\r\n\r\n" % (SWALLOWED + 1))
    assert json_of(answer)[0] == 413
    assert api.get("/config")["upstreams"][0]["name"] == "far"


def resident(pid: int) -> int:
    """Octets of memory."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_the_command_installs_its_reactor_before_anything_takes_another() -> None:
    """Klein imports Twisted's reactor; so nothing may import Klein too early."""
    code = "import sys, trabbits.cli.run; print('twisted.internet.reactor' in sys.modules, 'klein' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["False", "False"]


# The log


def test_the_log_so_far_and_live(proxy: TrabbitsProcess, api: ApiClient) -> None:
    with api.stream("/logs") as lines:
        first = next(lines)
        assert first["event"] == "config_loaded"
        while next(lines)["event"] != "listening":
            pass
        proxy.send_signal(signal.SIGHUP)
        assert next(lines)["event"] == "config_unchanged"
        threading.Thread(target=proxy.terminate).start()
        events = [line["event"] for line in lines]  # the server ends the stream
        assert "stopping" in events
    assert proxy.wait() == 0


def test_the_log_from_a_level_on(proxy: TrabbitsProcess, api: ApiClient) -> None:
    proxy.write_config({})
    refused(api, "POST", "/config/reload")
    with api.stream("/logs", level="error") as lines:
        assert next(lines)["event"] == "config_refused"


def test_asking_for_the_head_of_a_stream(calm: TrabbitsProcess) -> None:
    answer = raw(calm, b"HEAD /logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"text/event-stream" in answer


# Life and health


def test_nobody_logs_requests(calm: TrabbitsProcess, shared: ApiClient) -> None:
    count = len(calm.logs)
    shared.get("/clients")
    shared.get("/config")
    refused(shared, "GET", "/nothing")
    assert len(calm.logs) == count


def test_not_ready_while_a_required_upstream_has_no_node(trabbits: ProxyFactory) -> None:
    check = {"username": "u", "password": "p", "unhealthy_threshold": 1, "interval": "100ms", "timeout": "1s"}
    optional = {"name": "optional", "address": "127.0.0.1:1", "required": False, "health_check": check}
    proxy = trabbits({"upstreams": [FAR | {"health_check": check}, optional]})
    api = ApiClient(socket=str(proxy.api_socket))
    proxy.wait_for_log(event="node_isolated", upstream="far")
    error = refused(api, "GET", "/health/ready")
    assert error.status == 503
    assert "upstream far has no node that works: [::1]:1 isolated" in error.text
    assert "optional" not in error.text
    assert api.get("/health/live") == {"status": "live"}
    far = api.get("/upstreams")[0]
    assert far["required"] is True
    node = far["nodes"][0]
    assert (node["address"], node["health"], node["suspect"]) == ("[::1]:1", "isolated", False)
    assert node["failures"] >= 1
    assert node["last_error"]
    assert node["last_check"].endswith("Z")


def test_not_ready_while_stopping(proxy: TrabbitsProcess, api: ApiClient) -> None:
    """A client that does not leave keeps the process for a while: it can be seen, and nothing can be changed."""
    assert api.get("/health/ready") == {"status": "ready"}
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"AMQP\x00\x00\x09\x01")
        client.recv(1)
        proxy.send_signal(signal.SIGTERM)
        proxy.wait_for_log(event="stopping")
        assert "stopping" in refused(api, "GET", "/health/ready").text
        assert refused(api, "PUT", "/config", b'{"upstreams": [{"name": "a", "address": "a:1"}]}').status == 503
        assert len(api.get("/clients")) <= 1
    assert proxy.wait() == 0


def test_a_live_socket_is_not_taken(trabbits: ProxyFactory, proxy: TrabbitsProcess, api: ApiClient) -> None:
    """The error says who has it and what to do, and nothing of the one who was there changes."""
    second = trabbits(CONFIG, start=False)
    second.api_socket = proxy.api_socket
    assert second.spawn().wait() == 1
    assert f"process {proxy.pid} (" in second.log_text
    assert "trabbits run" in second.log_text
    assert "--api-socket" in second.log_text
    assert api.get("/health/live")


def test_a_stale_socket_is_replaced(trabbits: ProxyFactory, proxy: TrabbitsProcess, api: ApiClient) -> None:
    proxy.kill()
    assert proxy.api_socket.exists()
    second = trabbits(CONFIG, start=False)
    second.api_socket = proxy.api_socket
    second.start()
    assert api.get("/health/live")


def test_without_a_socket(trabbits: ProxyFactory) -> None:
    proxy = trabbits(CONFIG, args=["--api-socket", ""])
    assert not proxy.api_socket.exists()
    assert not proxy.find_logs(event="api_listening")


def test_too_many_streams(proxy: TrabbitsProcess, api: ApiClient) -> None:
    """... are refused, and those who leave make room."""
    streams = [api.stream("/logs") for _ in range(100)]
    assert refused(api, "GET", "/logs").status == 503
    for stream in streams:
        stream.close()

    def again() -> Answer | bool:
        try:
            api.stream("/logs").close()
        except ApiError:
            return False
        return True

    eventually(again)


def test_a_reader_who_reads_nothing(proxy: TrabbitsProcess, api: ApiClient) -> None:
    """Costs nobody else anything."""
    with socket.socket(socket.AF_UNIX) as lazy:
        lazy.connect(str(proxy.api_socket))
        lazy.sendall(b"GET /logs HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        for _ in range(50):
            proxy.write_config({"upstreams": [], "x" * 1000: 1})
            refused(api, "POST", "/config/reload")
        assert time.monotonic() - began < 30
    assert api.get("/health/live")
