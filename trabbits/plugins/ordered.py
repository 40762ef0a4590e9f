"""A selector: nodes in an order that somebody has written down.

Lives here: `Ordered`.  Must not know: which nodes there are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated

from pydantic import AfterValidator, Field
from zope.interface import implementer

from trabbits.interfaces import INodeSelector, NodeView
from trabbits.plugins.declaring import Plugin, PluginOptions
from trabbits.plugins.option_types import each_once

_ADDRESS = re.compile(r"(\[[^\]/@]+\]|[^:\[\]/@]+):([0-9]{1,5})")


@implementer(INodeSelector)
class Ordered:
    """The nodes with these `addresses` first, in this order; then the others, as they come."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._places = {address: place for place, address in enumerate(addresses)}

    def order(self, nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        last = len(self._places)
        return sorted(nodes, key=lambda node: self._places.get(node.address, last))


def _address(text: str) -> str:
    """An address as `NodeView` has it: an IPv6 address may be written in several ways."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError('the address of a node, such as "rabbit-1:5672"')
    host, port = found.groups()
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except AddressValueError:
            raise ValueError('an IPv6 address in brackets, such as "[::1]:5672"') from None
    return f"{host}:{int(port)}"


class OrderedOptions(PluginOptions):
    """Which nodes go first."""

    nodes: Annotated[list[Annotated[str, AfterValidator(_address)]], Field(min_length=1), AfterValidator(each_once)]
    """Addresses of nodes as they stand in `cluster.nodes`, the first to be tried first; others come after them."""


ordered = Plugin(
    "ordered",
    INodeSelector,
    OrderedOptions,
    lambda options, _: Ordered(options.nodes),
    "the first node of a list that works",
)
