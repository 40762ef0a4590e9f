"""`docs/plugins/rewriters.md`: its examples work, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from trabbits.interfaces import IQueueAttributeRewriter
from trabbits.plugins.catalogue import Catalogue, Found, discover
from trabbits.plugins.checking import Checked, check
from trabbits.plugins.declaring import PluginContext
from trabbits.plugins.exchange_attributes import ExchangeAttributesRule
from trabbits.plugins.quorum import REFUSED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plugins" / "rewriters.md").read_text()


def test_the_examples_are_sound_and_pass_their_own_tests() -> None:
    names: dict[str, Any] = {"__name__": "limited"}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        exec(compile(code, "rewriters.md", "exec", dont_inherit=True), names)
    for example in ("limited", "selective"):
        names[f"test_{example}"]()
        plugin = Found(names[example], "rewriters.md")
        assert check(plugin, Catalogue([plugin], []), PluginContext()) == Checked()


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
