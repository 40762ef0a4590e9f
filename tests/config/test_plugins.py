"""Plugins in a configuration: which there are, the errors of their options, secrets, and plugins that misbehave.

Not covered: what built-in plugins make of their options (``tests/plugins``), plugins that make something else than they
should (``test_hollow_plugins.py``).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import AfterValidator, BaseModel, Field, SecretStr
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from tests.config.configurations import WEIGHTED, changed, json_values, refused
from trabbits.config import Config, ConfigError, config_hash, masked, parse_config
from trabbits.config.origin import Origin
from trabbits.config.schema import json_schema
from trabbits.interfaces import IPropertyRoutingStrategy, IRoutingStrategy, MessageProperties
from trabbits.plugins.catalogue import Broken, Catalogue, Found, discover
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions, UpstreamName


class Key(PluginOptions):
    secret: SecretStr
    note: str = ""


def _check(text: str) -> str:
    match text.partition(" ")[0]:
        case "raise":
            raise RuntimeError(text)
        case "exit":
            sys.exit(text)
        case "value":
            raise ValueError(f"no such text as {text!r}")
        case "custom":
            raise PydanticCustomError("too_short", "too short")
        case "told":
            raise PydanticCustomError("told", "nonsense")
    return text


class OddOptions(PluginOptions):
    """Options with everything that may go wrong."""

    user: str = ""
    password: SecretStr | None = None
    pins: dict[str, SecretStr] = {}
    keys: dict[str, Key] = {}
    either: int | list[int] = 0
    shares: dict[UpstreamName, float] = {}
    checked: Annotated[str, AfterValidator(_check)] = ""
    anything: Any = None
    made: str = ""


@implementer(IRoutingStrategy)
class Indifferent:
    """Keeps its promises."""

    def route(self, exchange: str, routing_key: str) -> str | None:
        return None


@implementer(IPropertyRoutingStrategy)
class Letters(Indifferent):
    """Has a text where a collection of texts is wanted, which Python takes for one."""

    header_names = "tenant"
    property_names = ()

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        return None


def _make(options: OddOptions, _: PluginContext) -> object:
    if options.made.startswith("value"):
        raise ValueError(f"cannot:\n{options.made}")
    if options.made.startswith("raise"):
        raise RuntimeError(options.made)
    if options.made.startswith("exit"):
        sys.exit(options.made)
    if options.made == "letters":
        return Letters()
    if options.made:
        Key.model_validate({"secret": 5, "note": options.made, "x": 1})
    return Indifferent()


class Opaque(BaseModel):
    """What JSON has no form for."""

    thing: Callable[..., None] = print


class OpaqueOptions(PluginOptions):
    opaque: Opaque = Field(default_factory=Opaque)


class LeavingOptions(PluginOptions):
    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        sys.exit()


odd = Plugin("odd", IRoutingStrategy, OddOptions, _make, "goes wrong")
opaque = Plugin("opaque", IRoutingStrategy, OpaqueOptions, lambda *_: Indifferent(), "cannot be shown")
leaving = Plugin("leaving", IRoutingStrategy, LeavingOptions, lambda *_: Indifferent(), "cannot be described")


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in plugins and the ones above, and one that is broken."""
    real = discover()
    extended = Catalogue(
        [*real.found, *(Found(each, "here") for each in (odd, opaque, leaving))],
        [
            *real.broken,
            Broken("bad", "bad.py", "SyntaxError: invalid syntax", named=False),
            Broken("twin", "twin.py", "there is one already"),
        ],
    )
    for module in ("plugin_use", "plugin_schema"):
        monkeypatch.setattr(f"trabbits.config.{module}.discover", lambda: extended)


def routed(options: Any, plugin: str = "odd") -> dict[str, Any]:
    upstreams = [{"name": "a", "address": "a:1"}, {"name": "b", "address": "b:1"}]
    return {"upstreams": upstreams, "routing": {"plugin": plugin, "options": options}}


def load(raw: Any, **environment: str) -> Config:
    return parse_config(json.dumps(raw), "test.json", environment).config


def test_unknown_plugins() -> None:
    """The error names those of the kind that is wanted there; one of another kind is as unknown."""
    problems = refused(routed({}, "wieghted"))
    assert list(problems) == ["routing.plugin"]
    assert '"weighted"' in problems["routing.plugin"]
    assert "quorum" not in problems["routing.plugin"]
    assert problems["routing.plugin"].endswith(', found "wieghted"')
    assert list(refused(changed(["upstreams", 0, "selector"], {"plugin": "quorum"}))) == [
        "upstreams[0].selector.plugin"
    ]
    assert list(refused(changed(["policies", 1, "plugin"], 5))) == ["policies[1].plugin"]


def test_broken_plugins() -> None:
    """One that is wanted is named with its file and its error; it is no one else's business."""
    problem = refused(routed({}, "bad"))["routing.plugin"]
    assert "; plugin 'bad' (bad.py) cannot be used: SyntaxError: invalid syntax)" in problem
    assert "; plugin 'twin' (twin.py) cannot be used: there is" in refused(routed({}, "twin"))["routing.plugin"]
    assert "twin.py" not in refused(routed({}, "other"))["routing.plugin"]
    load(routed({}))


def test_modules_that_may_have_the_plugin() -> None:
    """What could not be loaded is named with its file and its error where there is no plugin of a name."""
    problem = refused(routed({}, "tenant_x"))["routing.plugin"]
    assert problem.startswith('expected the name of a routing plugin ("')
    assert problem.endswith(
        "; what is in 'bad' (bad.py) is not known: SyntaxError: invalid syntax), found \"tenant_x\""
    )
    strategies = {"strategies": [{"plugin": "tenant_x"}]}
    assert "what is in 'bad' (bad.py)" in refused(routed(strategies, "first_match"))["routing.options"]


@pytest.mark.parametrize(
    ("path", "value", "place", "message"),
    [
        (["routing", "options", "weights", "orders"], "x", None, 'expected a number, found "x"'),
        (["routing", "options", "weights", "orders"], 101, None, "expected at most 100, found 101"),
        (
            ["routing", "options", "weights"],
            {"primary": 90, "nowhere": 10},
            "routing.options.weights.nowhere",
            'expected the name of an upstream: "primary", "orders", found "nowhere"',
        ),
        (
            ["routing", "options", "weights"],
            {"primary": 90},
            None,
            "expected weights with a sum of 100, not 90",
        ),
        (["routing", "options"], {}, "routing.options.weights", "missing, but required"),
        (["routing", "options", "wieghts"], {}, None, 'unknown key, did you mean "weights"?'),
        (["policies", 1, "options", "token"], 5, None, "expected a string"),
        (["policies", 0, "options"], {}, "policies[0].options", None),
        (["upstreams", 1, "rewriters", 0, "options", "queues"], [], None, "expected a list of at least 1"),
        (["upstreams", 0, "selector", "options", "datacenter"], 5, None, "expected a string, found 5"),
    ],
)
def test_wrong_options(path: list[str | int], value: Any, place: str | None, message: str | None) -> None:
    """Errors in options have their paths, and are told as all others are."""
    problems = refused(changed(path, value, WEIGHTED))
    plain = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, path)))
    assert list(problems) == [place or plain]
    assert message is None or list(problems.values()) == [message]


def test_together_with_others() -> None:
    raw = changed(["routing", "options", "weights", "orders"], "x", WEIGHTED)
    raw["policies"] += [{"plugin": "nonsense"}, {"plugin": "http_auth", "optoins": {}}]
    raw["heartbeat"] = -1
    assert set(refused(raw)) == {
        "routing.options.weights.orders",
        "policies[2].plugin",
        "policies[3].optoins",
        "heartbeat",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"password": ["hunter2"]},
        {"password": "hunter2", "user": 5},
        {"pins": {"a": ["hunter2"]}},
        {"keys": {"hunter": {"secret": ["hunter2"]}}},
        {"keys": {"k": {"secret": "hunter2", "note": 5}}},
        {"keys": {"k": "hunter2"}},
        {"checked": "raise hunter2"},
        {"made": "raise hunter2"},
        {"made": "hunter2"},
        {"hunter": "hunter2"},
    ],
)
def test_secrets_are_in_no_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(routed(options))
    assert "hunter2" not in f"{caught.value!s} {caught.value!r}"
    assert caught.value.problems[0].path.startswith("routing.options")


@pytest.mark.parametrize("key", ["user", "either", "checked", "made", "shares", "anything"])
@pytest.mark.parametrize("word", ["value", "raise", "custom", "told", ""])
def test_variables_are_in_no_error(key: str, word: str) -> None:
    """Plugins repeat values in their errors; those from the environment appear as they were written."""
    held = 'hunter2-"\n\\ü\x1b'
    value: Any = f"{word} ${{A}}"
    raw = routed({key: {value: 1} if key == "shares" else value})
    if key in ("user", "anything") or (key, word) == ("checked", ""):
        assert load(raw, A=held).routing.options == {key: f"{word} {held}"}
        return
    with pytest.raises(ConfigError) as caught:
        load(raw, A=held)
    assert "hunter2" not in str(caught.value)
    assert all(problem.message.isprintable() for problem in caught.value.problems)


def test_what_a_plugin_says_of_a_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        load(routed({"checked": "value ${A}"}), A="hunter2\n")
    assert [str(each) for each in caught.value.problems] == [
        "routing.options.checked: expected no such text as 'value ${A}'"
    ]


def test_secrets_are_masked() -> None:
    """In dumps and reprs; they count for equality."""
    options = {"user": "u", "password": "hunter2", "pins": {"a": "hunter2"}, "keys": {"k": {"secret": "hunter2"}}}
    config = load(routed(options))
    dumped = masked(config)
    assert dumped["routing"]["options"]["password"] == "**********"
    for shown in (json.dumps(dumped), repr(config), str(config.routing), repr(config.model_dump())):
        assert "hunter2" not in shown
        assert "**********" in shown
    assert config.routing.shown == {key: dumped["routing"]["options"][key] for key in options}
    other = load(routed(options | {"password": "hunter3"}))
    assert (other == config, config_hash(other) == config_hash(config)) == (False, False)
    again = load(routed(options | {"checked": ""}))
    assert (again == config, config_hash(again) == config_hash(config)) == (True, True)
    for path in (["pins", "a"], ["keys", "k", "secret"]):
        other = load(changed(["routing", "options", *path], "other", routed(options)))
        assert config_hash(other) != config_hash(config)


def test_upstreams_that_options_name() -> None:
    """They have to be there, under the name that a variable gives them, too."""
    raw = routed({"shares": {"a": 1.0, "b": 2.0}})
    raw["upstreams"][1]["name"] = "${B}"
    load(raw, B="b")
    with pytest.raises(ConfigError) as caught:
        load(raw, B="other")
    assert [str(each) for each in caught.value.problems] == [
        'routing.options.shares.b: expected the name of an upstream: "a", "${B}", found "b"'
    ]


@pytest.mark.parametrize(
    ("options", "path", "message"),
    [
        ({"checked": "raise x"}, "options", 'the plugin "odd" failed to check them: RuntimeError in test_plugins.py'),
        ({"checked": "exit x"}, "options", 'the plugin "odd" failed to check them: SystemExit in test_plugins.py'),
        ({"made": "exit x"}, "options", 'the plugin "odd" cannot be made: SystemExit in test_plugins.py'),
        ({"made": "raise x"}, "options", 'the plugin "odd" cannot be made: RuntimeError in test_plugins.py'),
        ({"made": "value x"}, "options", "cannot: value x"),
        ({"made": "x"}, "options", "secret: Input should be a valid string; x: Extra inputs"),
        ({"made": "letters"}, "options", "what the plugin \"odd\" makes is wrong: header_names is 'tenant', expected"),
        ({"checked": "custom"}, "options.checked", "expected something else (too short)"),
        ({"checked": "told"}, "options.checked", "expected something else (nonsense)"),
        ({"either": "x"}, "options.either", 'expected a list, found "x"'),
        ({"either": [1, "x"]}, "options.either[1]", 'expected a whole number, found "x"'),
        ({"anything": ["\ud800"]}, "options.anything[0]", "expected a string of valid Unicode"),
        ({"anything": [{"\ud800": 1}]}, "options.anything[0]", "expected keys of valid Unicode"),
        ({"anything": json.loads("[" * 60 + "]" * 60)}, "options.anything" + "[0]" * 47, "expected at most 48 levels"),
    ],
)
def test_plugins_that_misbehave(options: dict[str, Any], path: str, message: str) -> None:
    """Whatever a declaration does with its options, the result is an error of the configuration."""
    problems = refused(routed(options))
    assert problems[f"routing.{path}"].startswith(message)


def test_numbers_that_are_too_large() -> None:
    """JSON's numbers have no bounds, and Python reads this one as infinity."""
    text = json.dumps(routed({"anything": [{"x": 5.5}]})).replace("5.5", "1e999")
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "test.json")
    assert [str(each) for each in caught.value.problems] == [
        "routing.options.anything[0].x: expected a finite number, found inf"
    ]


def test_options_that_cannot_be_shown() -> None:
    assert refused(routed({}, "opaque"))["routing.options"].startswith('the plugin "opaque" failed to check them')


def test_trial() -> None:
    """What shows only when plugins are made is found as well, for every use."""
    raw = routed({"strategies": [{"plugin": "nonsense"}, {"plugin": "hash", "options": {"upstreams": ["c"]}}]})
    raw["routing"]["plugin"] = "first_match"
    [(path, message)] = refused(raw).items()
    assert path == "routing.options"
    assert 'strategies[0].plugin: expected the name of a routing plugin ("' in message
    assert 'strategies[1].options.upstreams[0]: expected the name of an upstream: "a", "b"' in message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(OddOptions.model_fields)), json_values | st.sampled_from(["raise", "value", "custom"]))
def test_any_options(key: str, value: Any) -> None:
    """Any JSON value gives a configuration or a ConfigError that can be printed."""
    try:
        config = parse_config(json.dumps(routed({key: value})), "test.json", {"A": "5"}).config
    except ConfigError as error:
        str(error).encode()
    else:
        json.dumps(masked(config), allow_nan=False).encode()
        repr(config).encode()
        config_hash(config)


def test_the_schema_survives() -> None:
    """A plugin whose options cannot be described takes any; others are described."""
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert not {"routing.opaque", "routing.leaving"} & schema["$defs"].keys()
    validator = Draft202012Validator(schema)
    assert validator.is_valid(routed({"x": 1}, "opaque"))
    assert validator.is_valid(routed({"either": [1], "password": "x"}))
    assert not validator.is_valid(routed({"either": "x"}))
    assert not validator.is_valid(routed({"x": 1}))


def test_foreign_texts_are_bounded() -> None:
    told = Origin(filled_in={"a b": "A", "x": "X"}).foreign("a b\n\x1b x xx \ud800" + "y" * 2000)
    assert told.startswith(r"${A} \x1b ${X} xx \ud800y")
    assert len(told) < 1100
