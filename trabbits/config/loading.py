"""From a file to a `Config`, or to a `ConfigError` that says everything that is wrong with it.

Lives here: reading, JSON's syntax, duplicate keys, and the order of the steps.  Must not know: what the keys mean
(``trabbits.config.model``).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from attrs import field, frozen
from pydantic import ValidationError

from trabbits.config.conflicts import conflicts
from trabbits.config.errors import ConfigError, Location, Problem, path_text, problems_of
from trabbits.config.expansion import expand
from trabbits.config.jsonnet import evaluate
from trabbits.config.making import Unmakeable, unmakeable
from trabbits.config.model import Config
from trabbits.config.origin import Origin

#: A configuration larger than this is a mistake, such as naming a log file.
SIZE_LIMIT = 16 * 1024 * 1024

Language = Literal["json", "jsonnet"]


@frozen
class Loaded:
    """A configuration that can be used, where it came from, and what its author should know about it."""

    config: Config
    warnings: tuple[Problem, ...]
    source: str
    _origin: Origin = field(factory=Origin, repr=False, eq=False)

    def refused(self, problem: Unmakeable) -> ConfigError:
        """The error for a plugin that could be made when the configuration was read, but not when it was to start."""
        return ConfigError(self.source, [_told(problem, self._origin)], self.warnings)


def load_config(path: str | Path, environment: Mapping[str, str] = os.environ) -> Loaded:
    """Read and validate the file at `path`.  Raises `ConfigError`, whatever is wrong.

    This may take seconds (Jsonnet is a programming language): not for the reactor's thread while clients are there.
    """
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
    return parse_config(text, source, environment)


def parse_config(
    text: str,
    source: str,
    environment: Mapping[str, str] = os.environ,
    *,
    language: Language | None = None,
    imports: bool = True,
    secret_files: Collection[str] | None = None,
) -> Loaded:
    """Validate a configuration given as `text`.  Raises `ConfigError`.

    `source` is its name in errors; what it ends with tells the `language` unless that is given, and what a Jsonnet
    text imports is looked for in its folder; without `imports` it may import nothing.  Of files that hold secrets, only
    `secret_files` are read, if they are given.
    """
    if language is None:
        language = "jsonnet" if source.endswith((".jsonnet", ".libsonnet")) else "json"
    if language == "jsonnet":
        evaluated = evaluate(text, source, environment, SIZE_LIMIT, imports=imports)
        raw, _ = _decoded(evaluated.json, source)
        origin = Origin(variables=evaluated.variables)
        return Loaded(validate_config(raw, source, origin=origin, secret_files=secret_files), (), source, origin)
    raw, problems = _decoded(text, source)
    raw, about_schema = _without_schema(raw)
    expanded = expand(raw, environment, SIZE_LIMIT)
    problems += about_schema + expanded.problems
    origin = Origin(expanded.written, filled_in=expanded.variables)
    config = validate_config(
        expanded.value, source, problems, origin=origin, warnings=expanded.warnings, secret_files=secret_files
    )
    return Loaded(config, tuple(expanded.warnings), source, origin)


def validate_config(
    raw: Any,
    source: str,
    problems: Sequence[Problem] = (),
    *,
    origin: Origin | None = None,
    warnings: Sequence[Problem] = (),
    secret_files: Collection[str] | None = None,
) -> Config:
    """Validate decoded JSON.

    `problems` are findings so far; they are reported together with the new ones, and `warnings` with both.
    `secret_files` as in `parse_config`.
    """
    origin, config = origin or Origin(), None
    raw, about_schema = _without_schema(raw)
    problems = [*problems, *about_schema]
    try:
        context = {"upstreams": _upstream_names(raw), "secret_files": secret_files}
        config = Config.model_validate(raw, context=context)
    except ValidationError as error:
        problems += problems_of(error, Config, origin)
        problems += _conflicts(raw, origin, {problem.path for problem in problems})
    if config is not None and not problems:
        problems += [_told(each, origin) for each in unmakeable(config)]
    if config is None or problems:
        raise ConfigError(source, problems, warnings)
    return config


def _told(problem: Unmakeable, origin: Origin) -> Problem:
    return Problem(origin.path(problem.location), origin.foreign(problem.text))


def _upstream_names(raw: Any) -> list[str]:
    """For options of plugins that name upstreams."""
    upstreams = raw.get("upstreams") if isinstance(raw, dict) else None
    named = upstreams if isinstance(upstreams, list) else []
    return [each["name"] for each in named if isinstance(each, dict) and isinstance(each.get("name"), str)]


def _without_schema(raw: Any) -> tuple[Any, list[Problem]]:
    """`raw` without the key that tells editors about its schema, and what is wrong with that key."""
    if not isinstance(raw, dict) or "$schema" not in raw:
        return raw, []
    rest = {key: value for key, value in raw.items() if key != "$schema"}
    if isinstance(raw["$schema"], str):
        return rest, []
    return rest, [Problem(path_text(["$schema"]), "expected a string")]


def _conflicts(raw: Any, origin: Origin, told: set[str]) -> list[Problem]:
    """What is wrong between keys, when other errors kept the model from being built; not at places of `told`."""
    problems = []
    for each in conflicts(raw):
        path = origin.path(each.location)
        if path not in told:
            there = "" if each.value is None else f", found {origin.found(each.location, each.value)}"
            problems.append(Problem(path, f"expected {each.what}{there}"))
    return problems


def _decoded(text: str, source: str) -> tuple[Any, list[Problem]]:
    """JSON's value, and which of its keys are there twice."""
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
    return raw, tracker.problems(raw)


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
        waiting: list[tuple[Location, Any]] = [((), raw)] if self._repeated else []
        while waiting:
            location, value = waiting.pop()
            if isinstance(value, dict):
                for key in self._repeated.get(id(value), (value, []))[1]:
                    found_problems.append(Problem(path_text((*location, key)), "this key is there twice"))
                waiting += [((*location, key), item) for key, item in value.items()]
            elif isinstance(value, list):
                waiting += [((*location, index), item) for index, item in enumerate(value)]
        return found_problems
