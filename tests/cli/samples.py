"""Answers of an admin API, and ways to run the command against it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cli.fake_api import FakeApi

ROOT = Path(__file__).resolve().parent.parent.parent


def client(id: str, **changed: Any) -> dict[str, Any]:
    """An entry of GET /clients: alice, connected for two hours."""
    since = datetime.now(UTC) - timedelta(hours=2, minutes=5, seconds=30)
    return {
        "id": id,
        "client_address": "10.0.0.7:51514",
        "user": "alice",
        "virtual_host": "/",
        "client_banner": "Python 3.11/Pika/1.3.2",
        "connected_at": since.isoformat().replace("+00:00", "Z"),
        "status": "active",
        "shutdown_reason": "",
        "total_frames": 1200,
        "total_methods": 300,
        **changed,
    }


def detail(entry: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """The answer to GET /clients/{id}."""
    return {
        **entry,
        "client_properties": {
            "product": "Pika",
            "capabilities": {"basic.nack": True, "consumer_cancel_notify": False},
            "empty": {},
        },
        "stats": {
            "started_at": entry["connected_at"],
            "methods": {"Basic.Ack": 100, "Basic.Publish": 150, "Channel.Open": 50},
            "total_methods": 300,
            "received_frames": 700,
            "sent_frames": 500,
            "total_frames": 1200,
            "duration": 7530.0,
        },
        "channels": 3,
        "consumers": 2,
        "config_hash": "0123456789abcdef",
        "links": [
            {"upstream": "primary", "node": "rabbit-1:5672", "blocked": False, "unacknowledged": 7, "unconfirmed": 1},
            {"upstream": "backup", "node": "rabbit-9:5672", "blocked": True, "unacknowledged": 0, "unconfirmed": 0},
        ],
        **changed,
    }


def serve_clients(api: FakeApi, *clients: dict[str, Any]) -> None:
    """Let the fake API know these clients."""
    api.clients = list(clients)
    api.details = {entry["id"]: detail(entry) for entry in clients}


def environment(**changed: str) -> dict[str, str]:
    """Ours, without what would change the command's ways."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TRABBITS_")}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        ours.pop(name, None)
    return {**ours, "TERM": "xterm-256color", "TZ": "UTC", "PYTHONUTF8": "1", **changed}


def manage(
    folder: Path, *arguments: str, stdin: str | bytes = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """`trabbits manage …` in a process of its own, with pipes, against `folder / "api.sock"`."""
    return subprocess.run(
        [sys.executable, "-m", "trabbits", "manage", "--api-socket", str(folder / "api.sock"), *arguments],
        cwd=ROOT,
        env=environment(**variables),
        input=stdin if isinstance(stdin, str) else stdin.decode(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def on_terminal(folder: Path, *arguments: str, columns: int = 80, **variables: str) -> tuple[str, int]:
    """The same on a terminal so wide: everything that appears there, and the status."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-m", "trabbits", "manage", "--api-socket", str(folder / "api.sock"), *arguments],
            cwd=ROOT,
            env=environment(**variables),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        shown = b""
        while True:
            try:
                octets = os.read(master, 65536)
            except OSError:
                break  # how a terminal ends whose last user is gone
            if not octets:
                break
            shown += octets
        return shown.decode().replace("\r\n", "\n"), process.wait(30)
    finally:
        os.close(master)
