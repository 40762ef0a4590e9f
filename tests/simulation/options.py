"""What one simulation is like, drawn from its seed.

Must not know: how it is run.
"""

from __future__ import annotations

from random import Random
from typing import Final

from attrs import frozen
from zope.interface import alsoProvides, implementer

from tests.simulation.bindings import Rewriting
from tests.simulation.naming import RENAMED
from tests.simulation.topology import QUEUES, ByHeader, ByKey, MirroredByHeader, MirroredByKey
from trabbits.interfaces import (
    IPropertyRoutingStrategy,
    IQueueAttributeRewriter,
    IQueueRenamer,
    IRoutingStrategy,
    QueueAttributes,
    QueueDeclare,
)
from trabbits.plugins.plain import Plain
from trabbits.session.authentication import MechanismSettings
from trabbits.session.rewriting import chained
from trabbits.session.settings import SessionSettings, UpstreamSettings

#: The least frame_max that holds every method without a table: a close with the longest text.
FRAME_MIN: Final = 300
#: How many of the seeds have clients of many channels.
MANY_CHANNELS: Final = 0.03


@frozen(kw_only=True)
class Options:
    """Everything that is decided before a simulation begins.

    `names` are the upstreams, one letter each; `optional`, `down`, `probe`, `emulate`, `rename` and `topology` are some
    of them.
    `room` is how many octets a transport takes before it is full, `chunks` how octets are cut, `faults` how often
    something goes wrong in a step.  `many_channels`: clients open all that they have at once.  `favours` are factors
    for the steps of the clients' programs.
    """

    names: str
    optional: str
    down: str
    probe: str
    emulate: str
    rename: str
    topology: str
    clients: int
    channels: int
    many_channels: bool
    steps: int
    frame_max: int
    link_frame_max: dict[str, int]
    heartbeat: int
    room: int
    chunks: str
    interleave: bool
    by_headers: bool
    headers_named: bool
    app_ids: bool
    mirrors: bool
    best_effort: bool
    transactional: float
    faults: float
    held_max: int
    watched: bool
    queues: tuple[str, ...]
    favours: dict[str, float]

    @property
    def shown(self) -> str:
        """On one line."""
        parts = [f"{self.names}", f"{self.clients} clients", f"{self.channels} channels", f"{self.steps} steps"]
        parts += [f"frame_max {self.frame_max}/{self.link_frame_max}", f"room {self.room}", f"chunks {self.chunks}"]
        parts += [
            f"{name}: {value}"
            for name in ("optional", "down", "probe", "emulate", "rename", "topology")
            if (value := getattr(self, name))
        ]
        parts += [
            name
            for name in ("interleave", "by_headers", "headers_named", "app_ids", "mirrors", "best_effort", "watched")
            if getattr(self, name)
        ]
        parts += [f"faults {self.faults}", f"held_max {self.held_max}", f"heartbeat {self.heartbeat}"]
        return ", ".join(parts)


def some_of(random: Random, names: str, share: float) -> str:
    return "".join(name for name in names if random.random() < share)


def options_of(random: Random, steps: int | None = None) -> Options:
    """The options of a seed; `steps` instead of as many as it would have."""
    names = random.choices(("a", "ab", "abc"), (25, 50, 25))[0]
    optional = some_of(random, names, 0.5) if random.random() < 0.2 else ""
    frame_max = random.choice((400, 400, 4096, 131072))
    smaller = {name: random.choice((frame_max, FRAME_MIN, max(FRAME_MIN, frame_max - 60))) for name in names}
    chosen, channels = random.randint(25, 110), random.choice((1, 1, 2, 3))
    many = random.random() < MANY_CHANNELS
    if many:
        # Something is to happen on each of them.
        chosen, channels = chosen + 50, random.randint(8, 20)
    favours = {}
    for _ in range(random.choice((0, 1, 2))):
        favours[random.choice(STEP_NAMES)] = random.choice((0.0, 4.0, 8.0))
    topology = some_of(random, names, 0.6) if random.random() < 0.3 else ""
    if topology:
        # Rare as they are, nothing would be seen of it.
        favours |= {"_bind": 8.0, "_exchange": 10.0}
    return Options(
        names=names,
        optional=optional,
        down=some_of(random, optional, 0.6),
        probe=some_of(random, names, 0.6) if random.random() < 0.15 else "",
        emulate=some_of(random, names, 0.6) if random.random() < 0.2 else "",
        rename=some_of(random, names, 0.6) if random.random() < 0.15 else "",
        clients=random.choices((1, 2, 3), (50, 38, 12))[0],
        channels=channels,
        many_channels=many,
        steps=chosen if steps is None else steps,
        frame_max=frame_max,
        link_frame_max=smaller if random.random() < 0.4 else dict.fromkeys(names, frame_max),
        heartbeat=random.choice((0, 0, 0, 0, 4)),
        room=random.choice((300, 2000, 1 << 30, 1 << 30)),
        chunks=random.choices(("octets", "small", "mixed", "whole"), (0.4, 2, 5, 3))[0],
        interleave=random.random() < 0.3,
        mirrors=random.random() < 0.15,
        by_headers=(routed := random.random()) < 0.2,
        headers_named=random.random() < 0.5,
        app_ids=routed < 0.08,
        best_effort=random.random() < 0.7,
        transactional=random.choice((0.0, 0.1, 0.55)),
        faults=random.choice((0.0, 0.0, 0.01, 0.04)),
        held_max=random.choice((0, 0, 0, 150)),
        watched=random.random() < 0.15,
        queues=(
            "q0",
            "q1",
            *random.sample([name for name in QUEUES if name not in ("q0", "q1")], random.choice((0, 1, 2))),
        ),
        favours=favours,
        topology=topology,
    )


#: Of `Program`.
STEP_NAMES: Final = (
    "_publish", "_settle", "_commit", "_roll_back", "_consume", "_cancel", "_get", "_qos", "_recover", "_declare",
    "_delete", "_close",
)  # fmt: skip


@implementer(IQueueAttributeRewriter)
class Rewriter:
    """What an upstream with options about queues gets."""

    def __init__(self, *, emulate: bool, probe: bool) -> None:
        self._auto_delete = False if emulate else None
        self._arguments = {"x-max-length": 50} if probe else {}

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        if declare.queue != "auto":
            return QueueAttributes()
        return QueueAttributes(auto_delete=self._auto_delete, arguments=self._arguments)


@implementer(IQueueRenamer)
class Renamer(Rewriter):
    """What an upstream gets that calls all queues differently."""

    def renamed(self, queue: str) -> str:
        return RENAMED + queue

    def original(self, queue: str) -> str:
        return queue.removeprefix(RENAMED)


def settings_of(options: Options) -> SessionSettings:
    """The settings of all sessions of a simulation."""
    upstreams = []
    for name in options.names:
        emulate, probe = name in options.emulate, name in options.probe
        rewriters: list[tuple[str, IQueueAttributeRewriter]] = []
        if name in options.rename:
            rewriters.append(("renamer", Renamer(emulate=emulate, probe=probe)))
        elif emulate or probe:
            rewriters.append(("rewriter", Rewriter(emulate=emulate, probe=probe)))
        if name in options.topology:
            rewriters.append(("topology", Rewriting(name)))
        upstreams.append(
            UpstreamSettings(
                name,
                chained(name, rewriters),
                required=name not in options.optional,
                try_passive=probe,
                emulate_auto_delete=emulate,
            )
        )
    routing: IRoutingStrategy
    if options.by_headers:
        app_id = options.app_ids
        routing = MirroredByHeader(options.names, app_id=app_id) if options.mirrors else ByHeader(app_id=app_id)
    else:
        routing = MirroredByKey(options.names) if options.mirrors else ByKey()
    if options.by_headers and options.headers_named:
        alsoProvides(routing, IPropertyRoutingStrategy)
    return SessionSettings(
        upstreams=tuple(upstreams),
        routing=routing,
        mechanisms=(MechanismSettings.of("Plain", Plain()),),
        frame_max=options.frame_max,
        heartbeat=options.heartbeat,
        tx_best_effort=options.best_effort,
        frame_min=FRAME_MIN,
    )
