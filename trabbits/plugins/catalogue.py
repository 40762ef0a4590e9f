"""All plugins that there are: the built-in ones, drop-in modules of ``trabbits.plugins``, and entry points.

Lives here: `discover` and `Catalogue`.  Must not know: what is configured.

A plugin that cannot be imported, or is none, is reported with its name, file and error, and everything else works.
Modules are looked for as ``twisted.plugin`` does it, but loaded here: it keeps what goes wrong to itself, and writes
files beside the plugins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final

from attrs import field, frozen
from twisted.plugin import IPlugin
from twisted.python.modules import getModule
from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyObject

from trabbits.failures import ERROR_TEXT_MAX, error_text, fence, shortened
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

#: How many broken ones an error of the configuration names, and how many characters of what is wrong with each.
_TOLD: Final = 5
_TOLD_ERROR: Final = 300


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
    """One that cannot: `name` is that of the plugin, or of its module or entry point if it did not get that far.

    Then it is not `named`: nobody knows what plugins there would be, and how they are called.
    """

    name: str
    origin: str
    error: str
    named: bool = True


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
        raise UnknownPlugin(f"the name of a {KINDS[provides]} plugin ({known}{self._suspects(name)})")

    def _suspects(self, name: str) -> str:
        """The broken ones that may be why there is no plugin of this name."""
        texts = [
            f"; plugin '{name}' ({each.origin}) cannot be used: {shortened(each.error, _TOLD_ERROR)}"
            for each in self.broken
            if each.name == name
        ]
        texts += [
            f"; what is in '{each.name}' ({each.origin}) is not known: {shortened(each.error, _TOLD_ERROR)}"
            for each in self.broken
            if each.name != name and not each.named
        ]
        more = len(texts) - _TOLD
        return "".join(texts[:_TOLD]) + (f"; {more} more are broken, see `trabbits plugins list`" if more > 0 else "")


@cache
def discover() -> Catalogue:
    """Look once for everything; what is installed later needs a new process."""
    found: list[Found] = []
    broken: list[Broken] = []
    for name, origin, candidate in _candidates(broken):
        problem = _problem(candidate)
        if problem:
            own = _name(candidate)
            broken.append(Broken(own or name, origin, problem, named=bool(own)))
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
            with fence():
                values = list(vars(module.load()).items())
        except Exception as error:
            broken.append(Broken(module.name.rpartition(".")[2], origin, error_text(error), named=False))
            continue
        for name, value in values:
            if _is_plugin(value):
                yield name, origin, value
    for point in entry_points(group=GROUP):
        origin = f"{point.dist.name if point.dist else '?'}: {point.value}"
        try:
            with fence():
                loaded = point.load()
        except Exception as error:
            broken.append(Broken(point.name, origin, error_text(error), named=False))
            continue
        yield point.name, origin, loaded


def _is_plugin(value: Any) -> bool:
    try:
        with fence():
            return bool(IPlugin.providedBy(value))
    except Exception:  # an object that zope cannot look at
        return False


def _name(candidate: Any) -> str:
    """What a declaration calls itself; empty if that is no name."""
    try:
        with fence():
            name = candidate.name
    except Exception:
        return ""
    return name if isinstance(name, str) else ""


def _problem(candidate: Any) -> str:
    """What is wrong with a declaration, nothing if it is right."""
    try:
        with fence():
            return _lack(candidate)
    except Exception as error:  # attributes that raise
        return f"it cannot be looked at: {error_text(error)}"


def _lack(candidate: Any) -> str:
    try:
        verifyObject(IPluginDeclaration, candidate)
    except Invalid as error:
        return shortened(" ".join(str(error).split()), ERROR_TEXT_MAX)
    if not any(candidate.provides is each for each in KINDS):
        return f"it provides {candidate.provides!r:.100}, which is no interface for plugins"
    if not isinstance(candidate.name, str) or not candidate.name:
        return "its name is no text"
    if not isinstance(candidate.summary, str):
        return "its summary is no text"
    if not (isinstance(candidate.options, type) and issubclass(candidate.options, PluginOptions)):
        return "its options are no subclass of trabbits.plugins.declaring.PluginOptions"
    return ""


def _twin(found: Sequence[Found], candidate: Any) -> Found | None:
    for each in found:
        if each.name == candidate.name and each.declaration.provides is candidate.provides:
            return each
    return None
