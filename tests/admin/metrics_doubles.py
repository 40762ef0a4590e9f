"""A process as metrics see it, and what a scrape's text says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import define, evolve, field
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from trabbits.upstream.node import Node
from trabbits.upstream.status import NodeStatus


@define
class LinkDouble:
    """A link with so much in flight."""

    name: str
    open: bool = True
    blocked: str = ""
    unacknowledged: int = 0
    unconfirmed: int = 0


@define
class SumsDouble:
    """Counters of sessions."""

    received_frames: int = 0
    sent_frames: int = 0
    received_octets: int = 0
    sent_octets: int = 0
    methods: Counter[int] = field(factory=Counter)
    errored_methods: Counter[int] = field(factory=Counter)
    publishes: Counter[str] = field(factory=Counter)
    deliveries: Counter[str] = field(factory=Counter)
    copies_sent: Counter[str] = field(factory=Counter)
    copies_dropped: Counter[str] = field(factory=Counter)

    def include(self, runner: SessionDouble) -> None:
        self.publishes.update(runner.publishes)

    def copy(self) -> SumsDouble:
        return evolve(self, publishes=self.publishes.copy())


@define
class SessionDouble:
    """A session; also its own runner."""

    links: list[LinkDouble] = field(factory=list)
    channel_count: int = 0
    consumer_count: int = 0
    publishes: dict[str, int] = field(factory=dict)

    @property
    def session(self) -> SessionDouble:
        return self

    def unacknowledged(self, link: Any) -> int:
        return int(link.unacknowledged)

    def unconfirmed(self, link: Any) -> int:
        return int(link.unconfirmed)


@define
class TotalsDouble:
    """Counters of the process."""

    connections: int = 0
    connection_errors: int = 0
    gone: SumsDouble = field(factory=SumsDouble)


@define
class ProcessDouble:
    """A process with two upstreams, if a test does not say otherwise."""

    config_hash: str = "0123456789abcdef"
    stopping: bool = False
    upstream_names: list[str] = field(factory=lambda: ["a", "b"])
    nodes: list[NodeStatus] = field(factory=list)
    sessions: dict[str, SessionDouble] = field(factory=dict)
    totals: TotalsDouble = field(factory=TotalsDouble)

    def node(self, upstream: str, address: str, **numbers: Any) -> NodeStatus:
        """One node more."""
        status = NodeStatus(upstream, Node.parse(address), Clock(), lambda *_, **__: None, **numbers)
        self.nodes.append(status)
        return status

    def connect(self, *links: LinkDouble, **numbers: Any) -> SessionDouble:
        """One session more."""
        session = SessionDouble(list(links), **numbers)
        self.sessions[f"proxy-{len(self.sessions)}"] = session
        return session


Labels = tuple[tuple[str, str], ...]


class Scraped:
    """What a page says: `page["name"]`, `page["name", {"label": "value"}]`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self._samples: dict[tuple[str, Labels], float] = {}
        for family in self.families:
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert key not in self._samples, f"{key} twice"
                self._samples[key] = sample.value

    def __getitem__(self, wanted: str | tuple[str, Mapping[str, str]]) -> float:
        name, labels = (wanted, {}) if isinstance(wanted, str) else wanted
        return self._samples[name, tuple(sorted(labels.items()))]

    def labels(self, name: str) -> list[dict[str, str]]:
        """Of every sample of this name."""
        return [dict(labels) for each, labels in self._samples if each == name]

    @property
    def types(self) -> dict[str, str]:
        """The type of each metric by its name, as its own line has it."""
        lines = [line.split() for line in self.text.splitlines() if line.startswith("# TYPE ")]
        assert len({line[2] for line in lines}) == len(lines), "a metric has two types"
        return {line[2]: line[3] for line in lines}
