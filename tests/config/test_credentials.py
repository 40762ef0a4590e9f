"""Mapped credentials and mechanisms in a configuration: what is refused, what files hold, what is never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.config.configurations import refused
from trabbits.assembly import session_settings
from trabbits.config import Config, ConfigError, config_hash, masked, parse_config
from trabbits.session.credentials import Mapped

NOBODY = (
    'expected a "client_password" or "client_password_file", here or at another upstream: every upstream has mapped '
    "credentials for this user, so nobody could check the password"
)
EXTERNAL = {"authentication": {"mechanisms": [{"plugin": "EXTERNAL"}, {"plugin": "PLAIN"}]}}
TLS = {"tls": {"listen": "127.0.0.1:0", "certificate": "c.pem", "key": "k.pem", "client_ca": "a.pem"}}
PASSWORD = {"password": "hunter2"}


def mapped(*credentials: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A configuration of an upstream for each of `credentials`."""
    upstreams = [
        {"name": f"u{number}", "address": "a:1", "credentials": each} for number, each in enumerate(credentials)
    ]
    return {"upstreams": upstreams, **keys}


def load(raw: dict[str, Any]) -> Config:
    return parse_config(json.dumps(raw), "test.json").config


@pytest.mark.parametrize(
    ("entry", "problems"),
    [
        ({}, {"": 'expected "password" or "password_file"'}),
        ({"username": "x"}, {"": 'expected "password" or "password_file"'}),
        ({"password": ""}, {".password": "expected a string that is not empty"}),
        ({"password": "a\0b"}, {".password": "expected text without NUL characters (they separate user and password"}),
        ({"pasword": "x", **PASSWORD}, {".pasword": 'unknown key, did you mean "password"?'}),
        (
            {**PASSWORD, "client_password": "x", "client_password_file": "/etc/hostname"},
            {".client_password_file": 'expected only one of "client_password" and "client_password_file"'},
        ),
        ({"password_file": "/nowhere"}, {".password_file": "expected a file that can be read (No such file"}),
        ({"password_file": "/"}, {".password_file": "expected a file that can be read (Is a directory)"}),
        ({"password_file": "/etc/passwd"}, {".password_file": "expected a file of one line of UTF-8 text"}),
        ({"password_file": "/dev/zero"}, {".password_file": "expected a file of one line of UTF-8 text"}),
        ({"password_file": "/dev/null"}, {".password_file": "expected a file of one line of UTF-8 text"}),
        ({"password_file": "a\0b"}, {".password_file": "expected the name of a file"}),
        ({"password_file": 5}, {".password_file": "expected the name of a file"}),
    ],
)
def test_wrong_entries(entry: dict[str, Any], problems: dict[str, str]) -> None:
    found = refused(mapped({"app": entry}, {}))
    assert [f"upstreams[0].credentials.app{place}" for place in problems] == list(found)
    assert all(found[f"upstreams[0].credentials.app{place}"].startswith(text) for place, text in problems.items())


def test_wrong_users() -> None:
    assert list(refused(mapped({"": PASSWORD}, {}))) == ['upstreams[0].credentials[""]']


def test_what_becomes_of_them(tmp_path: Path) -> None:
    (tmp_path / "with").write_bytes("pä§\r\n".encode())
    (tmp_path / "without").write_bytes(b" spaces count ")
    settings = session_settings(
        load(
            mapped(
                {
                    "a": {"username": "b", "password_file": str(tmp_path / "with")},
                    "*": {"password": "p", "client_password_file": str(tmp_path / "without")},
                    "c": {"password": "p", "client_password": "q"},
                },
                {},
            )
        )
    )
    assert settings.upstreams[0].credentials == {
        "a": Mapped("pä§", "b"),
        "*": Mapped("p", client_password=" spaces count "),
        "c": Mapped("p", client_password="q"),
    }
    assert settings.upstreams[1].credentials == {}
    assert "pä§" not in repr(settings)


def test_they_are_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hunter3\n")
    config = load(mapped({"a": {**PASSWORD, "client_password_file": str(tmp_path / "file")}}, {}))
    for shown in (json.dumps(masked(config)), repr(config), repr(config.model_dump()), repr(session_settings(config))):
        assert "hunter" not in shown
    assert masked(config)["upstreams"][0]["credentials"]["a"]["client_password_file"] == str(tmp_path / "file")


def test_what_stands_in_a_file_is_part_of_the_configuration(tmp_path: Path) -> None:
    """A reload with another password concerns clients."""
    path = tmp_path / "file"
    raw = mapped({"a": {"password_file": str(path)}}, {})
    path.write_text("one")
    one, again = load(raw), load(raw)
    path.write_text("two")
    two = load(raw)
    assert (one == again, one == two) == (True, False)
    assert config_hash(one) == config_hash(again) != config_hash(two)
    with pytest.raises(ConfigError):
        path.unlink()
        load(raw)


@pytest.mark.parametrize("name", ["test.json", "test.jsonnet"])
def test_not_everybody_may_name_any_file(name: str, tmp_path: Path) -> None:
    """What comes over the admin API may not."""
    path = tmp_path / "file"
    path.write_text("secret")
    text = json.dumps(mapped({"a": {"password_file": str(path)}}, {}))
    parse_config(text, name, secret_files=[str(path)])
    with pytest.raises(ConfigError, match="expected a file that the running configuration names"):
        parse_config(text, name, secret_files=[])


@pytest.mark.parametrize(
    ("credentials", "where"),
    [
        ([{"app": PASSWORD}], "upstreams[0].credentials.app"),
        ([{"*": PASSWORD}], 'upstreams[0].credentials["*"]'),
        ([{"*": PASSWORD}, {"*": PASSWORD}], 'upstreams[0].credentials["*"]'),
        ([{"app": PASSWORD}, {"*": PASSWORD, "b": PASSWORD}, {"app": PASSWORD}], "upstreams[0].credentials.app"),
        ([{"*": {**PASSWORD, "client_password": "x"}}, {"app": PASSWORD, "*": PASSWORD}], None),
        (
            [{"*": {**PASSWORD, "client_password": "x"}, "app": PASSWORD}, {"*": PASSWORD}],
            "upstreams[0].credentials.app",
        ),
        ([{"app": PASSWORD}, {}], None),
        ([{"app": PASSWORD}, {"other": PASSWORD}], None),
        ([{"app": {**PASSWORD, "client_password_file": "/etc/hostname"}}], None),
    ],
)
def test_nobody_could_check_the_password(credentials: list[dict[str, Any]], where: str | None) -> None:
    """Not where the own credentials go somewhere, or where a mechanism needs nobody."""
    raw = mapped(*credentials)
    if where is None:
        load(raw)
    else:
        assert refused(raw) == {where: NOBODY}
    load(raw | EXTERNAL | TLS)


@pytest.mark.parametrize(
    ("mechanisms", "path", "message"),
    [
        (
            [{"plugin": "PLAIN"}, {"plugin": "AMQPLAIN"}, {"plugin": "PLAIN"}],
            "authentication.mechanisms[2]",
            "expected a mechanism that no other one is announced as, found PLAIN",
        ),
        (
            [{"plugin": "PLAIN", "options": {"needs_tls": True}}],
            "tls",
            "expected an object: every mechanism needs TLS, so nobody could log in",
        ),
        ([], "authentication.mechanisms", "expected a list of at least 1"),
        (
            [{"plugin": "plain"}],
            "authentication.mechanisms[0].plugin",
            'expected the name of a mechanism plugin ("AMQPLAIN", "EXTERNAL", "PLAIN"), found "plain"',
        ),
        (
            [{"plugin": "EXTERNAL", "options": {"user_from": "cn"}}, {"plugin": "PLAIN"}],
            "authentication.mechanisms[0].options.user_from",
            "expected 'distinguished_name', 'common_name', 'san_dns', 'san_email', 'san_uri' or 'san_ip', found \"cn\"",
        ),
    ],
)
def test_wrong_mechanisms(mechanisms: list[Any], path: str, message: str) -> None:
    assert refused(mapped({}, authentication={"mechanisms": mechanisms})) == {path: message}


@pytest.mark.parametrize("tls", [{}, {"tls": TLS["tls"] | {"client_ca": None}}], ids=["no TLS", "no client_ca"])
def test_external_where_clients_show_no_certificates(tls: dict[str, Any]) -> None:
    """Whatever else they may log in by; the error says what to do."""
    assert refused(mapped({}, **EXTERNAL, **tls)) == {
        "authentication.mechanisms[0].options": (
            'nobody could log in by EXTERNAL, because clients are not asked for certificates: set "tls.client_ca", or '
            "leave this mechanism out"
        )
    }


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"listen": "nowhere"}, ["tls.listen"]),
        ({"client_certificate": "maybe"}, ["tls.client_certificate"]),
        ({"client_certificate": "optional", "client_ca": None}, ["tls.client_ca"]),
        ({"client_certificate": "required", "client_ca": None}, ["tls.client_ca"]),
        ({"certificate": None}, ["tls.certificate"]),
        ({"passphrase": "x"}, ["tls.passphrase"]),
        ({"client_ca": None}, []),
    ],
)
def test_tls(changes: dict[str, Any], problems: list[str]) -> None:
    raw = mapped({}, tls=TLS["tls"] | changes)
    assert list(refused(raw)) == problems if problems else load(raw)
