"""Whether what a plugin makes is what its interface promises.

Lives here: `misfit` and `verified`.  Must not know: how it was made, or who wants to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from zope.interface import providedBy
from zope.interface.exceptions import (  # type: ignore[attr-defined]  # one is younger than the annotations
    BrokenImplementation,
    BrokenMethodImplementation,
    Invalid,
    MultipleInvalid,
)
from zope.interface.interface import InterfaceClass, Method
from zope.interface.verify import verifyObject

from trabbits.failures import fence, where_it_failed

T = TypeVar("T")


def verified(plugin: str, wanted: InterfaceClass, made: T) -> T:
    """`made`, what `plugin` made, which provides `wanted`.  Raises ValueError with what is wrong with it."""
    if wrong := misfit(wanted, made):
        raise ValueError(f'what the plugin "{plugin}" makes is wrong: {wrong}')
    return made


def misfit(wanted: InterfaceClass, made: object) -> str:
    """What keeps an object from being a `wanted`, or any narrower thing that it says it is; nothing if it is sound.

    The text has neither the object itself in it nor what its attributes raise: it was made from options, which may be
    secrets.
    """
    try:
        with fence():
            return "; ".join(dict.fromkeys(_problems(wanted, made)))
    except Exception as error:  # attributes that raise
        return f"it cannot be looked at: {where_it_failed(error)}"


def _problems(wanted: InterfaceClass, made: object) -> Iterator[str]:
    interfaces = [each for each in providedBy(made) if each.isOrExtends(wanted)]
    if not interfaces:
        yield f"{type(made).__name__} does not provide {wanted.__identifier__}"
    for interface in interfaces:
        try:
            verifyObject(interface, made)
            interface.validateInvariants(made)
        except MultipleInvalid as several:
            yield from (_told(type(made).__name__, each) for each in several.exceptions)
        except Invalid as error:
            yield _told(type(made).__name__, error)


def _told(kind: str, error: Invalid) -> str:
    """Zope's finding about an object of this class.  Its own text would show the object."""
    if isinstance(error, BrokenImplementation):
        return f"{kind} has no {_signed(error.name)}"
    if isinstance(error, BrokenMethodImplementation):
        return f"{_signed(error.method)} of {kind}: {error.mess}"
    return " ".join(str(error).split())


def _signed(attribute: Any) -> str:
    """An attribute of an interface as its users write it."""
    name: str = attribute.getName()
    if not isinstance(attribute, Method):
        return name
    signature: str = attribute.getSignatureString()  # type: ignore[no-untyped-call]  # zope has no annotations
    return f"{name}{signature}"
