"""What the admin API needs of the process that it is part of.

Lives here: protocols and plain values; ``trabbits.service`` implements them, tests do it with a few attributes.
Must not know: HTTP, or how the process is put together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from attrs import frozen

from trabbits.config import Config, Loaded, Problem

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from trabbits.session.observation import MethodEvent
    from trabbits.upstream.status import NodeStatus

#: What one session is to the API: `trabbits.frontend.runner.SessionRunner`, by the attributes that are read.
Runner = Any


@frozen
class Changed:
    """What became of a new configuration: its hash, whether it differs, how many sessions are outdated by it."""

    hash: str
    changed: bool
    outdated: int
    warnings: Sequence[Problem] = ()


class NoFile(Exception):
    """A reload was asked for, and there is no file to read again."""


class Stopping(Exception):
    """The process is stopping: nothing can be changed any more."""


class UpstreamView(Protocol):
    """An upstream: `trabbits.upstream.upstream.Upstream`."""

    name: str
    required: bool

    @property
    def statuses(self) -> Sequence[NodeStatus]:
        """Its nodes."""


class Process(Protocol):
    """The proxy as the API sees it.  Read in the reactor's thread."""

    @property
    def config(self) -> Config:
        """What new sessions get."""

    @property
    def config_hash(self) -> str:
        """Its fingerprint."""

    @property
    def sessions(self) -> Mapping[str, Runner]:
        """The live ones by id, in the order in which they came."""

    @property
    def upstreams(self) -> Mapping[str, UpstreamView]:
        """By name, in the configuration's order."""

    @property
    def departed_publishes(self) -> Mapping[str, int]:
        """Messages that went to each upstream, of the sessions that have ended."""

    @property
    def departed_deliveries(self) -> Mapping[str, int]:
        """Messages that came from each upstream, of the sessions that have ended."""

    @property
    def listening(self) -> bool:
        """Whether clients may come."""

    @property
    def stopping(self) -> bool:
        """Whether the end has begun."""

    def departed(self, session_id: str) -> Sequence[MethodEvent] | None:
        """What is retained of a session that has ended lately; None when nothing is known of it."""

    def when_departed(self, session_id: str, tell: Callable[[], None]) -> Callable[[], None]:
        """Call `tell` once a live session has ended; returns how to give that up.  It must not raise."""

    def parse(self, text: str, language: Literal["json", "jsonnet"]) -> Deferred[Loaded]:
        """Check a configuration, outside the reactor's thread and without reading files.  Fails with ConfigError."""

    def apply(self, loaded: Loaded) -> Changed:
        """Change to a configuration, at once and completely.  Raises `Stopping` or ConfigError."""

    def reload(self) -> Deferred[Changed]:
        """Read the file again and change to it.  Fails with `NoFile`, `Stopping` or ConfigError."""
