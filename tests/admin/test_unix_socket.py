"""The API's UNIX socket as a file: its mode, who was there before, and what is left behind."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
from pathlib import Path

import pytest

from trabbits.admin import unix_socket
from trabbits.admin.unix_socket import SocketTaken, bind, remove


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


def stale(path: Path) -> None:
    """What a killed process leaves behind."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


def test_its_mode_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        bound = bind(path)
    finally:
        assert os.umask(before) == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    bound.socket.close()


def test_removed_at_the_end(path: Path) -> None:
    bound = bind(path)
    remove(bound)
    assert not path.exists()
    remove(bound)
    bound.socket.close()


def test_not_removed_when_it_is_another_ones_by_then(path: Path) -> None:
    bound = bind(path)
    path.unlink()
    other = bind(path)
    remove(bound)
    assert path.exists()
    for each in (bound, other):
        each.socket.close()


def test_a_stale_one_is_replaced(path: Path) -> None:
    stale(path)
    bound = bind(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    bound.socket.close()


def test_a_live_one_is_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        python = re.escape(Path("/proc/self/cmdline").read_text().partition("\0")[0])
        with pytest.raises(SocketTaken, match=rf"in use by process {os.getpid()} \({python} .*--api-socket"):
            bind(path)


def test_one_that_accepts_nothing_is_in_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process stands still, and as many as it takes wait already."""
    monkeypatch.setattr(unix_socket, "CONNECT_TIMEOUT", 0.05)
    waiting = []
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        except BlockingIOError:
            pass
        with pytest.raises(SocketTaken, match="accepts nothing at the moment"):
            bind(path)
    for each in waiting:
        each.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_anything_else_is_left_alone(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/nowhere")
    with pytest.raises(SocketTaken, match="no socket"):
        bind(path)
    assert os.path.lexists(path)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(SocketTaken, match="longer than 107 octets"):
        bind(tmp_path / ("x" * 108))
    with pytest.raises(SocketTaken, match="No such file or directory; name another socket"):
        bind(tmp_path / "none" / "api.sock")


def test_two_that_start_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One waits until the other has looked and bound; not for ever."""
    monkeypatch.setattr(unix_socket, "LOCK_TIMEOUT", 0.05)
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        with pytest.raises(SocketTaken, match="locked by another process"):
            bind(path)
    finally:
        os.close(folder)
    bind(path).socket.close()
