"""Secrets in configurations that come and go masked: a mask stands for the secret that is in use.

Lives here: `unmasked`, `comparable`.  Must not know: which keys are secrets; the model's types say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve
from pydantic import BaseModel, SecretStr

from trabbits.config import Config, ConfigError, Loaded, Problem, masked
from trabbits.config.errors import path_text
from trabbits.config.secret_files import SecretFile

#: What `trabbits.config.masked` shows in place of a secret.
MASK = "*" * 10


def unmasked(loaded: Loaded, running: Config) -> Loaded:
    """`loaded` with the running secrets for masks.  ConfigError where there is nothing that a mask could stand for.

    Parts of a list belong together when they have the same name, those of an object when they have the same key.
    """
    problems: list[Problem] = []
    config = _unmasked(loaded.config, running, (), problems)
    if problems:
        raise ConfigError(loaded.source, problems, loaded.warnings)
    return evolve(loaded, config=config)


def _unmasked(section: Any, running: Any, path: tuple[str | int, ...], problems: list[Problem]) -> Any:
    changes: dict[str, Any] = {}
    for name in type(section).model_fields:
        value, known = getattr(section, name), getattr(running, name, None)
        place = (*path, name)
        if isinstance(value, SecretStr) and value.get_secret_value() == MASK:
            if not isinstance(known, SecretStr):
                problems.append(
                    Problem(path_text(place), "a masked secret stands for the one in use, and there is none")
                )
            else:
                changes[name] = known
        elif isinstance(value, BaseModel):
            changes[name] = _unmasked(value, known, place, problems)
        elif isinstance(value, list) and any(isinstance(each, BaseModel) for each in value):
            others = _by_name(known)
            changes[name] = [
                _unmasked(each, others.get(getattr(each, "name", None)), (*place, index), problems)
                for index, each in enumerate(value)
            ]
        elif isinstance(value, dict) and any(isinstance(each, BaseModel) for each in value.values()):
            changes[name] = {
                key: _unmasked(each, _by_key(known).get(key), (*place, key), problems) for key, each in value.items()
            }
    return section.model_copy(update=changes) if changes else section


def comparable(given: Config, running: Config) -> dict[str, Any]:
    """`given` masked, where a secret that differs from the running one says so."""
    content = masked(given)
    _mark(given, running, content)
    return content


def _mark(section: Any, running: Any, content: dict[str, Any]) -> None:
    for name in type(section).model_fields:
        value, known = getattr(section, name), getattr(running, name, None)
        if isinstance(value, SecretStr):
            if isinstance(known, SecretStr) and known.get_secret_value() != value.get_secret_value():
                content[name] = f"{MASK} (another one)"
        elif isinstance(value, SecretFile):
            if isinstance(known, SecretFile) and known != value and known.path == value.path:
                content[name] = f"{value} (another content)"
        elif isinstance(value, BaseModel):
            _mark(value, known, content[name])
        elif isinstance(value, list) and any(isinstance(each, BaseModel) for each in value):
            others = _by_name(known)
            for each, shown in zip(value, content[name], strict=True):
                _mark(each, others.get(getattr(each, "name", None)), shown)
        elif isinstance(value, dict) and any(isinstance(each, BaseModel) for each in value.values()):
            for key, each in value.items():
                _mark(each, _by_key(known).get(key), content[name][key])


def _by_name(sections: Any) -> Mapping[Any, Any]:
    if not isinstance(sections, list):
        return {}
    return {name: each for each in sections if (name := getattr(each, "name", None)) is not None}


def _by_key(sections: Any) -> Mapping[Any, Any]:
    return sections if isinstance(sections, dict) else {}
