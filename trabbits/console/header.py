"""The two lines on top: where the server is, how it does, and how old what is shown is.

Lives here: `Header`.  Must not know: views.
"""

from __future__ import annotations

import textwrap
from time import localtime, strftime

from trabbits.console.entries import Summary
from trabbits.console.rates import Rates
from trabbits.console.text import Line, age, clean, fit, grouped, rate, width_of

#: Seconds without an answer until the screen counts as old.
OLD = 6.0
_TROUBLE_LINES = 4


class Header:
    """What is known of the server as a whole."""

    def __init__(self, place: str) -> None:
        self._place = clean(place)
        self._summary: Summary | None = None
        self._rates = Rates()
        self._answered_at: float | None = None
        self._asked_at: float | None = None
        self._trouble = ""

    def note(self, summary: Summary, now: float) -> None:
        """Numbers have come."""
        self.answered(now)
        self._summary = summary
        self._rates.note(now, summary.counters)

    def answered(self, now: float) -> None:
        """The server answered something."""
        self._answered_at = now
        self._trouble = ""

    def unanswered(self, trouble: str) -> None:
        """The server didn't answer, or refused."""
        self._trouble = clean(trouble)

    def lines(self, now: float, width: int) -> list[Line]:
        """The lines: two, or more when there is trouble to tell."""
        if self._asked_at is None:
            self._asked_at = now
        version = f" {clean(self._summary.version)}" if self._summary else ""
        left, right = f" trabbits{version} · {self._place}", self._freshness(now)
        first = fit(left, width - width_of(right) - 2) + "  " + right
        is_old = bool(self._trouble) or self._is_old(now)
        result: list[Line] = [[("error" if is_old else "header", fit(first, width))]]
        if self._trouble:
            # Its end says what to do: it gets the lines that it needs.
            wrapped = textwrap.wrap(self._trouble, max(20, width - 2), max_lines=_TROUBLE_LINES, placeholder=" ...")
            return result + [[("error", fit(f" {line}", width))] for line in wrapped]
        return [*result, [("header", fit(self._numbers(), width))]]

    def _is_old(self, now: float) -> bool:
        since = self._answered_at if self._answered_at is not None else self._asked_at
        return since is not None and now - since > OLD

    def _freshness(self, now: float) -> str:
        if self._answered_at is None:
            return "no answer yet "
        at = strftime("%H:%M:%S", localtime(self._answered_at))
        if self._trouble or self._is_old(now):
            return f"no answer for {age(now - self._answered_at)}, last {at} "
        return f"updated {at} "

    def _numbers(self) -> str:
        summary = self._summary
        if summary is None:
            return " asking ..."
        if summary.active is None:
            clients = f"{grouped(summary.clients)} clients"
        else:
            clients = f"{grouped(summary.active)} active of {grouped(summary.clients)}"
        parts = [f" Clients: {clients}"]
        if summary.ever is not None:
            parts.append(f"{grouped(summary.ever)} ever")
        parts += [f"{rate(self._rates.of(name))} {name}/s" for name in summary.counters]
        return "   ".join(parts)
