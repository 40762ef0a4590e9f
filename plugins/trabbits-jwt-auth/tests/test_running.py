"""Inside a real ``twistd trabbits``; for that the distribution has to be installed, next to trabbits."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from making import Signer, write_keys
from pamqp import commands, frame

from trabbits.testing.broker import Permissions, User
from trabbits.testing.client import ClosedByPeer, RecordingClient

TIMEOUT = 30.0
OLD, NEW = Signer("old"), Signer("new")


def answer_to(port: int, token: str) -> str:
    """What trabbits says to a client that logs in with this token."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        properties = {"capabilities": {"authentication_failure_close": True}}
        start_ok = commands.Connection.StartOk(properties, "PLAIN", f"\0\0{token}")
        client.sendall(b"AMQP\x00\x00\x09\x01" + frame.marshal(start_ok, 0))
        octets = b""
        # connection.close or a closed socket.
        while b"\x00\x0a\x00\x32" not in octets and (more := client.recv(65536)):
            octets += more
    while octets:
        size, _, method = frame.unmarshal(octets)
        if isinstance(method, commands.Connection.Close):
            return f"{method.reply_code} {method.reply_text}"
        octets = octets[size:]
    return "hung up"


def test_a_running_trabbits_takes_new_keys(tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.json", OLD)
    config = tmp_path / "config.json"
    mechanism = {"plugin": "jwt", "options": {"keys": str(keys), "interval": 0.1, "needs_tls": False}}
    # Nobody listens there: a client that is let in by the mechanism is told just that.
    upstream = {"name": "main", "address": "127.0.0.1:1", "credentials": {"*": {"username": "u", "password": "p"}}}
    config.write_text(json.dumps({"authentication": {"mechanisms": [mechanism]}, "upstreams": [upstream]}))
    command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "trabbits"]
    command += ["--config", str(config), "--host", "127.0.0.1", "--port", "0", "--no-metrics", "--api-socket", ""]
    command += ["--debug"]  # otherwise trabbits shows no more than warnings of others
    answers: dict[str, str] = {}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        lines: list[str] = []
        assert process.stdout is not None
        port = 0
        for line in process.stdout:
            lines.append(line)
            if "TR002" in line:  # it listens
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                assert found is not None, line
                port = int(found[1])
                answers["old"] = answer_to(port, OLD.token("app"))
                answers["wrong"] = answer_to(port, OLD.token("app", exp=1))
                answers["new, early"] = answer_to(port, NEW.token("app"))
                write_keys(keys, OLD, NEW)
            elif "2 keys" in line:
                answers["new"] = answer_to(port, NEW.token("app"))
                process.send_signal(signal.SIGTERM)
        status = process.wait()
        watchdog.cancel()
    assert status == 0, "".join(lines)
    assert "upstream 'main'" in answers["old"]
    assert answers["new"] == answers["old"]
    assert answers["wrong"] == "403 ACCESS_REFUSED - the token is not accepted: it has expired"
    assert answers["new, early"].endswith("its key 'new' is not in the key set")


def test_clients_work_with_a_token(tmp_path: Path, embedded_brokers: Any, trabbits_proxy: Any) -> None:
    """The broker behind knows one user only, and nothing of tokens."""
    broker = embedded_brokers("main", users={"behind": User("secret", {"/": Permissions()})})
    keys = write_keys(tmp_path / "keys.json", OLD)
    mechanism = {"plugin": "jwt", "options": {"keys": str(keys), "needs_tls": False}}
    mapped = {"*": {"username": "behind", "password": "secret"}}
    config = {"authentication": {"mechanisms": [mechanism]}, "upstreams": [{"name": "main", "credentials": mapped}]}
    proxy = trabbits_proxy(config, upstreams={"main": broker})
    with RecordingClient.connect(proxy.port, user="app", password=OLD.token("app")) as client:
        client.declare("orders")
        client.confirm()
        client.publish("", "orders", b"an order")
        client.wait_for_confirms()
        assert broker.depth("orders") == 1
    opened = proxy.wait_for_log(event="client_opened")
    assert opened["user"] == "app"
    for user, token in (("app", NEW.token("app")), ("other", OLD.token("app")), ("app", "no token")):
        with pytest.raises(ClosedByPeer, match="ACCESS_REFUSED"):
            RecordingClient.connect(proxy.port, user=user, password=token)
