"""How to speak of configuration values that came from the environment, where passwords are kept.

Lives here: `Origin`.  Must not know: how the values got into the configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from trabbits.config.errors import Location, found, path_text

#: A value shorter than this is replaced only where it stands alone: "a" is in every sentence.
_SHORT = 4
#: Of a text that we did not write, an error shows no more.
_FOREIGN_LIMIT = 1000


class Origin:
    """What an error may show of a value: what the operator wrote, never what a variable held.

    `written` has the text as it stands in the file, by location, and `filled_in` the names of the variables by the
    values that were put there.  `variables` is the same for files that do not tell where a value went.
    """

    def __init__(
        self,
        written: Mapping[tuple[str | int, ...], str] | None = None,
        variables: Mapping[str, str] | None = None,
        filled_in: Mapping[str, str] | None = None,
    ) -> None:
        self._written = written or {}
        self._names = {value: f"${{{name}}}" for value, name in (variables or {}).items()}
        self._values = _pattern(self._names)
        held = self._names | {value: f"${{{name}}}" for value, name in (filled_in or {}).items()}
        self._foreign_names = {form: name for value, name in held.items() for form in _forms(value)}
        self._foreign_values = _pattern(self._foreign_names)

    def found(self, location: Location, value: Any) -> str:
        """`trabbits.config.errors.found`, of what was written."""
        if isinstance(value, str):
            return found(self._written_at(tuple(location)) or self.text(value))
        if isinstance(value, int | float) and str(value) in self._names:
            return self._names[str(value)]
        return found(value)

    def path(self, location: Location) -> str:
        """`trabbits.config.errors.path_text`; a key may have been computed, too."""
        return path_text([self.text(part) if isinstance(part, str) else part for part in location])

    def text(self, text: str) -> str:
        """`text` with variables in place of their values."""
        if self._values is None:
            return text
        return self._values.sub(lambda match: self._names[match[0]], text)

    def foreign(self, text: str) -> str:
        """One line of a text that somebody else's code made, perhaps of what variables held, however it quoted that."""
        if self._foreign_values is not None:
            text = self._foreign_values.sub(lambda match: self._foreign_names[match[0]], text)
        text = " ".join(text.split())
        text = text if len(text) <= _FOREIGN_LIMIT else f"{text[:_FOREIGN_LIMIT]}…"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

    def _written_at(self, location: tuple[str | int, ...]) -> str | None:
        """What was written there, or below: a text may stand for an object with this text in it."""
        if location in self._written:
            return self._written[location]
        below = (text for place, text in self._written.items() if place[: len(location)] == location)
        return next(below, None)


def _pattern(values: Iterable[str]) -> re.Pattern[str] | None:
    # Longest first, so that no part of a value is left when another one is contained in it.
    patterns = [_part(value) for value in sorted(filter(None, values), key=len, reverse=True)]
    return re.compile("|".join(patterns)) if patterns else None


def _part(value: str) -> str:
    escaped = re.escape(value)
    return escaped if len(value) >= _SHORT else rf"(?<!\w){escaped}(?!\w)"


def _forms(value: str) -> set[str]:
    """A value itself, and as it stands between quotation marks."""
    quoted = {repr(value), json.dumps(value), json.dumps(value, ensure_ascii=False)}
    return {value, *(form[1:-1] for form in quoted)}
