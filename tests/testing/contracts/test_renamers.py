"""`QueueRenamerTestsMixIn`: each of its tests notices what it is there for."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

import pytest
from zope.interface import implementer

from tests.testing.contracts.wrong import Wrong, assert_noticed, making, rules_of
from trabbits.interfaces import IQueueAttributeRewriter, IQueueRenamer, QueueAttributes, QueueDeclare
from trabbits.testing.contracts import PluginTestsMixIn, QueueAttributeRewriterTestsMixIn, QueueRenamerTestsMixIn

case = making(QueueRenamerTestsMixIn)


@implementer(IQueueRenamer)
class Sound:
    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        return QueueAttributes()

    def renamed(self, queue: str) -> Any:
        return f"app1.{queue}"

    def original(self, queue: str) -> Any:
        return queue.removeprefix("app1.") or queue


@implementer(IQueueAttributeRewriter)
class Silent:
    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        return QueueAttributes()

    renamed = Sound.renamed
    original = Sound.original


class Octets(Sound):
    def renamed(self, queue: str) -> Any:
        return queue.encode()


class Empty(Sound):
    def original(self, queue: str) -> Any:
        return ""


class Counts(Sound):
    def __init__(self) -> None:
        self._numbers = count()

    def renamed(self, queue: str) -> Any:
        return f"{queue}-{next(self._numbers)}"


class OneWay(Sound):
    def original(self, queue: str) -> Any:
        return queue


class Long(Sound):
    def renamed(self, queue: str) -> Any:
        return "x" * 256 + queue


class Reserved(Sound):
    def renamed(self, queue: str) -> Any:
        return f"amq.{queue}"


class Sleepy(Sound):
    def renamed(self, queue: str) -> Any:
        time.sleep(0.03)
        return queue


class SleepyOnTheWayBack(Sound):
    def original(self, queue: str) -> Any:
        time.sleep(0.03)
        return queue


BACK = "test_usable_names_come_back"
WRONG = [
    Wrong("test_it_says_that_it_renames", "does not provide IQueueRenamer", case(Silent)),
    Wrong("test_names_are_texts", "which is no name", case(Octets)),
    Wrong("test_names_are_texts", "which is no name", case(Empty)),
    Wrong("test_names_are_texts", " now", case(Counts)),
    Wrong(BACK, "'orders' becomes 'app1.orders', and that becomes 'app1.orders'", case(OneWay)),
    Wrong(BACK, "a name of 262 octets", case(Long)),
    Wrong(BACK, "reserved prefix", case(Reserved)),
    Wrong("test_renaming_does_not_block", "renamed() takes", case(Sleepy)),
    Wrong("test_renaming_does_not_block", "original() takes", case(SleepyOnTheWayBack)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_noticed(wrong: Wrong) -> None:
    assert_noticed(wrong)


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {wrong.rule for wrong in WRONG} == rules_of(QueueRenamerTestsMixIn, QueueAttributeRewriterTestsMixIn)


@pytest.mark.parametrize("rule", sorted(rules_of(QueueRenamerTestsMixIn, PluginTestsMixIn)))
def test_what_is_right_passes(rule: str) -> None:
    getattr(case(Sound)(), rule)()
