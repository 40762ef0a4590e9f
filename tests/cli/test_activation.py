"""``trabbits run`` as systemd starts it: with a socket that listens already, and somebody who wants to hear of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = b"AMQP\x00\x00\x09\x01"
#: What systemd does between fork and exec: number the sockets and say for whom they are.
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "trabbits", "run", "--config", sys.argv[2], *sys.argv[3:]])
"""


class Systemd:
    """A listening socket, a place for notifications, and services that are started with both."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.json"
        self.config.write_text(json.dumps({"upstreams": [{"name": "far", "address": "[::1]:1"}]}))
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(folder / "notify"))
        self.notifications.settimeout(30)
        self.services: list[subprocess.Popen[bytes]] = []

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        number = self.listening.fileno()
        self.services.append(
            subprocess.Popen(
                [sys.executable, "-c", AS_SYSTEMD, str(number), str(self.config)],
                env={
                    **os.environ,
                    "LISTEN_FDS": "1",
                    "LISTEN_FDNAMES": "trabbits.socket",
                    "NOTIFY_SOCKET": str(self.notifications.getsockname()),
                    "TRABBITS_API_SOCKET": str(self.config.parent / "api.sock"),
                    "TRABBITS_METRICS_PORT": "0",
                    **environment,
                },
                cwd=ROOT,
                pass_fds=(number,),
                stderr=subprocess.PIPE,
            )
        )
        return self.services[-1]

    def heard(self, wanted: str) -> dict[str, str]:
        """The next notification in which `wanted` is assigned; what comes before it is passed over."""
        while True:
            lines = self.notifications.recv(4096).decode().splitlines()
            said = dict(line.partition("=")[::2] for line in lines)
            if wanted in said:
                return said

    def end(self) -> None:
        for service in self.services:
            service.kill()
            if service.stderr is not None and not service.stderr.closed:
                print(f"--- log of process {service.pid} ---\n{service.communicate()[1].decode()}")
        self.listening.close()
        self.notifications.close()

    def client(self) -> socket.socket:
        return socket.create_connection(self.listening.getsockname(), 30)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    there = Systemd(tmp_path)
    yield there
    there.end()


def shakes_hands(client: socket.socket) -> None:
    client.sendall(HEADER)
    assert client.recv(65536)[:1] == b"\x01"  # connection.start


def test_the_whole_life(systemd: Systemd) -> None:
    """Ready when it serves; a reload begins and ends, also one that fails; stopping is announced; exit status 0."""
    with systemd.client() as early:
        early.sendall(HEADER)  # before there is a process at all
        service = systemd.start(WATCHDOG_USEC="200000")
        assert systemd.heard("READY") == {"READY": "1"}
        assert early.recv(65536)[:1] == b"\x01"
    assert systemd.heard("STATUS")["STATUS"] in ("0 sessions", "1 session")
    assert systemd.heard("WATCHDOG") == systemd.heard("WATCHDOG") == {"WATCHDOG": "1"}
    for text in ('{"upstreams": []}', systemd.config.read_text()):
        systemd.config.write_text(text)
        before = time.monotonic_ns() // 1000
        service.send_signal(signal.SIGHUP)
        assert int(systemd.heard("RELOADING")["MONOTONIC_USEC"]) >= before
        assert systemd.heard("READY") == {"READY": "1"}
    service.send_signal(signal.SIGTERM)
    assert systemd.heard("STOPPING") == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "20000000"}
    _, log = service.communicate(timeout=30)
    assert service.returncode == 0
    (line,) = [json.loads(line) for line in log.splitlines() if b"TR002" in line]
    assert (line["socket"], line["port"]) == ("inherited", systemd.listening.getsockname()[1])


def test_nobody_is_refused_during_a_restart(systemd: Systemd) -> None:
    """Whoever comes when there is no process waits for the next one."""
    service = systemd.start()
    systemd.heard("READY")
    service.send_signal(signal.SIGTERM)
    assert service.wait(30) == 0
    with systemd.client() as client:
        systemd.start()
        systemd.heard("READY")
        shakes_hands(client)


def test_a_socket_that_cannot_be_used(systemd: Systemd) -> None:
    """It is said in one line, with status 1."""
    systemd.listening.close()
    systemd.listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service = systemd.start()
    _, log = service.communicate(timeout=30)
    assert service.returncode == 1
    assert b"trabbits: cannot start: file descriptor 3, passed on by systemd, is not a stream socket" in log
