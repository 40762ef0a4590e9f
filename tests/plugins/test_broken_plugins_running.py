"""A trabbits beside which plugins of others are installed that cannot be used."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.proxy import ROOT, ProxyFactory

UPSTREAMS = {"upstreams": [{"name": "a", "address": "localhost:1"}]}


def test_a_broken_plugin_is_told_of_and_everything_else_runs(trabbits: ProxyFactory, tmp_path: Path) -> None:
    folder = tmp_path / "trabbits" / "plugins"
    folder.mkdir(parents=True)
    broken = folder / "unlucky.py"
    broken.write_text("import what_nobody_has_installed\n")
    (folder / "leaving.py").write_text("import sys\nsys.exit()\n")
    env = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    proxy = trabbits(UPSTREAMS, env=env)
    assert proxy.wait_for_log(id="TR306", plugin="leaving")["text"] == "SystemExit"
    told = proxy.wait_for_log(id="TR306", plugin="unlucky")
    assert (told["plugin"], told["origin"]) == ("unlucky", str(broken))
    assert told["text"] == "ModuleNotFoundError: No module named 'what_nobody_has_installed'"
    assert proxy.terminate() == 0


def test_one_that_the_configuration_may_need_is_told_when_it_cannot_start(
    trabbits: ProxyFactory, tmp_path: Path
) -> None:
    folder = tmp_path / "trabbits" / "plugins"
    folder.mkdir(parents=True)
    (folder / "unlucky.py").write_text("raise RuntimeError('no luck today')\n")
    env = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    proxy = trabbits({**UPSTREAMS, "routing": {"plugin": "luck_itself"}}, env=env, start=False).spawn()
    assert proxy.wait() == 2
    module = folder / "unlucky.py"
    assert f"what is in 'unlucky' ({module}) is not known: RuntimeError: no luck today" in proxy.log_text


def test_a_reload_with_one_that_fails_only_when_it_starts_changes_nothing(
    trabbits: ProxyFactory, tmp_path: Path
) -> None:
    folder = tmp_path / "trabbits" / "plugins"
    folder.mkdir(parents=True)
    (folder / "eager.py").write_text(
        "from trabbits.interfaces import IRoutingStrategy\n"
        "from trabbits.plugins.declaring import Plugin, PluginOptions\n"
        "from trabbits.plugins.key_patterns import KeyPatterns\n"
        "def make(options, context):\n"
        "    return 1 / 0 if context.reactor else KeyPatterns([])\n"
        "eager = Plugin('eager', IRoutingStrategy, PluginOptions, make)\n"
    )
    proxy = trabbits(UPSTREAMS, env={"PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))})
    proxy.write_config({**UPSTREAMS, "routing": {"plugin": "eager"}})
    proxy.send_signal(signal.SIGHUP)
    problems = proxy.wait_for_log(event="config_refused")["problems"]
    assert [each.partition(":")[0] for each in problems] == ["routing.options"]
    assert 'the plugin "eager" cannot be made: ZeroDivisionError in eager.py, line 5' in problems[0]
    assert "traceback" not in str(proxy.logs)
    proxy.write_config(UPSTREAMS)
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_for_log(event="config_unchanged")
    assert proxy.terminate() == 0
