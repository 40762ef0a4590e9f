"""How a plugin makes itself known: its declaration, the options it takes, and what it is given.

Lives here: `Plugin`, `PluginOptions`, `PluginContext`.  Part of the public contract, with ``trabbits.interfaces``.
Must not know: how declarations are found (``catalogue.py``), or the configuration around the options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, TypeVar

from attrs import field, frozen
from pydantic import AfterValidator, ConfigDict, ValidationInfo
from pydantic_core import PydanticCustomError
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface, implementer
from zope.interface.interface import InterfaceClass

from trabbits.described import Described


class PluginOptions(Described):
    """The base of all options: strict, as the rest of the configuration; what is not declared is refused.

    A field's docstring is its description, a `pydantic.SecretStr` is masked in every output.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _known_upstream(name: str, info: ValidationInfo) -> str:
    known = (info.context or {}).get("upstreams")
    if known is not None and name not in known:
        shown = ", ".join(f'"{each}"' for each in known)
        raise PydanticCustomError("expected", "expected {what}", {"what": f"the name of an upstream: {shown}"})
    return name


#: A field of options that has to name an upstream of the configuration.
UpstreamName = Annotated[str, AfterValidator(_known_upstream)]


@frozen
class PluginContext:
    """What a plugin is given besides its options.

    `upstreams` are the names in the configuration's order.  `key_patterns` are those of each upstream.  `reactor` is
    Twisted's, None where a configuration is only checked: nothing may be started then.  `routing` makes another
    strategy of its name and options, for those that combine others.  `client_certificates`: whether clients are asked
    for certificates.
    """

    upstreams: tuple[str, ...] = ()
    key_patterns: Mapping[str, tuple[str, ...]] = field(factory=dict)
    reactor: Any = None
    routing: Callable[[str, Mapping[str, Any]], Any] | None = None
    client_certificates: bool = True


class IPluginDeclaration(Interface):
    """Says what a plugin is.  `Plugin` provides it; so may anything else."""

    name = Attribute("What the configuration calls it; unique among those that provide the same interface.")
    provides = Attribute("The interface of ``trabbits.interfaces`` that what it makes provides.")
    options = Attribute("The class of its options, a `PluginOptions`.")
    summary = Attribute("One line about what it does.")
    make = Attribute(
        """A callable (options, context): returns what the plugin is for, made from validated options.

        `context` is a `PluginContext`.  Raises ValueError, with a text, if it cannot."""
    )


T = TypeVar("T", bound=PluginOptions)


@implementer(IPlugin, IPluginDeclaration)
@frozen
class Plugin(Generic[T]):
    """A declaration, to be put into a module of the package ``trabbits.plugins`` or behind an entry point.

    Example::

        by_length = Plugin("by_length", IRoutingStrategy, ByLengthOptions, ByLength, "long keys go elsewhere")
    """

    name: str
    provides: InterfaceClass
    options: type[T]
    make: Callable[[T, PluginContext], object] = field(repr=False)
    summary: str = ""
