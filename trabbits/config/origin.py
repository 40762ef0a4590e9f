"""How to speak of configuration values that came from the environment, where passwords are kept.

Lives here: `Origin`.  Must not know: how the values got into the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trabbits.config.errors import Location, found, path_text

#: A value shorter than this is replaced only where it stands alone: "a" is in every sentence.
_SHORT = 4


class Origin:
    """What an error may show of a value: what the operator wrote, never what a variable held.

    `written` has the text as it stands in the file, by location.  `variables` has the names of variables by the
    values that were read from them, for files that do not tell where a value went.
    """

    def __init__(
        self,
        written: Mapping[tuple[str | int, ...], str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._written = written or {}
        # Longest first, so that no part of a value is left when another one is contained in it.
        values = sorted(filter(None, variables or {}), key=len, reverse=True)
        self._names = {value: f"${{{name}}}" for value, name in (variables or {}).items()}
        self._values = re.compile("|".join(map(_pattern, values))) if values else None

    def found(self, location: Location, value: Any) -> str:
        """`trabbits.config.errors.found`, of what was written."""
        if isinstance(value, str):
            return found(self._written.get(tuple(location)) or self.text(value))
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


def _pattern(value: str) -> str:
    escaped = re.escape(value)
    return escaped if len(value) >= _SHORT else rf"(?<!\w){escaped}(?!\w)"
