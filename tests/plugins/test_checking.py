"""`trabbits.plugins.checking`: what is found about plugins that keep their promises, and about those that don't."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ConfigDict, Field, model_validator
from zope.interface import Invalid, implementer

from trabbits.interfaces import (
    IConnectionPolicy,
    IMessageRoutingStrategy,
    INodeSelector,
    IPropertyRoutingStrategy,
    IQueueAttributeRewriter,
    IRoutingStrategy,
    MessageProperties,
    NodeView,
    Visitor,
)
from trabbits.plugins.catalogue import Catalogue, Found, discover
from trabbits.plugins.checking import Checked, OptionRow, check, check_made, option_rows, schema_of
from trabbits.plugins.declaring import Plugin, PluginContext, PluginOptions, UpstreamName


class NoOptions(PluginOptions):
    """None."""


class Needy(PluginOptions):
    """Two that are required."""

    this: int
    that: str
    other: int = 3


class Opaque(PluginOptions):
    """One that no JSON Schema can describe."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    thing: Sequence[Any] | object = Field(default_factory=list)
    other: memoryview | None = None


class Leaving(PluginOptions):
    """Some that end the process."""

    @model_validator(mode="after")
    def _leave(self) -> Leaving:
        sys.exit()


class Speechless(Exception):
    """Fails to say what it is."""

    def __str__(self) -> str:
        raise SystemExit


@implementer(INodeSelector)
class AsItIs:
    def order(self, nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        return nodes


@implementer(INodeSelector)
class Disorderly:
    def order(self) -> None:  # type: ignore[override]
        """Takes no nodes."""


@implementer(IMessageRoutingStrategy)
class Headless:  # type: ignore[misc]
    """Lacks a method."""

    def route(self, exchange: str, routing_key: str) -> str | None:
        return None


@implementer(IPropertyRoutingStrategy)
class Letters(Headless):
    """Names one header, and spells it."""

    header_names = "tenant"
    property_names = ()

    def route_message(self, exchange: str, routing_key: str, properties: MessageProperties) -> str | None:
        return None


@implementer(IConnectionPolicy)
class Explosive:
    def admit(self, visitor: Visitor) -> None:
        return None

    @property
    def left(self) -> Any:
        raise OSError("boom")


def raising(error: BaseException) -> Any:
    def make(options: Any, context: Any) -> object:
        raise error

    return make


def found(provides: Any, make: Any, options: type[PluginOptions] = NoOptions) -> Found:
    return Found(Plugin("p", provides, options, make), "somewhere.py")


@pytest.mark.parametrize(
    ("plugin", "result"),
    [
        pytest.param(found(INodeSelector, lambda options, context: AsItIs()), Checked(), id="sound"),
        pytest.param(
            found(INodeSelector, lambda options, context: AsItIs(), Needy),
            Checked(untried="not made: its options need that, this"),
            id="required options",
        ),
        pytest.param(
            found(INodeSelector, raising(ValueError("no  such\nfile"))),
            Checked(untried="not made: no such file"),
            id="cannot be made of these",
        ),
        pytest.param(
            found(INodeSelector, raising(OSError("boom"))), Checked("it cannot be made: OSError: boom"), id="raises"
        ),
        pytest.param(
            found(INodeSelector, lambda options: AsItIs()),
            "it cannot be made: TypeError",
            id="wrong arguments of make",
        ),
        pytest.param(found(INodeSelector, lambda options, context: None), "what it makes is wrong", id="nothing"),
        pytest.param(
            found(IQueueAttributeRewriter, lambda options, context: AsItIs()),
            "what it makes is wrong",
            id="another kind",
        ),
        pytest.param(
            found(INodeSelector, lambda options, context: Disorderly()), "what it makes is wrong", id="wrong arguments"
        ),
        pytest.param(
            found(IRoutingStrategy, lambda options, context: Headless()), "route_message", id="more than it has to be"
        ),
        pytest.param(
            found(IRoutingStrategy, lambda options, context: Letters()), "header_names is 'tenant'", id="a bad value"
        ),
        pytest.param(
            found(IConnectionPolicy, lambda options, context: Explosive()),
            "what it makes is wrong: it cannot be looked at: OSError in test_checking.py, line ",
            id="explosive",
        ),
        pytest.param(
            found(INodeSelector, raising(SystemExit(3))), Checked("it cannot be made: SystemExit: 3"), id="exits"
        ),
        pytest.param(
            found(INodeSelector, lambda options, context: AsItIs(), Leaving),
            Checked("its options cannot be checked: SystemExit"),
            id="exits while options are checked",
        ),
        pytest.param(
            found(INodeSelector, raising(Speechless())), Checked("it cannot be made: Speechless"), id="speechless"
        ),
        pytest.param(
            found(INodeSelector, raising(OSError("x" * 5000))), f"OSError: {'x' * 990}…", id="an endless error"
        ),
        pytest.param(
            found(INodeSelector, lambda options, context: AsItIs(), Opaque),
            "its options cannot be described",
            id="opaque options",
        ),
    ],
)
def test_what_is_found(plugin: Found, result: Checked | str) -> None:
    checked = check(plugin, Catalogue([plugin], []), PluginContext())
    if isinstance(result, Checked):
        assert checked == result
    else:
        assert result in checked.problem
        assert not checked.untried


def test_nothing_is_given_that_could_be_started() -> None:
    given: list[PluginContext] = []

    def make(options: Any, context: PluginContext) -> object:
        given.append(context)
        return AsItIs()

    check(found(INodeSelector, make), Catalogue([], []), PluginContext(upstreams=("a",), reactor=object()))
    assert given[0].reactor is None
    assert given[0].upstreams == ("a",)


def test_strategies_that_combine_others_get_them() -> None:
    inner: list[Any] = []

    def make(options: Any, context: PluginContext) -> object:
        assert context.routing is not None
        inner.append(context.routing("key_patterns", {}))
        return inner[0]

    outer = found(IRoutingStrategy, make)
    assert check(outer, discover(), PluginContext()) == Checked()
    assert IRoutingStrategy.providedBy(inner[0])


def test_a_combined_strategy_that_does_not_exist_is_told() -> None:
    def make(options: Any, context: PluginContext) -> object:
        assert context.routing is not None
        return context.routing("no_such", {})

    checked = check(found(IRoutingStrategy, make), Catalogue([], []), PluginContext())
    assert checked.untried.startswith("not made: expected the name of a routing plugin")


def test_a_combined_strategy_is_verified_too() -> None:
    def make(options: Any, context: PluginContext) -> object:
        assert context.routing is not None
        return context.routing("p", {})

    inner = found(IRoutingStrategy, lambda options, context: Headless())
    checked = check(found(IRoutingStrategy, make), Catalogue([inner], []), PluginContext())
    assert checked.untried.startswith('not made: what the plugin "p" makes is wrong: Headless has no route_message(')


def test_what_names_headers_without_having_any_is_invalid() -> None:
    with pytest.raises(Invalid, match="header_names is None, expected a collection of names"):
        IPropertyRoutingStrategy.validateInvariants(AsItIs())


def test_the_operator_ends_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        check(found(INodeSelector, raising(KeyboardInterrupt())), Catalogue([], []), PluginContext())


@pytest.mark.parametrize("plugin", discover().found, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_what_is_built_in_is_sound(plugin: Found) -> None:
    assert check(plugin, discover(), PluginContext(upstreams=("a", "b"))).problem == ""
    assert plugin.declaration.summary
    for row in option_rows(schema_of(plugin)):
        assert row.description, f"{plugin.name}: {row.key} has no docstring"


def test_with_options_of_a_configuration() -> None:
    plugin = found(INodeSelector, lambda options, context: AsItIs() if options.this else None, Needy)
    catalogue = Catalogue([plugin], [])
    assert check_made(plugin, catalogue, PluginContext(), Needy(this=1, that="")) == Checked()
    assert "wrong" in check_made(plugin, catalogue, PluginContext(), Needy(this=0, that="")).problem


class Inmost(PluginOptions):
    """An object in an object, which may hold the same again."""

    y: bool
    """As deep as it gets."""
    more: list[Inmost] = []


class Inner(PluginOptions):
    """An object of its own."""

    x: dict[str, Inmost]


class Everything(PluginOptions):
    """Each type once."""

    number: float = 1.5
    """A number,
    of course."""
    names: list[UpstreamName] = ["a"]
    shares: dict[str, int]
    maybe: str | None = None
    inner: Inner | None = None
    inners: list[Inner] = []
    factory: list[int] = Field(default_factory=lambda: [1])
    free: Any = None


def test_options_in_words() -> None:
    """Those of objects in them follow, each time; one inside of itself is told of once."""
    plugin = found(INodeSelector, None, Everything)
    inner = [
        OptionRow("x", "object of {y, more}", "", "", 1),
        OptionRow("y", "boolean", "", "As deep as it gets.", 2),
        OptionRow("more", "list of {y, more}", "[]", "", 2),
    ]
    assert list(option_rows(schema_of(plugin))) == [
        OptionRow("number", "number", "1.5", "A number, of course."),
        OptionRow("names", "list of string", '["a"]', ""),
        OptionRow("shares", "object of integer", "", ""),
        OptionRow("maybe", "string or null", "null", ""),
        OptionRow("inner", "{x} or null", "null", ""),
        *inner,
        OptionRow("inners", "list of {x}", "[]", ""),
        *inner,
        OptionRow("factory", "list of integer", "…", ""),
        OptionRow("free", "any", "null", ""),
    ]


@pytest.mark.parametrize(
    ("schema", "type"),
    [
        ({"enum": ["a", 2]}, '"a" or 2'),
        ({"const": "a"}, '"a"'),
        ({"oneOf": [{"type": "integer"}, {"type": "integer"}]}, "integer"),
        ({"$ref": "#/$defs/Loop"}, "any"),
        ({"type": "array"}, "list of any"),
        ({"type": ["string", "null"]}, "string or null"),
        (True, "any"),
    ],
)
def test_less_usual_types(schema: Any, type: str) -> None:
    properties = {"key": schema if isinstance(schema, dict) else {"type": "array", "items": schema}}
    loop = {"Loop": {"$ref": "#/$defs/Loop"}}
    [row] = option_rows({"properties": properties, "$defs": loop})
    assert row.type in (type, f"list of {type}")
