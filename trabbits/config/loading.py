"""From a file to a `Config`, or to a `ConfigError` that says everything that is wrong with it.

Lives here: reading, JSON's syntax, duplicate keys.  Must not know: what the keys mean (``trabbits.config.model``).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from trabbits.config.errors import ConfigError, Location, Problem, found, path_text, problems_of
from trabbits.config.model import UNIQUE_NAME, Config, repeated_names

#: A configuration larger than this is a mistake, such as naming a log file.
SIZE_LIMIT = 16 * 1024 * 1024


def load_config(path: str | Path) -> Config:
    """Read and validate the file at `path`.  Raises `ConfigError`, whatever is wrong."""
    source = str(path)
    try:
        with open(path, "rb") as file:
            octets = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(source, [Problem("", f"cannot be read: {reason}")]) from None
    if len(octets) > SIZE_LIMIT:
        raise ConfigError(source, [Problem("", f"is larger than {SIZE_LIMIT} octets")])
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(source, [Problem(f"line {line}", "is not UTF-8")]) from None
    return parse_config(text, source)


def parse_config(text: str, source: str) -> Config:
    """Validate a configuration given as JSON `text`; `source` is its name in errors.  Raises `ConfigError`."""
    tracker = _RepeatedKeys()
    try:
        raw = json.loads(text, object_pairs_hook=tracker.collect, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(source, [Problem(place, f"not JSON: {error.msg}")]) from None
    except RecursionError:
        raise ConfigError(source, [Problem("", "not usable: nested too deeply")]) from None
    except _NotANumber as error:
        raise ConfigError(source, [Problem("", f"not JSON: {error}")]) from None
    except ValueError:  # Python reads no integer of thousands of digits
        raise ConfigError(source, [Problem("", "not usable: a number has too many digits")]) from None
    return validate_config(raw, source, tracker.problems(raw))


def validate_config(raw: Any, source: str, problems: list[Problem] | None = None) -> Config:
    """Validate decoded JSON.  `problems` are findings so far; they are reported together with the new ones."""
    problems = list(problems or ())
    config = None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += problems_of(error, Config)
        problems += [problem for problem in _repeated_upstreams(raw) if problem not in problems]
    if config is None or problems:
        raise ConfigError(source, problems)
    return config


def _repeated_upstreams(raw: Any) -> list[Problem]:
    """Names used twice, found also where other errors kept the model from being built."""
    upstreams = raw.get("upstreams") if isinstance(raw, dict) else None
    if not isinstance(upstreams, list):
        return []
    names = [item.get("name") if isinstance(item, dict) else None for item in upstreams]
    return [
        Problem(path_text(("upstreams", index, "name")), f"expected {UNIQUE_NAME}, found {found(names[index])}")
        for index in repeated_names(names)
    ]


class _NotANumber(ValueError):
    """NaN or Infinity, which Python would read."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotANumber(f"{name} is not a JSON number")


class _RepeatedKeys:
    """Notices keys that an object has twice: JSON allows them, and one of the two would be lost unseen."""

    def __init__(self) -> None:
        # By identity, together with the object itself: were it thrown away, another could get its identity.
        self._repeated: dict[int, tuple[dict[str, Any], list[str]]] = {}

    def collect(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self._repeated[id(result)] = result, [key for key, count in counts.items() if count > 1]
        return result

    def problems(self, raw: Any) -> list[Problem]:
        found_problems: list[Problem] = []
        waiting: list[tuple[Location, Any]] = [((), raw)]
        while waiting:
            location, value = waiting.pop()
            if isinstance(value, dict):
                for key in self._repeated.get(id(value), (value, []))[1]:
                    found_problems.append(Problem(path_text((*location, key)), "this key is there twice"))
                waiting += [((*location, key), item) for key, item in value.items()]
            elif isinstance(value, list):
                waiting += [((*location, index), item) for index, item in enumerate(value)]
        return found_problems
