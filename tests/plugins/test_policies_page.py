"""``docs/plugins/policies.md``: its example works as it stands there, and its table has all built-in policies."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trabbits.config.model import Config
from trabbits.interfaces import IConnectionPolicy
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import IPluginDeclaration

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/plugins/policies.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run(code: str, name: str) -> Any:
    module = ModuleType(name)
    exec(compile(code, f"{name}.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("place", "name", "tested"), [(0, "opening_hours", "clients_come_in_by_day"), (2, "gentle", "bulk_loads_wait")]
)
def test_an_example_passes_its_test(place: int, name: str, tested: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks("python")
    assert len(code) == 4
    module = run(code[place], name)
    assert IPluginDeclaration.providedBy(getattr(module, name))
    monkeypatch.setitem(sys.modules, name, module)
    getattr(run(code[place + 1], f"test_{name}"), f"test_{tested}")()


def test_the_configuration_is_one() -> None:
    config = {"upstreams": [{"name": "a", "address": "a:5672"}], **json.loads(blocks("json")[0])}
    assert [each.plugin for each in Config.model_validate(config).policies] == ["max_connections", "http_auth"]


def test_every_built_in_policy_is_described_with_its_options() -> None:
    described = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    built_in = {
        each.name: set(each.declaration.options.model_fields)
        for each in discover().of(IConnectionPolicy)
        if Path(each.origin).is_relative_to(ROOT / "trabbits")
    }
    assert {name: set(re.findall(r"`(\w+)`", options)) for name, options in described} == built_in
    assert set(built_in) <= set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE))
