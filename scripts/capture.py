"""Makes the README's pictures from the running program: `capture.py FOLDER`.

Starts `trabbits demo` in a terminal (tmux), does what it proposes, opens the console in another one, and draws both
screens as they are. It uses the ports and the socket that the demo has by itself, so nothing else may.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ansi_svg import svg

BIN = Path(sys.executable).parent
#: Seconds that any step may take.
TIMEOUT = 60.0


class Terminal:
    """A program in a tmux of its own."""

    def __init__(self, folder: Path, name: str, command: str, width: int, height: int) -> None:
        self._socket = str(folder / name)
        self._folder = folder
        self._width = width
        config = folder / "tmux.conf"
        config.write_text("set -g status off\nset -g default-terminal tmux-256color\nset -g remain-on-exit on\n")
        # The prompt is part of the picture.
        shown = f"printf '$ %s\\n' {shlex.quote(command)}; exec {command}"
        self._run("-f", str(config), "new-session", "-d", "-x", str(width), "-y", str(height), shown)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", self._socket, *arguments],
            cwd=self._folder,
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"tmux {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def screen(self, *options: str) -> str:
        """What is shown, with tmux' options for that."""
        return self._run("capture-pane", "-p", *options)

    def picture(self, title: str) -> str:
        """The screen as SVG, with its colours and the ends of its lines."""
        return svg(self.screen("-e", "-N"), title, self._width)

    def wait(self, shows: Callable[[str], bool], what: str) -> str:
        """The screen once it shows that."""
        deadline = time.monotonic() + TIMEOUT
        while not shows(screen := self.screen()):
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {TIMEOUT:g} s: {what}\n{screen}")
            time.sleep(0.2)
        return screen

    def keys(self, *keys: str) -> None:
        """Press keys by tmux' names."""
        self._run("send-keys", *keys)

    def close(self) -> None:
        """End the program."""
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True, check=False)


def environment() -> dict[str, str]:
    """What programs in pictures see: nothing of this machine but where they are."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "USER")}
    path = f"{BIN}:{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}


def main(pictures: Path) -> None:
    """Make all pictures; SystemExit with the reason when one cannot be made."""
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trabbits-pictures-") as name:
        folder = Path(name)
        demo = Terminal(folder, "demo", "trabbits demo", 100, 40)
        try:
            screen = demo.wait(lambda screen: "logs.#" in screen and "0:06" in screen, "the demo runs")
            move = next(line for line in screen.splitlines() if "sed -i" in line).strip()
            commands = f"{move} && trabbits manage config reload"
            subprocess.run(["sh", "-c", commands], cwd=folder, env=environment(), check=True, capture_output=True)
            demo.wait(lambda screen: "orders: moved" in screen and "0:15" in screen, "the orders have moved")
            (pictures / "demo.svg").write_text(demo.picture("trabbits demo"))
            picture_console(folder, pictures)
            demo.keys("C-c")
            demo.wait(lambda screen: "The demo has ended" in screen, "the demo ends")
        finally:
            demo.close()


def picture_console(folder: Path, pictures: Path) -> None:
    """The console, looking at the demo's clients, and at the protocol of one."""
    console = Terminal(folder, "console", "trabbits manage clients", 100, 16)
    try:
        # Rates need two answers.
        console.wait(lambda screen: "6 active" in screen and " 0 publishes" not in screen, "the console shows clients")
        time.sleep(4)
        (pictures / "console.svg").write_text(console.picture("trabbits manage clients"))
        console.keys("p")
        console.wait(lambda screen: "Basic." in screen, "the console shows the protocol")
        time.sleep(2)
        (pictures / "probe.svg").write_text(console.picture("trabbits manage clients, then p"))
    finally:
        console.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
