"""What `docs/plugins/routing.md` shows works, and it names every option of the built-in strategies."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from tests.plugins.routing_options import context, make
from trabbits.interfaces import IRoutingStrategy, MessageProperties
from trabbits.plugins.catalogue import discover
from trabbits.plugins.combining import PartFailed
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
    plugin, _, test = blocks("python")
    module: dict[str, Any] = {"__name__": "regions_example"}
    exec(compile(plugin, "routing.md", "exec", dont_inherit=True), module)
    exec(compile(test, "routing.md", "exec", dont_inherit=True), module)
    module["test_regions"]()
    verifyObject(IPluginDeclaration, module["regions"])
    with pytest.raises(ValueError, match="no regions"):
        module["regions"].make(module["RegionOptions"](regions={}), context())


def test_the_third_party_plugin_that_asks_others() -> None:
    """It asks both kinds, names the one that fails, and shows no secrets of theirs."""
    module: dict[str, Any] = {"__name__": "day_and_night_example"}
    exec(compile(blocks("python")[1], "routing.md", "exec", dont_inherit=True), module)
    declaration = module["day_and_night"]
    verifyObject(IPluginDeclaration, declaration)
    by_header = {"plugin": "headers", "options": {"rules": [{"match": {"x": 1}, "upstream": "lapin"}]}}
    options = {"day": by_header, "night": by_header}
    made = declaration.make(declaration.options.model_validate(options), context())
    assert {made.route("", "k"), made.route_message("", "k", MessageProperties({"x": 1}))} == {None, "lapin"}
    made._day = made._night = lambda *_: sys.exit("no such tenant")
    with pytest.raises(PartFailed, match=r"(day|night) failed: SystemExit: no such tenant"):
        made.route("", "k")
    with pytest.raises(ValueError, match=r"night\.upstreams: Field required"):
        wrong = {"day": by_header, "night": {"plugin": "hash"}}
        declaration.make(declaration.options.model_validate(wrong), context())
    unknown = {"day": by_header, "night": {"plugin": "of nobody", "options": {"key": "hunter2"}}}
    assert "hunter2" not in str(declaration.options.model_validate(unknown).model_dump(mode="json"))


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
