"""What becomes of messages: whatever the order of confirms and deliveries, a loss and a repetition are noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trabbits.demo.ledger import LOST_AFTER, UNDER_WAY_MAX, Ledger


class Time:
    now = 100.0


def ledger() -> Ledger:
    return Ledger("orders", lambda: Time.now)


def test_a_confirmed_message_that_does_not_come_is_lost_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before its confirm, not at once, and not any more when it comes after all."""
    book = ledger()
    number, other = book.send(), book.send()
    book.confirm(number)
    assert (book.lost, book.overdue) == (0, 1)
    monkeypatch.setattr(Time, "now", 100.0 + LOST_AFTER)
    assert (book.lost, book.overdue) == (1, 1)
    book.receive(book.body(number))
    assert (book.lost, book.overdue, book.received) == (0, 0, 1)
    assert not book.settled
    book.receive(book.body(other))
    book.confirm(other)
    assert book.settled


def test_what_comes_twice_is_repeated() -> None:
    book = ledger()
    number = book.send()
    for _ in range(3):
        book.receive(book.body(number))
    assert (book.received, book.repeated) == (1, 2)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"7", b"[]", b"{}", b'{"orders": "1"}', b'{"orders": 0}', b'{"orders": 2}', b'{"logs": 1}']
)
def test_messages_of_others_are_passed_over(body: bytes) -> None:
    book = ledger()
    book.send()
    book.receive(body)
    assert (book.received, book.repeated) == (0, 0)


def test_what_is_under_way_is_bounded() -> None:
    book = ledger()
    for _ in range(UNDER_WAY_MAX):
        assert not book.full
        book.send()
    assert book.full
    book.receive(book.body(1))
    assert book.full  # the confirm is missing
    book.confirm(1)
    assert not book.full


def test_what_arrived_without_its_confirm_is_not_published_again() -> None:
    book = ledger()
    arrived, missing, confirmed = book.send(), book.send(), book.send()
    book.receive(book.body(arrived))
    book.confirm(confirmed)
    assert book.to_repeat() == [missing]
    book.confirm(arrived)
    assert book.confirmed == 1


@given(st.lists(st.tuples(st.sampled_from(["confirm", "receive"]), st.integers(1, 5)), max_size=30))
def test_counts_add_up(events: list[tuple[str, int]]) -> None:
    """In any order: every message counts once, everything beyond is a repetition."""
    book = ledger()
    for _ in range(5):
        book.send()
    for what, number in events:
        if what == "confirm":
            book.confirm(number)
        else:
            book.receive(book.body(number))
    confirmed = {number for what, number in events if what == "confirm"}
    received = [number for what, number in events if what == "receive"]
    assert (book.sent, book.confirmed, book.received) == (5, len(confirmed), len(set(received)))
    assert book.repeated == len(received) - len(set(received))
    assert book.overdue == len(confirmed - set(received))
    assert book.settled == (len(confirmed) == len(set(received)) == 5)
