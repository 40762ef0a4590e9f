"""Real RabbitMQ nodes for trials and tests, each with its own ports, data and configuration.

What lives here: finding RabbitMQ's scripts, starting a node as the current user, knowing when it answers,
freezing, killing and restarting it. All nodes of one process share one private epmd and one cookie, so that they can
form a cluster without meeting any other RabbitMQ of the machine.

What it must not know: Twisted, pytest, the proxy. HTTP access to a node is in management.py.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from pamqp import commands, frame
from pamqp.base import Frame
from pamqp.header import ProtocolHeader

from trabbits.testing.management import Management
from trabbits.testing.processes import ChildProcess, StartError, free_port, reaper, remove_folder
from trabbits.testing.rabbitmq_home import make_home

SCRIPT_PLACES = ("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "/opt/rabbitmq*/sbin", "/usr/local/sbin")
START_TIMEOUT = 90.0
START_ATTEMPTS = 3

# One process may start several nodes; they share these.
_epmd_lock = threading.Lock()
_epmd: tuple[ChildProcess, int] | None = None
_cookie = secrets.token_hex(16)


def find_scripts() -> Path | None:
    """The folder with RabbitMQ's own `rabbitmq-server` and `rabbitmqctl`, newest version first, or None.

    The scripts in /usr/sbin of distributions switch to the user `rabbitmq`; those here run as the current user.
    """
    for place in SCRIPT_PLACES:
        folders = sorted(Path("/").glob(place.lstrip("/")), key=_version_of, reverse=True)
        for folder in folders:
            if (folder / "rabbitmq-server").exists() and (folder / "rabbitmq-env").exists():
                return folder
    found = shutil.which("rabbitmq-server")
    return Path(found).resolve().parent if found else None


def _version_of(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.partition("-")[2].split(".") if part.isdigit())


class RabbitNode:
    """One RabbitMQ node on 127.0.0.1.

    `config` holds lines of rabbitmq.conf (sysctl format) that override the defaults below (None removes one);
    `plugins` names the plugins to enable; with "rabbitmq_management" among them `management` works. `schedulers` is
    the number of cores that the node may use. A node is usable again after stop(), kill() and restart(): same ports,
    same data. close() ends it for good and removes its data. Usable as a context manager.
    """

    def __init__(
        self,
        name: str = "rabbit",
        config: Mapping[str, object] | None = None,
        plugins: Sequence[str] = ("rabbitmq_management",),
        schedulers: int = 1,
    ) -> None:
        self.name = f"{name}-{secrets.token_hex(3)}@localhost"
        self.config = dict(config or {})
        self.plugins = tuple(plugins)
        self.schedulers = schedulers
        self.folder = Path(tempfile.mkdtemp(prefix=f"trabbits-{name}-"))
        self.port = 0
        self.management_port = 0
        self.management: Management | None = None
        self._dist_port = 0
        self._process: ChildProcess | None = None
        self._own_scripts: Path | None = None
        reaper.remove_at_end(self.folder)

    @property
    def address(self) -> str:
        """`host:port` of the AMQP listener."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The AMQP URL of the virtual host `/` with the user `guest`."""
        return self.url_of("/")

    def url_of(self, virtual_host: str, user: str = "guest", password: str = "guest") -> str:
        """The AMQP URL of a virtual host."""
        return f"amqp://{quote(user, '')}:{quote(password, '')}@{self.address}/{quote(virtual_host, '')}"

    @property
    def running(self) -> bool:
        """Whether the node's process exists (it may be paused)."""
        return self._process is not None and self._process.status is None

    def start(self, timeout: float = START_TIMEOUT) -> RabbitNode:
        """Start and wait until a whole AMQP handshake succeeds; StartError with the node's log otherwise."""
        if self.running:
            return self
        first_start = self.port == 0
        if first_start:
            self._own_scripts = make_home(_scripts(), self.plugins, self.folder / "home")
        for attempt in range(START_ATTEMPTS if first_start else 1):
            if first_start:
                self._choose_ports()
            self._write_files()
            self._spawn()
            try:
                self._await_ready(time.monotonic() + timeout)
                return self
            except StartError as error:
                self.kill()
                port_taken = "eaddrinuse" in str(error) or "already in use" in str(error)
                if not port_taken or attempt == START_ATTEMPTS - 1 or not first_start:
                    raise
        raise AssertionError("unreachable")

    def stop(self, timeout: float = 30.0) -> None:
        """Shut down in order (SIGTERM), so that durable data is complete."""
        if self._process is not None:
            self.resume()
            self._process.end(signal.SIGTERM, timeout)
            self._process = None

    def kill(self) -> None:
        """End the node at once (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.end(signal.SIGKILL)
            self._process = None

    def restart(self) -> None:
        """stop() and start() on the same ports with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the node (SIGSTOP): its sockets stay open and nothing answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo pause()."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the node and remove its data."""
        self.kill()
        remove_folder(self.folder)

    def __enter__(self) -> RabbitNode:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def ctl(self, *args: str, timeout: float = 60.0) -> str:
        """Run rabbitmqctl against this node (takes 1-2 s) and return what it printed; RuntimeError if it failed."""
        done = subprocess.run(
            [str(_scripts() / "rabbitmqctl"), "-q", "-n", self.name, *args],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(args)} on {self.name}: {done.stdout}{done.stderr}")
        return done.stdout

    @property
    def log(self) -> str:
        """What the node logged so far, over all its starts."""
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _choose_ports(self) -> None:
        ports: set[int] = set()
        while len(ports) < 3:
            ports.add(free_port())
        self.port, self._dist_port, self.management_port = ports
        if "rabbitmq_management" in self.plugins:
            self.management = Management(f"http://127.0.0.1:{self.management_port}")

    def _write_files(self) -> None:
        lines: dict[str, object] = {
            "listeners.tcp.1": self.address,
            "loopback_users.guest": "false",
            "disk_free_limit.absolute": "1MB",
            "num_acceptors.tcp": 2,
            "log.console.level": "info",
        }
        if self.management is not None:
            lines["management.tcp.ip"] = "127.0.0.1"
            lines["management.tcp.port"] = self.management_port
            lines["collect_statistics_interval"] = 1000
            # The HTTP API samples as often as its finest policy wants: each second, not every five.
            for policy in ("global", "basic", "detailed"):
                lines[f"management.sample_retention_policies.{policy}.minute"] = 1
        lines.update(self.config)
        text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)
        (self.folder / "rabbitmq.conf").write_text(text)
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self.plugins)}].\n")
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(_cookie)
            cookie.chmod(0o400)

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        inherited = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "LC_ALL", "TMPDIR")}
        if self._own_scripts is not None:
            inherited["RABBITMQ_SCRIPTS_DIR"] = str(self._own_scripts)
        flags = f"+S {self.schedulers}:{self.schedulers} +SDcpu 1:1 +SDio 2 +A 4"
        return {
            "LANG": "C.UTF-8",
            **inherited,
            "HOME": folder,
            "ERL_EPMD_PORT": str(_epmd_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the Erlang VM instead of watching over it
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONFIG_FILES": f"{folder}/conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{folder}/node.pid",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            # RabbitMQ binds schedulers to cores; nodes with one scheduler each would all sit on the first core.
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": flags,
        }

    def _spawn(self) -> None:
        with open(self.folder / "console.log", "ab") as console:
            self._process = ChildProcess(
                [str(_scripts() / "rabbitmq-server")],
                env=self._environment(),
                cwd=self.folder,
                stdout=console,
                stderr=console,
            )

    def _await_ready(self, deadline: float) -> None:
        assert self._process is not None
        last: Exception | None = None
        while time.monotonic() < deadline:
            if self._process.status is not None:
                raise StartError(f"{self.name} ended with status {self._process.status}:\n{self.log[-8000:]}")
            try:
                shake_hands("127.0.0.1", self.port, timeout=5.0)
                if self.management is not None:
                    self.management.ping()
                return
            except OSError as error:
                last = error
                time.sleep(0.1)
        raise StartError(f"{self.name} is not ready in time (last: {last}):\n{self.log[-8000:]}")


def shake_hands(host: str, port: int, timeout: float, user: str = "guest", password: str = "guest") -> None:
    """Open the virtual host `/` and close the connection again; OSError when any step fails or takes too long."""
    with socket.create_connection((host, port), timeout) as sock:
        with sock.makefile("rb") as stream:

            def expect(command: type[Frame]) -> Frame:
                head = stream.read(7)
                size = int.from_bytes(head[3:7], "big")
                data = head + stream.read(size + 1)
                if len(head) < 7 or head[0] != 1 or len(data) != size + 8:
                    raise OSError(f"{host}:{port} closed the connection or sent no AMQP: {data[:40]!r}")
                received = frame.unmarshal(data)[2]
                if not isinstance(received, command):
                    raise OSError(f"{host}:{port} answered {received!r}, not {command.name}")
                return received

            def send(command: Frame) -> None:
                sock.sendall(frame.marshal(command, 0))

            sock.sendall(ProtocolHeader(0, 9, 1).marshal())
            expect(commands.Connection.Start)
            send(commands.Connection.StartOk({}, "PLAIN", f"\0{user}\0{password}", "en_US"))
            tune = expect(commands.Connection.Tune)
            assert isinstance(tune, commands.Connection.Tune)
            send(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
            send(commands.Connection.Open("/"))
            expect(commands.Connection.OpenOk)
            send(commands.Connection.Close(200, "ready", 0, 0))
            expect(commands.Connection.CloseOk)


def start_all(nodes: Sequence[RabbitNode]) -> None:
    """Start several nodes at the same time; the first failure is raised after all have ended trying."""
    failures: list[BaseException] = []

    def start(node: RabbitNode) -> None:
        try:
            node.start()
        except BaseException as error:
            failures.append(error)

    _epmd_port()
    threads = [threading.Thread(target=start, args=(node,), daemon=True) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _scripts() -> Path:
    scripts = find_scripts()
    if scripts is None:
        raise StartError("RabbitMQ is not installed: no rabbitmq-server in /usr/lib/rabbitmq or PATH")
    return scripts


def _epmd_port() -> int:
    """The port of this process' own epmd, started at the first call and ended by the reaper."""
    global _epmd
    with _epmd_lock:
        if _epmd is None or _epmd[0].status is not None:
            command = shutil.which("epmd") or next(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)
            if command is None:
                raise StartError("Erlang is not installed: epmd was not found")
            port = free_port()
            _epmd = (ChildProcess([command, "-port", str(port), "-address", "127.0.0.1"]), port)
            _await_listener(port)
        return _epmd[1]


def _await_listener(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
