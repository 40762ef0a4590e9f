"""Makes routing strategies the way a configuration does: from the declaration, with checked options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import PluginContext

UPSTREAMS = ("rabbit", "lapin", "hase")


def context(upstreams: tuple[str, ...] = UPSTREAMS) -> PluginContext:
    """What plugins are given where these upstreams are configured."""

    def routing(name: str, options: Mapping[str, Any]) -> Any:
        return make(name, options, upstreams)

    return PluginContext(upstreams=upstreams, key_patterns={"hase": ("hop.#",)}, routing=routing)


def make(name: str, options: Mapping[str, Any], upstreams: tuple[str, ...] = UPSTREAMS) -> Any:
    """The strategy of this name."""
    declaration = discover().get(IRoutingStrategy, name)
    checked = declaration.options.model_validate(dict(options), context={"upstreams": upstreams})
    return declaration.make(checked, context(upstreams))


def assert_refused(name: str, options: Mapping[str, Any], path: tuple[str | int, ...], text: str) -> None:
    """These options are wrong at `path` only, with `text` in the error."""
    with pytest.raises(ValidationError) as caught:
        make(name, options)
    errors = caught.value.errors()
    assert [error["loc"] for error in errors] == [path]
    assert text in errors[0]["msg"]
