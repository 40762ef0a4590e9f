"""A trabbits beside which plugins of others are installed that cannot be used."""

from __future__ import annotations

import os
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
