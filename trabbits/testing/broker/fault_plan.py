"""What goes wrong with the connections of a broker, as a test wants it.

Lives here: `Faults`: the plan for connections to come, and striking those that there are.
Must not know: how anything is carried out (``line.py``), sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from attrs import define

from trabbits.testing.broker.faults import Fault, Moment
from trabbits.testing.broker.line import Line

if TYPE_CHECKING:
    from trabbits.testing.broker.broker import Broker


@define
class Planned:
    """A fault with its moment (None: as soon as a client connects), and for how many connections yet (None: all)."""

    fault: Fault
    at: Moment | None
    left: int | None

    def take(self) -> bool:
        """Whether it is for one more connection."""
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0


class Faults:
    """What goes wrong with the connections of one broker.

    A broker that was made with one counts the frames of its connections; without, it costs nothing.
    """

    def __init__(self) -> None:
        self._plan: list[Planned] = []
        self._lines: dict[Line, None] = {}

    def plan(self, fault: Fault, at: Moment | None = None, connections: int | None = None) -> None:
        """Let this happen to connections made from now on: when they are made, or at a moment.

        `connections` bounds to how many; with a moment, those count that live to see it.
        """
        self._plan.append(Planned(fault, at, connections))

    def strike(self, fault: Fault, where: Callable[[Line], bool] = lambda _: True) -> int:
        """Let this happen now to all connections that there are, or to those for which `where` is true; how many."""
        struck = [line for line in self._lines if where(line)]
        for line in struck:
            line.suffer(fault)
        return len(struck)

    def clear(self) -> None:
        """Nothing goes wrong any more: plans are forgotten, delays end, half-open connections are dropped."""
        self._plan.clear()
        for line in list(self._lines):
            line.recover()

    # For the broker

    def connect(self, broker: Broker, address: str, wake: Callable[[], None]) -> Line:
        """A client has connected: the line to the broker's connection for it."""
        line = Line(self, wake)
        self._lines[line] = None
        line.connect(broker.connect(address, line.wake))
        for planned in list(self._plan):
            if planned.at is None and planned.take():
                line.suffer(planned.fault)
        return line

    def due(self, moment: Moment, line: Line) -> Iterator[Fault]:
        """What happens at this frame of a line."""
        for planned in self._plan:
            if planned.at == moment and planned.take():
                yield planned.fault

    def forget(self, line: Line) -> None:
        """A connection is over."""
        self._lines.pop(line, None)
