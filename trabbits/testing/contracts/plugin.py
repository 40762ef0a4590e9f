"""The contract of every plugin, whatever its kind: its declaration, its options, and what it makes.

Lives here: `PluginTestsMixIn`, the base of all others.  Must not know: what plugins of a kind do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from unittest import SkipTest

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from twisted.internet.testing import MemoryReactorClock
from zope.interface import Interface
from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyObject

from trabbits.interfaces import IRoutingStrategy
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import IPluginDeclaration, PluginContext, PluginOptions
from trabbits.plugins.verifying import misfit
from trabbits.testing.contracts.rules import require


class PluginTestsMixIn:
    """What holds for all plugins; use the class of your plugin's kind, which has these tests, too.

    Set `plugin` to the declaration and `options` to what a configuration would say; where that is not enough override
    `make_plugin`.  Without a declaration, override `make_plugin` alone: what is said of declarations is then skipped.

    Every test makes what it needs by itself, so the class works with pytest as it is, and with `unittest` and trial
    together with a ``TestCase``.
    """

    #: The interface of this kind.
    interface: ClassVar[InterfaceClass] = Interface
    #: The declaration.
    plugin: ClassVar[Any] = None
    #: The options to make it with, as they stand in a configuration.
    options: Mapping[str, Any] = {}
    #: The names of the upstreams that there are, and their patterns.
    upstreams: Sequence[str] = ("old", "new")
    key_patterns: Mapping[str, tuple[str, ...]] = {}
    #: Texts that must not be shown, besides every `pydantic.SecretStr` of the options.
    secrets: Sequence[str] = ()
    #: Seconds that a call in the reactor's thread may take.
    time_limit: float = 0.02

    def make_reactor(self) -> Any:
        """The reactor of one test: a new one in memory, whose time passes when a test says so."""
        return MemoryReactorClock()

    def make_context(self, reactor: Any = None) -> PluginContext:
        """What the plugin is given besides its options."""

        def routing(name: str, raw: Mapping[str, Any]) -> Any:
            inner = discover().get(IRoutingStrategy, name)
            return inner.make(self._validated(inner.options, raw), context)

        context = PluginContext(tuple(self.upstreams), dict(self.key_patterns), reactor, routing)
        return context

    def make_plugin(self, reactor: Any = None) -> Any:
        """A new one of what is tested.  `reactor` is None where a configuration is only checked."""
        return self._declaration().make(self._validated_options(), self.make_context(reactor))

    # -- the declaration

    def test_the_declaration_is_sound(self) -> None:
        """It has all that `IPluginDeclaration` names, for an interface of this kind, and says in a line what it is."""
        declaration = self._declaration()
        try:
            verifyObject(IPluginDeclaration, declaration)
        except Invalid as error:
            raise AssertionError(f"it is no declaration: {_line(error)}") from None
        provides = declaration.provides
        require(provides is self.interface, f"it provides {provides!r}, not {self.interface.__name__}")
        named = isinstance(declaration.name, str) and declaration.name
        require(bool(named), f"its name is {declaration.name!r}")
        summary = declaration.summary
        one_line = isinstance(summary, str) and summary.strip() and "\n" not in summary
        require(bool(one_line), f"its summary is not one line: {summary!r}")
        is_options = isinstance(declaration.options, type) and issubclass(declaration.options, PluginOptions)
        require(is_options, f"its options are {declaration.options!r}, no subclass of PluginOptions")

    def test_every_option_is_described(self) -> None:
        """`trabbits plugins list` shows a description of each key."""
        options = self._declaration().options
        try:
            schema = options.model_json_schema()
        except Exception as error:
            raise AssertionError(f"its options have no JSON Schema: {_line(error)}") from error
        for part in (schema, *schema.get("$defs", {}).values()):
            for key, value in part.get("properties", {}).items():
                require(bool(value.get("description")), f"{part.get('title')}.{key} has no docstring")

    def test_unknown_options_are_refused(self) -> None:
        """A misspelt key is a mistake that is told of, not one that has no effect."""
        options = self._declaration().options
        try:
            self._validated(options, {**self.options, "no_such_option": 1})
        except ValidationError:
            return
        raise AssertionError(f"{options.__name__} takes a key that it does not have")

    # -- what it makes

    def test_it_fits_its_interface(self) -> None:
        """What is made provides the interface of its kind, and keeps to every other one that it says it provides."""
        made = self.make_plugin(self.make_reactor())
        wrong = misfit(self.interface, made)
        require(not wrong, f"what it makes is wrong: {wrong}")

    def test_checking_a_configuration_starts_nothing(self) -> None:
        """Without a reactor it can be made, and nothing runs then."""
        before = set(threading.enumerate())
        made = self.make_plugin(None)
        started = set(threading.enumerate()) - before
        require(not started, f"making {made!r} without a reactor started {sorted(each.name for each in started)}")

    def test_secrets_are_not_shown(self) -> None:
        """Neither options nor what is made of them show a password, whoever prints or logs them."""
        shown = {}
        secrets = set(self.secrets)
        if self.plugin is not None:
            options = self._validated_options()
            secrets.update(_secrets(options))
            shown["the options"] = f"{options!r} {options} {options.model_dump_json()}"
        made = self.make_plugin(self.make_reactor())
        shown["what is made"] = f"{made!r} {made}"
        for what, text in shown.items():
            for secret in secrets:
                require(secret not in text, f"{what} show a secret: {text.replace(secret, '[the secret]')}")

    # -- for those who inherit from this

    def _declaration(self) -> Any:
        if self.plugin is None:
            raise SkipTest("no declaration is given")
        return self.plugin

    def _validated_options(self) -> PluginOptions:
        return self._validated(self._declaration().options, self.options)

    def _validated(self, options: type[PluginOptions], raw: Mapping[str, Any]) -> PluginOptions:
        return options.model_validate(dict(raw), context={"upstreams": tuple(self.upstreams)})


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, SecretBytes):
        yield value.get_secret_value().decode("utf-8", "replace")
    elif isinstance(value, BaseModel):
        yield from _secrets({name: getattr(value, name) for name in type(value).model_fields})
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets(each)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
