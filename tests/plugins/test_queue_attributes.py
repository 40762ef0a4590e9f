"""`FixedQueueAttributes`; how attributes are laid over a declare is the session's, and tested there."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from trabbits.interfaces import IQueueAttributeRewriter, QueueAttributes, QueueDeclare
from trabbits.plugins.queue_attributes import FixedQueueAttributes


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
