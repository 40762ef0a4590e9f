"""Taking turns against a naive model: messages of several sources in pieces, none mixed with another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trabbits.session.turns import PROXY, Turns
from trabbits.wire.scanner import Content

SOURCES = ("a", "b", "c")


class Source:
    """Writes messages as a link's scanner does: a first piece, the content begun, more pieces, done."""

    def __init__(self, name: str, turns: Turns) -> None:
        self.name = name
        self.turns = turns
        self.content: Content | None = None
        self.left: list[bytes] = []

    def whole(self, message: list[bytes]) -> None:
        destination = self.turns.destination(self.name)
        for piece in message:
            destination.append(piece)

    def begin(self, message: list[bytes]) -> None:
        destination = self.turns.destination(self.name)
        destination.append(message[0])
        self.content = Content(destination)
        self.left = message[1:]
        self.turns.began(self.name, self.content, destination)

    def go_on(self) -> None:
        assert self.content is not None
        self.content.destination.append(self.left.pop(0))
        if not self.left:
            content, self.content = self.content, None
            if content.done is not None:
                content.done()


@given(st.lists(st.tuples(st.sampled_from([*SOURCES, "proxy"]), st.integers(1, 4), st.booleans()), max_size=40))
def test_messages_are_never_mixed(steps: list[tuple[str, int, bool]]) -> None:
    """Each leaves in one piece, those of one source in order, and nothing is left when all are whole."""
    out: list[bytes] = []
    waited: list[Turns] = []
    turns = Turns(out, waited.append)
    sources = {name: Source(name, turns) for name in SOURCES}
    written: dict[str, list[list[bytes]]] = {name: [] for name in [*SOURCES, "proxy"]}
    for number, (name, pieces, whole) in enumerate(steps):
        message = [f"{name}{number}.{piece}".encode() for piece in range(pieces)]
        if name == "proxy":
            written[name].append(message)
            turns.destination(PROXY).extend(message)
            continue
        source = sources[name]
        if source.content is not None:
            source.go_on()
            continue
        written[name].append(message)
        if whole or pieces == 1:
            source.whole(message)
        else:
            source.begin(message)
    for source in sources.values():
        while source.content is not None:
            source.go_on()
    assert turns.occupant is None
    assert turns.waiting_octets == 0

    left = list(out)
    while left:
        name, _, _ = left[0].decode().partition(".")
        owner = name.rstrip("0123456789")
        message = written[owner].pop(0)
        assert left[: len(message)] == message
        del left[: len(message)]
    assert not any(written.values())


def test_who_waits_is_told_once_per_segment() -> None:
    """`contended` hears when something begins to wait; `waiting_octets` says how much."""
    waited: list[Turns] = []
    turns = Turns([], waited.append)
    first, second = Source("a", turns), Source("b", turns)
    first.begin([b"one", b"two"])
    assert waited == []
    second.whole([b"xyz"])
    second.whole([b"xyz"])
    assert waited == [turns]
    second.begin([b"1", b"2"])
    second.go_on()
    second.whole([b"3"])
    assert turns.waiting_octets == 9
    first.go_on()
    assert turns.waiting_octets == 0


def test_a_content_that_goes_elsewhere_takes_no_turn() -> None:
    turns = Turns([], lambda each: None)
    content = Content([])
    turns.began("a", content, [])
    assert turns.occupant is None
    assert content.done is None
