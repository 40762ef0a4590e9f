"""What the demo tells, as text: the picture as tables, the line without a terminal, the summary."""

from __future__ import annotations

import pytest
from attrs import evolve
from click import unstyle

from trabbits.cli.demo_report import SHOWN, last_words, progress, report
from trabbits.demo.picture import Counts, Picture, Row, Upstream
from trabbits.demo.routes import Change

PICTURE = Picture(
    seconds=75.5,
    rows=[
        Row("orders", "orders.#", ["new"], 20.2, 19.8, 1234, Counts(1500, 1499, 1498)),
        Row("invoices", "invoices.#", ["old", "new"], 5, 5, 7, Counts(10, 9, 8)),
        Row("pika", "", [], 0, 524.4, 0),
    ],
    upstreams=[
        Upstream("old", "127.0.0.1:1111", True, 300, 0.4),
        Upstream("new", "rabbit:5672", False, 1241, 25),
    ],
    changes=[Change("orders", ("old",), ("new",), 61.0)],
)


def shown(picture: Picture, width: int | None = None) -> list[str]:
    return [unstyle(line) for line in report(picture, width)]


def test_picture() -> None:
    assert shown(PICTURE) == [
        "CLIENT    KEYS        UPSTREAM     SENT/S  RECEIVED/S  CONFIRMED  MOVED  LOST",
        "orders    orders.#    new              20          20       1499   1234     0",
        "invoices  invoices.#  old and new       5           5          9      7     0",
        "pika      -           -                 0         524          -      0     -",
        "",
        "UPSTREAM  ADDRESS         BROKER               MESSAGES  MESSAGES/S",
        "old       127.0.0.1:1111  embedded, in memory       300           0",
        "new       rabbit:5672     yours                    1241          25",
        "",
        "1:01  orders: moved from old to new",
        "1:15  1510 sent, 1508 confirmed, 1506 received, 0 lost",
    ]


def test_on_a_narrow_terminal_the_important_columns_stay() -> None:
    """Whether something is lost is one of them."""
    lines = shown(PICTURE, 40)
    assert lines[0].split() == ["CLIENT", "UPSTREAM", "MOVED", "LOST"]
    assert all(len(line) <= 40 for line in lines[:8])


def test_repetitions_and_losses_are_told() -> None:
    lost = evolve(PICTURE, rows=[Row("logs", "logs.#", ["old"], 0, 0, 0, Counts(9, 8, 7, repeated=2, lost=1))])
    assert shown(lost)[-1] == "1:15  9 sent, 8 confirmed, 7 received, 2 received again, 1 lost"
    assert report(lost, None)[-1] != unstyle(report(lost, None)[-1])
    assert list(last_words(lost)) == [
        "The demo has ended after 75.5 s: 9 sent, 8 confirmed, 7 received, 2 received again, 1 lost."
    ]


def test_without_clients() -> None:
    nobody = evolve(PICTURE, rows=[], changes=[])
    assert shown(nobody)[0] == "No client is connected yet."
    assert shown(nobody)[-1] == "1:15"
    assert progress(nobody) == "1:15  no messages"
    assert list(last_words(nobody)) == ["The demo has ended after 75.5 s."]


def test_one_line() -> None:
    assert progress(PICTURE) == (
        "1:15  orders to new 20/s, invoices to old and new 5/s  1510 sent, 1508 confirmed, 1506 received, 0 lost"
    )


def test_many_clients_of_the_users() -> None:
    many = evolve(PICTURE, rows=[Row(f"pika {number}", "", [], 0, 0, 0) for number in range(SHOWN + 2)])
    assert shown(many)[SHOWN + 1] == "and 2 more clients"


@pytest.mark.parametrize("draw", [lambda picture: shown(picture)[1], progress])
def test_names_that_a_terminal_would_obey(draw: object) -> None:
    """Clients choose them."""
    evil = evolve(PICTURE, rows=[Row("\x1b[2J", "", ["new"], 0, 0, 0)])
    assert callable(draw)
    assert r"\x1b[2J" in draw(evil)
