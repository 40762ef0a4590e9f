"""`config_hash`: the same for what means the same, different for what differs, and of no use for guessing."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.configurations import FULL, WEIGHTED, anywhere, changed, json_values
from trabbits.config import ConfigError, config_hash, default_config, masked, parse_config, validate_config


def hash_of(raw: Any) -> str:
    return config_hash(validate_config(raw, "test"))


def test_16_digits() -> None:
    assert len(hash_of(FULL)) == 16
    int(hash_of(FULL), 16)


SMALL = {"upstreams": [{"name": "default", "address": "localhost:5672"}]}


@pytest.mark.parametrize(
    "same",
    [
        SMALL | {"heartbeat": "1m"},
        SMALL | {"heartbeat": "60s", "$schema": "x"},
        SMALL | {"read_timeout": 5},
        SMALL | {"routing": {"plugin": "key_patterns", "options": {}}, "policies": []},
        SMALL | {"handshake_timeout": "5000ms", "graceful_shutdown": {}},
        {"upstreams": [{"name": "default", "address": "localhost:5672", "routing": {}, "health_check": None}]},
    ],
)
def test_the_same_meaning(same: Any) -> None:
    """Defaults written out, other units, older names: nothing that a client would notice."""
    assert hash_of(same) == hash_of(SMALL) == config_hash(default_config())


def test_what_is_dumped_means_the_same() -> None:
    raw = copy.deepcopy(FULL)
    del raw["upstreams"][0]["health_check"]
    del raw["policies"][1]["options"]["token"]
    del raw["upstreams"][1]["credentials"]["app"]
    assert hash_of(masked(validate_config(raw, "test"))) == hash_of(raw)


def test_jsonnet_and_json() -> None:
    assert config_hash(parse_config(json.dumps(FULL), "x.jsonnet").config) == hash_of(FULL)


def test_the_order_of_arguments_means_nothing_and_that_of_upstreams_much() -> None:
    turned = copy.deepcopy(FULL)
    attributes = turned["upstreams"][1]["queue_attributes"]
    attributes["arguments"] = dict(reversed(attributes["arguments"].items()))
    assert hash_of(turned) == hash_of(FULL)
    turned["upstreams"].reverse()
    assert hash_of(turned) != hash_of(FULL)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["routing", "options", "weights"], {"primary": 89, "orders": 11}),
        (["routing", "options", "header"], None),
        (["policies", 1, "options", "token"], "other"),
        (["policies", 1, "options", "token"], None),
        (["policies", 0, "options", "users", "guest"], 2),
        (["upstreams", 1, "rewriters"], []),
        (["upstreams", 0, "selector", "options", "order"], ["as", "us"]),
        (["upstreams", 0, "selector", "plugin"], "ordered"),
        (["upstreams", 0, "cluster", "nodes", 0, "labels", "datacenter"], "us"),
        (["policy_timeout"], 3),
    ],
)
def test_plugins_count(path: list[str | int], value: Any) -> None:
    raw = changed(path, value, WEIGHTED)
    if path[-1] == "plugin":
        raw["upstreams"][0]["selector"]["options"] = {"nodes": ["a:1"]}
    assert hash_of(raw) != hash_of(WEIGHTED)


def test_options_with_their_defaults_mean_the_same() -> None:
    raw = changed(["policies", 1, "options", "fail_open"], False)
    raw["policies"][0]["options"] |= {"per_user": None, "virtual_hosts": {}}
    assert hash_of(raw) == hash_of(FULL)
    assert hash_of(changed(["routing", "options", "weights", "orders"], 10.0, WEIGHTED)) == hash_of(WEIGHTED)


def test_a_password_counts() -> None:
    assert hash_of(changed(["upstreams", 0, "health_check", "password"], "other")) != hash_of(FULL)


@given(anywhere, json_values | st.integers(1, 1000) | st.booleans())
def test_any_difference(place: tuple[dict[str, Any], tuple[str | int, ...]], value: Any) -> None:
    """Two configurations have the same hash exactly if they are equal."""
    try:
        other = validate_config(changed(list(place[1]), value, place[0]), "test")
    except ConfigError:
        return
    one = validate_config(place[0], "test")
    # 1, 1.0 and true are equal for Python but not for a broker.
    equal = other == one and repr(other) == repr(one)
    assert (config_hash(other) == config_hash(one)) == equal


def test_each_process_has_its_own() -> None:
    """A hash in a log is no means to try passwords."""
    code = "from trabbits.config import *; print(config_hash(default_config()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() != config_hash(default_config())
    key = b"k" * 32
    assert config_hash(default_config(), key) == config_hash(default_config(), key)
