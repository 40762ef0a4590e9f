"""An installation of RabbitMQ with only those plugins that a node needs.

Covered: which plugins these are, and installations of another kind.  Not covered: that nodes start and work with it,
which all tests with a RabbitMQ do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from trabbits.testing.rabbitmq_home import make_home

PLUGINS = {
    "rabbit-3.13.0-rc.1": "kernel,stdlib, ranch,\n  rabbit_common",
    "rabbit_common-3.13.0-rc.1": "kernel",
    "ranch-2.1.0": "kernel, rabbit_common",
    "ranch_proxy_protocol-2.1.0": "ranch",
    "shovel-3.13.0-rc.1": "rabbit, amqp_client",
    "amqp_client-3.13.0-rc.1": "",
    "nothing_needed-1.0.0": None,
}


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The scripts of an installation."""
    for folder, needed in PLUGINS.items():
        ebin = tmp_path / "plugins" / folder / "ebin"
        ebin.mkdir(parents=True)
        name = folder.partition("-")[0]
        applications = "" if needed is None else f",\n {{ applications, [{needed}]}}"
        (ebin / f"{name}.app").write_text(f'{{application,{name},\n [{{vsn,"1"}}{applications}]}}.\n')
    (tmp_path / "plugins" / "README").write_text("")
    (tmp_path / "escript").mkdir()
    (tmp_path / "sbin").mkdir()
    return tmp_path / "sbin"


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        ([], {"rabbit", "rabbit_common", "ranch"}),
        (["shovel"], {"rabbit", "rabbit_common", "ranch", "shovel", "amqp_client"}),
        (["nothing_needed"], {"rabbit", "rabbit_common", "ranch", "nothing_needed"}),
    ],
)
def test_what_a_node_needs(scripts: Path, plugins: list[str], expected: set[str]) -> None:
    home = scripts.parent / "home"
    assert make_home(scripts, plugins, home) == home / "sbin"
    assert {path.name.partition("-")[0] for path in (home / "plugins").iterdir()} == expected
    for path in [home / "sbin", home / "escript", *(home / "plugins").iterdir()]:
        assert path.resolve() == scripts.parent / path.relative_to(home)


def test_installations_of_another_kind_are_left_as_they_are(scripts: Path) -> None:
    home = scripts.parent / "home"
    assert make_home(scripts, ["not_installed"], home) is None
    assert make_home(scripts.parent / "elsewhere" / "sbin", [], home) is None
    installed = scripts.parent / "plugins"
    (installed / "ranch-2.1.0").rename(installed / "away-1")
    (installed / "ranch-2.1.0.ez").write_bytes(b"PK")
    assert make_home(scripts, [], home) is None
    assert not home.exists()
