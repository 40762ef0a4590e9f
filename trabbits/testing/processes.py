"""Child processes for trials and tests: free ports, and a promise that nothing outlives its owner.

What lives here: choosing a port, waiting for a condition, starting a child in its own process group, and the
*reaper*, a tiny process that ends our children when we die by whatever cause (SIGKILL included).

What it must not know: RabbitMQ, trabbits, Twisted, pytest.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

# Outside Linux' default range for outgoing connections (32768 and up), so that a port that was free when it was
# chosen is not taken by some client's connection while a child is still starting, or between stop and restart.
PORT_RANGE = range(20000, 32000)

# The reaper reads lines "+pgid", "-pgid" and "dir path"; at end of file it kills and removes what is left.
_REAPER_CODE = """
import os, shutil, signal, sys
groups, folders = set(), []
for line in sys.stdin:
    line = line.rstrip("\\n")
    if line.startswith("+"):
        groups.add(int(line[1:]))
    elif line.startswith("-"):
        groups.discard(int(line[1:]))
    elif line.startswith("dir "):
        folders.append(line[4:])
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


class StartError(RuntimeError):
    """A child process did not become ready; the text carries the end of its log."""


class Reaper:
    """Ends process groups and removes folders when this process ends, however it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _REAPER_CODE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
                atexit.register(self._finish)
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # somebody ended the reaper; the regular clean-up still works

    def _finish(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=30)

    def watch(self, group: int) -> None:
        """End this process group when this process ends."""
        self._tell(f"+{group}")

    def forget(self, group: int) -> None:
        """The process group has ended; its number may be used again by others."""
        self._tell(f"-{group}")

    def remove_at_end(self, folder: Path) -> None:
        """Remove this folder when this process ends."""
        self._tell(f"dir {folder}")


reaper = Reaper()


class ChildProcess:
    """A child in its own process group; signals go to the whole group."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdout: int | IO[bytes] | None = subprocess.DEVNULL,
        stderr: int | IO[bytes] | None = subprocess.DEVNULL,
    ) -> None:
        self.popen = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self.pid = self.popen.pid
        reaper.watch(self.pid)

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self.popen.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal to the child and everything it started; no error when it has ended."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def end(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Send a signal, wait at most `timeout` seconds, then kill; returns the exit status."""
        if self.status is None:
            self.send_signal(number)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
        self.send_signal(signal.SIGKILL)  # also what the child itself left behind in its group
        status = self.popen.wait(10)
        reaper.forget(self.pid)
        return status


def free_port() -> int:
    """A TCP port on which nothing listens now, on 127.0.0.1 and on all addresses."""
    for _ in range(200):
        port = random.choice(PORT_RANGE)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            try:
                sock.bind(("", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port found between {PORT_RANGE.start} and {PORT_RANGE.stop}")


def wait_until(condition: Callable[[], bool], timeout: float, what: str, interval: float = 0.05) -> None:
    """Poll until the condition holds; TimeoutError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(interval)


def remove_folder(folder: Path) -> None:
    """Remove a folder; what cannot be removed now is left to the reaper."""
    shutil.rmtree(folder, ignore_errors=True)
