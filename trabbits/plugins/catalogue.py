"""All plugins that there are: the built-in ones, drop-in modules of ``trabbits.plugins``, and entry points.

Lives here: `discover` and `Catalogue`.  Must not know: what is configured.

A plugin that cannot be imported, or is none, is reported with its name, file and error, and everything else works.
Modules are looked for as ``twisted.plugin`` does it, but loaded here: it keeps what goes wrong to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from attrs import field, frozen
from twisted.plugin import IPlugin
from twisted.python.modules import getModule
from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyObject

from trabbits.interfaces import (
    IAuthMechanism,
    IConnectionPolicy,
    INodeSelector,
    IQueueAttributeRewriter,
    IRoutingStrategy,
)
from trabbits.plugins.declaring import IPluginDeclaration, PluginOptions

GROUP = "trabbits.plugins"
PACKAGE = "trabbits.plugins"
#: What plugins may be, with the word for it.
KINDS: dict[InterfaceClass, str] = {
    IRoutingStrategy: "routing",
    IQueueAttributeRewriter: "rewriter",
    INodeSelector: "selector",
    IConnectionPolicy: "policy",
    IAuthMechanism: "mechanism",
}


@frozen
class Found:
    """A plugin that can be used; `origin` is its file, or the distribution and entry point."""

    declaration: Any = field(repr=False)
    origin: str

    @property
    def kind(self) -> str:
        """The word for what it is."""
        return KINDS[self.declaration.provides]

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        return str(self.declaration.name)


@frozen
class Broken:
    """One that cannot: `name` is that of the plugin, or of its module or entry point if it did not get that far."""

    name: str
    origin: str
    error: str

    def __str__(self) -> str:
        return f"plugin '{self.name}' ({self.origin}) cannot be used: {self.error}"


class UnknownPlugin(LookupError):
    """There is no such plugin, or it is broken; the text says what there is."""


class Catalogue:
    """What was found."""

    def __init__(self, found: Sequence[Found], broken: Sequence[Broken]) -> None:
        self.found = tuple(found)
        self.broken = tuple(broken)

    def of(self, provides: InterfaceClass) -> list[Found]:
        """Those that make what provides this interface."""
        return [each for each in self.found if each.declaration.provides is provides]

    def get(self, provides: InterfaceClass, name: str) -> Any:
        """The declaration of this name.  Raises `UnknownPlugin`."""
        candidates = self.of(provides)
        for each in candidates:
            if each.name == name:
                return each.declaration
        known = ", ".join(f'"{each.name}"' for each in candidates)
        broken = "".join(f"; {each}" for each in self.broken if each.name == name)
        raise UnknownPlugin(f"the name of a {KINDS[provides]} plugin ({known}{broken})")


@cache
def discover() -> Catalogue:
    """Look once for everything; what is installed later needs a new process."""
    found: list[Found] = []
    broken: list[Broken] = []
    for name, origin, candidate in _candidates(broken):
        problem = _problem(candidate)
        if problem:
            broken.append(Broken(str(getattr(candidate, "name", name)), origin, problem))
        elif any(each.declaration is candidate for each in found):
            continue
        elif twin := _twin(found, candidate):
            broken.append(Broken(candidate.name, origin, f"{twin.origin} has a plugin of the same name and kind"))
        else:
            found.append(Found(candidate, origin))
    return Catalogue(found, broken)


def _candidates(broken: list[Broken]) -> Iterator[tuple[str, str, Any]]:
    for module in getModule(PACKAGE).iterModules():
        origin = module.filePath.path
        try:
            loaded = module.load()
        except Exception as error:
            broken.append(Broken(module.name.rpartition(".")[2], origin, _text(error)))
            continue
        for name, value in list(vars(loaded).items()):
            if _is_plugin(value):
                yield name, origin, value
    for point in entry_points(group=GROUP):
        origin = f"{point.dist.name if point.dist else '?'}: {point.value}"
        try:
            loaded = point.load()
        except Exception as error:
            broken.append(Broken(point.name, origin, _text(error)))
            continue
        yield point.name, origin, loaded


def _is_plugin(value: Any) -> bool:
    try:
        return bool(IPlugin.providedBy(value))
    except Exception:  # an object that zope cannot look at
        return False


def _problem(candidate: Any) -> str:
    """What is wrong with a declaration, nothing if it is right."""
    try:
        verifyObject(IPluginDeclaration, candidate)
    except Invalid as error:
        return " ".join(str(error).split())
    if candidate.provides not in KINDS:
        return f"it provides {candidate.provides!r}, which is no interface for plugins"
    if not isinstance(candidate.name, str) or not candidate.name:
        return "its name is no text"
    if not (isinstance(candidate.options, type) and issubclass(candidate.options, PluginOptions)):
        return "its options are no subclass of trabbits.plugins.declaring.PluginOptions"
    return ""


def _twin(found: Sequence[Found], candidate: Any) -> Found | None:
    for each in found:
        if each.name == candidate.name and each.declaration.provides is candidate.provides:
            return each
    return None


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
