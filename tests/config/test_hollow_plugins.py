"""Plugins that make something else than their interface promises: no configuration is taken that uses them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr
from zope.interface import directlyProvides

from tests.config.configurations import changed, refused
from trabbits.config.errors import path_text
from trabbits.interfaces import (
    IAuthMechanism,
    IConnectionPolicy,
    INodeSelector,
    IPropertyRoutingStrategy,
    IQueueAttributeRewriter,
    IQueueRenamer,
    IRoutingStrategy,
    ITopologyRewriter,
)
from trabbits.plugins.catalogue import Catalogue, Found, discover
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions


class HollowOptions(PluginOptions):
    which: str
    """What is made."""
    secret: SecretStr = SecretStr("")
    """What is shown by it."""


class Hollow:
    """Says that it is something, and has nothing of it."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return f"Hollow({self.secret!r})"


class Short(Hollow):
    """Has a method without arguments where one with some is wanted."""

    def route(self) -> None:
        """Takes nothing."""


class Explosive(Hollow):
    @property
    def route(self) -> Any:
        raise OSError(self.secret)


def _hollow(options: HollowOptions, _: PluginContext) -> object:
    secret = options.secret.get_secret_value()
    if options.which == "none":
        return None
    made = {"short": Short, "explosive": Explosive}.get(options.which, Hollow)(secret)
    directlyProvides(made, PROMISES[options.which])
    return made


PROMISES = {
    "routing": IRoutingStrategy,
    "headers": IPropertyRoutingStrategy,
    "rewriter": IQueueAttributeRewriter,
    "renamer": IQueueRenamer,
    "topology": ITopologyRewriter,
    "selector": INodeSelector,
    "policy": IConnectionPolicy,
    "mechanism": IAuthMechanism,
    "another kind": INodeSelector,
    "short": IRoutingStrategy,
    "explosive": IRoutingStrategy,
}
KINDS = (IRoutingStrategy, IQueueAttributeRewriter, INodeSelector, IConnectionPolicy, IAuthMechanism)
hollow = [Plugin("hollow", kind, HollowOptions, _hollow, "keeps no promise") for kind in KINDS]


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in plugins and the ones above."""
    extended = Catalogue([*discover().found, *(Found(each, "here") for each in hollow)], [])
    monkeypatch.setattr("trabbits.config.plugin_use.discover", lambda: extended)


@pytest.mark.parametrize(
    ("path", "which", "message"),
    [
        (["routing"], "routing", "Hollow has no route(exchange, routing_key)"),
        (
            ["routing"],
            "headers",
            "Hollow has no route(exchange, routing_key); "
            "Hollow has no route_message(exchange, routing_key, properties); "
            "Hollow has no header_names; Hollow has no property_names",
        ),
        (["routing"], "short", "route(exchange, routing_key) of Short: implementation doesn't allow enough arguments"),
        (["routing"], "explosive", "it cannot be looked at: OSError in test_hollow_plugins.py, line "),
        (["routing"], "none", "NoneType does not provide trabbits.interfaces.IRoutingStrategy"),
        (["routing"], "another kind", "Hollow does not provide trabbits.interfaces.IRoutingStrategy"),
        (["upstreams", 1, "rewriters", 0], "rewriter", "Hollow has no rewrite(declare)"),
        (
            ["upstreams", 1, "rewriters", 0],
            "renamer",
            "Hollow has no rewrite(declare); Hollow has no renamed(queue); Hollow has no original(queue)",
        ),
        (
            ["upstreams", 1, "rewriters", 0],
            "topology",
            "Hollow has no rewrite(declare); Hollow has no rewrite_exchange(declare); "
            "Hollow has no rewrite_binding(binding)",
        ),
        (
            ["upstreams", 1, "rewriters", 0],
            "none",
            "NoneType does not provide trabbits.interfaces.IQueueAttributeRewriter",
        ),
        (["upstreams", 0, "selector"], "selector", "Hollow has no order(nodes)"),
        (["upstreams", 0, "selector"], "none", "NoneType does not provide trabbits.interfaces.INodeSelector"),
        (["policies", 0], "policy", "Hollow has no admit(visitor); Hollow has no left(visitor)"),
        (["policies", 0], "none", "NoneType does not provide trabbits.interfaces.IConnectionPolicy"),
        (
            ["authentication", "mechanisms", 0],
            "mechanism",
            "Hollow has no name; Hollow has no priority; Hollow has no needs_tls; Hollow has no verifies; "
            "Hollow has no begin(peer)",
        ),
        (
            ["authentication", "mechanisms", 0],
            "none",
            "NoneType does not provide trabbits.interfaces.IAuthMechanism",
        ),
    ],
)
def test_each_kind(path: list[str | int], which: str, message: str) -> None:
    """Whatever the kind, what it makes is compared with its interface, and no secret in it is shown."""
    use = {"plugin": "hollow", "options": {"which": which, "secret": "hunter2"}}
    place = path_text([*path, "options"])
    problems = refused(changed(path, use))
    assert list(problems) == [place]
    assert problems[place].startswith(f'what the plugin "hollow" makes is wrong: {message}')
    assert "hunter2" not in problems[place]


def test_in_the_options_of_others() -> None:
    part = {"plugin": "hollow", "options": {"which": "routing"}}
    problems = refused(changed(["routing", "options", "strategies", 1], part))
    assert problems["routing.options"] == (
        'strategies[1] "hollow": what the plugin "hollow" makes is wrong: Hollow has no route(exchange, routing_key)'
    )
