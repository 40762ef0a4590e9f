"""``docs/plugins/mechanisms.md``: its example works as it stands there, and it has all built-in mechanisms."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trabbits.config.model import Config
from trabbits.interfaces import IAuthMechanism
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import IPluginDeclaration

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/plugins/mechanisms.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run(code: str, name: str) -> Any:
    module = ModuleType(name)
    exec(compile(code, f"{name}.py", "exec", dont_inherit=True), module.__dict__)
    return module


def test_the_example_passes_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, test = blocks("python")
    module = run(plugin, "cram_sha256")
    assert IPluginDeclaration.providedBy(module.cram)
    assert "k3y" not in repr(module.cram.options(keys={"orders": "k3y"}))
    monkeypatch.setitem(sys.modules, "cram_sha256", module)
    run(test, "test_cram_sha256").test_who_knows_the_key_comes_in()


def test_the_configuration_is_one() -> None:
    config = {"upstreams": [{"name": "a", "address": "a:5672"}], **json.loads(blocks("json")[0])}
    uses = Config.model_validate(config).authentication.mechanisms
    assert [each.plugin for each in uses] == ["EXTERNAL", "PLAIN"]


def test_every_built_in_mechanism_is_described_with_its_options() -> None:
    described = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    built_in = {
        each.name: set(each.declaration.options.model_fields)
        for each in discover().of(IAuthMechanism)
        if Path(each.origin).is_relative_to(ROOT / "trabbits")
    }
    assert {name: set(re.findall(r"`(\w+)`", options)) for name, options in described} == built_in
    for each in discover().of(IAuthMechanism):
        schema = each.declaration.options.model_json_schema()
        assert all(option.get("description") for option in schema["properties"].values())
