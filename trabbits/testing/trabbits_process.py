"""trabbits as a process of its own, started by a test, with its log lines at hand.

Lives here: `TrabbitsProcess`.  Must not know: pytest, what is behind the proxy.

Example::

    proxy = TrabbitsProcess({"upstreams": [{"name": "a", "address": "127.0.0.1:5672"}]}).start()
    pika.BlockingConnection(pika.URLParameters(proxy.url("/")))
    proxy.wait_for_log(event="...")
    assert proxy.terminate() == 0
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trabbits.testing.processes import ChildProcess, StartError, reaper, remove_folder

Config = Mapping[str, Any]
LogEntry = dict[str, Any]


class TrabbitsProcess:
    """`python -m trabbits run` on a free port. start() returns when it listens.

    `args` are appended to the command line, `env` is added to the environment. `config` None starts it without a
    configuration file. `logs` holds every line of its stderr so far: decoded JSON, or {"text": line}.
    """

    def __init__(self, config: Config | None, args: Sequence[str] = (), env: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="trabbits-proxy-"))
        reaper.remove_at_end(self.folder)
        self.config_path = self.folder / "config.json"
        self.api_socket = self.folder / "api.sock"
        self.args = list(args)
        self.env = dict(env or {})
        self.logs: list[LogEntry] = []
        self.port = 0
        self._config = config
        self._process: ChildProcess | None = None
        self._reader: threading.Thread | None = None
        self._changed = threading.Condition()

    @property
    def command(self) -> list[str]:
        """The command line that start() uses."""
        command = [sys.executable, "-m", "trabbits", "run"]
        if self._config is not None:
            command += ["--config", str(self.config_path)]
        command += ["--port", "0", "--metrics-port", "0", "--api-socket", str(self.api_socket)]
        return [*command, "--log-format", "json", *self.args]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running.pid

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._running.status

    @property
    def log_text(self) -> str:
        """All log lines as text, for the output of a failed test."""
        with self._changed:
            return "\n".join(entry.get("text") or json.dumps(entry) for entry in self.logs)

    def url(self, virtual_host: str = "/", user: str = "guest", password: str = "guest") -> str:
        """The AMQP URL of a virtual host behind this proxy."""
        return f"amqp://{quote(user, '')}:{quote(password, '')}@127.0.0.1:{self.port}/{quote(virtual_host, '')}"

    def start(self, timeout: float = 30.0) -> TrabbitsProcess:
        """Start and wait for the log line "listening"; StartError with the log when it ends or takes too long."""
        self.spawn()
        try:
            self.port = int(self.wait_for_log(event="listening", timeout=timeout)["port"])
        except TimeoutError as error:
            self.kill()
            raise StartError(str(error)) from None
        return self

    def spawn(self) -> TrabbitsProcess:
        """Start without waiting for anything."""
        self.write_config(self._config)
        self._process = ChildProcess(
            self.command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        return self

    def write_config(self, config: Config | None) -> None:
        """Write another configuration to `config_path`; what the process makes of it is its own affair."""
        self._config = config
        if config is not None:
            self.config_path.write_text(json.dumps(config, indent=2))

    def wait_for_log(self, timeout: float = 15.0, after: int = 0, **fields: Any) -> LogEntry:
        """The first line from number `after` on that has all these fields; TimeoutError with the log otherwise.

        A value that is callable is asked: `text=lambda text: "primary" in text`.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            checked = after
            while True:
                for entry in self.logs[checked:]:
                    if matches(entry, fields):
                        return entry
                checked = max(after, len(self.logs))
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                if self._reader is not None and not self._reader.is_alive():
                    break  # all lines are read and there will be no more
                self._changed.wait(min(remaining, 0.2))
        ended = f"; trabbits ended with status {self.status}" if self.status is not None else ""
        raise TimeoutError(f"no log line with {fields} within {timeout:g} s{ended}. The log:\n{self.log_text}")

    def find_logs(self, **fields: Any) -> list[LogEntry]:
        """All lines so far that have these fields."""
        with self._changed:
            return [entry for entry in self.logs if matches(entry, fields)]

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        self._running.send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for the process to end by itself and return its status; TimeoutError with the log otherwise."""
        try:
            status = self._running.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"trabbits still runs after {timeout:g} s. The log:\n{self.log_text}") from None
        self._finish_log()
        return status

    def terminate(self, timeout: float = 20.0) -> int:
        """Send SIGTERM and return the exit status (-9 if it had to be killed after `timeout` seconds)."""
        status = self._running.end(signal.SIGTERM, timeout)
        self._finish_log()
        return status

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.end(signal.SIGKILL)
            self._finish_log()

    def close(self) -> None:
        """End it if it still runs, and remove its files."""
        self.kill()
        remove_folder(self.folder)

    @property
    def _running(self) -> ChildProcess:
        assert self._process is not None, "not started"
        return self._process

    def _read_log(self) -> None:
        stream = self._running.popen.stderr
        assert stream is not None
        with stream:
            for line in stream:
                entry = parse_log_line(line.decode(errors="replace").rstrip("\n"))
                with self._changed:
                    self.logs.append(entry)
                    self._changed.notify_all()

    def _finish_log(self) -> None:
        if self._reader is not None:
            self._reader.join(5)


def parse_log_line(line: str) -> LogEntry:
    """A JSON object as it is, anything else (a traceback, a warning) as {"text": line}."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {"text": line}
    return entry if isinstance(entry, dict) else {"text": line}


def matches(entry: LogEntry, fields: Mapping[str, Any]) -> bool:
    """Whether a log line has all these fields; a callable value decides itself."""
    for name, wanted in fields.items():
        if name not in entry or not (wanted(entry[name]) if callable(wanted) else entry[name] == wanted):
            return False
    return True
