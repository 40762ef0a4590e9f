"""The pid file: whole at once, one process at a time, gone at the end."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trabbits.service import pid_file
from trabbits.service.pid_file import PidFileService, PidFileTaken


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trabbits.pid"


def dead_pid() -> int:
    """The id of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(done.stdout)


def test_is_there_while_the_proxy_runs(path: Path) -> None:
    service = PidFileService(path)
    service.privilegedStartService()
    service.startService()
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == ["trabbits.pid"]
    service.stopService()
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("whose", ["dead", "our own", "nobody's"])
def test_a_stale_file_is_replaced(path: Path, whose: str) -> None:
    """One of a process that is gone, one of an earlier life with the same id (containers), an empty one."""
    path.write_text({"dead": f"{dead_pid()}\n", "our own": f"{os.getpid()}\n", "nobody's": ""}[whose])
    PidFileService(path).privilegedStartService()
    assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("pid", [1, os.getppid()])
def test_a_file_of_a_living_process_is_respected(path: Path, pid: int) -> None:
    """It is named together with what to do about it, and its file stays, at the end as well."""
    path.write_text(f"{pid}\n")
    service = PidFileService(path)
    with pytest.raises(PidFileTaken, match=rf"^process {pid} runs already \({path}\): stop it first, or remove"):
        service.privilegedStartService()
    service.stopService()
    assert path.read_text() == f"{pid}\n"
    assert os.listdir(path.parent) == ["trabbits.pid"]


@pytest.mark.parametrize("content", ["0", "-1", "x", "1.5", "99999999999", '{"upstreams": []}', "\udcff" * 100])
def test_a_file_of_something_else_is_not_touched(path: Path, content: str) -> None:
    """Somebody named the wrong file: 0 and -1 would ask about other processes altogether."""
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(PidFileTaken, match="something else"):
        PidFileService(path).privilegedStartService()
    assert path.read_bytes() == content.encode(errors="surrogateescape")


def test_a_file_that_became_somebody_elses_stays(path: Path) -> None:
    service = PidFileService(path)
    service.privilegedStartService()
    path.write_text("1\n")
    service.stopService()
    assert path.read_text() == "1\n"
    path.unlink()
    service.stopService()


def test_a_file_that_cannot_be_written(path: Path) -> None:
    """The error names the file that was asked for."""
    path.mkdir()
    with pytest.raises(OSError):
        PidFileService(path).privilegedStartService()
    missing = path / "missing" / "trabbits.pid"
    with pytest.raises(OSError, match=f"'{missing}'"):
        PidFileService(missing).privilegedStartService()
    assert os.listdir(path.parent) == ["trabbits.pid"]


START = """
import sys
from pathlib import Path
from trabbits.service.pid_file import PidFileService, PidFileTaken
print("ready", flush=True)
sys.stdin.readline()
try:
    PidFileService(Path(sys.argv[1])).privilegedStartService()
    print("won", flush=True)
except PidFileTaken:
    print("lost", flush=True)
sys.stdin.readline()
"""


def test_of_many_that_start_at_once_one_wins(path: Path) -> None:
    """Also when all of them find the same stale file."""
    path.write_text(f"{dead_pid()}\n")
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    try:
        for each in starters:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in starters:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        results = {each.pid: each.stdout.readline().strip() for each in starters if each.stdout is not None}
    finally:
        for each in starters:
            each.kill()
            each.communicate()
    (winner,) = [pid for pid, result in results.items() if result == "won"]
    assert sorted(results.values()) == ["lost"] * 4 + ["won"]
    assert path.read_text() == f"{winner}\n"


def test_a_folder_that_stays_locked_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pid_file, "LOCK_TIMEOUT", 0.05)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(PidFileTaken, match="locked"):
            PidFileService(path).privilegedStartService()
    finally:
        os.close(folder)
