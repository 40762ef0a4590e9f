"""What the demo shows at one moment, as plain values.

Lives here: `Picture` and its parts, and `Meter`, which makes one after the other.  Must not know: terminals, text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from trabbits.demo.brokers import NAMES
from trabbits.demo.clients import CONSUMER, PUBLISHER, connection_name
from trabbits.demo.routes import Change, Client, Routes

if TYPE_CHECKING:
    from trabbits.demo.traffic import Application


@frozen
class Row:
    """One application of the demo, or one client of the user's.

    `upstreams` are where its messages go, `moved` how many went elsewhere than to the first upstream; rates are
    messages per second.  Of the user's clients nobody but they know what was lost: `ledger` is None.
    """

    name: str
    keys: str
    upstreams: Sequence[str]
    rate_in: float
    rate_out: float
    moved: int
    ledger: Counts | None = None


@frozen
class Counts:
    """Messages: `sent`, `confirmed` and `received` each once, `repeated` deliveries, and those that did not arrive."""

    sent: int = 0
    confirmed: int = 0
    received: int = 0
    repeated: int = 0
    lost: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.sent + other.sent,
            self.confirmed + other.confirmed,
            self.received + other.received,
            self.repeated + other.repeated,
            self.lost + other.lost,
        )


@frozen
class Upstream:
    """An upstream: its address, whether it is embedded, messages that went to it so far, and per second."""

    name: str
    address: str
    embedded: bool
    published: int
    rate: float


@frozen
class Picture:
    """Everything at one moment, `seconds` after the beginning.  The times of `changes` are such seconds, too."""

    seconds: float
    rows: Sequence[Row]
    upstreams: Sequence[Upstream]
    changes: Sequence[Change]

    @property
    def total(self) -> Counts:
        """All of the demo's own applications."""
        return sum((row.ledger for row in self.rows if row.ledger is not None), Counts())


class Meter:
    """Makes pictures; rates are those since the one before."""

    def __init__(self, routes: Routes, applications: Sequence[Application], begun: float) -> None:
        self._routes = routes
        self._applications = applications
        self._begun = begun
        self._looked = begun
        self._before: dict[str, int] = {}
        self._latest: dict[str, int] = {}

    def picture(
        self, now: float, addresses: Mapping[str, str], embedded: Set[str], published: Mapping[str, int], *, last: bool
    ) -> Picture:
        """The picture of this moment.  The `last` one counts as lost what is still on its way."""
        elapsed = max(0.001, now - self._looked)
        self._looked, self._before, self._latest = now, self._latest, {}
        own = {
            connection_name(application.subject.name, role): application.subject.name
            for application in self._applications
            for role in (PUBLISHER, CONSUMER)
        }
        self._routes.look(now - self._begun)
        self._routes.forget_departed(own.__contains__)
        rows = [self._application(each, elapsed, last) for each in self._applications]
        rows += [self._other(each, elapsed) for name, each in self._routes.clients.items() if name not in own]
        upstreams = [
            Upstream(
                name,
                address,
                address in embedded,
                published.get(name, 0),
                self._rate(f"upstream {name}", published.get(name, 0), elapsed),
            )
            for name, address in addresses.items()
        ]
        changes = [evolve(each, client=own.get(each.client, each.client)) for each in self._routes.changes]
        return Picture(now - self._begun, rows, upstreams, changes)

    def _application(self, application: Application, elapsed: float, last: bool) -> Row:
        name, ledger = application.subject.name, application.ledger
        routed = self._routes.clients.get(connection_name(name, PUBLISHER)) or Client(name)
        lost = ledger.overdue if last else ledger.lost
        return Row(
            name,
            application.subject.pattern,
            routed.going,
            self._rate(f"{name} in", ledger.sent, elapsed),
            self._rate(f"{name} out", ledger.received, elapsed),
            _moved(routed),
            Counts(ledger.sent, ledger.confirmed, ledger.received, ledger.repeated, lost),
        )

    def _other(self, client: Client, elapsed: float) -> Row:
        return Row(
            client.name,
            "",
            client.going,
            self._rate(f"client {client.name} in", client.publishes.total(), elapsed),
            self._rate(f"client {client.name} out", client.deliveries.total(), elapsed),
            _moved(client),
        )

    def _rate(self, name: str, count: int, elapsed: float) -> float:
        self._latest[name] = count
        return (count - self._before.get(name, count)) / elapsed


def _moved(client: Client) -> int:
    return client.publishes.total() - client.publishes[NAMES[0]]
