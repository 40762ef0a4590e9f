"""The screen: header, the view on top of the stack, footer; and the keys that mean the same everywhere.

Lives here: `Screen`.  Must not know: the terminal and its loop (``main.py``), so that tests draw it without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import urwid

from trabbits.api_client import ApiError
from trabbits.console.background import Background
from trabbits.console.clients import ClientsView
from trabbits.console.detail import DetailView
from trabbits.console.dialogs import Dialog, HelpDialog, ShortEdit, ShutdownDialog
from trabbits.console.entries import Client, Source, Summary
from trabbits.console.header import Header
from trabbits.console.lines import one_line
from trabbits.console.stream import LogView, ProbeView, StreamView
from trabbits.console.text import clean
from trabbits.console.upstreams import UpstreamsView
from trabbits.console.view import Desk, Prompt, View

#: Seconds that a message stays in the footer, if no key is pressed.
MESSAGE_TIME = 6.0
_FOOTER_LINES = 2
_LONGEST_INPUT = 1000


class Screen(urwid.WidgetWrap[urwid.Widget]):
    """`quit` ends the console; `redraw` draws everything anew."""

    def __init__(
        self,
        source: Source,
        background: Background,
        now: Callable[[], float],
        quit: Callable[[], None],
        redraw: Callable[[], None] = lambda: None,
    ) -> None:
        self._desk = Desk(
            source=source,
            background=background,
            now=now,
            say=lambda text: self._tell("message", text),
            complain=lambda text: self._tell("error", text),
            prompt=self._open_prompt,
            answered=lambda: self._header.answered(now()),
            unanswered=lambda error: self._header.unanswered(str(error)),
        )
        self._now = now
        self._quit = quit
        self._redraw = redraw
        self._header = Header(source.place)
        self._message: tuple[str, str, float] | None = None
        self._prompt: Prompt | None = None
        self._edit = ShortEdit("", limit=_LONGEST_INPUT)
        self._dialog: Dialog | None = None
        self._stack: list[View] = [ClientsView(self._desk)]
        self._width = 80
        self._frame: urwid.Frame[Any, Any, Any] = urwid.Frame(self._view.widget)
        super().__init__(self._frame)
        self._show()

    @property
    def _view(self) -> View:
        return self._stack[-1]

    def refresh(self) -> None:
        """Ask for everything that is on the screen.  To be called every two seconds, and when somebody asks."""
        self._desk.background.ask("summary", self._desk.source.summary, self._summarized, self._desk.unanswered)
        self._view.refresh()
        self.update()

    def update(self) -> None:
        """Show what has come, and how old it is.  To be called after each delivery."""
        for view in self._stack:
            if isinstance(view, StreamView):
                view.arrived()
        if self._message and self._now() >= self._message[2]:
            self._message = None
        self._invalidate()

    def close(self) -> None:
        """The console ends."""
        for view in self._stack:
            view.close()

    # ------------------------------------------------------------------------------------------------------ drawing

    def render(self, size: Any, focus: bool = False) -> urwid.Canvas:
        self._width = size[0]
        lines = [*self._header.lines(self._now(), self._width), self._view.heading(self._width)]
        self._view.resized(size[1] - len(lines) - _FOOTER_LINES)
        self._frame.header = urwid.Pile([("pack", one_line(line)) for line in lines])
        status = [(self._message[0], f" {self._message[1]}")] if self._message else self._view.status()
        last: urwid.Widget = one_line([("hints", f" {self._view.hints}")])
        if self._prompt is not None:
            last = self._edit
        self._frame.footer = urwid.Pile([("pack", one_line(list(status))), ("pack", last)], focus_item=1)
        self._frame.focus_position = "footer" if self._prompt is not None else "body"
        return super().render(size, focus)

    no_cache = ("render",)

    def _show(self) -> None:
        self._frame.body = self._view.widget
        self._w = self._dialog.over(self._frame) if self._dialog is not None else self._frame
        self._invalidate()

    def _tell(self, attribute: str, text: str) -> None:
        self._message = (attribute, clean(text), self._now() + MESSAGE_TIME)
        self._invalidate()

    # --------------------------------------------------------------------------------------------------------- keys

    def keypress(self, size: Any, key: str) -> None:
        self._message = None  # it was read
        if key == "ctrl l":
            self._redraw()
        elif self._dialog is not None:
            self._w.keypress(size, key)
        elif self._prompt is not None:
            self._press_in_prompt(size, key)
        elif not self._view.press(key):
            self._press(key)
        self._invalidate()

    def _press(self, key: str) -> None:
        actions: dict[str, Callable[[], None]] = {
            "?": lambda: self._open_dialog(HelpDialog(self._close_dialog)),
            "q": self._back,
            "Q": self._back,
            "esc": lambda: self._back() if len(self._stack) > 1 else None,
            "r": self.refresh,
            "enter": lambda: self._about_client(self._open_detail),
            "p": lambda: self._about_client(lambda client: self._open(ProbeView(self._desk, client))),
            "K": lambda: self._about_client(self._ask_about_shutdown),
            "l": lambda: self._open(LogView(self._desk)),
            "u": lambda: self._open(UpstreamsView(self._desk)),
        }
        action = actions.get(key)
        if action is not None:
            action()

    def _about_client(self, action: Callable[[Client], None]) -> None:
        client = self._view.target
        if client is not None:
            action(client)
        elif isinstance(self._view, ClientsView):
            self._desk.complain("No client is selected.")

    def _open_detail(self, client: Client) -> None:
        if isinstance(self._view, ClientsView):
            self._open(DetailView(self._desk, client))

    def _open(self, view: View) -> None:
        """Put a view on top.  There is one of each kind: an older one goes, so that the stack stays small."""
        for other in [other for other in self._stack if type(other) is type(view)]:
            self._stack.remove(other)
            other.close()
        self._stack.append(view)
        self._show()
        view.refresh()

    def _back(self) -> None:
        if len(self._stack) == 1:
            self._quit()
            return
        self._stack.pop().close()
        self._show()
        self._view.refresh()

    # -------------------------------------------------------------------------------------------- prompt and dialogs

    def _open_prompt(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._message = None
        self._edit = ShortEdit(("key", f" {prompt.caption}"), prompt.text, limit=_LONGEST_INPUT)

    def _press_in_prompt(self, size: Any, key: str) -> None:
        prompt, edit = self._prompt, self._edit
        assert prompt is not None
        if key == "enter":
            self._prompt = None
            prompt.done(edit.edit_text)
        elif key == "esc":
            self._prompt = None
            prompt.cancelled()
        else:
            before = edit.edit_text
            edit.keypress((size[0],), key)
            if edit.edit_text != before:
                prompt.changed(edit.edit_text)

    def _open_dialog(self, dialog: Dialog) -> None:
        self._dialog = dialog
        self._show()

    def _close_dialog(self) -> None:
        self._dialog = None
        self._show()

    def _ask_about_shutdown(self, client: Client) -> None:
        def confirmed(reason: str) -> None:
            self._desk.background.ask(
                f"shutdown of {client.id}",
                lambda: self._desk.source.shut_down(client.id, reason),
                lambda answer: self._shutdown_begun(client),
                lambda error: self._shutdown_refused(client, error),
            )

        self._open_dialog(ShutdownDialog(client, self._now(), confirmed, self._close_dialog))

    def _shutdown_begun(self, client: Client) -> None:
        self._desk.say(f"{client.id} is being shut down.")
        self._view.refresh()

    def _shutdown_refused(self, client: Client, error: Exception) -> None:
        if isinstance(error, ApiError) and error.status == 404:
            self._desk.complain(f"{client.id} had left already.")
        else:
            self._desk.complain(f"{client.id} is not shut down: {error}")

    def _summarized(self, summary: Summary) -> None:
        self._header.note(summary, self._now())
