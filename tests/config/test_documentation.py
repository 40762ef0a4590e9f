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
from trabbits.config.schema import json_schema

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(
    path
    for end in ("*.json", "*.jsonnet")
    for path in (ROOT / "examples").rglob(end)
    if path.parent.name != "grafana"  # a dashboard
)
#: What the examples expect of the environment.
ENVIRONMENT = {
    "ADMIN_TOKEN": "hunter3",
    "APPLICATIONS_PASSWORD": "hunter9",
    "AUTH_TOKEN": "hunter4",
    "BILLING_PASSWORD": "hunter6",
    "CREDENTIALS_DIRECTORY": str(Path(__file__).parent / "secret_files"),
    "HEALTH_PASSWORD": "hunter2",
    "ORDERS_PASSWORD": "hunter5",
    "RABBIT_HOST": "rabbit-1",
}
#: Keys whose contents are up to the operator, or to plugins.
FREE = {"arguments", "labels", "options"}
#: Keys that hold sections by name.
BY_NAME = {"credentials"}
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part))), None)


def mark(annotation: Any) -> str:
    """Stands behind the name of what has several sections."""
    text = str(annotation)
    return "[]" if text.startswith("list") else "{}" if text.startswith("dict") else ""


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every path of the configuration, as the documentation's headings have it."""
    for name, field in model.model_fields.items():
        yield prefix + name
        section = section_in(field.annotation)
        if section is not None:
            yield from keys(section, f"{prefix}{name}{mark(field.annotation)}.")


def test_every_key_is_documented() -> None:
    """`docs/configuration.md` has a heading for each key, and none for a key that is not there."""
    assert sorted(re.findall(r"^#{3,4} `(.+)`$", CONFIGURATION, re.MULTILINE)) == sorted(keys(Config))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    """... without a warning; what they show is what they are called."""
    loaded = load_config(path, ENVIRONMENT)
    assert loaded.warnings == ()
    session_settings(loaded.config)


def test_there_are_examples() -> None:
    """One for each thing that an operator may come for."""
    wanted = "single two-upstreams cluster optional-upstream queue-attributes queue-options plugins everything config"
    wanted += " credential-mapping tls-external"
    assert set(wanted.split()) <= {path.stem for path in EXAMPLES}


def test_everything_is_in_everything() -> None:
    """The example that says so has every key."""

    def used(value: Any, prefix: str = "") -> Iterator[str]:
        if isinstance(value, dict):
            for name, item in value.items():
                yield prefix + name
                if name in BY_NAME:
                    for each in item.values():
                        yield from used(each, f"{prefix}{name}{{}}.")
                elif name not in FREE:
                    yield from used(item, f"{prefix}{name}.")
        elif isinstance(value, list):
            for item in value:
                yield from used(item, prefix.removesuffix(".") + "[].")

    example = json.loads((ROOT / "examples" / "everything.json").read_text())
    assert set(used(example)) - {"$schema"} == set(keys(Config))


def test_the_defaults_in_the_text_are_the_models() -> None:
    sections = re.split(r"^#{3,4} `(.+)`$", CONFIGURATION, flags=re.MULTILINE)[1:]
    pairs = zip(sections[::2], sections[1::2], strict=True)
    told = {path: re.findall(r"default `(.*?)`", text)[:1] for path, text in pairs}
    assert {path: list(map(json.loads, default)) for path, default in told.items()} == dict(defaults(Config))


def defaults(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every path with its default, if it has one; sections are `{}`, but for plugins."""
    schema = json_schema()
    properties = (schema if model is Config else schema["$defs"][model.__name__])["properties"]
    for name, field in model.model_fields.items():
        value = [properties[name]["default"]] if "default" in properties[name] else []
        yield prefix + name, [{}] if value and isinstance(value[0], dict) and "plugin" not in value[0] else value
        section = section_in(field.annotation)
        if section is not None:
            yield from defaults(section, f"{prefix}{name}{mark(field.annotation)}.")


def test_jsonnet_in_the_text_runs() -> None:
    blocks = re.findall(r"^```jsonnet\n(.*?)^```", CONFIGURATION, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        parse_config(block, "docs/configuration.md", ENVIRONMENT, language="jsonnet")


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md", "docs/usage.md"])
def test_configurations_in_the_text_load(name: str) -> None:
    """JSON blocks that show a configuration are ones."""
    for block in re.findall(r"^```json\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL):
        if '"upstreams": [\n' in block or '"upstreams": [{' in block:
            assert parse_config(block, name, ENVIRONMENT).warnings == ()


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
