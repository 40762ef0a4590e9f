"""Drawing in place, on terminals of any size."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys

import pytest
from click import style, unstyle

from trabbits.cli.demo_screen import Screen


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The terminal's columns and lines."""
    current = [20, 10]
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: os.terminal_size(current))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return current


def drawn(screen: Screen, stream: io.StringIO, lines: list[str]) -> str:
    stream.seek(0)
    stream.truncate()
    screen.draw(lines)
    return stream.getvalue()


def test_a_picture_replaces_the_one_before(size: list[int]) -> None:
    screen = Screen(stream := Terminal())
    assert drawn(screen, stream, ["one", "two"]) == "one\x1b[K\ntwo\x1b[K\n\x1b[J"
    assert drawn(screen, stream, ["three"]) == "\x1b[2Fthree\x1b[K\n\x1b[J"
    screen.write(["stays"])
    assert drawn(screen, stream, ["four"]) == "four\x1b[K\n\x1b[J"


def test_long_lines_count_for_the_rows_that_they_take(size: list[int]) -> None:
    """Styles take none; on a terminal that has become narrower the picture before takes more."""
    screen = Screen(stream := Terminal())
    drawn(screen, stream, [style("x" * 21, fg="green"), "y", ""])
    assert drawn(screen, stream, ["東" * 10]).startswith("\x1b[4F")
    size[0] = 5
    assert drawn(screen, stream, ["z"]).startswith("\x1b[4F")


def test_what_is_too_high_is_left_out(size: list[int]) -> None:
    """Otherwise the beginning would have scrolled away, and the next picture could not replace it."""
    size[1] = 4
    screen = Screen(stream := Terminal())
    assert unstyle(drawn(screen, stream, ["1" * 40, "2", "3"])).split() == ["1" * 40, "2"]
    assert drawn(screen, stream, ["1"]).startswith("\x1b[3F")


@pytest.mark.parametrize(("variable", "value", "live"), [("NO_COLOR", "1", True), ("TERM", "dumb", False)])
def test_colors_and_live_pictures_can_be_unwanted(
    size: list[int], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, live: bool
) -> None:
    monkeypatch.setenv(variable, value)
    screen = Screen(stream := Terminal())
    screen.write([style("bold", bold=True)])
    assert stream.getvalue() == "bold\n"
    assert screen.live is live


def test_a_pipe_is_not_live(size: list[int]) -> None:
    screen = Screen(stream := io.StringIO())
    screen.write([style("bold", bold=True)])
    assert stream.getvalue() == "bold\n"
    assert not screen.live


def test_nobody_reads_any_more(size: list[int]) -> None:
    """That is told once: then there is nobody to write for."""

    class Closed(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    screen = Screen(Closed())
    with pytest.raises(OSError):
        screen.write(["text"])
    screen.write(["more"])
    screen.draw(["more"])


UNREAD = """
import sys
from trabbits.cli.demo_screen import Screen
screen = Screen(sys.stdout)
try:
    screen.write(["text"])
except BrokenPipeError:
    sys.exit(3)
"""


def test_nobody_reads_any_more_and_the_program_ends_without_a_complaint() -> None:
    """Python would try to write what is left, and exit with 120."""
    ours, theirs = os.pipe()
    os.close(ours)
    # Unbuffered, nothing would be left.
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", UNREAD]
    try:
        done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=environment, check=False, timeout=60)
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (3, b"")
