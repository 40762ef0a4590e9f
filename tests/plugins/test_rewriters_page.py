"""`docs/plugins/rewriters.md`: its examples work, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trabbits.interfaces import IQueueAttributeRewriter
from trabbits.plugins.catalogue import Catalogue, Found, discover
from trabbits.plugins.checking import check
from trabbits.plugins.declaring import PluginContext
from trabbits.plugins.exchange_attributes import ExchangeAttributesRule
from trabbits.plugins.quorum import REFUSED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plugins" / "rewriters.md").read_text()


@pytest.mark.parametrize(("place", "example"), [(0, "limited"), (1, "selective"), (2, "versioned")])
def test_an_example_is_sound_and_passes_its_own_test(place: int, example: str) -> None:
    code = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(code) == 6
    names: dict[str, Any] = {"__name__": example}
    for block in code[2 * place : 2 * place + 2]:
        exec(compile(block, "rewriters.md", "exec", dont_inherit=True), names)
    names[f"test_{example}"]()
    plugin = Found(names[example], "rewriters.md")
    assert check(plugin, Catalogue([plugin], []), PluginContext()).problem == ""


def test_every_option_is_described() -> None:
    for plugin in discover().of(IQueueAttributeRewriter):
        assert f"### `{plugin.name}`" in PAGE
        for key in plugin.declaration.options.model_fields:
            assert f"| `{key}` |" in PAGE


def test_every_key_of_a_rule_is_described() -> None:
    part = PAGE[PAGE.index("### `exchange_attributes`") : PAGE.index("### `rename`")]
    assert {key for key in ExchangeAttributesRule.model_fields if f"| `{key}` |" not in part} == set()


def test_every_refused_argument_is_named() -> None:
    assert {name for name in REFUSED if f"`{name}`" in PAGE} == REFUSED
