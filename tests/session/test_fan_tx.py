"""Transactions and basic.recover over several links.

A transaction is exact when one link took part in it; with several it is refused, unless best effort is configured.
"""

from __future__ import annotations

import pytest

from tests.session.conftest import Opening
from tests.session.fans import ack, answered, asked, consume, nack, prefetch, reject, transact
from tests.session.frames import (
    Basic,
    Channel,
    Tx,
    channel_close,
    connection_close,
    deliver,
    get_ok,
    on,
    publish,
    split,
)
from tests.session.playbook import Playbook

pytestmark = pytest.mark.filterwarnings("ignore:This command is deprecated")

NOT_ATOMIC = (
    "NOT_IMPLEMENTED - a transaction over several upstreams (a, b) cannot be atomic; "
    "transactions.best_effort in trabbits' configuration allows it"
)


def message(tag: int, octets: bytes = b"x", consumer: str = "c") -> bytes:
    """A delivery on channel 1."""
    return deliver(1, consumer, tag, octets)


def commit(play: Playbook) -> None:
    asked(play, Tx.Commit())
    answered(play, Tx.CommitOk())


def rollback(play: Playbook) -> None:
    asked(play, Tx.Rollback())
    answered(play, Tx.RollbackOk())


@pytest.fixture
def play(opened: Opening) -> Playbook:
    """A transactional channel over two links."""
    play = opened("a", "b")
    transact(play)
    return play


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_link_is_exact(name: str, play: Playbook) -> None:
    play.client(publish(1, name, b"one"), publish(1, name, b"two"))
    play.expect_link(name, publish(1, name, b"one"), publish(1, name, b"two"))
    commit(play)


def test_several_links_are_refused(play: Playbook) -> None:
    """With the reply code for what cannot be, and the way out in words; nothing is committed anywhere."""
    play.client(publish(1, "b"), publish(1, "a"))
    play.skip()
    play.client(on(1, Tx.Commit()))
    play.expect_client(connection_close(540, NOT_ATOMIC, Tx.Commit))
    play.expect_actions(
        "CancelTimer handshake", "CancelTimer heartbeat", "CloseLink a", "CloseLink b", "SetTimer close 1"
    )


def test_best_effort_may_be_allowed(opened: Opening) -> None:
    play = opened("a", "b", tx_best_effort=True)
    transact(play)
    play.client(publish(1, "b"), publish(1, "a"))
    play.skip()
    commit(play)


def test_several_links_may_roll_back(play: Playbook) -> None:
    play.client(publish(1, "b"), publish(1, "a"))
    play.skip()
    rollback(play)


def test_each_transaction_counts_for_itself(play: Playbook) -> None:
    play.client(publish(1, "a"))
    play.skip()
    commit(play)
    play.client(publish(1, "b"))
    play.skip()
    rollback(play)
    play.client(publish(1, "a"))
    play.skip()
    commit(play)
    commit(play)


def test_acknowledgements_take_part(play: Playbook) -> None:
    consume(play)
    play.link("b", message(1))
    play.skip()
    play.client(ack(1), publish(1, "a"))
    play.skip()
    play.client(on(1, Tx.Commit()))
    play.expect_client(connection_close(540, NOT_ATOMIC, Tx.Commit))
    play.skip()


def test_select_twice_changes_nothing(play: Playbook) -> None:
    play.client(publish(1, "a"), on(1, Tx.Select()), publish(1, "b"))
    play.skip()
    play.client(on(1, Tx.Commit()))
    assert b"(a, b)" in play.taken("client")[0]
    play.skip()


@pytest.mark.parametrize(("method", "reply"), [(Tx.Commit, "commit"), (Tx.Rollback, "rollback")])
def test_without_select_the_upstreams_say_no(method: type[Tx.Commit], reply: str, opened: Opening) -> None:
    play = opened("a", "b")
    asked(play, method())
    error = channel_close(1, 406, f"PRECONDITION_FAILED - channel is not transactional ({reply})", method)
    play.link("a", error)
    play.skip()
    play.link("b", on(1, Channel.CloseOk()))
    play.expect_client(error)


# Acknowledgements of a transaction that is rolled back


def test_a_rollback_restores_what_was_settled(play: Playbook) -> None:
    consume(play)
    play.link("a", message(1), message(2), message(3))
    play.skip()
    play.client(ack(2, multiple=True), nack(3))
    play.expect_link("a", ack(2, multiple=True), nack(3))
    play.client(on(1, Tx.Rollback()))
    play.skip()
    play.all_links(on(1, Tx.RollbackOk()))
    play.expect_client(on(1, Tx.RollbackOk()))
    play.client(reject(2), ack(0, multiple=True))
    play.expect_link("a", reject(2), ack(3, multiple=True))
    play.client(ack(3))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))


def test_a_rollback_restores_only_its_own(play: Playbook) -> None:
    """What an earlier transaction committed stays settled, and tags go on."""
    consume(play)
    play.link("a", message(1), message(2))
    play.skip()
    play.client(ack(1))
    play.skip()
    commit(play)
    play.client(ack(2))
    play.skip()
    rollback(play)
    play.link("b", message(1))
    play.expect_client(message(3))
    play.client(ack(2))
    play.expect_link("a", ack(2))
    play.client(ack(1))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))


def test_what_was_got_is_settled_in_the_transaction(play: Playbook) -> None:
    play.client(on(1, Basic.Get(queue="q")))
    play.skip()
    play.do(lambda: play.session.messages_counted(1, 0))
    play.skip()
    play.link("a", get_ok(1, 1, b"x", 0))
    play.skip()
    play.client(ack(1))
    play.expect_link("a", ack(1))
    rollback(play)
    play.client(ack(1))
    play.expect_link("a", ack(1))
    commit(play)


def test_the_window_opens_with_the_commit(opened: Opening) -> None:
    """As in RabbitMQ: until then what was settled counts."""
    play = opened("a", "b")
    transact(play)
    prefetch(play, 1)
    consume(play)
    play.link("a", message(1, b"one"))
    play.expect_client(message(1, b"one"))
    play.link("b", message(1, b"two"))
    play.client(ack(1))
    play.expect_link("a", ack(1))
    rollback(play)
    play.client(ack(1))
    play.expect_link("a", ack(1))
    play.client(on(1, Tx.Commit()))
    play.expect_links(on(1, Tx.Commit()))
    play.expect_client(message(2, b"two"))
    answered(play, Tx.CommitOk())


def test_an_unknown_tag_in_a_transaction(play: Playbook) -> None:
    play.client(ack(7))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))


# basic.recover


def test_recover_on_all_links(opened: Opening) -> None:
    """What was outstanding comes back under new tags, behind recover-ok as from RabbitMQ; the old ones are unknown."""
    play = opened("a", "b")
    consume(play)
    play.link("a", message(1, b"one"))
    play.expect_client(message(1, b"one"))
    play.link("b", message(1, b"two"))
    play.expect_client(message(2, b"two"))
    asked(play, Basic.Recover(True))
    play.link("a", on(1, Basic.RecoverOk()), message(2, b"one"))
    play.link("b", on(1, Basic.RecoverOk()), message(2, b"two"))
    play.expect_client(on(1, Basic.RecoverOk()), message(3, b"one"), message(4, b"two"))
    play.client(ack(3), ack(4))
    play.expect_link("a", ack(2))
    play.expect_link("b", ack(2))
    play.client(ack(1))
    play.expect_links(channel_close(1, 200, "CHANNEL_CLOSED - error of the client"))


def test_what_was_on_its_way_is_dropped(opened: Opening) -> None:
    """It was delivered before the link heard of recover, so it comes again: the client shall not have it twice."""
    play = opened("a", "b")
    consume(play)
    asked(play, Basic.Recover(True))
    play.link("b", on(1, Basic.RecoverOk()))
    play.link("a", message(1, b"again later")[:-5])
    play.link("a", message(1, b"again later")[-5:], on(1, Basic.RecoverOk()), message(2, b"again later"))
    play.expect_client(on(1, Basic.RecoverOk()), message(1, b"again later"))


def test_deliveries_without_acknowledgements_are_not_recovered(opened: Opening) -> None:
    play = opened("a", "b")
    consume(play, no_ack=True)
    asked(play, Basic.Recover(True))
    play.link("a", message(1))
    play.expect_client(message(1))
    answered(play, Basic.RecoverOk())


def test_recover_async_has_no_answer(opened: Opening) -> None:
    """We need one all the same, to tell old deliveries from new ones."""
    play = opened("a", "b")
    consume(play)
    play.client(on(1, Basic.RecoverAsync(True)))
    play.expect_links(on(1, Basic.Recover(True)))
    play.link("a", message(1), on(1, Basic.RecoverOk()), message(2))
    play.link("b", on(1, Basic.RecoverOk()))
    play.expect_client(message(1))
    play.link("a", message(3))
    play.expect_client(message(2))


def test_recover_frees_the_window_and_drops_what_is_held(opened: Opening) -> None:
    play = opened("a", "b")
    prefetch(play, 1)
    prefetch(play, 1, whole_channel=True)
    consume(play)
    play.link("a", message(1, b"one"))
    play.expect_client(message(1, b"one"))
    play.link("b", message(1, b"held"), message(2, b"held")[:-3])
    asked(play, Basic.Recover(True))
    play.link("b", message(2, b"held")[-3:], on(1, Basic.RecoverOk()), message(3, b"held"), message(4, b"held"))
    play.link("a", on(1, Basic.RecoverOk()), message(2, b"one"))
    play.expect_client(on(1, Basic.RecoverOk()), message(2, b"held"))
    play.client(ack(2))
    play.expect_link("b", ack(3))
    play.expect_client(message(3, b"held"))


def test_recover_keeps_messages_that_nobody_takes_back(opened: Opening) -> None:
    """Held before consume-ok, without acknowledgements."""
    play = opened("a", "b")
    asked(play, Basic.Consume(queue="q", consumer_tag="c", no_ack=True))
    play.link("a", on(1, Basic.ConsumeOk("c")), message(1))
    asked(play, Basic.Recover(True))
    play.link("b", on(1, Basic.ConsumeOk("c"), Basic.RecoverOk()))
    play.expect_client(on(1, Basic.ConsumeOk("c")), message(1))
    play.link("a", on(1, Basic.RecoverOk()))
    play.expect_client(on(1, Basic.RecoverOk()))


def test_recover_in_a_transaction(opened: Opening) -> None:
    """It is about what is not settled; what the transaction settled keeps its place in the window."""
    play = opened("a", "b")
    transact(play)
    prefetch(play, 2, whole_channel=True)
    consume(play)
    play.link("a", message(1), message(2))
    play.skip()
    play.client(ack(1))
    play.skip()
    asked(play, Basic.Recover(True))
    play.link("b", on(1, Basic.RecoverOk()))
    play.link("a", on(1, Basic.RecoverOk()), message(3, b"again"))
    play.expect_client(on(1, Basic.RecoverOk()), message(3, b"again"))
    play.link("b", message(1, b"held"))
    rollback(play)
    play.client(ack(1))
    play.expect_link("a", ack(1))
    play.client(on(1, Tx.Commit()))
    play.expect_links(on(1, Tx.Commit()))
    play.expect_client(message(4, b"held"))


def test_recover_in_a_transaction_that_settled_what_was_got(opened: Opening) -> None:
    """What was got counts in no window."""
    play = opened("a", "b")
    transact(play)
    play.client(on(1, Basic.Get(queue="q")))
    play.skip()
    play.do(lambda: play.session.messages_counted(1, 0))
    play.skip()
    play.link("a", get_ok(1, 1, b"x", 0))
    play.skip()
    play.client(ack(1))
    play.expect_link("a", ack(1))
    asked(play, Basic.Recover(True))
    answered(play, Basic.RecoverOk())
    rollback(play)
    play.client(ack(1))
    play.expect_link("a", ack(1))


def test_a_message_under_way_when_recovering(opened: Opening) -> None:
    """The client gets it to its end, as it would from RabbitMQ."""
    play = opened("a", "b")
    consume(play)
    frames = split(message(1, b"large"))
    play.link("a", *frames[:2])
    play.expect_client(*frames[:2])
    asked(play, Basic.Recover(True))
    play.link("b", on(1, Basic.RecoverOk()))
    play.link("a", frames[2], on(1, Basic.RecoverOk()))
    play.expect_client(frames[2], on(1, Basic.RecoverOk()))


def test_what_was_given_back_is_given_back_again_after_a_rollback(opened: Opening) -> None:
    """A held delivery of a cancelled consumer: the rollback undoes that, too, and the client knows nothing of it."""
    play = opened("a", "b")
    transact(play)
    prefetch(play, 1)
    consume(play)
    play.link("a", deliver(1, "c", 1, b"one"))
    play.skip_client()
    play.link("b", deliver(1, "c", 1, b"two"))
    play.client(on(1, Basic.Cancel("c")))
    play.expect_link("a", on(1, Basic.Cancel("c")))
    play.expect_link("b", reject(1), on(1, Basic.Cancel("c")))
    answered(play, Basic.CancelOk("c"))
    for _ in range(2):
        play.client(on(1, Tx.Rollback()))
        play.expect_link("a", on(1, Tx.Rollback()))
        play.expect_link("b", on(1, Tx.Rollback()), reject(1))
        answered(play, Tx.RollbackOk())
    asked(play, Tx.Commit())
    answered(play, Tx.CommitOk())
    asked(play, Tx.Rollback())
