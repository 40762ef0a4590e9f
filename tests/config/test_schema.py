"""The JSON Schema: it knows and explains every key, accepts whatever loads, and refuses common mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.config.configurations import FULL, anywhere, changed, json_values
from trabbits.config import ConfigError, parse_config
from trabbits.config.schema import json_schema

EXAMPLES = sorted(
    path for path in (Path(__file__).resolve().parents[2] / "examples").rglob("*.json") if "grafana" not in path.parts
)


@cache
def validator() -> Any:
    return Draft202012Validator(json_schema())


def sections(schema: Any) -> Iterator[tuple[str, Any]]:
    yield "", schema
    # Plugins in the options of plugins are those of the configuration, and not described again.
    yield from ((name, section) for name, section in schema["$defs"].items() if "$ref" not in section)


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json_schema()["title"] == "Configuration of trabbits"


def test_every_key_is_explained() -> None:
    """Each key has a description and, unless it is required, a default; each section is closed."""
    for name, section in sections(json_schema()):
        assert section["additionalProperties"] is False
        assert section["description"]
        for key, said in section["properties"].items():
            assert said.get("description"), f"{name}.{key}"
            assert "\n" not in said["description"]
            assert key in section.get("required", []) or key == "$schema" or "default" in said or "." in name, (
                f"{name}.{key}"
            )


def test_defaults_are_valid() -> None:
    whole = json_schema()
    for _, section in sections(whole):
        for said in section["properties"].values():
            if "default" in said:
                schema = said | {"$defs": whole["$defs"]}
                assert not list(Draft202012Validator(schema).iter_errors(said["default"]))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    validator().validate(json.loads(path.read_text()))


def test_everything_is_valid() -> None:
    validator().validate(FULL)
    older = changed(["read_timeout"], 2)
    del older["handshake_timeout"]
    validator().validate(older)


plausible = json_values | st.sampled_from(
    [
        0,
        1,
        5,
        60,
        5.0,
        0.5,
        "1h",
        ".5s",
        "[::1]:1",
        "[fe80::1%eth0]:5672",
        "a_b:2",
        "#",
        ["a:1"],
        [],
        {},
        "x" * 64,
        "$${",
    ]
)


@given(anywhere, plausible)
def test_whatever_loads_is_valid(place: tuple[dict[str, Any], tuple[str | int, ...]], value: Any) -> None:
    """An editor complains about nothing that trabbits would accept."""
    raw = changed(list(place[1]), value, place[0])
    try:
        parse_config(json.dumps(raw), "test.json", {"A": "5s"})
    except ConfigError:
        return
    assert not list(validator().iter_errors(raw))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["upstreams"], []),
        (["upstreams", 0], "localhost:5672"),
        (["upstreams", 0, "name"], ""),
        (["upstreams", 0, "name"], "x" * 65),
        (["upstreams", 0, "adress"], "a:1"),
        (["upstreams", 0, "address"], "a:1"),  # beside the cluster
        (["upstreams", 0, "cluster"], None),  # and no address
        (["upstreams", 0, "cluster", "nodes"], []),
        (["upstreams", 0, "cluster", "nodes"], ["a:1", "a:1"]),
        (["upstreams", 0, "cluster", "nodes", 0], "amqp://a:1"),
        (["upstreams", 1, "address"], "rabbit"),
        (["upstreams", 1, "timeout"], "5"),
        (["upstreams", 1, "timeout"], "5 s"),
        (["upstreams", 1, "timeout"], 0),
        (["upstreams", 1, "timeout"], 86401),
        (["upstreams", 1, "required"], "no"),
        (["upstreams", 0, "health_check", "password"], None),
        (["upstreams", 0, "health_check"], {"username": "u"}),
        (["upstreams", 0, "health_check", "unhealthy_threshold"], 0),
        (["upstreams", 1, "routing", "key_patterns"], "a.*"),
        (["upstreams", 1, "queue_attributes", "arguments"], []),
        (["upstreams", 0, "cluster", "nodes", 0], {"adress": "a:1"}),
        (["upstreams", 0, "cluster", "nodes", 0, "labels", "datacenter"], 5),
        (["upstreams", 0, "selector", "plugin"], "quorum"),  # which is a rewriter
        (["upstreams", 0, "selector", "options"], {}),  # without the datacenter
        (["upstreams", 0, "selector"], {"plugin": "datacenter_affinity"}),
        (["upstreams", 1, "rewriters", 0, "options", "queues"], []),
        (["policies", 0, "options", "total"], -1),
        (["policies", 1, "options", "tokens"], "x"),
        (["routing", "plugin"], "nonsense"),
        (["routing", "options", "strategies"], []),
        (["routing", "options", "strategies", 0, "plugin"], "nonsense"),
        (["routing", "options", "strategies", 0, "options", "rules"], []),
        (["read_timeout"], 5),  # beside handshake_timeout
        (["handshake_timeout"], True),
        (["frame_max"], 4095),
        (["heartbeat"], 0.5),
        (["graceful_shutdown", "rate_limit"], "${RATE}"),
        (["$schema"], 5),
    ],
)
def test_mistakes_are_not(path: list[str | int], value: Any) -> None:
    """What the editor marks is what trabbits refuses."""
    raw = changed(path, value)
    assert list(validator().iter_errors(raw))
    with pytest.raises(ConfigError):
        parse_config(json.dumps(raw), "test.json", {"RATE": "5"})


def test_editors_know_the_plugins() -> None:
    """Those of each kind, with what they do and the options of each."""
    schema = json_schema()
    offered = schema["$defs"]["SelectorUse"]["properties"]["plugin"]["anyOf"]
    described = {each["const"]: each["description"] for each in offered if "const" in each}
    assert set(described) >= {"least_connections", "round_robin", "random", "datacenter_affinity", "ordered"}
    assert all(described.values())
    assert "weights" in schema["$defs"]["routing.weighted"]["properties"]


@pytest.mark.parametrize(
    "path",
    [
        ["upstreams", 1, "address"],
        ["upstreams", 1, "timeout"],
        ["upstreams", 1, "name"],
        ["upstreams", 0, "cluster", "nodes", 1],
        ["upstreams", 0, "selector", "plugin"],
        ["policies", 1, "options", "url"],
    ],
)
def test_variables_may_stand_anywhere(path: list[str | int]) -> None:
    """What a variable will make of a text, an editor cannot know."""
    validator().validate(changed(path, "${" + "A" * 80 + "}"))
