"""The console in a terminal.

Lives here: `run_console`: the terminal, the loop, the colors.  Must not know: what is shown.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import urwid

from trabbits.api_client import ApiClient
from trabbits.console.background import Background
from trabbits.console.entries import Source
from trabbits.console.screen import Screen

#: Seconds between refreshes.
PERIOD = 2.0
#: What comes from the background is shown together: drawing takes longer than most events.
GATHER = 0.03

# name, foreground, background, without colors
PALETTE = [
    ("header", "white", "dark blue", "standout"),
    ("error", "white,bold", "dark red", "standout,bold"),
    ("heading", "black", "light gray", "underline"),
    ("sorted", "black,bold", "light gray", "underline,bold"),
    ("selected", "black", "dark cyan", "standout"),
    ("leaving", "yellow", "default", "bold"),
    ("good", "dark green", "default", "default"),
    ("dim", "dark cyan", "default", "default"),
    ("label", "dark cyan", "default", "default"),
    ("section", "default,bold", "default", "bold"),
    ("status", "dark cyan", "default", "default"),
    ("message", "black", "dark green", "standout"),
    ("hints", "default", "default", "default"),
    ("key", "default,bold", "default", "bold"),
]


def run_console(client: ApiClient) -> int:
    """Show the console until the operator leaves it; the exit status.

    A server that cannot be reached is no reason to end: it may come back.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("The console needs a terminal; `trabbits manage clients list` doesn't.", file=sys.stderr)
        return 2
    return _Terminal(client).run()


class _Terminal:
    """The loop around a Screen."""

    def __init__(self, client: ApiClient) -> None:
        display = urwid.display.raw.Screen()
        if os.environ.get("NO_COLOR"):
            display.set_terminal_properties(colors=1)
        self._display = display
        self._mistake: BaseException | None = None
        self._is_gathering = False
        self._background = Background(self._wake)
        self._screen = Screen(Source(client), self._background, time.time, _quit, self._redraw)
        self._loop = urwid.MainLoop(self._screen, PALETTE, screen=display, handle_mouse=False)
        self._pipe = self._loop.watch_pipe(self._woken)
        os.set_blocking(self._pipe, False)

    def run(self) -> int:
        """Until the operator leaves; a mistake of ours is raised when the terminal is as it was."""
        before = signal.signal(signal.SIGTERM, _end)
        try:
            self._tick()
            self._loop.run()
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)
            self._background.close()
            self._screen.close()
        if self._mistake is not None:
            raise self._mistake
        return 0

    def _tick(self) -> None:
        self._screen.refresh()
        self._alarm(PERIOD, self._tick)

    def _wake(self) -> None:
        try:
            os.write(self._pipe, b"!")
        except OSError:
            pass  # it is full of wake-ups, or the loop has ended

    def _woken(self, octets: bytes) -> bool:
        if not self._is_gathering:
            self._is_gathering = True
            self._alarm(GATHER, self._deliver)
        return True  # go on watching

    def _deliver(self) -> None:
        self._is_gathering = False
        self._background.deliver()
        self._screen.update()

    def _redraw(self) -> None:
        self._display.clear()

    def _alarm(self, seconds: float, action: Callable[[], None]) -> None:
        """urwid writes what goes wrong in an alarm over the screen and goes on; we end and tell."""

        def guarded(loop: Any, data: Any) -> None:
            try:
                action()
            except urwid.ExitMainLoop:
                raise
            except Exception as mistake:
                self._mistake = mistake
                raise urwid.ExitMainLoop from mistake

        self._loop.set_alarm_in(seconds, guarded)


def _quit() -> None:
    raise urwid.ExitMainLoop


def _end(number: int, frame: FrameType | None) -> None:
    # Through the loop's own clean-up, so that the terminal is as it was.
    sys.exit(128 + number)
