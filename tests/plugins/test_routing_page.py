"""What `docs/plugins/routing.md` shows works, and it names every option of the built-in strategies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from tests.plugins.routing_options import context, make
from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import IPluginDeclaration

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plugins" / "routing.md").read_text()
NAMES = ["exchange", "first_match", "hash", "headers", "key_patterns", "mirror", "weighted"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("json"))
def test_examples_of_options(text: str) -> None:
    shown = json.loads(text)
    use = shown.get("routing", shown)
    verifyObject(IRoutingStrategy, make(use["plugin"], use["options"], ("old", "new")))


def test_the_third_party_plugin() -> None:
    """It can be declared, made, and passes its own test."""
    plugin, test = blocks("python")
    module: dict[str, Any] = {"__name__": "regions_example"}
    exec(compile(plugin, "routing.md", "exec", dont_inherit=True), module)
    exec(compile(test, "routing.md", "exec", dont_inherit=True), module)
    module["test_regions"]()
    verifyObject(IPluginDeclaration, module["regions"])
    with pytest.raises(ValueError, match="no regions"):
        module["regions"].make(module["RegionOptions"](regions={}), context())


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_there(name: str) -> None:
    """Each in the section of its plugin, and each with a description and a schema."""
    section = PAGE.split(f"\n## `{name}`\n")[1].split("\n## ")[0]
    declaration = discover().get(IRoutingStrategy, name)
    assert declaration.summary
    schema = declaration.options.model_json_schema()
    assert all(each.get("description") for each in schema.get("properties", {}).values())
    for option in declaration.options.model_fields:
        assert f"`{option}" in section
