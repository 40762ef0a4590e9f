"""The console in a real terminal: tmux presses keys and reads the screen; the server is invented.

Covered: every key, the golden screens, resizing, 10 000 clients, a server that goes away, comes back or says nothing,
the terminal's state afterwards.  Not covered here: a real server.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.console.fake_server import FakeServer, State, log_line, method_event
from tests.console.terminal import ROOT, Tmux, check_screen, console_command
from tests.console.test_screen import UPSTREAM

Start = Callable[..., Tmux]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Its name is always of the same length: it stands on the screens."""
    with TemporaryDirectory(prefix="console-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def server(folder: Path) -> Iterator[FakeServer]:
    server = FakeServer(folder / "api", State(clients=60)).start()
    yield server
    server.stop()


@pytest.fixture
def start(folder: Path, server: FakeServer) -> Iterator[Start]:
    """Start the console; it shows the clients when this returns."""
    terminals: list[Tmux] = []

    def make(width: int = 80, height: int = 24, ready: str | None = None, command: list[str] | None = None) -> Tmux:
        terminal = Tmux(folder, command or console_command(server.path), width, height)
        terminals.append(terminal)
        terminal.wait("updated", ready or has_rows)
        return terminal

    yield make
    for terminal in terminals:
        terminal.close()


def has_rows(screen: str) -> bool:
    """Whether it says which clients it shows: from then on keys have something to act on."""
    return re.search(r"\d-\d+ of \d", screen) is not None


def marked(screen: str) -> str:
    return next((line for line in screen.split("\n") if line.startswith("▸")), "")


def marks(text: str) -> Callable[[str], bool]:
    return lambda screen: text in marked(screen)


class TestGoldenScreens:
    def test_clients(self, start: Start) -> None:
        check_screen(start(), "clients", "1-19 of 60")

    def test_clients_on_a_wide_terminal(self, start: Start) -> None:
        check_screen(start(130, 30), "clients-wide", "1-25 of 60")

    def test_clients_on_a_tiny_terminal(self, start: Start) -> None:
        check_screen(start(40, 10, ready="1-5 of 60"), "clients-tiny", "1-5 of 60")

    def test_detail_probe_log_upstreams_help_and_shutdown(self, start: Start, server: FakeServer) -> None:
        state = server.state
        state.upstreams = [UPSTREAM, {**UPSTREAM, "name": "archive", "required": False, "nodes": UPSTREAM["nodes"][:1]}]
        path = f"/clients/{state.ids[1]}/probe"
        directions = (("c→t", ""), ("t→u", "primary"), ("u→t", "primary"), ("t→c", ""))
        for number in range(8):
            direction, upstream = directions[number % 4]
            fields: dict[str, Any] = {"direction": direction, "upstream": upstream}
            if number % 4 > 1:
                fields |= {"method": "Basic.Ack", "arguments": {"delivery_tag": number, "multiple": False}}
            state.send(path, method_event(number, **fields))
        state.send("/logs", log_line(1))
        state.send("/logs", log_line(2, level="warn", id="TR209", message="10.1.1.2:5672 of primary is isolated"))
        state.send("/logs", log_line(3, level="error", id="TR006", message="upstreams[0].address: expected host:port"))
        terminal = start()
        terminal.keys("j", "Enter")
        check_screen(terminal, "detail", "Methods (993)")
        terminal.keys("End")
        check_screen(terminal, "detail-end", "connection_name")
        terminal.keys("p")
        check_screen(terminal, "probe", "8 events")
        terminal.keys("s")
        check_screen(terminal, "save", "Save to")
        terminal.keys("Escape")  # alone: with another key right behind it, it would mean Alt
        terminal.wait("? help")
        terminal.keys("l")
        check_screen(terminal, "log", "3 events")
        terminal.keys("u")
        check_screen(terminal, "upstreams", "archive")
        terminal.keys("q", "q", "q", "q", "?")
        check_screen(terminal, "help", "Keys (")
        terminal.keys("q", "K")
        check_screen(terminal, "shutdown", "Shut down a client")
        terminal.keys("Escape")
        terminal.wait("!Shut down a client")
        terminal.keys("/")
        terminal.type("carol")
        check_screen(terminal, "filter", "/carol", "of 12")


class TestKeys:
    def test_movement(self, start: Start, server: FakeServer) -> None:
        ids = [each[:12] for each in server.state.ids]
        terminal = start()
        moves = [("Down", 1), ("j", 2), ("Up", 1), ("k", 0), ("PageDown", 19), ("PageDown", 38), ("PageUp", 19)]
        for key, number in [*moves, ("End", 59), ("Home", 0)]:
            terminal.keys(key)
            terminal.wait(marks(ids[number]))

    def test_sorting(self, start: Start, server: FakeServer) -> None:
        terminal = start()
        for key, title in [("8", "▼Frames"), ("8", "▲Frames"), ("<", "▼Methods"), ("1", "Id▲"), (">", "User▲")]:
            terminal.keys(key)
            terminal.wait(title)
        terminal.keys("7")
        most = max(client["total_methods"] for client in server.state.clients.values())
        terminal.wait(marks(f" {most} "))

    def test_filter(self, start: Start) -> None:
        terminal = start()
        terminal.keys("/")
        terminal.type("carol")
        terminal.wait("of 12,", "/carol")
        terminal.keys("Enter")
        terminal.wait('with "carol"', "? help")
        terminal.keys("Escape")
        terminal.wait("of 60,")
        terminal.keys("/")
        terminal.type("grünwald")
        terminal.wait("of 12,")
        terminal.keys("Escape")
        terminal.wait("of 60,", "? help")

    def test_detail_is_live(self, start: Start, server: FakeServer) -> None:
        terminal = start()
        terminal.keys("Enter")
        terminal.wait("Methods (993)")
        server.state.details[server.state.ids[0]] = {"stats": {"methods": {"Basic.Get": 5000}}}
        terminal.wait("Methods (5 000)", "Basic.Get")
        terminal.keys("q")
        terminal.wait("Vhost")

    def test_probe_follows_stands_still_and_is_saved(self, start: Start, server: FakeServer, folder: Path) -> None:
        path = f"/clients/{server.state.ids[0]}/probe"
        terminal = start(130)
        terminal.keys("p")
        terminal.wait("Nothing yet", "live")
        for number in range(40):
            server.state.send(path, method_event(number))
        terminal.wait("order.39\n", "40 events, auto-scroll on, live")
        terminal.keys("Space")
        terminal.wait("auto-scroll off")
        server.state.send(path, method_event(40))
        terminal.wait("41 events", "!order.40\n")
        terminal.keys("Space")
        terminal.wait("order.40\n", "auto-scroll on")
        terminal.keys("PageUp")
        terminal.wait("auto-scroll off", "!order.40\n")
        terminal.keys("s")
        terminal.wait("Save to")
        terminal.keys("C-u")
        terminal.type(str(folder / "saved.jsonl"))
        terminal.keys("Enter")
        terminal.wait("Saved 41 events")
        saved = [json.loads(line) for line in (folder / "saved.jsonl").read_text().splitlines()]
        assert saved == [method_event(number) for number in range(41)]
        server.state.send(path, {"type": "proxy_ended"})
        terminal.keys("End")
        terminal.wait("The client has left.", "ended")

    def test_log_is_live(self, start: Start, server: FakeServer) -> None:
        server.state.send("/logs", log_line(1, message="said before"))
        terminal = start()
        terminal.keys("l")
        terminal.wait("said before")
        server.state.send("/logs", log_line(2, message="said now"))
        terminal.wait("said now")
        terminal.keys("Escape")
        terminal.wait("Vhost")

    def test_upstreams_are_live(self, start: Start, server: FakeServer) -> None:
        terminal = start()
        terminal.keys("u")
        terminal.wait("No upstreams")
        server.state.upstreams = [UPSTREAM]
        terminal.keys("r")
        terminal.wait("primary", "isolated")

    def test_shutting_down_a_client(self, start: Start, server: FakeServer) -> None:
        second = server.state.ids[1]
        terminal = start()
        terminal.keys("Down", "K")
        terminal.wait("Shut down a client", second, "bob at virtual host shop")
        terminal.keys("Escape")
        terminal.wait("!Shut down a client")
        terminal.keys("K")
        terminal.wait("Shut down a client")
        terminal.type("Kept too long: quit?")
        terminal.keys("Enter")
        terminal.wait(f"{second} is being shut down.", marks("leaving"))
        assert server.state.deleted == [(second, "Kept too long: quit?")]

    def test_refresh_and_drawing_anew(self, start: Start, server: FakeServer) -> None:
        terminal = start()
        del server.state.clients[server.state.ids[0]]
        terminal.keys("r")
        terminal.wait("of 59,")
        terminal.keys("C-l")
        terminal.wait("of 59,")

    def test_help_and_quitting(self, start: Start) -> None:
        terminal = start()
        terminal.keys("?")
        terminal.wait("Keys (")
        terminal.keys("q")
        terminal.wait("!Keys (")
        terminal.keys("q")
        assert terminal.wait_for_end() == 0


class TestTerminal:
    def test_survives_every_size(self, start: Start) -> None:
        terminal = start()
        sizes = [
            (120, 40, "1-35 of 60"),
            (50, 12, "1-7 of 60"),
            (10, 3, "1-1 of 60"),
            (80, 24, "1-19 of 60"),
        ]
        for width, height, shown in sizes:
            terminal.resize(width, height)
            screen = terminal.wait(shown)
            assert terminal.status is None, screen
        terminal.keys("Enter")
        terminal.wait("Banner")
        terminal.resize(100, 45)
        terminal.wait("connection_name")

    @pytest.mark.parametrize("way", ["q", "C-c", "SIGTERM"])
    def test_leaves_the_terminal_as_it_was(self, start: Start, server: FakeServer, folder: Path, way: str) -> None:
        pid = folder / "pid"
        script = f"""
            stty -a > before
            sh -c 'echo $$ > pid; exec "$@"' sh {shlex.join(console_command(server.path))}
            echo ended $?; stty -a > after; echo done; cat
        """
        # Job control, so that the keyboard's signals go to the console alone.
        terminal = start(command=["bash", "-c", f"set -m\n{script}"])
        if way == "SIGTERM":
            os.kill(int(pid.read_text()), signal.SIGTERM)
        else:
            terminal.keys(way)
        screen = terminal.wait("ended", "done")
        assert f"ended {143 if way == 'SIGTERM' else 0}" in screen
        assert "Vhost" not in screen, "the screen from before is back"
        assert "Traceback" not in screen
        assert (folder / "after").read_text() == (folder / "before").read_text()

    def test_needs_a_terminal(self, server: FakeServer) -> None:
        done = subprocess.run(
            console_command(server.path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 2
        assert "needs a terminal" in done.stderr

    def test_foreign_text_commands_nothing(self, start: Start, server: FakeServer) -> None:
        first = server.state.clients[server.state.ids[0]]
        first["user"] = "\x1b]0;owned\x07\x1b[2J\x9b2Jx"
        terminal = start()
        assert "owned" not in terminal.run("display-message", "-p", "#{pane_title}")
        assert "1-19 of 60" in terminal.screen()

    def test_ten_thousand_clients(self, start: Start, server: FakeServer) -> None:
        many = State(clients=10_000)
        server.state.clients = many.clients
        ids = [each[:12] for each in many.ids]
        terminal = start(ready="of 10 000")
        began = time.monotonic()
        for key, number in [("End", 9999), ("PageUp", 9980), ("Home", 0), ("PageDown", 19)]:
            terminal.keys(key)
            terminal.wait(marks(ids[number]))
        terminal.keys(*["PageDown"] * 100)
        terminal.wait(marks(ids[1919]))
        took = time.monotonic() - began
        assert took < 6, f"105 keys took {took:.1f} s"
        check_screen(terminal, "ten-thousand", "of 10 000", "!…\n…")


class TestServer:
    def test_goes_away_and_comes_back(self, start: Start, server: FakeServer) -> None:
        terminal = start()
        terminal.keys("Down")
        server.stop()
        screen = terminal.wait("no answer for", "Is trabbits running?")
        assert server.state.ids[1][:12] in marked(screen), "what was known stays"
        terminal.keys("Enter")
        terminal.wait("Asking the server")
        terminal.keys("q")
        server.start()
        terminal.wait("updated", "!no answer", marks(server.state.ids[1][:12]))

    def test_is_not_there_yet(self, start: Start, server: FakeServer, folder: Path) -> None:
        server.stop()
        terminal = Tmux(folder, console_command(server.path))
        try:
            check_screen(terminal, "unreachable", "no such socket")
            server.start()
            terminal.wait("1-19 of 60")
        finally:
            terminal.close()

    def test_says_nothing_and_keys_still_work(self, start: Start, server: FakeServer) -> None:
        server.state.clients = State(clients=200).clients
        terminal = start()
        server.freeze()
        for _ in range(3):
            terminal.keys("?")
            terminal.wait("Keys (")
            terminal.keys("q")
            terminal.wait("!Keys (")
        terminal.keys("End", "Enter")
        terminal.wait(marks("…"), "No client is selected.")
        terminal.wait("no answer for")
        server.thaw()
        terminal.wait("updated", marks(server.state.ids[199][:12]))

    def test_a_probe_goes_on_when_the_server_is_back(self, start: Start, server: FakeServer) -> None:
        path = f"/clients/{server.state.ids[0]}/probe"
        server.state.send(path, method_event(1))
        terminal = start(130)
        terminal.keys("p")
        terminal.wait("1 event,", "live")
        server.stop()
        terminal.wait("interrupted, trying again")
        server.state.send(path, method_event(2))
        server.start()
        terminal.wait("2 events,", "live", "order.2\n")
