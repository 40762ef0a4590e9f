"""systemd: what it is told, which sockets it passes on, and the unit files that are offered.

Covered: both protocols, with sockets in systemd's place.  Not covered: a real systemd.
"""

from __future__ import annotations

import configparser
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.doubles import Events, Reactor
from trabbits.log_ids import LogId
from trabbits.service.notifications import NotificationsService
from trabbits.systemd import ActivationError, Notifier, inherited_sockets

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "examples" / "systemd").glob("*.s*"))


class Systemd:
    """Somebody who listens for notifications."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address[0] == "@" else address)
        self.socket.settimeout(15)
        self.address = address

    def heard(self) -> dict[str, str]:
        """The next notification."""
        lines = self.socket.recv(4096).decode().splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def silent(self) -> bool:
        """Whether nothing waits."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(15)
        return False


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    there = Systemd(str(tmp_path / "n") if request.param == "path" else f"@trabbits-test-{os.urandom(6).hex()}")
    yield there
    there.socket.close()


# Notifications


def test_variables_are_removed() -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notifier = Notifier.from_environment(environment)
    assert notifier
    assert notifier.watchdog == 3.0
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}],
)
def test_without_systemd_nothing_happens(environment: dict[str, str]) -> None:
    """No socket, no watchdog, or one that is about another process."""
    reactor = Reactor()
    notifier = Notifier.from_environment(environment)
    assert not notifier
    assert notifier.watchdog is None
    service = NotificationsService(notifier, lambda: "", reactor)
    service.ready()
    service.reloading()
    service.stopping(1.0)
    service.stopService()
    assert reactor.getDelayedCalls() == []


def test_the_life_of_a_service(systemd: Systemd) -> None:
    """Ready, reloading by systemd's clock, stopping with the time it may take; the status when it changes."""
    reactor = Reactor()
    status = ["0 sessions"]
    service = NotificationsService(Notifier(systemd.address), lambda: status[0], reactor)
    service.startService()
    assert systemd.silent()
    service.ready()
    assert systemd.heard() == {"READY": "1"}
    assert systemd.heard() == {"STATUS": "0 sessions"}
    reactor.pump([1.0] * 5)
    assert systemd.silent()
    status[0] = "1 session\nREADY=0"
    reactor.advance(1.0)
    assert systemd.heard() == {"STATUS": "1 session READY=0"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service.reloading()
    heard = systemd.heard()
    assert heard["RELOADING"] == "1"
    assert before <= int(heard["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service.reloaded()
    assert systemd.heard() == {"READY": "1"}
    service.stopping(20.0)
    assert systemd.heard() == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "30000000"}
    service.stopService()
    assert systemd.silent()
    assert reactor.getDelayedCalls() == []


def test_the_watchdog_hears_of_us_twice_in_its_time(systemd: Systemd) -> None:
    """Until the very end, clients that leave slowly included."""
    reactor = Reactor()
    service = NotificationsService(Notifier(systemd.address, 3.0), lambda: "", reactor)
    service.ready()
    assert [systemd.heard() for _ in range(2)] == [{"READY": "1"}, {"WATCHDOG": "1"}]
    service.stopping(100.0)
    systemd.heard()
    for _ in range(3):
        assert systemd.silent()
        reactor.advance(1.5)
        assert systemd.heard() == {"WATCHDOG": "1"}
    service.stopService()
    reactor.advance(10)
    assert systemd.silent()


def test_a_systemd_that_does_not_listen_is_mentioned_once(tmp_path: Path, events: Events) -> None:
    service = NotificationsService(Notifier(str(tmp_path / "nobody")), lambda: "x", Reactor())
    service.ready()
    service.reloaded()
    (fields,) = events.fields(LogId.SYSTEMD_FAILED)
    assert fields == {"state": "READY", "text": "No such file or directory"}
    service.stopService()


def test_a_systemd_that_is_busy_is_not_waited_for(systemd: Systemd, events: Events) -> None:
    service = NotificationsService(Notifier(systemd.address), lambda: "", Reactor())
    for _ in range(10_000):
        service.reloaded()
    assert len(events.fields(LogId.SYSTEMD_FAILED)) == 1


# Inherited sockets

CHILD = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
environment = os.environ
from trabbits.systemd import ActivationError, inherited_sockets
try:
    found = inherited_sockets(environment)
    print([(one.family.name, one.getblocking(), one.get_inheritable()) for one in found])
except ActivationError as error:
    print(error)
print([name for name in environment if "LISTEN" in name])
"""


def activate(*descriptors: int) -> list[str]:
    """What a process says about descriptors that it has from number 3 on."""

    def move() -> None:
        # High first, so that none is overwritten before it is moved.
        high = [os.dup2(each, 100 + index) for index, each in enumerate(descriptors)]
        for index, each in enumerate(high):
            os.dup2(each, 3 + index)
            os.close(each)

    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": ":".join("x" for _ in descriptors)},
        cwd=ROOT,
        preexec_fn=move,
        close_fds=False,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_sockets_are_taken(tmp_path: Path) -> None:
    """Those of all families; they are not for children, and the variables are gone."""
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(str(tmp_path / "x"))
        local.listen()
        families = [(family, False, False) for family in ("AF_INET", "AF_INET6", "AF_UNIX")]
        assert activate(four.fileno(), six.fileno(), local.fileno()) == [str(families), "[]"]


def test_what_cannot_be_listened_on_is_named() -> None:
    """A datagram socket, one that does not listen, one that is no socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert "descriptor 3, passed on by systemd, is not a stream socket" in activate(datagrams.fileno())[0]
    with socket.socket() as idle:
        assert "does not listen (Accept=no is needed)" in activate(idle.fileno())[0]
    with open(os.devnull) as file:
        assert "is not a socket" in activate(file.fileno())[0]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_FDS": "2", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_what_is_not_for_us_is_left_alone(environment: dict[str, str]) -> None:
    assert inherited_sockets(environment) == []
    assert environment == {}


def test_activation_errors_read_well() -> None:
    assert str(ActivationError("a sentence")) == "a sentence"


# Unit files


def parsed(path: Path) -> dict[str, dict[str, Any]]:
    """Sections and keys; of a key that is there twice, the values in a list."""

    class Several(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            if key in self and isinstance(value, list):
                self[key].extend(value)
            else:
                super().__setitem__(key, value)

    parser = configparser.RawConfigParser(dict_type=Several, strict=False, delimiters="=", interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # as it is meant to be used
    parser.read(path)
    return {name: dict(parser.items(name)) for name in parser.sections()}


def test_there_are_units() -> None:
    assert [path.name for path in UNITS] == ["trabbits.service", "trabbits.socket", "trabbits@.service"]


def knows_notify_reload(analyze: str) -> bool:
    """Whether this systemd has Type=notify-reload, which came with 253."""
    version = subprocess.run([analyze, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return int(version.split()[1].split(".")[0]) >= 253


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_valid(path: Path, tmp_path: Path) -> None:
    """systemd itself finds nothing to complain about, where it is there to be asked."""
    sections = parsed(path)
    assert set(sections) <= {"Unit", "Service", "Socket", "Install"}
    assert sections["Unit"]["Description"]
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    for unit in UNITS:
        # What is not installed here would be complained about.
        text = unit.read_text().replace("/usr/local/bin/trabbits", shutil.which("true") or "/bin/true")
        (tmp_path / unit.name).write_text(text)
    name = path.name.replace("@.", "@16692.")
    if name != path.name:
        shutil.copy(tmp_path / path.name, tmp_path / name)
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or name in line]
    if not knows_notify_reload(analyze):
        complaints = [line for line in complaints if "notify-reload" not in line]
    assert not complaints


@pytest.mark.parametrize("name", ["trabbits.service", "trabbits@.service"])
def test_units_use_what_trabbits_can_do(name: str) -> None:
    service = parsed(ROOT / "examples" / "systemd" / name)["Service"]
    assert service["Type"] == "notify-reload"
    assert "WatchdogSec" in service
    assert service["ExecStart"].startswith("/usr/local/bin/trabbits run --config")
