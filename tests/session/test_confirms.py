"""Publisher confirms over several links against naive models.

What a client makes of the confirms it gets: a tag without ``multiple`` is that one, with it all open ones up to it.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trabbits.session.confirms import Confirms, LinkConfirms

LINKS = ("a", "b", "c")


class ConfirmsMachine(RuleBasedStateMachine):
    """Publishes to links, some to several; confirms in any order, single or multiple."""

    def __init__(self) -> None:
        super().__init__()
        self.confirms = Confirms()
        self.links = {name: LinkConfirms() for name in LINKS}
        #: The model: link -> its tag -> the client's tag, while not confirmed.
        self.open: dict[str, dict[int, int]] = {name: {} for name in LINKS}
        self.link_last = dict.fromkeys(LINKS, 0)
        self.last = 0
        #: What the client was not told yet, and what it was told.
        self.waiting: set[int] = set()
        self.rejected: set[int] = set()
        self.told: list[int] = []

    def _publish(self, names: list[str]) -> None:
        self.last += 1
        tag = self.confirms.published()
        assert tag == self.last
        if len(names) > 1:
            self.confirms.broadcast(tag, len(names))
        for name in names:
            self.links[name].published(tag)
            self.link_last[name] += 1
            self.open[name][self.link_last[name]] = tag
        self.waiting.add(tag)

    @rule(name=st.sampled_from(LINKS), count=st.integers(1, 6))
    def publish(self, name: str, count: int) -> None:
        for _ in range(count):
            self._publish([name])

    @rule(names=st.permutations(LINKS).map(lambda names: names[:2]))
    def publish_to_several(self, names: list[str]) -> None:
        self._publish(names)

    @precondition(lambda self: any(self.open.values()))
    @rule(data=st.data(), multiple=st.booleans(), rejected=st.booleans())
    def confirm(self, data: st.DataObject, multiple: bool, rejected: bool) -> None:
        name = data.draw(st.sampled_from([name for name in LINKS if self.open[name]]))
        link_tag = data.draw(st.sampled_from(sorted(self.open[name])))
        self._confirmed(name, link_tag, multiple, rejected)

    @rule(name=st.sampled_from(LINKS))
    def confirm_all(self, name: str) -> None:
        self._confirmed(name, 0, True, False)

    @rule(name=st.sampled_from(LINKS), link_tag=st.integers(0, 80))
    def confirm_nonsense(self, name: str, link_tag: int) -> None:
        """A tag that is not open, without multiple: means nothing."""
        if link_tag not in self.open[name]:
            assert self.links[name].confirmed(link_tag, False) == []

    def _confirmed(self, name: str, link_tag: int, multiple: bool, rejected: bool) -> None:
        covered = [tag for tag in sorted(self.open[name]) if tag == link_tag or (multiple and tag <= (link_tag or tag))]
        expected = [self.open[name].pop(tag) for tag in covered]
        tags = self.links[name].confirmed(link_tag, multiple)
        assert tags == expected
        still = {tag for others in self.open.values() for tag in others.values()}
        if rejected:
            self.rejected.update(tags)
        confirmed, nacked = self.confirms.due(tags, rejected=rejected)
        due = [tag for tag in tags if tag not in still]
        assert confirmed == [tag for tag in due if tag not in self.rejected]
        assert nacked == [tag for tag in due if tag in self.rejected]
        self.confirms.settle(nacked)
        frames = self.confirms.settle(confirmed)
        # The client's view; nacks are sent one by one.
        for tag, many in [(tag, False) for tag in nacked] + frames:
            told = [each for each in sorted(self.waiting) if each <= tag] if many else [tag]
            assert set(told) <= set(due), "a confirm covers what is not confirmed"
            self.waiting.difference_update(told)
            self.told += told
        assert not self.waiting.intersection(due), "the client was not told of a confirm"
        assert len(frames) <= len(due)

    @invariant()
    def everything_is_told_exactly_once(self) -> None:
        assert len(self.told) == len(set(self.told))
        assert self.waiting.isdisjoint(self.told)
        assert self.confirms.unconfirmed == len(self.waiting)

    @invariant()
    def links_keep_only_what_is_open(self) -> None:
        for name, link in self.links.items():
            assert bool(len(link)) == bool(self.open[name])


TestConfirms = ConfirmsMachine.TestCase


@given(st.integers(1, 30), st.data())
def test_a_prefix_is_confirmed_by_one_frame(count: int, data: st.DataObject) -> None:
    """All of one link, at once: one confirm is enough, and multiple only if there are several."""
    confirms, link = Confirms(), LinkConfirms()
    for _ in range(count):
        link.published(confirms.published())
    first = data.draw(st.integers(1, count))
    assert confirms.settle(confirms.due(link.confirmed(first, True))[0]) == [(first, first > 1)]
    if first < count:
        rest = confirms.settle(confirms.due(link.confirmed(0, True))[0])
        assert rest == [(count, count - first > 1)]
    assert confirms.unconfirmed == 0


def test_multiple_spans_what_was_told_before() -> None:
    """Tags told one by one may stand in the middle: a client has no open tag there."""
    confirms = Confirms()
    for _ in range(4):
        confirms.published()
    assert confirms.settle([2]) == [(2, False)]
    assert confirms.settle([1, 3]) == [(3, True)]
    assert confirms.settle([4]) == [(4, False)]
