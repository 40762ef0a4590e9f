"""Deliveries that are not settled, in plain sessions: what is special about consumers, recovery and transactions."""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.fans import ack
from tests.session.frames import Basic, Tx, deliver, get_ok, on
from tests.session.playbook import Playbook
from tests.session.test_observation import opened  # noqa: F401 - a fixture


@pytest.fixture
def play(opened: Opening) -> Playbook:  # noqa: F811
    return opened("a")


def unacknowledged(play: Playbook) -> int:
    return play.session.unacknowledged(play.links["a"])


def test_consumers_that_are_answered_in_another_order(play: Playbook) -> None:
    play.client(
        on(1, Basic.Consume(queue="q", consumer_tag="n", no_ack=True), Basic.Consume(queue="r", consumer_tag="c"))
    )
    play.link("a", on(1, Basic.ConsumeOk("c"), Basic.ConsumeOk("n")))
    play.link("a", deliver(1, "n", 1, b"x"), deliver(1, "n", 2, b"x"), deliver(1, "c", 3, b"x"))
    assert unacknowledged(play) == 1
    assert play.session.consumer_count == 2


def test_a_consumer_under_the_tag_of_one_that_is_being_cancelled(play: Playbook) -> None:
    play.client(
        on(
            1,
            Basic.Consume(queue="q", consumer_tag="c", no_ack=True),
            Basic.Cancel("c"),
            Basic.Consume(queue="q", consumer_tag="c"),
        )
    )
    play.link("a", on(1, Basic.ConsumeOk("c")), deliver(1, "c", 1, b"x"))
    play.link("a", on(1, Basic.CancelOk("c"), Basic.ConsumeOk("c")), deliver(1, "c", 2, b"x"))
    assert play.session.consumer_count == 1
    play.client(ack(2))
    assert unacknowledged(play) == 0


def test_the_last_deliveries_of_a_consumer_that_was_cancelled_without_an_answer(play: Playbook) -> None:
    play.client(
        on(1, Basic.Consume(queue="q", consumer_tag="n", no_ack=True), Basic.Consume(queue="r", consumer_tag="c"))
    )
    play.link("a", on(1, Basic.ConsumeOk("n"), Basic.ConsumeOk("c")))
    play.client(on(1, Basic.Cancel("n", nowait=True)))
    play.link("a", deliver(1, "n", 1, b"x"), deliver(1, "c", 2, b"x"))
    assert unacknowledged(play) == 1
    assert play.session.consumer_count == 1


def test_a_recovery_that_is_not_answered(play: Playbook) -> None:
    play.client(on(1, Basic.Consume(queue="q", consumer_tag="c")))
    play.link("a", on(1, Basic.ConsumeOk("c")), deliver(1, "c", 1, b"x"), deliver(1, "c", 2, b"x"))
    with pytest.warns(DeprecationWarning, match="deprecated"):
        frame = on(1, Basic.RecoverAsync(requeue=True))
    play.client(frame)
    play.link("a", deliver(1, "c", 3, b"x"))
    assert unacknowledged(play) == 1


class TestTransactions:
    """What was settled in a transaction counts as settled, unless it is rolled back."""

    @pytest.fixture(autouse=True)
    def delivered(self, play: Playbook) -> None:
        play.client(on(1, Tx.Select(), Basic.Consume(queue="q", consumer_tag="c")))
        play.link("a", on(1, Tx.SelectOk(), Basic.ConsumeOk("c")))
        play.link("a", *(deliver(1, "c", number, b"x") for number in range(1, 6)))
        play.client(ack(2))
        assert unacknowledged(play) == 4

    def test_rolled_back(self, play: Playbook) -> None:
        play.link("a", deliver(1, "c", 6, b"x"))
        play.client(ack(4, True), on(1, Tx.Rollback()))
        assert unacknowledged(play) == 6
        play.client(ack(5, True), on(1, Tx.Commit()))
        assert unacknowledged(play) == 1

    def test_committed(self, play: Playbook) -> None:
        play.client(on(1, Tx.Commit()))
        play.client(ack(1), on(1, Tx.Rollback()))
        assert unacknowledged(play) == 4

    def test_rolled_back_with_deliveries_between_that_nobody_acknowledges(self, play: Playbook) -> None:
        play.client(on(1, Basic.Get(queue="q", no_ack=True)))
        play.link("a", get_ok(1, 6, b"x", 0))
        play.client(on(1, Tx.Rollback()))
        assert unacknowledged(play) == 5
