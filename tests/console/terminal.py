"""The console in a real terminal: tmux runs it, types keys and reads the screen.

Screens are compared with golden files in tests/console/screens/. After a wanted change: rewrite them with
`TRABBITS_REWRITE_SCREENS=1 .venv/bin/python -m pytest tests/console`, and read the difference.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCREENS = Path(__file__).parent / "screens"
REWRITE = "TRABBITS_REWRITE_SCREENS"

#: What differs from run to run, with a stand-in of the same width.
MASKS = [
    (re.compile(r"(-|\d)(?= (methods|frames|publishes|deliveries)/s)"), "N"),
    (re.compile(r"(-|\d)(?=/s\b)"), "N"),
    (re.compile(r"/tmp/console-\w{8}"), "/tmp/console-________"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "YYYY-MM-DD"),
    (re.compile(r"\d\d:\d\d:\d\d"), "HH:MM:SS"),
    (re.compile(r"\d{8}-\d{6}"), "YYYYMMDD-HHMMSS"),
    (re.compile(r"2h0\dm"), "2h0_m"),
]


class Tmux:
    """A tmux server of its own with one window, and what runs in it."""

    def __init__(self, folder: Path, command: list[str], width: int = 80, height: int = 24, **env: str) -> None:
        self.folder = folder
        self._socket = str(folder / "tmux")
        config = folder / "tmux.conf"
        # Escape is a key here and no beginning of one; the window stays when its program ends, to be read.
        config.write_text(
            "set -g escape-time 0\nset -g remain-on-exit on\nset -g status off\nset -g default-terminal tmux\n"
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")}
        environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "xterm", "TZ": "UTC", "ESCDELAY": "0", **env}
        self._environment = environment
        self.run(
            *("-u", "-f", str(config), "new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(folder)),
            *command,
        )

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *arguments],
            env=self._environment,
            capture_output=True,
            encoding="utf-8",
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Press keys by tmux' names: `Enter`, `PageDown`, `q`."""
        self.run("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type text."""
        self.run("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        self.run("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        """What is on the screen now."""
        lines = self.run("capture-pane", "-p").split("\n")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n")

    def wait(self, *wanted: str | Callable[[str], bool], timeout: float = 10.0) -> str:
        """The screen as soon as it shows all of this (a text preceded by `!`: doesn't show it)."""
        deadline = time.monotonic() + timeout
        while True:
            screen = self.screen()
            if all(_shows(screen, each) for each in wanted):
                return screen
            assert time.monotonic() < deadline, f"not within {timeout:g} s: {wanted}\n{boxed(screen)}"
            time.sleep(0.02)

    @property
    def status(self) -> int | None:
        """The exit status of the program, None while it runs."""
        dead, status, signal = self.run(
            "display-message", "-p", "#{pane_dead},#{pane_dead_status},#{pane_dead_signal}"
        ).split(",")
        if dead.strip() != "1":
            return None
        return int(status) if status else -int(signal.strip() or 0)

    def wait_for_end(self, timeout: float = 10.0) -> int:
        """The exit status of the program."""
        deadline = time.monotonic() + timeout
        while (status := self.status) is None:
            assert time.monotonic() < deadline, f"still runs\n{boxed(self.screen())}"
            time.sleep(0.02)
        return status

    @property
    def pid(self) -> int:
        return int(self.run("display-message", "-p", "#{pane_pid}"))

    def close(self) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True, timeout=20, check=False)


def _shows(screen: str, wanted: str | Callable[[str], bool]) -> bool:
    if callable(wanted):
        return wanted(screen)
    return wanted[1:] not in screen if wanted.startswith("!") else wanted in screen


def console_command(socket: Path) -> list[str]:
    """The console alone, as the command line starts it."""
    code = (
        "import sys; from trabbits.api_client import ApiClient; from trabbits.console.main import run_console; "
        f"sys.path.insert(0, {str(ROOT)!r}); sys.exit(run_console(ApiClient(socket={str(socket)!r})))"
    )
    return [sys.executable, "-c", code]


def boxed(screen: str) -> str:
    """A screen with its edges, for messages and golden files."""
    lines = screen.split("\n")
    width = max(map(len, lines), default=0)
    return "\n".join(["┌" + "─" * width, *("│" + line for line in lines), "└" + "─" * width]) + "\n"


def masked(screen: str) -> str:
    """The screen without what differs from run to run."""
    for pattern, stand_in in MASKS:
        screen = pattern.sub(stand_in, screen)
    return screen


def check_screen(terminal: Tmux, name: str, *wanted: str | Callable[[str], bool]) -> None:
    """The screen shows all of this, and it becomes what the golden file has."""
    path = SCREENS / f"{name}.txt"
    screen = terminal.wait(*wanted)
    if os.environ.get(REWRITE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(boxed(masked(screen)))
    expected = path.read_text() if path.exists() else ""
    try:
        terminal.wait(lambda screen: boxed(masked(screen)) == expected)
    except AssertionError:
        found = boxed(masked(terminal.screen()))
        lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "expected", "found", lineterm="", n=1)
        raise AssertionError(f"{path.name} differs; {REWRITE}=1 rewrites it:\n" + "\n".join(lines)) from None
