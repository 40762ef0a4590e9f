"""What a view of the console is, and what it may use.

Lives here: `View`, the part of the screen between header and footer, and `Desk`, what all views share.  Must not know:
the single views, or how they are put on the screen.
"""

from __future__ import annotations

from collections.abc import Callable

import urwid
from attrs import define

from trabbits.console.background import Background
from trabbits.console.entries import Client, Source
from trabbits.console.text import Line


@define
class Desk:
    """What views work with."""

    source: Source
    background: Background
    #: Seconds since the epoch.
    now: Callable[[], float]
    #: Show a message in the footer for a while.
    say: Callable[[str], None]
    #: The same for something that went wrong.
    complain: Callable[[str], None]
    #: Ask for a line of text in the footer: caption, text to begin with, what to do with each change, with the
    #: finished text, and with the one it began with when the operator changes their mind.
    prompt: Callable[[Prompt], None]
    #: Tell that the server answered, or (with why) that it didn't.
    answered: Callable[[], None]
    unanswered: Callable[[Exception], None]


@define(frozen=True)
class Prompt:
    """A line of text to ask for."""

    caption: str
    text: str
    done: Callable[[str], None]
    changed: Callable[[str], None] = lambda text: None
    cancelled: Callable[[], None] = lambda: None


class View:
    """One view.  It is refreshed every two seconds while it is on the screen, and closed when it leaves the stack."""

    #: The footer's hints.
    hints = ""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    @property
    def widget(self) -> urwid.Widget:
        """The box between heading and footer."""
        raise NotImplementedError

    @property
    def target(self) -> Client | None:
        """The client that keys are about."""
        return None

    def resized(self, height: int) -> None:
        """So many lines the widget will have when it is drawn."""

    def heading(self, width: int) -> Line:
        """The line above the widget."""
        raise NotImplementedError

    def status(self) -> Line:
        """The line below the widget."""
        return []

    def press(self, key: str) -> bool:
        """Do what the key stands for; whether it stands for anything here."""
        return False

    def refresh(self) -> None:
        """Ask the server for what is shown."""

    def close(self) -> None:
        """The view has left the stack."""
