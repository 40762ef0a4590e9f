"""Masks in configurations: what they stand for, and how a difference between secrets shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trabbits.admin.secrets import MASK, comparable, unmasked
from trabbits.config import Config, ConfigError, Loaded, config_hash, masked


def upstream(name: str, password: str) -> dict[str, Any]:
    return {"name": name, "address": "a:1", "health_check": {"username": "u", "password": password}}


def config(*passwords: tuple[str, str], token: str | None = None) -> Config:
    admin = {"listen": "127.0.0.1:0", "token": token} if token else {}
    return Config.model_validate({"upstreams": [upstream(*each) for each in passwords], "admin": admin})


RUNNING = config(("a", "alpha"), ("b", "beta"), token="gamma")


def test_what_is_shown_can_be_given_back() -> None:
    shown = Config.model_validate(masked(RUNNING))
    assert config_hash(shown) != config_hash(RUNNING)
    assert config_hash(unmasked(Loaded(shown, (), "x"), RUNNING).config) == config_hash(RUNNING)


def test_secrets_belong_to_names() -> None:
    """... whatever the order is; others are taken as they are."""
    given = config(("b", MASK), ("new", "delta"), ("a", MASK), token=MASK)
    result = unmasked(Loaded(given, (), "x"), RUNNING).config
    assert config_hash(result) == config_hash(config(("b", "beta"), ("new", "delta"), ("a", "alpha"), token="gamma"))


def test_a_mask_for_nothing_is_a_mistake() -> None:
    given = config(("c", MASK), token=MASK)
    with pytest.raises(ConfigError) as caught:
        unmasked(Loaded(given, (), "x"), config(("a", "alpha")))
    assert [problem.path for problem in caught.value.problems] == ["upstreams[0].health_check.password", "admin.token"]


def test_a_difference_shows_without_the_secret() -> None:
    shown = comparable(config(("b", "other"), ("a", "alpha"), token="another"), RUNNING)
    passwords = [each["health_check"]["password"] for each in shown["upstreams"]]
    assert passwords == [f"{MASK} (another one)", MASK]
    assert shown["admin"]["token"] == f"{MASK} (another one)"
    assert "other" not in str(shown).replace("another one", "")


def mapped(password: str, client_password: str | None = None, user: str = "app") -> Config:
    credentials = {user: {"password": password, "client_password": client_password}}
    return Config.model_validate({"upstreams": [{"name": "a", "address": "a:1", "credentials": credentials}]})


def test_secrets_belong_to_keys() -> None:
    """Those of users, for example."""
    running = mapped("alpha", "beta")
    assert config_hash(unmasked(Loaded(mapped(MASK, MASK), (), "x"), running).config) == config_hash(running)
    half = unmasked(Loaded(mapped(MASK, "gamma"), (), "x"), running).config
    assert config_hash(half) == config_hash(mapped("alpha", "gamma"))
    with pytest.raises(ConfigError) as caught:
        unmasked(Loaded(mapped(MASK, user="*"), (), "x"), running)
    assert [problem.path for problem in caught.value.problems] == ['upstreams[0].credentials["*"].password']
    shown = comparable(mapped("other", "beta"), running)["upstreams"][0]["credentials"]["app"]
    assert (shown["password"], shown["client_password"]) == (f"{MASK} (another one)", MASK)


def test_a_file_with_another_content(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def with_file(secret: str) -> Config:
        path.write_text(f"{secret}\n")
        credentials = {"app": {"password_file": str(path)}}
        return Config.model_validate({"upstreams": [{"name": "a", "address": "a:1", "credentials": credentials}]})

    running = with_file("alpha")
    for secret, more in (("alpha", ""), ("beta", " (another content)")):
        shown = comparable(with_file(secret), running)["upstreams"][0]["credentials"]["app"]
        assert shown["password_file"] == f"{path}{more}"
