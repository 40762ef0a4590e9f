"""``docs/plugins/selectors.md``: its example works as it stands there, and its table has all built-in selectors."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trabbits.interfaces import INodeSelector
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import IPluginDeclaration

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/plugins/selectors.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run(code: str, name: str) -> Any:
    module = ModuleType(name)
    exec(compile(code, f"{name}.py", "exec"), module.__dict__)
    return module


def test_the_example_passes_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, test = blocks("python")
    module = run(plugin, "by_weight")
    assert IPluginDeclaration.providedBy(module.by_weight)
    monkeypatch.setitem(sys.modules, "by_weight", module)
    run(test, "test_by_weight").test_the_larger_node_has_three_of_four_connections()


def test_every_built_in_selector_is_described_with_its_options() -> None:
    described = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    built_in = {
        each.name: set(each.declaration.options.model_fields)
        for each in discover().of(INodeSelector)
        if Path(each.origin).is_relative_to(ROOT / "trabbits")
    }
    assert {name: set(re.findall(r"`(\w+)`", options)) for name, options in described} == built_in
    assert set(built_in) <= set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE))
