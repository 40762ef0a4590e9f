"""`QueueAttributeRewriterTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

import pytest
from zope.interface import implementer

from tests.testing.contracts.wrong import Wrong, assert_noticed, making, rules_of
from trabbits.interfaces import IQueueAttributeRewriter, QueueAttributes, QueueDeclare
from trabbits.testing.contracts import PluginTestsMixIn, QueueAttributeRewriterTestsMixIn

case = making(QueueAttributeRewriterTestsMixIn, declares=[QueueDeclare("a", arguments={"x-list": [1]})])


@implementer(IQueueAttributeRewriter)
class Sound:
    def __init__(self) -> None:
        self._numbers = count()

    def rewrite(self, declare: QueueDeclare) -> Any:
        return QueueAttributes(durable=True, arguments={"x-max-length": 5, "x-expires": None})


class Nothing(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        return None


class Numbers(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        return QueueAttributes(durable=1)  # type: ignore[arg-type]  # that is what is wrong with it


class Pairs(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        return QueueAttributes(arguments=[("x-expires", 5)])  # type: ignore[arg-type]  # the same


class TooLong(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        return QueueAttributes(arguments={"x" * 256: 1})


class Unspeakable(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        return QueueAttributes(arguments={"x-own": object()})


class Counts(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        return QueueAttributes(arguments={"x-number": next(self._numbers)})


class Meddler(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        for value in declare.arguments.values():
            if isinstance(value, list):
                value.append(1)
        return QueueAttributes()


class MeddlerWithDicts(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        if isinstance(declare.arguments, dict):
            declare.arguments["x-own"] = 1
        return QueueAttributes()


class Sleepy(Sound):
    def rewrite(self, declare: QueueDeclare) -> Any:
        time.sleep(0.03)
        return QueueAttributes()


WRONG = [
    Wrong("test_answers_are_attributes", "answered None, no QueueAttributes", case(Nothing)),
    Wrong("test_answers_are_attributes", "answered durable 1, no bool or None", case(Numbers)),
    Wrong("test_answers_are_attributes", "answered arguments [", case(Pairs)),
    Wrong("test_arguments_can_be_sent", "wants an argument named 'xxx", case(TooLong)),
    Wrong("test_arguments_can_be_sent", "which AMQP cannot carry", case(Unspeakable)),
    Wrong("test_the_same_declare_gets_the_same_answer", "now", case(Counts)),
    Wrong("test_the_declare_is_left_alone", "it changes the arguments", case(Meddler)),
    Wrong("test_the_declare_is_left_alone", "it changes the arguments", case(MeddlerWithDicts)),
    Wrong("test_rewriting_does_not_block", "it must not block", case(Sleepy)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_noticed(wrong: Wrong) -> None:
    assert_noticed(wrong)


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(QueueAttributeRewriterTestsMixIn, PluginTestsMixIn)


@pytest.mark.parametrize("rule", sorted(rules_of(QueueAttributeRewriterTestsMixIn, PluginTestsMixIn)))
def test_what_is_right_passes(rule: str) -> None:
    getattr(case(Sound)(), rule)()
