"""Inside a real ``twistd trabbits``; for that the distribution has to be installed, next to trabbits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

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
