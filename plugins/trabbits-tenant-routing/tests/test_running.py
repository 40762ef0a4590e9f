"""Inside a real ``twistd trabbits``; for that the distribution has to be installed, next to trabbits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from trabbits.testing.client import RecordingClient

TIMEOUT = 30.0


def test_a_running_trabbits_sees_changes_of_the_file(tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.json"
    tenants.write_text('{"acme": "main"}')
    config = tmp_path / "config.json"
    routing = {"plugin": "tenant", "options": {"file": str(tenants), "interval": 0.1}}
    upstreams = [{"name": "main", "address": "localhost:1"}, {"name": "other", "address": "localhost:2"}]
    config.write_text(json.dumps({"routing": routing, "upstreams": upstreams}))
    command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "trabbits"]
    command += ["--config", str(config), "--host", "127.0.0.1", "--port", "0", "--no-metrics", "--api-socket", ""]
    command += ["--debug"]  # otherwise trabbits shows no more than warnings of others
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "TR002" in line:  # it listens
                new = tmp_path / "new.json"
                new.write_text('{"acme": "other", "globex": "main"}')
                new.rename(tenants)
            elif "2 tenants" in line:
                process.send_signal(signal.SIGTERM)
        status = process.wait()
        watchdog.cancel()
    assert status == 0, "".join(lines)


def test_messages_go_where_their_tenant_is(tmp_path: Path, embedded_brokers: Any, trabbits_proxy: Any) -> None:
    """And where it is from now on when the file says so: nobody connects anew."""
    tenants = tmp_path / "tenants.json"
    tenants.write_text('{"acme": "europe"}')
    brokers = {name: embedded_brokers(name) for name in ("main", "europe")}
    routing = {"plugin": "tenant", "options": {"file": str(tenants), "interval": 0.1}}
    proxy = trabbits_proxy({"routing": routing}, upstreams=brokers, args=["--debug"])
    with RecordingClient.connect(proxy.port) as client:
        client.declare("orders")
        client.confirm()
        for tenant in ("acme", "acme", "globex"):
            client.publish("", "orders", headers={"tenant": tenant})
        client.wait_for_confirms()
        assert {name: broker.depth("orders") for name, broker in brokers.items()} == {"main": 1, "europe": 2}
        new = tmp_path / "new.json"
        new.write_text('{"acme": "main", "globex": "main"}')
        new.rename(tenants)
        proxy.wait_for_log(message=lambda text: "2 tenants" in text)
        client.publish("", "orders", headers={"tenant": "acme"})
        client.wait_for_confirms()
    assert {name: broker.depth("orders") for name, broker in brokers.items()} == {"main": 2, "europe": 2}
