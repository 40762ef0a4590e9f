"""`FixedQueueAttributes` and how attributes are laid over a declare."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from trabbits.interfaces import IQueueAttributeRewriter, QueueAttributes, QueueDeclare
from trabbits.plugins.queue_attributes import FixedQueueAttributes


def test_fulfils_the_interface() -> None:
    verifyObject(IQueueAttributeRewriter, FixedQueueAttributes())


def test_attributes_override_and_null_removes() -> None:
    """Given attributes win, absent ones leave the client's, a null argument removes the client's."""
    rewriter = FixedQueueAttributes(
        durable=True, exclusive=False, arguments={"x-queue-type": "quorum", "x-expires": None}
    )
    declare = QueueDeclare("q", exclusive=True, auto_delete=True, arguments={"x-expires": 5, "x-max-length": 10})
    result = rewriter.rewrite(declare).applied_to(declare)
    assert result == QueueDeclare(
        "q", durable=True, exclusive=False, auto_delete=True, arguments={"x-max-length": 10, "x-queue-type": "quorum"}
    )
    assert declare.arguments == {"x-expires": 5, "x-max-length": 10}


def test_later_changes_of_the_given_arguments_do_not_matter() -> None:
    arguments = {"x-list": [1]}
    rewriter = FixedQueueAttributes(arguments=arguments)
    arguments["x-list"].append(2)
    assert rewriter.rewrite(QueueDeclare("q")).arguments == {"x-list": [1]}


flags = st.none() | st.booleans()
tables = st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(), max_size=4)


@given(flags, flags, flags, tables, st.booleans(), st.booleans(), st.booleans(), tables)
def test_laying_over(
    durable: bool | None,
    auto_delete: bool | None,
    exclusive: bool | None,
    arguments: dict[str, int | None],
    was_durable: bool,
    was_auto_delete: bool,
    was_exclusive: bool,
    had: dict[str, int | None],
) -> None:
    """Applying twice changes nothing more, and no attribute at all changes nothing."""
    declare = QueueDeclare("q", False, was_durable, was_exclusive, was_auto_delete, had)
    attributes = QueueAttributes(durable, auto_delete, exclusive, arguments)
    once = attributes.applied_to(declare)
    assert attributes.applied_to(once) == once
    assert QueueAttributes().applied_to(declare) == declare
    assert once.durable is (was_durable if durable is None else durable)
    assert {key for key, value in arguments.items() if value is None}.isdisjoint(once.arguments)
