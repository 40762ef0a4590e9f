"""Who routes where, measured at sessions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from trabbits.demo.routes import KEPT, Change, Routes


class Sessions:
    """Sessions by id, each with what it has counted."""

    def __init__(self) -> None:
        self.live: dict[str, Any] = {}
        self.routes = Routes(self.live.values, lambda: ("old", "new"))
        self.now = 0.0

    def open(self, id: str, **properties: str) -> Any:
        published: dict[str, int] = {}
        delivered: dict[str, int] = {}
        observation = SimpleNamespace(publishes=lambda: dict(published), deliveries=lambda: dict(delivered))
        session = SimpleNamespace(
            id=id, client_properties=properties, client_banner="pika", address="10.0.0.1:1", observation=observation
        )
        self.live[id] = SimpleNamespace(session=session, published=published, delivered=delivered)
        return self.live[id]

    def look(self) -> None:
        self.now += 1
        self.routes.look(self.now)

    def publish(self, id: str, *upstreams: str) -> None:
        """A message to each, and a look."""
        published = self.live[id].published
        for upstream in upstreams:
            published[upstream] = published.get(upstream, 0) + 1
        self.look()


def test_counts_outlive_sessions() -> None:
    """What a session counted between the last look and its end is counted, and its client comes back as the same."""
    sessions = Sessions()
    sessions.open("1", connection_name="orders publisher")
    sessions.publish("1", "old")
    sessions.live["1"].published["old"] = 7
    sessions.live["1"].delivered["new"] = 3
    del sessions.live["1"]
    sessions.open("2", connection_name="orders publisher")
    sessions.publish("2", "new")
    client = sessions.routes.clients["orders publisher"]
    assert client.publishes == {"old": 7, "new": 1}
    assert client.deliveries == {"new": 3}
    sessions.look()
    assert client.publishes == {"old": 7, "new": 1}


def test_a_change_is_believed_at_the_second_look() -> None:
    """The look in the middle of a change sees both upstreams."""
    sessions = Sessions()
    sessions.open("1", connection_name="orders")
    sessions.publish("1", "old")
    assert sessions.routes.clients["orders"].going == ("old",)
    sessions.publish("1", "new", "old")
    sessions.publish("1", "new")
    assert sessions.routes.changes == []
    sessions.look()  # nothing was published: nothing is known
    sessions.publish("1", "new")
    assert sessions.routes.changes == [Change("orders", ("old",), ("new",), 5.0)]
    assert sessions.routes.clients["orders"].going == ("new",)


def test_the_last_changes_are_kept() -> None:
    sessions = Sessions()
    sessions.open("1", connection_name="orders")
    for turn in range(KEPT + 3):
        for _ in range(2):
            sessions.publish("1", "new" if turn % 2 else "old")
    assert len(sessions.routes.changes) == KEPT
    assert sessions.routes.changes[-1].time > sessions.routes.changes[0].time


def test_clients_go_by_what_they_call_themselves() -> None:
    """A session whose client has not said anything yet waits; departed clients are forgotten but for some."""
    sessions = Sessions()
    sessions.open("1", connection_name="orders")
    sessions.open("2", product="pika")
    sessions.open("3")
    sessions.look()
    assert set(sessions.routes.clients) == {"orders", "pika"}
    sessions.live.clear()
    sessions.look()
    sessions.routes.forget_departed(lambda name: name == "orders")
    assert set(sessions.routes.clients) == {"orders"}
