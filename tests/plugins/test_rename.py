"""`rename`: names there and back, and options that could not be undone; chains of renamers."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from zope.interface.verify import verifyObject

from tests.session.test_renaming import Prefixed
from trabbits.interfaces import IQueueAttributeRewriter, IQueueRenamer, QueueAttributes, QueueDeclare
from trabbits.plugins.catalogue import discover
from trabbits.plugins.declaring import PluginContext
from trabbits.plugins.queue_attributes import FixedQueueAttributes
from trabbits.plugins.rename import Rename, RenameOptions, rename
from trabbits.session.rewriting import chained

ORDERS = [("orders.audit", "orders.audit"), ("orders.*", "shop.orders.*"), ("mail", "shop.outbox")]
SWAPPED = [("a.*", "b.*"), ("b.*", "a.*")]
#: Names that come close to all those patterns.
NAMES = st.text("ab.*", min_size=1, max_size=6)


def made(**options: Any) -> IQueueRenamer:
    declaration = discover().get(IQueueAttributeRewriter, "rename")
    renamer = declaration.make(RenameOptions.model_validate(options), PluginContext())
    verifyObject(IQueueRenamer, renamer)
    return renamer


def patterns(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"match": match, "to": to} for match, to in pairs]


def test_it_is_declared_and_changes_no_attributes() -> None:
    assert discover().get(IQueueAttributeRewriter, "rename") is rename
    declare = QueueDeclare("q", durable=True, arguments={"x-max-length": 3})
    assert made(prefix="new.").rewrite(declare) == QueueAttributes()


@pytest.mark.parametrize(
    ("options", "queue", "renamed"),
    [
        ({"prefix": "new."}, "orders", "new.orders"),
        ({"prefix": "new."}, "new.orders", "new.new.orders"),
        ({"suffix": "@eu"}, "orders", "orders@eu"),
        ({"prefix": "<", "suffix": ">"}, "*", "<*>"),
        ({"patterns": patterns(*ORDERS)}, "orders.eu", "shop.orders.eu"),
        ({"patterns": patterns(*ORDERS)}, "orders.", "shop.orders."),
        ({"patterns": patterns(*ORDERS)}, "orders.audit", "orders.audit"),
        ({"patterns": patterns(*ORDERS)}, "mail", "shop.outbox"),
        ({"patterns": patterns(*ORDERS)}, "mails", "mails"),
        ({"patterns": patterns(("old.*.q", "*"))}, "old.eu.q", "eu"),
        ({"patterns": patterns(*SWAPPED)}, "a.1", "b.1"),
        ({"patterns": patterns(*SWAPPED)}, "b.1", "a.1"),
    ],
)
def test_a_name_goes_there_and_comes_back(options: dict[str, Any], queue: str, renamed: str) -> None:
    renamer = made(**options)
    assert renamer.renamed(queue) == renamed
    assert renamer.original(renamed) == queue


@pytest.mark.parametrize(
    ("options", "queue"),
    [
        ({"prefix": "new."}, "orders"),
        ({"prefix": "new."}, "new."),
        ({"prefix": "ab", "suffix": "ba"}, "aba"),
        ({"patterns": patterns(*ORDERS)}, "orders.audit"),
        ({"patterns": patterns(*ORDERS)}, "shop.orders.audit"),
        ({"patterns": patterns(*ORDERS)}, "shop.mail"),
    ],
)
def test_a_name_of_the_upstreams_own_stays(options: dict[str, Any], queue: str) -> None:
    assert made(**options).original(queue) == queue


@given(st.text(max_size=8), st.text(max_size=8), st.text(min_size=1, max_size=30))
def test_every_name_comes_back_from_behind_prefix_and_suffix(prefix: str, suffix: str, queue: str) -> None:
    renamer = Rename([("*", f"{prefix}*{suffix}")]) if "*" not in prefix + suffix else made(prefix="new.")
    assert renamer.original(renamer.renamed(queue)) == queue


PAIRS = st.tuples(st.text("ab.", max_size=3), st.text("ab.", max_size=3), st.booleans()).map(
    lambda parts: parts[0] + "*" * parts[2] + parts[1]
)


def accepted(pairs: list[tuple[str, str]]) -> IQueueRenamer | None:
    """A renamer of as many of these patterns, in this order, as can be undone together."""
    renamer: IQueueRenamer | None = None
    kept: list[tuple[str, str]] = []
    for pair in pairs:
        try:
            renamer = made(patterns=patterns(*kept, pair))
        except ValidationError:
            continue
        kept.append(pair)
    return renamer


@given(st.lists(st.tuples(PAIRS, PAIRS), min_size=1, max_size=6), st.lists(NAMES, min_size=2, max_size=30))
@example([("a*", "a*"), ("*", "b*")], ["a", "b", "ba", "bb"])
def test_names_that_come_back_never_become_one(pairs: list[tuple[str, str]], queues: list[str]) -> None:
    """Whatever patterns are accepted: those that do not come back are what the session refuses."""
    renamer = accepted(pairs)
    assume(renamer is not None)
    assert renamer is not None
    usable = {queue for queue in queues if renamer.original(renamer.renamed(queue)) == queue}
    assert len({renamer.renamed(queue) for queue in usable}) == len(usable)
    for queue in queues:
        matched = renamer.renamed(queue) != queue
        assert not matched or queue in usable, "a name that a pattern matches always comes back"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "prefix or suffix"),
        ({"prefix": "new.", "patterns": patterns(("a", "b"))}, "prefix or suffix"),
        ({"prefix": "new*"}, "without an asterisk"),
        ({"suffix": "*"}, "without an asterisk"),
        ({"prefix": "amq.new."}, "amq. or trabbits.gen-"),
        ({"prefix": "n" * 200, "suffix": "s" * 55}, "less than 255 octets"),
        ({"patterns": patterns(("a*b*", "c*"))}, "at most one asterisk"),
        ({"patterns": patterns(("a", "ö" * 128))}, "at most 255 octets"),
        ({"patterns": patterns(("a", ""))}, "at least 1 character"),
        ({"patterns": patterns(("a*", "b"))}, "in both match and to"),
        ({"patterns": patterns(("a", "b*"))}, "in both match and to"),
        ({"patterns": patterns(("a", "trabbits.gen-a"))}, "amq. or trabbits.gen-"),
        ({"patterns": patterns(("a", "c"), ("b", "c"))}, "those at 0 and 1"),
        ({"patterns": patterns(("x*", "y*"), ("a*", "n.*"), ("b*", "n.new.*"))}, "those at 1 and 2"),
        ({"patterns": patterns(("a*", "*.x"), ("b*", "n.*"))}, "those at 0 and 1"),
        ({"patterns": patterns(("a*", "n*m"), ("b", "nm"))}, "those at 0 and 1"),
    ],
)
def test_what_could_not_be_undone_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        made(**options)


def test_overlaps_are_found_and_no_others() -> None:
    """Every pair of short patterns, against all short names."""
    shapes = ["".join(parts) for size in (1, 2, 3) for parts in product("ab*", repeat=size)]
    shapes = [shape for shape in shapes if shape.count("*") < 2]
    names = ["".join(parts) for size in range(5) for parts in product("ab", repeat=size)]

    def look_like(shape: str) -> set[str]:
        before, wild, after = shape.partition("*")
        if not wild:
            return {before}
        room = len(before) + len(after)
        return {each for each in names if each.startswith(before) and each.endswith(after) and len(each) >= room}

    for one, other in product(shapes, repeat=2):
        wild = "*" in one
        pairs = [("q*" if wild else "q", one), ("r*" if "*" in other else "r", other)]
        try:
            made(patterns=patterns(*pairs))
        except ValidationError:
            refused = True
        else:
            refused = False
        assert refused is bool(look_like(one) & look_like(other)), (one, other)


def test_several_renamers_work_one_behind_the_other() -> None:
    rewriters: list[IQueueAttributeRewriter] = [Prefixed("a."), FixedQueueAttributes(durable=True), Prefixed("b.")]
    whole = chained("upstream", [("plugin", each) for each in rewriters])
    assert whole is not None
    assert whole.renamer is not None
    assert whole.renamer.renamed("q") == "b.a.q"
    assert whole.renamer.original("b.a.q") == "q"
    assert whole.rewrite(QueueDeclare("q")) == QueueAttributes(durable=True)


def test_a_chain_without_renamer_renames_nothing() -> None:
    fixed = "queue_attributes", FixedQueueAttributes(durable=True)
    whole = chained("a", [fixed, fixed])
    assert whole is not None
    assert whole.renamer is None
    assert chained("a", []) is None
