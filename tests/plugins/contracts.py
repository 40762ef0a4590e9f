"""What the modules that try built-in plugins against their contracts share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zope.interface.interface import InterfaceClass

from trabbits.plugins.catalogue import discover


def untested(kind: InterfaceClass, base: type[Any]) -> set[str]:
    """The built-in plugins of a kind that no subclass of `base` tries."""
    tried = {each.plugin.name for each in _below(base) if each.plugin is not None}
    # Those of other distributions have their own tests.
    return {each.name for each in discover().of(kind) if "/" in each.origin} - tried


def _below(base: type[Any]) -> Iterator[type[Any]]:
    for each in base.__subclasses__():
        yield each
        yield from _below(each)
