"""What the documentation and the examples say about the configuration is true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from trabbits.assembly import session_settings
from trabbits.config import Config, load_config, parse_config

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.json"))
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part))), None)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every path of the configuration, as the documentation's headings have it."""
    for name, field in model.model_fields.items():
        yield prefix + name
        section = section_in(field.annotation)
        if section is not None:
            listed = "[]" if str(field.annotation).startswith("list") else ""
            yield from keys(section, f"{prefix}{name}{listed}.")


def test_every_key_is_documented() -> None:
    """`docs/configuration.md` has a heading for each key, and none for a key that is not there."""
    assert sorted(re.findall(r"^#{3,4} `(.+)`$", CONFIGURATION, re.MULTILINE)) == sorted(keys(Config))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    session_settings(load_config(path))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


def test_everything_is_in_everything() -> None:
    """The example that says so has every key."""

    def used(value: Any, prefix: str = "") -> Iterator[str]:
        if isinstance(value, dict):
            for name, item in value.items():
                yield prefix + name
                if not prefix.endswith("arguments."):
                    yield from used(item, f"{prefix}{name}.")
        elif isinstance(value, list):
            for item in value:
                yield from used(item, prefix.removesuffix(".") + "[].")

    example = json.loads((ROOT / "examples" / "everything.json").read_text())
    found = {name for name in used(example) if "arguments." not in name}
    assert found == set(keys(Config))


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md", "docs/usage.md"])
def test_configurations_in_the_text_load(name: str) -> None:
    """JSON blocks that show a configuration are ones."""
    for block in re.findall(r"^```json\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL):
        if '"upstreams": [\n' in block or '"upstreams": [{' in block:
            parse_config(block, name)


def test_the_error_in_the_text_is_what_one_sees() -> None:
    """The example of an error message is a real one."""
    shown = re.search(r"^```text\ntrabbits: (config.json: .*?)^```", CONFIGURATION, re.MULTILINE | re.DOTALL)
    assert shown is not None
    upstreams = [
        {"name": "a", "address": "a:1"},
        {"name": "b", "address": "b:1", "timout": 1, "routing": {"key_patterns": [5]}},
    ]
    with pytest.raises(Exception) as caught:
        parse_config(json.dumps({"upstreams": upstreams}), "config.json")
    assert sorted(str(caught.value).splitlines()) == sorted(shown[1].splitlines())
