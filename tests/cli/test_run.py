"""``trabbits run`` and ``twistd trabbits`` as processes: options, environment, signals, exit statuses.

Covered: what needs no broker behind the proxy.  Not covered: sessions.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = [sys.executable, "-m", "trabbits", "run"]
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile="]
#: The protocol header, and nothing after it: such a client will not answer connection.close either.
HEADER = b"AMQP\x00\x00\x09\x01"


class Process:
    """A command whose log lines are read as they come; each call that waits is bounded by the test's time limit."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "DEBUG" and "TRABBITS" not in name}
        self.popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, "TRABBITS_METRICS_PORT": "0", **env},
            stdout=subprocess.PIPE if log == "stdout" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if log == "stderr" else subprocess.DEVNULL,
            text=True,
        )
        self._log = self.popen.stdout if log == "stdout" else self.popen.stderr

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next JSON line about `event`."""
        assert self._log is not None
        seen = []
        for line in self._log:
            seen.append(line)
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == event:
                return entry
        raise AssertionError(f"ended without {event}: {seen}")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit status and the rest of the log after a signal."""
        self.popen.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        out, err = self.popen.communicate(timeout=30)
        return self.popen.returncode, out or err or ""


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def make(command: Sequence[str], env: Mapping[str, str] | None = None, log: str = "stderr") -> Process:
        api_socket = {"TRABBITS_API_SOCKET": str(tmp_path / f"api-{len(started)}.sock")}
        started.append(Process(command, {**api_socket, **(env or {})}, log))
        return started[-1]

    yield make
    for process in started:
        process.popen.kill()
        process.popen.communicate()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            {
                "upstreams": [{"name": "far", "address": "[::1]:1"}],
                "handshake_timeout": "1h",
                "connection_close_timeout": "1h",
                "graceful_shutdown": {"shutdown_timeout": "1h"},
            }
        )
    )
    return path


def test_ready_line_pid_file_and_sigterm(start: Start, tmp_path: Path) -> None:
    """It says where it listens, keeps its pid file, closes the listener first at SIGTERM, and exits 0."""
    pid_file = tmp_path / "trabbits.pid"
    process = start([*RUN, "--port", "0", "--pid-file", str(pid_file)])
    ready = process.wait_for("listening")
    assert pid_file.read_text() == f"{process.popen.pid}\n"
    assert ready["address"] == f"0.0.0.0:{ready['port']}"
    socket.create_connection(("127.0.0.1", ready["port"])).close()
    status, log = process.end()
    assert status == 0
    assert [json.loads(line)["event"] for line in log.splitlines()][-2:] == ["stopping", "stopped"]
    assert os.listdir(tmp_path) == []


def test_environment(start: Start, config: Path) -> None:
    """Every option has its variable; DEBUG brings the details; SIGINT is as good as SIGTERM."""
    process = start(RUN, {"TRABBITS_CONFIG": str(config), "TRABBITS_PORT": "0", "DEBUG": "1"})
    loaded = process.wait_for("config_loaded")
    assert (loaded["path"], loaded["upstreams"]) == (str(config), ["far ([::1]:1)"])
    process.wait_for("library")  # Twisted's own chatter
    assert process.wait_for("listening")["port"] > 0
    assert process.end(signal.SIGINT)[0] == 0


def test_a_second_signal_ends_the_wait(start: Start, config: Path) -> None:
    """A client that does not answer connection.close is not waited for after a second SIGTERM."""
    process = start([*RUN, "--port", "0", "--config", str(config)])
    with socket.create_connection(("127.0.0.1", process.wait_for("listening")["port"])) as client:
        client.sendall(HEADER)
        assert client.recv(65536)[:1] == b"\x01"  # connection.start
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait_for("stopping")["sessions"] == 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(client.getpeername())
        status, log = process.end()
    assert status == 1
    assert [json.loads(line)["event"] for line in log.splitlines() if "TR00" in line] == ["aborted", "stopped"]


def test_sighup_reloads(start: Start, config: Path) -> None:
    """What is wrong with the file is logged and changes nothing; what is right is used from then on."""
    process = start([*RUN, "--port", "0", "--config", str(config)])
    before = process.wait_for("config_loaded")["hash"]
    process.wait_for("listening")
    good = json.loads(config.read_text())
    config.write_text('{"upstreams": []}')
    process.popen.send_signal(signal.SIGHUP)
    assert process.wait_for("config_refused")["problems"] == ["upstreams: expected a list of at least 1"]
    config.write_text(json.dumps(good))
    process.popen.send_signal(signal.SIGHUP)
    assert process.wait_for("config_unchanged")["hash"] == before
    config.write_text(json.dumps({**good, "heartbeat": 7}))
    process.popen.send_signal(signal.SIGHUP)
    assert process.wait_for("config_reloaded")["hash"] != before
    process.wait_for("reload_finished")
    assert process.end()[0] == 0


def test_sighup_without_a_file(start: Start) -> None:
    process = start([*RUN, "--port", "0"])
    process.wait_for("listening")
    process.popen.send_signal(signal.SIGHUP)
    process.wait_for("reload_impossible")
    assert process.end()[0] == 0


def test_two_processes_on_one_port(start: Start) -> None:
    """One may join the other, unless one of the two wants to be alone."""
    first = start([*RUN, "--port", "0"])
    port = str(first.wait_for("listening")["port"])
    status, log = start([*RUN, "--port", port, "--no-reuse-port"]).wait()
    assert status == 1
    assert f"trabbits: cannot listen on port {port} of every address: Address already in use" in log
    second = start([*TWISTD, "trabbits", "--port", port], log="stdout")
    assert second.wait_for("listening")["port"] == int(port)
    assert first.end()[0] == 0
    socket.create_connection(("127.0.0.1", int(port))).close()
    assert second.end()[0] == 0


def test_a_pid_file_in_use(start: Start, tmp_path: Path) -> None:
    """The second process does not start, never listens, and leaves the first one's file."""
    pid_file = tmp_path / "trabbits.pid"
    command = [*RUN, "--port", "0", "--pid-file", str(pid_file)]
    first = start(command)
    first.wait_for("listening")
    status, log = start(command).wait()
    assert status == 1
    assert "listening" not in log
    text = f"trabbits: cannot start: process {first.popen.pid} runs already ({pid_file}): stop it first, or "
    assert text in log
    assert pid_file.read_text() == f"{first.popen.pid}\n"
    assert first.end()[0] == 0
    assert os.listdir(tmp_path) == []


def test_a_pid_file_goes_when_the_start_fails(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert start([*RUN, "--port", port, "--pid-file", str(tmp_path / "x.pid")]).wait()[0] == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("pid_file", ["/nonexistent/trabbits.pid", None])
def test_what_keeps_it_from_starting_is_one_line(start: Start, pid_file: str | None) -> None:
    """A port in use, or a pid file that cannot be written: status 1, one clear line."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--port", "0", "--pid-file", pid_file] if pid_file else ["--port", str(port)]
        status, log = start([*RUN, *arguments]).wait()
    text = f"cannot start: [Errno 2] No such file or directory: '{pid_file}'"
    if pid_file is None:
        text = f"cannot listen on port {port} of every address: Address already in use"
    assert status == 1
    assert [line for line in log.splitlines() if not line.startswith("{")] == [f"trabbits: {text}"]


def test_a_bad_configuration_is_no_traceback(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"upstreams": [{"name": "a", "address": 5}]}')
    expected = (
        f"trabbits: {path}: 1 error in the configuration\n"
        '  upstreams[0].address: expected "host:port", such as "localhost:5672", found 5\n'
    )
    assert start([*RUN, "--config", str(path)]).wait() == (2, expected)
    assert start([*TWISTD, "trabbits", "--config", str(path)]).wait() == (2, expected)


EAGER = """
from trabbits.interfaces import INodeSelector
from trabbits.plugins.declaring import Plugin, PluginOptions
from trabbits.plugins.ordered import Ordered


class Options(PluginOptions):
    how: str


def make(options, context):
    if context.reactor is None:
        return Ordered([])
    if options.how == "exit":
        raise SystemExit("hunter2")
    raise ValueError(f"no room for {options.how}")


eager = Plugin("eager", INodeSelector, Options, make)
"""


@pytest.mark.parametrize("command", [RUN, [*TWISTD, "trabbits"]], ids=["run", "twistd"])
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("exit", 'the plugin "eager" cannot be made: SystemExit in eager.py, line 15'),
        ("${HOW}", "no room for ${HOW}"),
    ],
)
def test_a_plugin_that_fails_only_when_it_starts_is_no_traceback(
    start: Start, tmp_path: Path, command: list[str], how: str, why: str
) -> None:
    """The same as if it had failed when the configuration was read, and no more of what variables hold."""
    folder = tmp_path / "trabbits" / "plugins"
    folder.mkdir(parents=True)
    (folder / "eager.py").write_text(EAGER)
    path = tmp_path / "config.json"
    selector = {"plugin": "eager", "options": {"how": how}}
    path.write_text(json.dumps({"upstreams": [{"name": "a", "address": "localhost:1", "selector": selector}]}))
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "HOW": "hunter2"}
    assert start([*command, "--config", str(path)], environment).wait() == (
        2,
        f"trabbits: {path}: 1 error in the configuration\n"
        '  upstreams[0].selector.options: the plugin "eager" fails when it is to start, which `trabbits config check` '
        f"does not try ({why}): remove the cause, or take the plugin out of the configuration\n",
    )


@pytest.mark.parametrize(("encoding", "sign"), [("ascii", "✓"), ("latin-1", "\\u2713"), ("utf-8", "✓")])
def test_any_locale(start: Start, encoding: str, sign: str) -> None:
    """A locale without the signs we print is no reason to fail."""
    command = [sys.executable, "-m", "trabbits", "test", "match-routing", "a", "a"]
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    assert start(command, environment, log="stdout").wait() == (0, f"{sign} MATCHED: pattern 'a' matches key 'a'\n")


def test_twistd(start: Start, config: Path) -> None:
    """``twistd trabbits`` is the same service with the same log lines, in the place that twistd is told."""
    process = start([*TWISTD, "trabbits", "--port", "0", "--config", str(config)], log="stdout")
    assert process.wait_for("config_loaded")["path"] == str(config)
    assert process.wait_for("listening")["port"] > 0
    process.popen.send_signal(signal.SIGHUP)
    process.wait_for("config_unchanged")
    status, log = process.end()
    assert status == 0
    assert json.loads(log.splitlines()[-1])["event"] == "stopped"


def test_twistd_and_a_second_signal(start: Start, config: Path) -> None:
    """It ends the wait there, too."""
    process = start([*TWISTD, "trabbits", "--port", "0", "--config", str(config)], log="stdout")
    with socket.create_connection(("127.0.0.1", process.wait_for("listening")["port"])) as client:
        client.sendall(HEADER)
        assert client.recv(65536)[:1] == b"\x01"
        process.popen.send_signal(signal.SIGINT)
        process.wait_for("stopping")
        _, log = process.end(signal.SIGINT)
    assert [json.loads(line)["event"] for line in log.splitlines() if "TR00" in line] == ["aborted", "stopped"]


def test_twistd_with_a_log_file(start: Start, tmp_path: Path) -> None:
    """``--logfile`` gets our lines, in the format asked for, and wrong options are explained."""
    path = tmp_path / "proxy.log"
    pid_file = tmp_path / "proxy.pid"
    command = [*TWISTD, "--logfile", str(path), "trabbits", "--log-format", "text", "--pid-file", str(pid_file)]
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        status, _ = start([*command, "--port", str(port)]).wait()
    assert status == 1
    assert "TR001 configuration loaded from (defaults)" in path.read_text()
    assert not pid_file.exists()
    status, output = start([*TWISTD, "trabbits"], {"TRABBITS_PORT": "x"}, log="stdout").wait()
    assert status == 1
    assert "TRABBITS_PORT must be a number from 0 to 65535" in output
