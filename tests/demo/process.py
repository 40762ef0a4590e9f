"""``trabbits demo`` as a process, its output read as it comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
TRABBITS = [sys.executable, "-m", "trabbits"]
#: Seconds to wait for anything; machines that test are busy.
TIMEOUT = 40.0


class DemoProcess:
    """A demo on free ports, with its socket in `folder`; on a pseudo-terminal if `terminal` says so."""

    def __init__(self, folder: Path, *options: str, terminal: bool = False, port: int = 0) -> None:
        self.socket = folder / "api.sock"
        self.begun = time.monotonic()
        self._output = ""
        self._changed = threading.Condition()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRABBITS", "DEBUG"))}
        environment = {**kept, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "TMPDIR": str(folder)}
        command = [*TRABBITS, "demo", f"--port={port}", "--metrics-port=0", f"--api-socket={self.socket}", *options]
        ours, theirs = os.openpty() if terminal else os.pipe()
        self._terminal = ours if terminal else None
        self.popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(ours, "rb", buffering=0),), daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """All of it so far."""
        with self._changed:
            return self._output

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the output; AssertionError with the output if there is none."""
        deadline = time.monotonic() + TIMEOUT
        with self._changed:
            while (found := re.search(pattern, self._output)) is None:
                ended = not self._reader.is_alive()
                assert not ended and time.monotonic() < deadline, f"no {pattern!r} in:\n{self._output}"
                self._changed.wait(0.2)
            return found

    @property
    def url(self) -> str:
        """Where its clients connect, once it is ready."""
        return self.wait_for(r"amqp://\S+")[0]

    def manage(self, *words: str) -> str:
        """What `trabbits manage` prints about it."""
        command = [*TRABBITS, "manage", "--api-socket", str(self.socket), *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout

    def end(self, number: int | None = signal.SIGINT) -> int:
        """The exit status, after a signal unless it is None."""
        if number is not None:
            self.popen.send_signal(number)
        status = self.popen.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        return status

    def close(self) -> None:
        """End it, if a test has not."""
        self.popen.kill()
        self.popen.wait()
        self._reader.join(TIMEOUT)

    def _read(self, stream: BinaryIO) -> None:
        with stream:
            while True:
                try:
                    octets = stream.read(65536)
                except OSError:
                    octets = b""  # a terminal without a program
                with self._changed:
                    self._output += octets.decode(errors="replace")
                    self._changed.notify_all()
                if not octets:
                    return


Start = Callable[..., DemoProcess]
Options = Sequence[str]
