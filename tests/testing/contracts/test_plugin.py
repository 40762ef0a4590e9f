"""`PluginTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import pytest
from attrs import evolve, field, frozen
from pydantic import BaseModel, ConfigDict, SecretStr
from zope.interface import directlyProvides, implementer

from tests.testing.contracts.wrong import Wrong, assert_noticed, rules_of
from trabbits.interfaces import INodeSelector, IRoutingStrategy
from trabbits.plugins.declaring import Plugin, PluginOptions, UpstreamName
from trabbits.testing.contracts import PluginTestsMixIn

RULE = "test_the_declaration_is_sound"
SECRET = "correct horse"


class Options(PluginOptions):
    upstream: UpstreamName = "old"
    """Where to."""
    password: SecretStr = SecretStr("")
    """What opens the door."""


class Undescribed(Options):
    other: int = 1


class Nested(Options):
    inner: list[Undescribed] = []
    """More of it."""


class Lax(PluginOptions):
    model_config = ConfigDict(extra="ignore")


class Foreign(BaseModel):
    pass


class NoSchema(Options):
    things: Callable[[], None] | None = None
    """Something that has no JSON Schema."""


@implementer(IRoutingStrategy)
@frozen
class Strategy:
    options: Any = field(default=None, repr=False)

    def route(self, exchange: str, routing_key: str) -> str | None:
        return None


@frozen
class Talkative(Strategy):
    password: str = ""


class Hollow:
    """Says it is one."""


directlyProvides(hollow := Hollow(), IRoutingStrategy)


sound: Plugin[Any] = Plugin("sound", IRoutingStrategy, Options, lambda options, _: Strategy(options), "nothing wrong")


def case(declaration: Any, **attributes: Any) -> Callable[[], Any]:
    return type(
        "Case",
        (PluginTestsMixIn,),
        {"interface": IRoutingStrategy, "options": {"password": SECRET}, "plugin": declaration, **attributes},
    )


class Half:
    name = "half"


def starts_a_thread(options: Any, context: Any) -> Strategy:
    threading.Thread(target=threading.Event().wait, args=(0.5,), daemon=True).start()
    return Strategy()


WRONG = [
    Wrong(RULE, "it is no declaration", case(Half())),
    Wrong(RULE, "not IRoutingStrategy", case(evolve(sound, provides=INodeSelector))),
    Wrong(RULE, "its name is ''", case(evolve(sound, name=""))),
    Wrong(RULE, "its summary is not one line: ''", case(evolve(sound, summary=""))),
    Wrong(RULE, "its summary is not one line", case(evolve(sound, summary="a\nb"))),
    Wrong(RULE, "no subclass of PluginOptions", case(evolve(sound, options=Foreign))),
    Wrong("test_every_option_is_described", "Undescribed.other has no docstring", case(evolve(sound, options=Nested))),
    Wrong("test_every_option_is_described", "no JSON Schema", case(evolve(sound, options=NoSchema))),
    Wrong(
        "test_unknown_options_are_refused",
        "takes a key that it does not have",
        case(evolve(sound, options=Lax), options={}),
    ),
    Wrong("test_it_fits_its_interface", "route", case(evolve(sound, make=lambda *_: hollow))),
    Wrong("test_it_fits_its_interface", "IRoutingStrategy", case(evolve(sound, make=lambda *_: object()))),
    Wrong("test_checking_a_configuration_starts_nothing", "started", case(evolve(sound, make=starts_a_thread))),
    Wrong(
        "test_secrets_are_not_shown",
        "what is made show a secret",
        case(evolve(sound, make=lambda options, _: Talkative(password=options.password.get_secret_value()))),
    ),
    Wrong(
        "test_secrets_are_not_shown",
        "the options show a secret",
        case(sound, options={"upstream": "old"}, secrets=["old"]),
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_noticed(wrong: Wrong) -> None:
    assert_noticed(wrong)


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(PluginTestsMixIn)


@pytest.mark.parametrize("rule", sorted(rules_of(PluginTestsMixIn)))
def test_what_is_right_passes(rule: str) -> None:
    getattr(case(sound)(), rule)()


def test_without_a_declaration_nothing_is_said_of_it() -> None:
    instance = case(None, make_plugin=lambda self, reactor=None: Strategy())()
    for rule in rules_of(PluginTestsMixIn):
        try:
            getattr(instance, rule)()
        except SkipTest:
            assert "declaration" in rule or "option" in rule


def test_names_of_upstreams_are_checked() -> None:
    with pytest.raises(ValueError, match="the name of an upstream"):
        case(sound, options={"upstream": "moon"})().make_plugin()
