"""Plugins in a configuration: their names, and options that their declarations check.

Lives here: `PluginUse` and one subclass for each kind.  Must not know: what plugins are for.

Declarations are other people's code: whatever one does while it looks at options becomes an error of the
configuration, and never says what a secret or a variable held.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails
from zope.interface.interface import InterfaceClass

from trabbits.config.errors import Location, Told, expected, told
from trabbits.described import Described
from trabbits.failures import fence, where_it_failed
from trabbits.interfaces import (
    IAuthMechanism,
    IConnectionPolicy,
    INodeSelector,
    IQueueAttributeRewriter,
    IRoutingStrategy,
)
from trabbits.plugins.catalogue import UnknownPlugin, discover
from trabbits.plugins.declaring import PluginContext, PluginOptions
from trabbits.plugins.verifying import verified

#: Enough for strategies in strategies, and less than what any recursion has to fear.
_DEPTH_LIMIT = 48

_Place = tuple[str | int, ...]


class PluginUse(Described):
    """A plugin and its options."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    plugin: str
    """Its name; `trabbits plugins list` shows all."""
    options: dict[str, Any] = {}
    """What it is told; every plugin has its own."""

    provides: ClassVar[InterfaceClass]
    _declaration: Any = PrivateAttr()
    _validated: PluginOptions = PrivateAttr()
    _shown: dict[str, Any] = PrivateAttr()

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> PluginUse:
        try:
            self._declaration = discover().get(self.provides, self.plugin)
        except UnknownPlugin as error:
            raise _errors([{"type": expected(str(error)), "loc": ("plugin",), "input": self.plugin}]) from None
        if odd := list(_odd(self.options, ("options",))):
            raise _errors(odd)
        model = self._declaration.options
        try:
            with fence():
                self._validated = model.model_validate(self.options, context=info.context)
                # What cannot be shown is found out while something can be done about it.
                self._shown = self._validated.model_dump(mode="json")
        except ValidationError as error:
            raise _errors([self._error(model, each) for each in error.errors(include_url=False)]) from None
        except Exception as error:  # a validator's, or a serializer's
            text = Told(f'the plugin "{self.plugin}" failed to check them: {where_it_failed(error)}', is_foreign=True)
            raise _errors([{"type": text.error(), "loc": ("options",), "input": None}]) from None
        return self

    def _error(self, model: type[BaseModel], error: ErrorDetails) -> InitErrorDetails:
        place = _written(error["loc"], self.options, is_missing=error["type"] == "missing")
        try:
            explained = told(model, error)
        except Exception:  # a plugin's own error that calls itself as one of pydantic's, with less in it
            explained = Told(f"expected something else ({error['msg']})", is_foreign=True)
        return {"type": explained.error(), "loc": ("options", *place), "input": error["input"]}

    @field_serializer("options")
    def _masked(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._shown

    @property
    def validated(self) -> PluginOptions:
        """The options as the plugin gets them."""
        return self._validated

    @property
    def shown(self) -> dict[str, Any]:
        """The options that were given, as plain JSON values without secrets."""
        return {key: value for key, value in self._shown.items() if key in self.options}

    def make(self, context: PluginContext) -> Any:
        """What the plugin is for, verified.  Raises ValueError if it cannot be made or is not what it should be.

        What else the plugin may raise is an Exception.
        """
        with fence():
            made = self._declaration.make(self._validated, context)
        return verified(self.plugin, self.provides, made)

    def __eq__(self, other: object) -> bool:
        """Whether both mean the same, however it is written."""
        if not isinstance(other, PluginUse) or self.provides is not other.provides:
            return NotImplemented
        return (self.plugin, self._validated) == (other.plugin, other._validated)

    __hash__ = None  # type: ignore[assignment]  # there are dictionaries in it

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Without secrets, which the options as written may contain."""
        yield "plugin", self.plugin
        yield "options", self._shown


def _errors(errors: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("PluginUse", errors)


def _odd(value: Any, location: _Place) -> Iterator[InitErrorDetails]:
    """What no plugin has to expect: values that JSON can be read to, but which can be written nowhere."""
    what = ""
    if isinstance(value, str) and not _encodes(value):
        what = "a string of valid Unicode"
    elif isinstance(value, float) and not math.isfinite(value):
        what = "a finite number"
    elif isinstance(value, dict | list) and len(location) > _DEPTH_LIMIT:
        what = f"at most {_DEPTH_LIMIT} levels of lists and objects"
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str) and _encodes(key):
                yield from _odd(item, (*location, key))
            else:
                yield {"type": expected("keys of valid Unicode", hide=True), "loc": location, "input": None}
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _odd(item, (*location, index))
    if what:
        yield {"type": expected(what), "loc": location, "input": value}


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written(location: Location, options: Any, *, is_missing: bool) -> _Place:
    """`location` without what is no part of the file: pydantic adds words such as "[key]" and names of types."""
    place: _Place = ()
    current = options
    for number, part in enumerate(location, 1):
        if (isinstance(current, dict) and part in current) or (
            isinstance(current, list) and isinstance(part, int) and -1 < part < len(current)
        ):
            current = current[part]  # type: ignore[index]
            place = (*place, part)
        elif is_missing and number == len(location):
            place = (*place, part)
    return place


class RoutingUse(PluginUse):
    """Decides which upstream gets a published message."""

    provides: ClassVar[InterfaceClass] = IRoutingStrategy


class RewriterUse(PluginUse):
    """Changes what the upstream is asked for when a client declares a queue."""

    provides: ClassVar[InterfaceClass] = IQueueAttributeRewriter


class SelectorUse(PluginUse):
    """Orders the nodes of the upstream for each connection."""

    provides: ClassVar[InterfaceClass] = INodeSelector


class PolicyUse(PluginUse):
    """Admits clients or refuses them."""

    provides: ClassVar[InterfaceClass] = IConnectionPolicy


class MechanismUse(PluginUse):
    """Finds out who a client is."""

    provides: ClassVar[InterfaceClass] = IAuthMechanism
