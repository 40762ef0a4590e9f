"""`FixedQueueAttributes`; how attributes are laid over a declare is the session's, and tested there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from trabbits.config.model import QueueAttributesConfig
from trabbits.config.plugin_use import RewriterUse
from trabbits.interfaces import IQueueAttributeRewriter, QueueAttributes, QueueDeclare
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import PluginContext
from trabbits.plugins.queue_attributes import FixedQueueAttributes, queue_attributes


def test_fulfils_the_interface() -> None:
    verifyObject(IQueueAttributeRewriter, FixedQueueAttributes())


def test_every_declare_gets_the_same() -> None:
    """What was configured is the answer, whatever a client declares; absent attributes are None."""
    rewriter = FixedQueueAttributes(
        durable=True, exclusive=False, arguments={"x-queue-type": "quorum", "x-expires": None}
    )
    wanted = QueueAttributes(durable=True, exclusive=False, arguments={"x-queue-type": "quorum", "x-expires": None})
    assert rewriter.rewrite(QueueDeclare("q")) == wanted
    assert rewriter.rewrite(QueueDeclare("p", exclusive=True, arguments={"x-expires": 5})) == wanted
    assert FixedQueueAttributes().rewrite(QueueDeclare("q", durable=True)) == QueueAttributes()


def test_later_changes_of_the_given_arguments_do_not_matter() -> None:
    arguments = {"x-list": [1]}
    rewriter = FixedQueueAttributes(arguments=arguments)
    arguments["x-list"].append(2)
    assert rewriter.rewrite(QueueDeclare("q")).arguments == {"x-list": [1]}


def test_it_is_declared() -> None:
    """With the options of the upstream's `queue_attributes`."""
    made = discover().get(IQueueAttributeRewriter, "queue_attributes")
    options = made.options.model_validate(
        {"durable": True, "arguments": {"x-expires": None, "x-list": [1, {"a": 2.5}]}}
    )
    rewriter = made.make(options, PluginContext())
    verifyObject(IQueueAttributeRewriter, rewriter)
    assert rewriter.rewrite(QueueDeclare("q")) == QueueAttributes(
        durable=True, arguments={"x-expires": None, "x-list": [1, {"a": 2.5}]}
    )


@pytest.mark.parametrize(
    "options",
    [
        {"durable": 1},
        {"arguments": {"x": float("nan")}},
        {"arguments": {"x": [2**64]}},
        {"arguments": {"": 1}},
        {"arguments": {"x" * 129: 1}},
        {"arguments": {"x": "\ud800"}},
        {"passive": True},
    ],
    ids=repr,
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        queue_attributes.options.model_validate(options)


LEAF = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=3)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)


@given(st.dictionaries(st.text(max_size=130), VALUE, max_size=2))
def test_it_takes_whatever_the_key_of_an_upstream_takes(arguments: dict[str, Any]) -> None:
    """The key is short for the plugin."""
    try:
        QueueAttributesConfig(arguments=arguments)
    except ValidationError:
        return
    use = RewriterUse(plugin="queue_attributes", options={"arguments": arguments})
    assert use.shown == {"arguments": arguments}
