"""Reading configurations: what is accepted, and how mistakes are explained.

Covered: every key's type and bounds, all errors at once with their paths, syntax errors, duplicate keys, files
that cannot be read, secrets in messages, any JSON value in any place.
Not covered: what the values do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.config.configurations import FULL, anywhere, changed, json_values, refused
from trabbits.config import (
    Config,
    ConfigError,
    config_hash,
    default_config,
    load_config,
    masked,
    parse_config,
    validate_config,
)
from trabbits.config.addresses import Address
from trabbits.config.errors import found, path_text, problems_of
from trabbits.config.model import Section
from trabbits.config.origin import Origin


def test_every_key() -> None:
    """A configuration that uses every key arrives as written."""
    config = parse_config(json.dumps(FULL), "test.json").config
    primary = config.upstreams[0]
    assert primary.nodes == (Address("localhost", 5672), Address("::1", 5672))
    assert primary.labels == {Address("localhost", 5672): {"datacenter": "eu"}, Address("::1", 5672): {}}
    assert (primary.selector.plugin, primary.selector.options["datacenter"]) == ("datacenter_affinity", "eu")
    assert not primary.required
    check = primary.health_check
    assert check is not None
    assert (check.enabled, check.interval, check.timeout, check.recovery_interval) == (True, 10.0, 1.0, 20.0)
    assert (check.unhealthy_threshold, check.username, check.virtual_host) == (2, "health", "checks")
    assert check.password is not None
    assert check.password.get_secret_value() == "hunter2"
    orders = config.upstreams[1]
    assert orders.nodes == (Address("::1", 5673),)
    assert orders.required
    assert orders.queue_options.try_passive
    assert orders.queue_options.emulate_auto_delete
    assert orders.timeout == 0.5
    assert orders.routing.key_patterns == ["orders.#", "order-%.eu"]
    assert orders.queue_attributes is not None
    assert orders.queue_attributes.exclusive is None
    assert orders.queue_attributes.arguments["x-list"] == [1, "a", {"b": 1.5}]
    assert (config.handshake_timeout, config.connection_close_timeout) == (2.0, 1.5)
    leaving = config.graceful_shutdown
    assert (leaving.shutdown_timeout, leaving.reload_timeout, leaving.rate_limit, leaving.burst_size) == (90, 7, 8, 9)
    assert (config.frame_max, config.channel_max, config.heartbeat) == (8192, 100, 10)
    assert config.transactions.best_effort is True
    assert [each.plugin for each in orders.rewriters] == ["quorum"]
    assert config.routing.plugin == "first_match"
    assert [each.plugin for each in config.policies] == ["max_connections", "http_auth"]
    assert config.policy_timeout == 2.0


def test_defaults() -> None:
    """Only the upstreams are required; without a file there is one at localhost:5672."""
    config = parse_config('{"upstreams": [{"name": "default", "address": "localhost:5672"}]}', "test.json").config
    assert config == default_config()
    assert (config.frame_max, config.channel_max, config.heartbeat) == (131072, 2047, 60)
    assert (config.handshake_timeout, config.connection_close_timeout) == (5.0, 1.0)
    leaving = config.graceful_shutdown
    assert (leaving.shutdown_timeout, leaving.reload_timeout) == (10.0, 30.0)
    assert (leaving.rate_limit, leaving.burst_size) == (100, 10)
    upstream = config.upstreams[0]
    assert (upstream.timeout, upstream.required, upstream.health_check) == (5.0, True, None)
    assert (upstream.rewriters, upstream.selector.plugin, upstream.labels) == ([], "least_connections", {})
    assert (config.routing.plugin, config.policies, config.policy_timeout) == ("key_patterns", [], 5.0)
    assert not upstream.queue_options.try_passive
    assert not upstream.queue_options.emulate_auto_delete


def test_defaults_of_a_health_check() -> None:
    raw = {"upstreams": [{"name": "a", "address": "a:1", "health_check": {"username": "u", "password": "p"}}]}
    check = parse_config(json.dumps(raw), "test.json").config.upstreams[0].health_check
    assert check is not None
    assert (check.enabled, check.interval, check.timeout) == (True, 30.0, 5.0)
    assert (check.unhealthy_threshold, check.recovery_interval, check.virtual_host) == (3, 60.0, "/")


def test_the_older_name_of_handshake_timeout() -> None:
    """`read_timeout` is accepted; both names at once are not, and errors name the one that is there."""
    upstreams = [{"name": "a", "address": "a:1"}]
    loaded = parse_config(json.dumps({"upstreams": upstreams, "read_timeout": "7s"}), "test.json")
    assert loaded.config.handshake_timeout == 7.0
    assert "read_timeout" not in masked(loaded.config)
    assert refused({"upstreams": upstreams, "read_timeout": -1}) == {
        "read_timeout": "expected at least 0.001, found -1"
    }
    assert refused({"upstreams": upstreams, "read_timeout": 1, "handshake_timeout": 1}) == {
        "read_timeout": 'this is an older name of "handshake_timeout": only one of the two'
    }


def test_a_schema_may_be_named() -> None:
    """Editors put `$schema` there; it means nothing here, and anywhere else it is unknown."""
    raw = {"$schema": "./trabbits.schema.json", "upstreams": [{"name": "default", "address": "localhost:5672"}]}
    loaded = parse_config(json.dumps(raw), "test.json")
    assert loaded.config == default_config()
    assert loaded.warnings == ()
    assert refused(raw | {"$schema": 5}) == {'["$schema"]': "expected a string"}
    assert list(refused(changed(["upstreams", 0, "$schema"], "x"))) == ['upstreams[0]["$schema"]']


def test_a_dump_is_a_configuration() -> None:
    """What `masked` gives is read back to the same configuration, but for its secrets."""
    dump = masked(parse_config(json.dumps(FULL), "test.json").config)
    assert "hunter2" not in str(dump)
    dump["upstreams"][0]["health_check"]["password"] = "hunter2"
    dump["policies"][1]["options"]["token"] = "hunter2"
    dump["upstreams"][1]["credentials"]["app"] |= {"password": "hunter2", "client_password": "hunter2"}
    assert parse_config(json.dumps(dump), "dump").config == parse_config(json.dumps(FULL), "test.json").config


DIALED = 'expected "host:port", such as "localhost:5672", found '
DURATION = 'expected a duration such as "500ms", "5s", "1m30s" or "2h", or a number of seconds, found '


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["upstreams"], {}, "expected a list, found an object"),
        (["upstreams"], [], "expected a list of at least 1"),
        (["upstreams", 0], "localhost:5672", 'expected an object, found "localhost:5672"'),
        (["upstreams", 0, "name"], 5, "expected a string, found 5"),
        (["upstreams", 0, "name"], "", 'expected a string that is not empty, found ""'),
        (["upstreams", 0, "name"], "a\nb", r'expected printable characters without spaces around them, found "a\nb"'),
        (["upstreams", 0, "name"], "orders", None),  # told at the second one
        (["upstreams", 1, "address"], "rabbit", 'expected "host:port", such as "localhost:5672", found "rabbit"'),
        (["upstreams", 1, "address"], 5672, 'expected "host:port", such as "localhost:5672", found 5672'),
        (["upstreams", 0, "cluster"], ["a:1"], "expected an object, found a list"),
        (["upstreams", 0, "cluster", "nodes"], [], "expected a list of at least 1"),
        (["upstreams", 0, "cluster", "nodes", 1], "x", 'expected "host:port", such as "localhost:5672", found "x"'),
        (["upstreams", 0, "cluster", "nodes", 0, "address"], 5, DIALED + "5"),
        (["upstreams", 0, "cluster", "nodes", 0, "labels"], ["eu"], "expected an object, found a list"),
        (["upstreams", 0, "cluster", "nodes", 0, "labels", "datacenter"], 1, "expected a string, found 1"),
        (["upstreams", 0, "cluster", "nodes", 0], {"labels": {}}, None),
        (
            ["upstreams", 0, "cluster", "nodes", 0],
            5,
            'expected "host:port", such as "localhost:5672", or an object with "address" and "labels", found 5',
        ),
        (["policy_timeout"], 0, "expected at least 0.001, found 0"),
        (["policies"], {}, "expected a list, found an object"),
        (["policies", 0, "options"], [], "expected an object, found a list"),
        (["upstreams", 1, "rewriters", 0], "quorum", 'expected an object, found "quorum"'),
        (["upstreams", 0, "selector"], None, "expected an object, found null"),
        (["upstreams", 0, "required"], "no", 'expected true or false, found "no"'),
        (["upstreams", 0, "health_check"], True, "expected an object, found true"),
        (["upstreams", 0, "health_check", "unhealthy_threshold"], 0, "expected at least 1, found 0"),
        (["upstreams", 0, "health_check", "interval"], 0, "expected at least 0.001, found 0"),
        (["upstreams", 0, "health_check", "username"], "", 'expected a string that is not empty, found ""'),
        (["upstreams", 0, "health_check", "username"], "ü" * 128, None),
        (["upstreams", 0, "health_check", "username"], "a\0b", None),
        (["upstreams", 0, "health_check", "password"], "", "expected a string that is not empty"),
        (["upstreams", 0, "health_check", "password"], 4711, "expected a string"),
        (["upstreams", 0, "health_check", "password"], "a\0b", None),
        (["upstreams", 0, "health_check", "virtual_host"], "", 'expected a string that is not empty, found ""'),
        (["upstreams", 1, "queue_options", "try_passive"], None, "expected true or false, found null"),
        (["graceful_shutdown", "rate_limit"], 0, "expected at least 1, found 0"),
        (["graceful_shutdown", "burst_size"], 0.5, "expected a whole number, found 0.5"),
        (["graceful_shutdown", "reload_timeout"], -1, "expected at least 0, found -1"),
        (["upstreams", 1, "timeout"], "5", DURATION + '"5"'),
        (["upstreams", 1, "timeout"], True, DURATION + "true"),
        (["upstreams", 1, "timeout"], 0, "expected at least 0.001, found 0"),
        (["upstreams", 1, "timeout"], "25h", 'expected at most 86400, found "25h"'),
        (["upstreams", 1, "timeout"], 10**400, None),
        (["upstreams", 1, "routing"], ["a"], "expected an object, found a list"),
        (["upstreams", 1, "routing", "key_patterns"], "a.*", 'expected a list, found "a.*"'),
        (["upstreams", 1, "routing", "key_patterns", 1], 7, "expected a string, found 7"),
        (["upstreams", 1, "routing", "key_patterns", 1], "ü" * 128, None),
        (["upstreams", 1, "queue_attributes", "durable"], 1, "expected true or false, found 1"),
        (["upstreams", 1, "queue_attributes", "arguments"], [], "expected an object, found a list"),
        (["upstreams", 1, "queue_attributes", "arguments", "x-list", 0], 2**63, None),
        (["upstreams", 1, "queue_attributes", "arguments", "x-list", 2, "b"], "\ud800", None),
        (["handshake_timeout"], -1, "expected at least 0.001, found -1"),
        (["graceful_shutdown", "shutdown_timeout"], -0.5, "expected at least 0, found -0.5"),
        (["frame_max"], 4095, "expected at least 4096, found 4095"),
        (["frame_max"], 2**32, "expected at most 16777216, found 4294967296"),
        (["frame_max"], 8192.0, "expected a whole number, found 8192.0"),
        (["frame_max"], "8192", 'expected a whole number, found "8192"'),
        (["channel_max"], 1, "expected at least 2, found 1"),
        (["channel_max"], 65536, "expected at most 65535, found 65536"),
        (["heartbeat"], 0.5, "expected a whole number of seconds, found 0.5"),
        (["heartbeat"], 65536, "expected at most 65535, found 65536"),
        (["transactions", "best_effort"], "yes", 'expected true or false, found "yes"'),
    ],
)
def test_wrong_values(path: list[str | int], value: Any, message: str | None) -> None:
    """A wrong value is refused, with its path, with what was expected and with what is there."""
    problems = refused(changed(path, value))
    assert len(problems) == 1
    if message is not None:
        assert problems == {path_text(path): message}


@pytest.mark.parametrize("path", [[], ["upstreams", 0], ["upstreams", 1, "routing"], ["graceful_shutdown"]])
def test_unknown_keys(path: list[str | int]) -> None:
    """Every section refuses keys that it does not know, and shows what they hold to nobody."""
    problems = refused(changed([*path, "nonsense"], "hunter2"))
    assert list(problems) == [path_text([*path, "nonsense"])]
    assert problems[path_text([*path, "nonsense"])].startswith("unknown key, expected one of ")
    assert "hunter2" not in str(problems)


def test_unknown_key_with_a_near_miss() -> None:
    assert refused(changed(["upstreams", 0, "adress"], "x")) == {
        "upstreams[0].adress": 'unknown key, did you mean "address"?'
    }


def test_all_errors_at_once() -> None:
    """One run of the program tells everything that is wrong."""
    raw = {
        "upstreams": [{"name": "a"}, {"name": "a", "address": "x", "queue_attributes": {"durable": 1}}, 5],
        "frame_max": 0,
        "odd key!": 1,
    }
    assert list(refused(raw)) == [
        "upstreams[1].address",
        "upstreams[1].queue_attributes.durable",
        "upstreams[2]",
        "frame_max",
        '["odd key!"]',
        "upstreams[1].name",
        "upstreams[0]",
    ]


def test_names_are_unique() -> None:
    """The second of two upstreams with one name is the one to change; models built by hand are checked, too."""
    raw = {
        "upstreams": [{"name": "a", "address": "x:1"}, {"name": "b", "address": "x:1"}, {"name": "a", "address": "y:1"}]
    }
    assert refused(raw) == {"upstreams[2].name": 'expected a name that no other upstream has, found "a"'}
    upstream = default_config().upstreams[0]
    with pytest.raises(ValueError, match="no other upstream"):
        Config(upstreams=[upstream, upstream])


def test_credentials_in_an_address_are_not_repeated() -> None:
    problems = refused(changed(["upstreams", 1, "address"], "amqp://user:hunter2@host:5672"))
    assert problems == {"upstreams[1].address": 'expected "host:port" without a scheme, user or password'}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"upstreams": [\n  {"name" "a"}]}', "line 2, column 11: not JSON: Expecting ':' delimiter"),
        ("", "line 1, column 1: not JSON: Expecting value"),
        ("{} {}", "line 1, column 4: not JSON: Extra data"),
        ('{"heartbeat": NaN}', "not JSON: NaN is not a JSON number"),
        ('{"heartbeat": -Infinity}', "not JSON: -Infinity is not a JSON number"),
        ("9" * 5000, "not usable: a number has too many digits"),
        ("[" * 200_000, "not usable: nested too deeply"),
        ("[]", "expected an object, found a list"),
        ("null", "expected an object, found null"),
    ],
)
def test_what_is_no_json_object(text: str, problem: str) -> None:
    """Syntax errors come with line and column."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "test.json")
    assert [str(each) for each in caught.value.problems] == [problem]


def test_duplicate_keys() -> None:
    """A key that is there twice is refused wherever it is, together with other errors."""
    upstreams = '"upstreams": [{"name": "a", "address": "x:1", "name": "b"}]'
    text = f'{{{upstreams}, "heartbeat": 1, "heartbeat": "x", "heartbeat": 2}}'
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "test.json")
    assert sorted(str(problem) for problem in caught.value.problems) == [
        "heartbeat: this key is there twice",
        "upstreams[0].name: this key is there twice",
    ]


def test_files(tmp_path: Path) -> None:
    """Files are UTF-8, with or without a byte order mark; what cannot be read is a ConfigError that names it."""
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(FULL).encode())
    loaded = load_config(path)
    assert loaded.config == parse_config(json.dumps(FULL), "").config
    assert (loaded.source, loaded.warnings) == (str(path), ())
    path.write_bytes(b'{"a":\n"\xff"}')
    with pytest.raises(ConfigError, match="line 2: is not UTF-8"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"missing.json.*\n.*cannot be read: No such file"):
        load_config(tmp_path / "missing.json")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config("a\0b")


def test_secrets_are_masked() -> None:
    """A secret shows in no dump and in no error, whatever it is called and wherever it stands."""

    class Probe(Section):
        password: SecretStr
        key: SecretStr | None = None

    assert masked(Probe(password=SecretStr("hunter2"))) == {"password": "**********", "key": None}
    with pytest.raises(ValueError) as caught:
        Probe.model_validate({"password": 4711, "key": 4711})
    problems = problems_of(caught.value, Probe, Origin())  # type: ignore[arg-type]  # pydantic's is a ValueError
    assert [str(problem) for problem in problems] == ["password: expected a string", "key: expected a string"]


def test_found_is_short_and_printable() -> None:
    assert found("x" * 100) == '"' + "x" * 60 + '…"'
    assert found('\x1b[31m"ü\\\ud800') == r'"\x1b[31m\"ü\\\ud800"'
    assert found(10**5000) == "a very large number"


@given(anywhere, json_values)
def test_any_value_anywhere(place: tuple[dict[str, Any], tuple[str | int, ...]], value: Any) -> None:
    """Any JSON value in any place gives a configuration or a ConfigError that can be printed, never anything else."""
    try:
        loaded = parse_config(json.dumps(changed(list(place[1]), value, place[0])), "test.json", {"A": "5"})
    except ConfigError as error:
        str(error).encode()
    else:
        json.dumps(masked(loaded.config), allow_nan=False).encode()
        repr(loaded.config).encode()
        config_hash(loaded.config)


@given(json_values)
def test_any_value_at_the_top(value: Any) -> None:
    """The same for the whole, and for values that no JSON text could have."""
    for raw in (value, {"upstreams": value}, {"upstreams": [value]}):
        with pytest.raises(ConfigError) as caught:
            validate_config(raw, "test.json")
        str(caught.value).encode()


@given(st.text())
def test_any_text(text: str) -> None:
    """Any text gives a ConfigError (no such text is a configuration by chance)."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "test.json")
    str(caught.value).encode()
