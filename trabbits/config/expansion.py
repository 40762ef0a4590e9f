"""``${VARIABLE}`` in the texts of a JSON configuration.

Lives here: `expand`.  Must not know: JSON's syntax (this works on decoded values, so that no variable can add a key),
or what the texts mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from trabbits.config.errors import Location, Problem, path_text

#: ``$${`` is a literal ``${``; anything else that starts with ``${`` has to be a variable.
_SPECIAL = re.compile(r"\$\$\{|\$\{([^}]*)(\})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Deeper than any configuration; what is nested more is refused because of what it is.
_DEPTH_LIMIT = 64


@frozen
class Expanded:
    """A configuration with its variables filled in, and where that happened: the texts as they were `written`.

    `variables` has the names of the variables by their values.
    """

    value: Any = None
    written: dict[tuple[str | int, ...], str] = field(factory=dict)
    variables: dict[str, str] = field(factory=dict)
    problems: list[Problem] = field(factory=list)
    warnings: list[Problem] = field(factory=list)


def expand(raw: Any, environment: Mapping[str, str], size_limit: int) -> Expanded:
    """Fill variables from `environment` into all texts of `raw`, but not into keys.

    `size_limit` bounds the characters that all expanded texts have together.
    """
    expansion = _Expansion(environment, size_limit)
    value = expansion.value((), raw)
    return Expanded(value, expansion.written, expansion.variables, expansion.problems, expansion.warnings)


class _Expansion:
    def __init__(self, environment: Mapping[str, str], size_limit: int) -> None:
        self.written: dict[tuple[str | int, ...], str] = {}
        self.variables: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._environment = environment
        self._room = size_limit

    def value(self, location: tuple[str | int, ...], raw: Any) -> Any:
        if isinstance(raw, str):
            return self._text(location, raw) if "${" in raw else raw
        if len(location) >= _DEPTH_LIMIT:
            return raw
        if isinstance(raw, dict):
            return {key: self.value((*location, key), item) for key, item in raw.items()}
        if isinstance(raw, list):
            return [self.value((*location, index), item) for index, item in enumerate(raw)]
        return raw

    def _text(self, location: tuple[str | int, ...], raw: str) -> str:
        parts: list[str] = []
        position = 0
        for special in _SPECIAL.finditer(raw):
            parts += raw[position : special.start()], self._part(location, special)
            position = special.end()
        parts.append(raw[position:])
        self.written[location] = raw
        size = sum(map(len, parts))
        if size > self._room:
            self._problem(location, "the variables in all texts together are too long")
            return ""
        self._room -= size
        return "".join(parts)

    def _part(self, location: Location, special: re.Match[str]) -> str:
        if special[0] == "$${":
            return "${"
        name, closed = special[1], special[2]
        if not closed:
            self._problem(location, '"${" without a "}" behind it: write "$${" for a literal "${"')
        elif not _NAME.fullmatch(name):
            what = 'the name of a variable between "${" and "}" (letters, digits and _, not starting with a digit)'
            self._problem(location, f'expected {what}: write "$${{" for a literal "${{"')
        else:
            value = self._environment.get(name)
            if value is None:
                text = f"the environment variable {name} is not set, the empty text stands in its place"
                self.warnings.append(Problem(path_text(location), text))
            if value:
                self.variables[value] = name
            return value or ""
        return ""

    def _problem(self, location: Location, message: str) -> None:
        problem = Problem(path_text(location), message)
        if problem not in self.problems[-1:]:
            self.problems.append(problem)
