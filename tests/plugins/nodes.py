"""Nodes for selectors under test."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from trabbits.interfaces import INodeSelector, NodeView
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import PluginContext


def node(name: str, links: int = 0, **labels: str) -> NodeView:
    return NodeView(f"{name}:5672", labels, links, healthy=True, suspect=False)


def nodes(names: str) -> list[NodeView]:
    """One node for each letter."""
    return [node(name) for name in names]


def names(ordered: Sequence[NodeView]) -> str:
    """The first letters of their addresses, in order."""
    return "".join(each.address[0] for each in ordered)


def selector(plugin: str, **options: object) -> INodeSelector:
    """What the configuration `{"plugin": plugin, "options": options}` makes; ValidationError if it is wrong."""
    declaration = discover().get(INodeSelector, plugin)
    assert declaration.summary
    made: INodeSelector = declaration.make(declaration.options.model_validate(options), PluginContext())
    verifyObject(INodeSelector, made)
    return made


LABELS = st.dictionaries(st.sampled_from(["datacenter", "rack"]), st.sampled_from(["east", "west", "north", ""]))

#: Any nodes of one group, as they come.
GROUPS = st.lists(
    st.builds(
        NodeView,
        address=st.integers(1, 50).map("node-{}:5672".format),
        labels=LABELS,
        links=st.integers(0, 5),
        healthy=st.booleans(),
        suspect=st.booleans(),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda each: each.address,
)
