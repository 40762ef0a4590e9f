"""Configurations in Jsonnet: imports, the environment, every way to fail, and the process that evaluates.

Most tests call the evaluation in this process; those of the process around it say so.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.configurations import FULL
from trabbits.config import ConfigError, load_config, masked, parse_config
from trabbits.config.jsonnet import evaluate
from trabbits.config.jsonnet_process import answer

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "jsonnet" / "config.jsonnet"
LIMIT = 100_000


def evaluated(text: str, source: str = "test.jsonnet", **environment: str) -> Any:
    result = answer({"text": text, "source": source, "environment": environment, "size_limit": LIMIT})
    assert "error" not in result, result
    return json.loads(result["json"])


def refused(text: str, source: str = "test.jsonnet", **environment: str) -> tuple[str, str]:
    """The place and the message."""
    result = answer({"text": text, "source": source, "environment": environment, "size_limit": LIMIT})
    assert "json" not in result
    return result["place"], result["error"]


ENV = "local env = std.native('env'); local must_env = std.native('must_env');\n"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("env('A', 'default')", "set"),
        ("env('EMPTY', 'default')", ""),
        ("env('MISSING', 'default')", "default"),
        ("env('MISSING', null)", None),
        ("env('MISSING', 5)", 5),
        ("must_env('A')", "set"),
        ("must_env('EMPTY')", ""),
        ("must_env('A') + '-' + env('MISSING', 'x')", "set-x"),
        ("std.native('env')('A', '')", "set"),
        ("'${A}'", "${A}"),
    ],
)
def test_the_environment(expression: str, value: Any) -> None:
    """`env` has a default, `must_env` none; `${}` means nothing in Jsonnet."""
    assert evaluated(f"{ENV} {expression}", A="set", EMPTY="") == value


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("{\n  a: 1", "test.jsonnet:2:7", "expected a comma before next field"),
        ("{ a: 'x }", "test.jsonnet:1:6", "unterminated string"),
        ("{a: b}", "test.jsonnet:1:5", "unknown variable: b"),
        ("{a: 1, a: 2}", "test.jsonnet:1:8", "duplicate field: a"),
        ("{a: error 'mine'}", "test.jsonnet:1:5-17", "mine"),
        ("{a: $.b}", "test.jsonnet:1:5-8", "field does not exist: b"),
        ("{\n  assert self.a > 5 : 'too small',\n  a: 1,\n}", "test.jsonnet:2:", "too small"),
        ("local f(n) = 1 + f(n); f(0)", "test.jsonnet:1:18-22", "max stack frames exceeded"),
        ("local a = b, b = a; a", "test.jsonnet:1:", "infinite|max stack"),
        ("[" * 5000, "test.jsonnet:1:", "parse depth"),
        ("{a: std.parseInt('x')}", "test.jsonnet:1:5-22", "not a base 10 integer"),
        ("{a: 1 / 0}", "test.jsonnet:1:5-10", "division by zero"),
        ("{a: function(x) x}", "test.jsonnet:1:5-18", "function"),
        ("a\0b", "", "null character"),
        ("'\ud800'", "", "surrogates"),
        (f"{ENV}{{a: must_env('NOWHERE')}}", "test.jsonnet:2:5-24", "the environment variable NOWHERE is not set"),
        (f"{ENV}env(5, 5)", "test.jsonnet:2:1-10", "expects the name of an environment variable"),
        (f"{ENV}must_env(null)", "test.jsonnet:2:1-15", "expects the name of an environment variable"),
        (f"{ENV}must_env('BROKEN')", "test.jsonnet:2:1-19", "the environment variable BROKEN is not UTF-8"),
        (f"{ENV}env('A')", "test.jsonnet:2:1-9", "parameter"),
        (f"{ENV}env('NOWHERE', {{}})", "test.jsonnet:2:1-19", "primitive"),
        ("std.native('other')()", "test.jsonnet:1:1-22", "only functions can be called"),
    ],
)
def test_errors(text: str, place: str, message: str) -> None:
    """Each comes with Jsonnet's own message and place, that of the operator's file."""
    found_place, found_message = refused(text, A="a", BROKEN="\udcff")
    assert found_place.startswith(place), found_place
    assert bool(found_place) == bool(place)
    assert any(part.lower() in found_message.lower() for part in message.split("|")), found_message


def test_imports_are_relative_to_the_importing_file(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "one.libsonnet").write_text("{one: 1} + import 'two.libsonnet'")
    (tmp_path / "lib" / "two.libsonnet").write_text("{two: importstr '../text'}")
    (tmp_path / "text").write_text("ü")
    source = str(tmp_path / "config.jsonnet")
    assert evaluated("import 'lib/one.libsonnet'", source) == {"one": 1, "two": "ü"}
    assert evaluated(f"import '{tmp_path}/lib/one.libsonnet'", source) == {"one": 1, "two": "ü"}


def test_imports_that_fail(tmp_path: Path) -> None:
    """What cannot be read, is too large, is no UTF-8, or imports itself: an error in the file that has it."""
    source = str(tmp_path / "config.jsonnet")
    (tmp_path / "bad.libsonnet").write_text("{\n  a: }")
    (tmp_path / "octets").write_bytes(b"\xff")
    (tmp_path / "large").write_text("x" * (LIMIT + 1))
    (tmp_path / "half").write_text("x" * (LIMIT // 2 + 1))
    (tmp_path / "half2").write_text("x" * (LIMIT // 2 + 1))
    (tmp_path / "self.libsonnet").write_text("{a: (import 'self.libsonnet').a}")
    (tmp_path / "other.libsonnet").write_text("import 'nowhere'")
    assert refused("import 'bad.libsonnet'", source)[0] == f"{tmp_path}/bad.libsonnet:2:6"
    place, message = refused("import 'other.libsonnet'", source)
    assert place == f"{tmp_path}/other.libsonnet:1:1-17"
    assert message == 'couldn\'t open import "nowhere": No such file or directory'
    assert "not UTF-8" in refused("importstr 'octets'", source)[1]
    assert "larger than 100000 octets" in refused("importstr 'large'", source)[1]
    assert "larger than 100000 octets" in refused("(importstr 'half') + importstr 'half2'", source)[1]
    assert "Is a directory" in refused("import '.'", source)[1]
    assert "max stack frames" in refused("import 'self.libsonnet'", source)[1]


def test_the_result_is_bounded() -> None:
    assert "larger than 100000 characters" in refused(f"std.repeat('x', {LIMIT})")[1]


def problems(text: str, **environment: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "test.jsonnet", environment)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_the_result_is_validated_as_strictly() -> None:
    assert parse_config(json.dumps(FULL), "x.jsonnet", {}).config == parse_config(json.dumps(FULL), "x.json").config
    assert problems("[]") == {"": "expected an object, found a list"}
    assert problems("{upstreams: [{name: 'a', adress: 'a:1'}], frame_max: 1.5}") == {
        "upstreams[0].adress": 'unknown key, did you mean "address"?',
        "frame_max": "expected a whole number, found 1.5",
        "upstreams[0]": 'expected "address" (one node) or "cluster" (several)',
    }


def test_no_error_tells_what_a_variable_holds() -> None:
    """Neither in a value nor in a key nor in Jsonnet's own messages, long or short, text or number."""
    long = "hunter2" * 20
    upstream = "{upstreams: [{name: %s, address: 'a:1'}], heartbeat: 70000}"
    assert problems(ENV + upstream % "'\\n' + must_env('A') + ' x'", A=long)["upstreams[0].name"].endswith(
        'found "\\n${A} x"'
    )
    assert problems(ENV + "{[must_env('A')]: 1}", A=long)['["${A}"]'].startswith("unknown key")
    assert problems(ENV + "{}[must_env('A')]", A=long) == {"test.jsonnet:2:1-18": "Jsonnet: field does not exist: ${A}"}
    number = problems(ENV + "{upstreams: [], heartbeat: std.parseInt(must_env('A'))}", A="70001")
    assert number["heartbeat"] == "expected at most 65535, found ${A}"
    assert problems(ENV + "error 'a pin: ' + must_env('A')", A="pin") == {
        "test.jsonnet:2:1-32": "Jsonnet: a ${A}: ${A}"
    }
    assert problems(ENV + "error 'again ' + must_env('A')", A="a")["test.jsonnet:2:1-31"] == "Jsonnet: again ${A}"


def test_the_example() -> None:
    """`examples/jsonnet` is one for every stage, and says what it needs."""
    loaded = load_config(EXAMPLE, {"HEALTH_PASSWORD": "hunter2", "STAGE": "production"})
    assert str(loaded.config.upstreams[0].nodes[0]) == "rabbit-1.production:5672"
    assert loaded.config.graceful_shutdown.shutdown_timeout == 30
    assert "hunter2" not in str(masked(loaded.config))
    with pytest.raises(ConfigError) as caught:
        load_config(EXAMPLE, {})
    [problem] = caught.value.problems
    assert problem.message == "Jsonnet: the environment variable HEALTH_PASSWORD is not set"
    assert problem.path.startswith(f"{EXAMPLE}:")


def test_files(tmp_path: Path) -> None:
    """The name's end tells the language; a file that is not UTF-8 is refused before."""
    for name in ("a.jsonnet", "a.libsonnet"):
        path = tmp_path / name
        path.write_text(f"local x = 'a:1'; {json.dumps(FULL)} + {{heartbeat: 7}}")
        assert load_config(path, {}).config.heartbeat == 7
    (tmp_path / "b.jsonnet").write_bytes(b"'\xff'")
    with pytest.raises(ConfigError, match="line 1: is not UTF-8"):
        load_config(tmp_path / "b.jsonnet", {})
    assert parse_config(json.dumps(FULL) + " + {heartbeat: 7}", "PUT", {}, language="jsonnet").config.heartbeat == 7
    with pytest.raises(ConfigError, match="not JSON"):
        parse_config("{a: 1}", "a.jsonnet", {}, language="json")


def test_an_odd_file_name(tmp_path: Path) -> None:
    """File names need not be UTF-8; there is a result or a ConfigError."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonnet")
    with open(path, "w") as file:
        json.dump(FULL, file)
    assert load_config(path, {}).config.heartbeat == 10


def test_a_process_that_takes_too_long() -> None:
    """Process: an endless loop ends at the time limit."""
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"not done within 0\.5 s"):
        evaluate("local f(n) = f(n + 1) tailstrict; f(0)", "test.jsonnet", {}, LIMIT, time_limit=0.5)
    assert time.monotonic() - start < 10


def test_a_process_that_takes_too_much() -> None:
    """Process: memory without end is the end of that process alone."""
    with pytest.raises(ConfigError, match=r"ended by SIG|memory"):
        evaluate("std.length(std.repeat('x', 1e10))", "test.jsonnet", {}, LIMIT)


def test_a_process_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process: no interpreter is a ConfigError, too."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(ConfigError, match=r"cannot be started: .*No such file"):
        evaluate("{}", "test.jsonnet", {}, LIMIT)


def test_a_process_without_jsonnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Process: a missing package is named."""
    (tmp_path / "_jsonnet.py").write_text("raise ImportError('no jsonnet here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="no jsonnet here"):
        evaluate("{}", "test.jsonnet", {}, LIMIT)


def test_octets_in_the_environment_reach_the_process() -> None:
    """Process: the whole environment goes there, what is not UTF-8 included."""
    assert json.loads(evaluate(ENV + "env('A', '')", "x", {"A": "ü", "B": "\udcff"}, LIMIT).json) == "ü"


words = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "local ",
        "x",
        " = ",
        ";",
        "'",
        '"',
        ":",
        ",",
        "+",
        "import 'x'",
        "std.",
        "self",
        "$",
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.text() | st.lists(words, max_size=12).map("".join))
def test_any_text(text: str) -> None:
    """Any text gives JSON or an error of Jsonnet's, and neither ends the process."""
    result = answer({"text": text, "source": "x", "environment": {}, "size_limit": LIMIT})
    assert ("json" in result) != ("error" in result)
    json.dumps(result)


@settings(max_examples=10, deadline=None)
@given(st.dictionaries(st.sampled_from("AB"), st.text(st.characters(exclude_characters="\0"))), st.text())
def test_any_environment(environment: dict[str, str], text: str) -> None:
    """Process: whatever variables hold, and whatever the text, a configuration or a ConfigError."""
    for source in (ENV + "{upstreams: [{name: env('A', null), address: must_env('B')}]}", text):
        try:
            parse_config(source, "test.jsonnet", environment)
        except ConfigError as error:
            str(error).encode()
