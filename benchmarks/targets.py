"""What is measured: RabbitMQ itself, and proxies in front of it, each a process of its own.

What lives here: starting the nodes, HAProxy and trabbits, and which processes serve which target.
What it must not know: what load is put on a target. trabbits is only ever a subprocess here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import frozen

from benchmarks.clients import BenchError, Client
from benchmarks.clocks import CpuClocks, listening_pid
from trabbits.testing.processes import ChildProcess, StartError, free_port
from trabbits.testing.rabbitmq import RabbitNode, start_all

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 20.0

HAPROXY_CONFIG = """\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen amqp
    bind 127.0.0.1:{port}
    server node 127.0.0.1:{node_port}
"""


#: The header `side` decides as the key's first word does.
BY_HEADER: Mapping[str, Any] = {
    "plugin": "headers",
    "options": {"rules": [{"match": {"side": "b"}, "upstream": "second"}], "default": "first"},
}


@frozen
class Target:
    """One way to the broker: the port to connect to and the CPU clocks of who is involved."""

    name: str
    title: str
    port: int
    clocks: CpuClocks


class Targets:
    """Two nodes and everything in front of them; a context manager that ends it all.

    `available` holds the targets that can be measured, `missing` why the others can't, by name.
    """

    def __init__(self, node_ports: Sequence[int], wanted: Callable[[str], bool]) -> None:
        self._node_ports = list(node_ports)
        self._wanted = wanted
        self._stack = ExitStack()
        self._nodes: dict[int, int] = {}
        self.available: list[Target] = []
        self.missing: dict[str, str] = {}
        self.rabbitmq_version = ""

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        if not self._node_ports:
            # Without the management plugin, whose statistics cost the broker a good part of its throughput.
            nodes = [RabbitNode(name, plugins=(), schedulers=os.cpu_count() or 1) for name in ("first", "second")]
            for node in nodes:
                self._stack.callback(node.close)
            start_all(nodes)
            self._node_ports = [node.port for node in nodes]
        for port in self._node_ports:
            pid = listening_pid(port)
            if pid is None:
                raise StartError(f"no process was found that listens on port {port}")
            self._nodes[port] = pid
        self.rabbitmq_version = broker_version(self._node_ports[0])
        first = self._node_ports[:1]
        self._offer("direct", "RabbitMQ directly", first, lambda: (first[0], None))
        self._offer("haproxy", "HAProxy, TCP mode", first, lambda: self._haproxy(first[0]))
        self._offer("plain", "trabbits, plain session", first, lambda: self._trabbits(first))
        without = [str(ROOT / "benchmarks" / "unobserved.py")]
        self._offer("unobserved", "trabbits, plain, unobserved", first, lambda: self._trabbits(first, without))
        both = self._node_ports
        self._offer("fan", "trabbits, fan session", both, lambda: self._trabbits(both))
        self._offer("by-header", "trabbits, fan, by a header", both, lambda: self._trabbits(both, routing=BY_HEADER))

    def _offer(self, name: str, title: str, nodes: Iterable[int], start: Callable[[], tuple[int, int | None]]) -> None:
        """Start what a target needs: `start` gives its port and the proxy's process."""
        if not self._wanted(name):
            return
        pids = {"brokers": [self._nodes[port] for port in nodes]}
        try:
            port, proxy = start()
            Client(port).close()
        except (StartError, BenchError, OSError) as error:
            self.missing[name] = f"{title}: {error}"
            return
        if proxy is not None:
            pids["proxy"] = [proxy]
        self.available.append(Target(name, title, port, CpuClocks(pids)))

    def _folder(self) -> Path:
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="trabbits-bench-")))

    def _haproxy(self, node_port: int) -> tuple[int, int]:
        program = find_haproxy()
        if program is None:
            raise StartError("the Debian package haproxy is not installed")
        port, folder = free_port(), self._folder()
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY_CONFIG.format(port=port, node_port=node_port))
        with open(folder / "log", "wb") as log:
            process = ChildProcess([program, "-db", "-f", str(config)], stderr=log)
        self._stack.callback(process.end)
        deadline = time.monotonic() + START_TIMEOUT
        while listening_pid(port) is None:
            if process.status is not None or time.monotonic() > deadline:
                raise StartError(f"did not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.02)
        return port, process.pid

    def _trabbits(
        self,
        node_ports: Sequence[int],
        program: Sequence[str] = ("-m", "trabbits"),
        routing: Mapping[str, Any] | None = None,
    ) -> tuple[int, int]:
        folder = self._folder()
        config = folder / "config.json"
        config.write_text(json.dumps(trabbits_config(node_ports, routing)))
        command = [sys.executable, *program, "run", "--config", str(config), "--port", "0"]
        command += ["--metrics-port", "0", "--api-socket", str(folder / "api.sock"), "--log-format", "json"]
        process = ChildProcess(command, cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE)
        self._stack.callback(process.end)
        return ReadyLine(process).port(START_TIMEOUT), process.pid


class ReadyLine:
    """Reads the log of a trabbits process, to its end, and finds the port in it."""

    def __init__(self, process: ChildProcess) -> None:
        self._process = process
        self._port = 0
        self._done = threading.Event()
        self._last = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        stream = self._process.popen.stderr
        assert stream is not None
        with stream:
            for line in stream:
                self._last = line.decode(errors="replace").strip()
                event = parse(self._last)
                if event.get("event") == "listening" and not self._port:
                    self._port = int(event["port"])
                    self._done.set()
        self._done.set()

    def port(self, timeout: float) -> int:
        """The port on which trabbits listens; StartError when it ends or takes too long."""
        self._done.wait(timeout)
        if not self._port:
            raise StartError(f"trabbits did not start; its last line: {self._last}")
        return self._port


def trabbits_config(node_ports: Sequence[int], routing: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """One upstream per node; with two, the first words of the workload's keys alternate between them.

    `routing` is a section of the configuration that decides otherwise.
    """
    upstreams = []
    for port, name, pattern in zip(node_ports, ("first", "second"), ("a.*", "b.*"), strict=False):
        upstream: dict[str, Any] = {"name": name, "address": f"127.0.0.1:{port}"}
        if len(node_ports) > 1:
            upstream["routing"] = {"key_patterns": [pattern]}
        upstreams.append(upstream)
    return {"upstreams": upstreams} | ({} if routing is None else {"routing": routing})


def clean_environment() -> dict[str, str]:
    """Our environment without what would configure trabbits."""
    return {key: value for key, value in os.environ.items() if not key.startswith("TRABBITS_") and key != "DEBUG"}


def parse(line: str) -> Mapping[str, Any]:
    """A log line as JSON, or nothing when it is something else."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def find_haproxy() -> str | None:
    """HAProxy's program; packages put it where only root's PATH points."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


def haproxy_version() -> str:
    """HAProxy's version, or a word about its absence."""
    program = find_haproxy()
    if program is None:
        return "not installed"
    words = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout.split()
    return words[2] if len(words) > 2 else "unknown"


def broker_version(port: int) -> str:
    """The version that a node tells in connection.start."""
    client = Client(port)
    client.close()
    return str(client.server_properties.get("version", "unknown"))
