"""What tests of policies share: visitors, and a declaration's plugin made from options as in a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from zope.interface import implementer

from trabbits.interfaces import Visitor
from trabbits.plugins.declaring import Plugin, PluginContext

_numbers = count()


def visitor(user: str = "guest", virtual_host: str = "/", **properties: Any) -> Visitor:
    """A client like no other."""
    return Visitor(f"proxy-{next(_numbers)}", "192.0.2.1:50000", user, virtual_host, properties)


def made(declaration: Plugin[Any], clock: Any = None, **options: Any) -> Any:
    """What it makes of these options."""
    return declaration.make(declaration.options.model_validate(options), PluginContext(reactor=clock))


@contextmanager
def logged() -> Iterator[list[str]]:
    """The texts of what is logged meanwhile."""
    texts: list[str] = []

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        texts.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield texts
    finally:
        globalLogPublisher.removeObserver(observe)
