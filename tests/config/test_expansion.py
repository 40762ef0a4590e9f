"""``${VARIABLE}`` in JSON configurations: what is expanded and refused, and that no value of a variable is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.configurations import anywhere, changed, json_values
from trabbits.config import ConfigError, Loaded, parse_config
from trabbits.config.expansion import expand

LIMIT = 1000


def expanded(raw: Any, **environment: str) -> Any:
    result = expand(raw, environment, LIMIT)
    assert (result.problems, result.warnings) == ([], [])
    return result.value


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${A}", "1"),
        ("${A}:${B_2}", "1:two"),
        ("x${A}y${A}z", "x1y1z"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$${A}${A}", "${A}1"),
        ("$${", "${"),
        ("$A $ $$ {A} }", "$A $ $$ {A} }"),
        ("${NESTED}", "${A}"),
        ("${EMPTY}", ""),
    ],
)
def test_texts(text: str, result: str) -> None:
    """Each variable is replaced by its value, once: what a value contains is not looked at again."""
    assert expanded(text, A="1", B_2="two", NESTED="${A}", EMPTY="") == result


def test_every_text_but_no_key() -> None:
    raw = {"${A}": ["${A}", {"x": "${A}"}, 5, None, True, 1.5]}
    assert expanded(raw, A='"]') == {"${A}": ['"]', {"x": '"]'}, 5, None, True, 1.5]}


@pytest.mark.parametrize("text", ["${}", "${A B}", "${1A}", "${A-x}", "${A:-x}", "${Ä}", "${ A}", "${${A}}"])
def test_a_name_that_is_none(text: str) -> None:
    result = expand({"a": [text]}, {"A": "x"}, LIMIT)
    [problem] = result.problems
    assert problem.path == "a[0]"
    assert problem.message.startswith("expected the name of a variable")
    assert 'write "$${" for a literal "${"' in problem.message


@pytest.mark.parametrize("text", ["${", "x${A", "${A} ${B"])
def test_without_an_end(text: str) -> None:
    result = expand({"a": text}, {"A": "x", "B": "x"}, LIMIT)
    assert [str(problem) for problem in result.problems] == [
        'a: "${" without a "}" behind it: write "$${" for a literal "${"'
    ]


def test_the_size_is_bounded() -> None:
    """However small the file, variables cannot make it fill the memory."""
    result = expand(["${A}"] * 1000, {"A": "x" * 300}, LIMIT)
    assert [str(problem) for problem in result.problems][:1] == [
        "[3]: the variables in all texts together are too long"
    ]
    assert sum(map(len, result.value)) <= LIMIT


def load(raw: Any, **environment: str) -> Loaded:
    return parse_config(json.dumps(raw), "test.json", environment)


def test_a_configuration_with_variables() -> None:
    raw = changed(["upstreams", 1, "address"], "${HOST}:${PORT}")
    raw["upstreams"][0]["health_check"]["password"] = "${PASSWORD}"
    raw["heartbeat"] = "${HEARTBEAT}"
    loaded = load(raw, HOST="rabbit", PORT="5672", PASSWORD="${x}", HEARTBEAT="7s")
    assert str(loaded.config.upstreams[1].address) == "rabbit:5672"
    check = loaded.config.upstreams[0].health_check
    assert check is not None
    assert check.password is not None
    assert check.password.get_secret_value() == "${x}"
    assert loaded.config.heartbeat == 7
    assert loaded.warnings == ()


def test_a_variable_that_is_not_set_is_empty() -> None:
    """... and that is a warning with the variable and the path, for each place."""
    raw = changed(["upstreams", 1, "address"], "rabbit${SUFFIX}:5672")
    raw["upstreams"][1]["routing"]["key_patterns"][1] = "${KEY}"
    loaded = load(raw)
    assert str(loaded.config.upstreams[1].address) == "rabbit:5672"
    assert loaded.config.upstreams[1].routing.key_patterns[1] == ""
    assert list(map(str, loaded.warnings)) == [
        "upstreams[1].address: the environment variable SUFFIX is not set, the empty text stands in its place",
        "upstreams[1].routing.key_patterns[1]: the environment variable KEY is not set, "
        "the empty text stands in its place",
    ]


def test_errors_show_what_is_written() -> None:
    """A wrong value that came from a variable is shown as it stands in the file, with the warnings about it."""
    raw = changed(["upstreams", 1, "address"], "${HOST}:${PORT}")
    raw["upstreams"][1]["routing"]["key_patterns"][1] = "${"
    raw["read_timeout"] = "${TIME}"
    del raw["handshake_timeout"]
    with pytest.raises(ConfigError) as caught:
        load(raw, HOST="hunter2", TIME="hunter2")
    assert "hunter2" not in str(caught.value)
    problems = {problem.path: problem.message for problem in caught.value.problems}
    assert problems["upstreams[1].address"].endswith('found "${HOST}:${PORT}"')
    assert problems["read_timeout"].endswith('found "${TIME}"')
    assert problems["upstreams[1].routing.key_patterns[1]"].startswith('"${" without')
    assert [warning.path for warning in caught.value.warnings] == ["upstreams[1].address"]
    assert "warning: upstreams[1].address: the environment variable PORT is not set" in str(caught.value)


def test_a_schema_is_not_expanded() -> None:
    assert load(changed(["$schema"], "${NOWHERE}")).warnings == ()


@given(anywhere, st.text().filter(lambda text: "\0" not in text))
def test_any_variable_anywhere(place: tuple[dict[str, Any], tuple[str | int, ...]], value: str) -> None:
    """Whatever a variable holds and wherever it is used: a configuration or a ConfigError without the value."""
    for held in (value, f"hunter2-{value}-hunter2"):
        told = ""
        try:
            load(changed(list(place[1]), "${A}", place[0]), A=held)
        except ConfigError as error:
            told = str(error)
        told.encode()
        assert "hunter2-" not in told


@given(json_values, st.dictionaries(st.text("ABC_${}", max_size=3), st.text()))
def test_any_value_in_any_environment(raw: Any, environment: dict[str, str]) -> None:
    """What has nothing to expand stays as it is."""
    result = expand(raw, environment, 10**6)
    if not result.written:
        assert repr(result.value) == repr(raw)
