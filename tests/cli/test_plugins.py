"""``trabbits plugins``: what is listed and checked, with plugins of others in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trabbits.cli.main import cli
from trabbits.plugins.catalogue import discover

ROOT = Path(__file__).resolve().parents[2]

SOUND = '''
from trabbits.interfaces import INodeSelector
from trabbits.plugins.declaring import Plugin, PluginOptions
from zope.interface import implementer


class BackwardsOptions(PluginOptions):
    """Options."""

    step: int = 1
    """How \\x1b[31mfar."""


@implementer(INodeSelector)
class Backwards:
    def __init__(self, step):
        if step > 5:
            raise ValueError("that is too far")

    def order(self, nodes):
        return nodes[::-1]


backwards = Plugin(
    "backwards", INodeSelector, BackwardsOptions, lambda options, context: Backwards(options.step), "from behind"
)
'''
HOLLOW = SOUND.replace("def order(self, nodes)", "def sort(self, nodes)").replace('"backwards"', '"hollow"')


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder for `PYTHONPATH`, with room for drop-in modules and a distribution."""
    (tmp_path / "trabbits" / "plugins").mkdir(parents=True)
    return tmp_path


def drop_in(elsewhere: Path, name: str, text: str) -> Path:
    path = elsewhere / "trabbits" / "plugins" / f"{name}.py"
    path.write_text(text)
    return path


def distribution(elsewhere: Path, module: str, text: str, point: str) -> None:
    (elsewhere / f"{module}.py").write_text(text)
    info = elsewhere / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[trabbits.plugins]\n{point}\n")


def plugins(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["plugins", *arguments], prog_name="trabbits", env={"TRABBITS_CONFIG": ""})


def in_process(
    elsewhere: Path, *arguments: str, command: Sequence[str] = ("plugins",)
) -> subprocess.CompletedProcess[str]:
    """A command where the plugins of `elsewhere` are installed."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{elsewhere}", "TRABBITS_CONFIG": ""}
    line = [sys.executable, "-m", "trabbits", *command, *arguments]
    return subprocess.run(line, cwd=elsewhere, env=env, capture_output=True, text=True, timeout=60, check=False)


def config(path: Path, **more: Any) -> str:
    file = path / "config.json"
    file.write_text(json.dumps({"upstreams": [{"name": "a", "address": "localhost:5672", **more}]}))
    return str(file)


def block(text: str, title: str) -> list[str]:
    """The lines about one plugin."""
    [found] = [part for part in text.split("\n\n") if part.splitlines()[0] == title]
    return found.splitlines()[1:]


def test_options_inside_of_options_are_listed() -> None:
    rules = block(plugins("list").stdout, "routing headers")[3:]
    assert [line for line in rules if line.lstrip().startswith(("option", "key"))] == [
        "  option rules: list of {match, properties, any, upstream}, required",
        "    key match: object of string or number or boolean or null, default {}",
        "    key properties: object of string or number or boolean or null, default {}",
        "    key any: boolean, default false",
        "    key upstream: string, required",
        "  option default: string or null, default null",
    ]
    assert "      Whether one of all these is enough." in rules


def test_everything_built_in_is_listed() -> None:
    result = plugins("list")
    assert (result.exit_code, result.stderr) == (0, "")
    path = ROOT / "trabbits" / "plugins" / "quorum.py"
    assert block(result.stdout, "rewriter quorum")[:5] == [
        "  durable classic queues become quorum queues",
        "  provides trabbits.interfaces.IQueueAttributeRewriter",
        f"  from {path}",
        '  option queues: list of string, default ["#"]',
        "    Patterns of the names of queues that become quorum queues, as in `key_patterns`: * is one word, # zero or "
        "more words, % zero or more characters inside a word.",
    ]
    titles = [part.splitlines()[0] for part in result.stdout.split("\n\n")]
    assert sorted(titles) == sorted(f"{each.kind} {each.name}" for each in discover().found)
    assert "  not used" not in result.stdout
    assert "  used by" not in result.stdout


def test_json_has_the_schemas() -> None:
    result = json.loads(plugins("list", "--json").stdout)
    assert result["broken"] == []
    [quorum] = [each for each in result["plugins"] if each["name"] == "quorum"]
    assert quorum["options"]["properties"]["dropped"]["type"] == "array"
    assert (quorum["kind"], quorum["used"]) == ("rewriter", None)
    assert quorum["interface"] == "trabbits.interfaces.IQueueAttributeRewriter"


def test_where_a_configuration_uses_them(tmp_path: Path) -> None:
    file = config(tmp_path, queue_attributes={"durable": True}, rewriters=[{"plugin": "quorum", "options": {}}])
    result = plugins("list", "--config", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "  used by upstreams[0].rewriters[0]" in block(result.stdout, "rewriter quorum")
    assert "  used by upstreams[0].queue_attributes" in block(result.stdout, "rewriter queue_attributes")
    assert "  used by routing" in block(result.stdout, "routing key_patterns")
    assert "  not used" in block(result.stdout, "routing weighted")


def test_plugins_in_the_options_of_others_are_used_too(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    parts = [
        {"plugin": "exchange", "options": {"rules": [{"exchange": "x", "upstream": "a"}]}},
        {"plugin": "key_patterns", "options": {}},
    ]
    upstream = {"name": "a", "address": "localhost:5672"}
    routing = {"plugin": "first_match", "options": {"strategies": parts}}
    file.write_text(json.dumps({"routing": routing, "upstreams": [upstream]}))
    result = plugins("list", "--config", str(file))
    assert result.exit_code == 0, result.output
    assert "  used by routing" in block(result.stdout, "routing first_match")
    assert "  used by routing.options.strategies[1]" in block(result.stdout, "routing key_patterns")


@pytest.mark.parametrize("command", ["list", "check"])
def test_a_wrong_configuration_is_told_and_the_rest_done(command: str, tmp_path: Path) -> None:
    file = config(tmp_path, rewriters=[{"plugin": "no_such"}])
    result = plugins(command, "--config", file)
    assert result.exit_code == 2
    assert "upstreams[0].rewriters[0].plugin" in result.stderr
    assert "quorum" in result.stdout
    assert "  not used" not in result.stdout
    assert "  used by" not in result.stdout


def test_everything_built_in_is_sound() -> None:
    result = plugins("check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "ok rewriter quorum\n" in result.stdout
    assert "broken" not in result.stdout


def test_what_could_not_be_made_is_not_called_sound(tmp_path: Path) -> None:
    """Unless the configuration has options for it, be it in those of another plugin."""
    weighted = {"plugin": "weighted", "options": {"weights": {"a": 100}}}
    routing = {"plugin": "first_match", "options": {"strategies": [weighted]}}
    file = config(tmp_path)
    result = plugins("check")
    assert result.exit_code == 0
    assert "not verified routing weighted (not made: its options need weights)\n" in result.stdout
    verdicts = {each["name"]: each["sound"] for each in json.loads(plugins("check", "--json").stdout)["plugins"]}
    assert (verdicts["weighted"], verdicts["quorum"]) == (None, True)
    assert "not verified routing weighted" in plugins("check", "--config", file).stdout
    raw = json.loads(Path(file).read_text())
    for used in (weighted, routing):
        Path(file).write_text(json.dumps(raw | {"routing": used}))
        result = plugins("check", "--config", file)
        assert result.exit_code == 0
        assert "ok routing weighted\n" in result.stdout
    assert "ok routing first_match\n" in result.stdout
    assert "not verified routing headers" in result.stdout


def test_what_only_looks_like_a_plugin_in_options_is_none(tmp_path: Path) -> None:
    table = {"plugin": "quorum", "options": {"queues": 5}}
    rewriter = {"plugin": "queue_attributes", "options": {"arguments": {"x-table": table}}}
    result = plugins("check", "--config", config(tmp_path, rewriters=[rewriter]))
    assert result.exit_code == 0
    assert "ok rewriter quorum\n" in result.stdout


def test_drop_in_modules_and_distributions_are_found(elsewhere: Path) -> None:
    """Control characters in their texts reach no terminal."""
    path = drop_in(elsewhere, "mine", SOUND)
    distribution(elsewhere, "yours", SOUND.replace('"backwards"', '"sideways"'), "any = yours:backwards")
    result = in_process(elsewhere, "list")
    assert (result.returncode, result.stderr) == (0, "")
    assert block(result.stdout, "selector backwards") == [
        "  from behind",
        "  provides trabbits.interfaces.INodeSelector",
        f"  from {path}",
        "  option step: integer, default 1",
        "    How \\x1b[31mfar.",
    ]
    assert "  from yours: yours:backwards" in block(result.stdout, "selector sideways")
    result = in_process(elsewhere, "check")
    assert result.returncode == 0
    assert "\nok selector backwards\n" in result.stdout
    assert "\nok selector sideways\n" in result.stdout


def test_broken_ones_are_listed_with_their_error_and_everything_else_too(elsewhere: Path) -> None:
    path = drop_in(elsewhere, "crashing", "import no_such_library\n")
    twin = drop_in(elsewhere, "twin", SOUND.replace('"backwards"', '"random"'))
    distribution(elsewhere, "yours", "thing = 3\n", "thing = yours:thing")
    result = in_process(elsewhere, "list")
    assert (result.returncode, result.stderr) == (0, "")
    crashing = "ModuleNotFoundError: No module named 'no_such_library'"
    assert block(result.stdout, "broken crashing") == [f"  from {path}", f"  {crashing}"]
    assert block(result.stdout, "broken random")[0] == f"  from {twin}"
    assert block(result.stdout, "broken thing")[0] == "  from yours: yours:thing"
    assert "rewriter quorum" in result.stdout
    result = in_process(elsewhere, "check")
    assert result.returncode == 1
    assert f"broken crashing ({path}): {crashing}\n" in result.stdout
    assert "ok rewriter quorum\n" in result.stdout
    assert result.stderr == "trabbits: error: 3 plugins are not sound\n"


def test_check_explains_what_does_not_fit_its_interface(elsewhere: Path) -> None:
    path = drop_in(elsewhere, "mine", HOLLOW)
    assert "selector hollow" in in_process(elsewhere, "list").stdout
    result = in_process(elsewhere, "check")
    assert result.returncode == 1
    [line] = [line for line in result.stdout.splitlines() if "hollow" in line]
    assert line.startswith(f"broken selector hollow ({path}): what it makes is wrong: ")
    assert "order" in line
    found = json.loads(in_process(elsewhere, "check", "--json").stdout)
    verdicts = {each["name"]: each["sound"] for each in found["plugins"]}
    assert verdicts["hollow"] is False
    assert verdicts["quorum"] is True
    file = config(elsewhere, selector={"plugin": "hollow", "options": {}})
    result = in_process(elsewhere, file, command=("config", "check"))
    assert result.returncode == 2
    wrong = 'what the plugin "hollow" makes is wrong: Backwards has no order(nodes)'
    assert f"upstreams[0].selector.options: {wrong}\n" in result.stderr


def test_those_that_want_to_end_the_process_are_told_of(elsewhere: Path) -> None:
    """When they are imported or made; entry points, too."""
    drop_in(elsewhere, "leaving", "import sys\nsys.exit()\n")
    drop_in(elsewhere, "made", SOUND.replace("raise ValueError", "raise SystemExit").replace("step > 5", "step"))
    distribution(elsewhere, "yours", SOUND + "raise SystemExit(2)\n", "it = yours:backwards")
    result = in_process(elsewhere, "check")
    assert result.returncode == 1
    assert result.stderr == "trabbits: error: 3 plugins are not sound\n"
    for who, text in (
        ("leaving", "SystemExit"),
        ("selector backwards", "it cannot be made: SystemExit: that is too far"),
        ("it", "SystemExit: 2"),
    ):
        [line] = [line for line in result.stdout.splitlines() if line.startswith(f"broken {who} (")]
        assert line.endswith(f"): {text}")
    assert "ok rewriter quorum\n" in result.stdout


def test_check_makes_them_as_the_configuration_says(elsewhere: Path) -> None:
    """With default options it can be made; with these it cannot, whoever notices."""
    drop_in(elsewhere, "mine", SOUND)
    good = config(elsewhere, selector={"plugin": "backwards", "options": {"step": 5}})
    assert in_process(elsewhere, "check", "--config", good).returncode == 0
    bad = config(elsewhere, selector={"plugin": "backwards", "options": {"step": 6}})
    result = in_process(elsewhere, "check", "--config", bad)
    assert result.returncode in (1, 2)
    assert "that is too far" in result.stdout + result.stderr
