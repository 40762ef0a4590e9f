"""What a session needs to know of the configuration, as plain values.

Lives here: frozen settings.  Must not know: pydantic, files, Twisted (``trabbits.assembly`` builds these).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, field, frozen

from trabbits import __version__
from trabbits.interfaces import IMirroringStrategy, IRoutingStrategy
from trabbits.session.announced import AnnouncedVersion
from trabbits.session.authentication import MechanismSettings
from trabbits.session.credentials import Mapped
from trabbits.session.reply_keys import ReplyKeys
from trabbits.session.rewriting import RenamerChain, RewriterChain, TopologyChain
from trabbits.wire.constants import FRAME_MIN_SIZE


@frozen
class UpstreamSettings:
    """One upstream, as a session sees it.  `rewriter` is None where declares pass unchanged.

    A session opens without an upstream that is not `required` and cannot be reached.  `try_passive`: a queue that is
    there already is used as it is.  `emulate_auto_delete`: a queue that the client declared auto-delete and `rewriter`
    did not is deleted when the session ends.  `credentials` is what the upstream is told for users by name; those that
    it does not have go by their own.
    """

    name: str
    rewriter: RewriterChain | None = None
    required: bool = True
    try_passive: bool = False
    emulate_auto_delete: bool = False
    credentials: Mapping[str, Mapped] = Factory(dict)

    @property
    def renamer(self) -> RenamerChain | None:
        """Those of its rewriters that rename queues."""
        return self.rewriter.renamer if self.rewriter is not None else None

    @property
    def topology(self) -> TopologyChain | None:
        """Those of its rewriters that rewrite exchanges and bindings."""
        return self.rewriter.topology if self.rewriter is not None else None


@frozen
class SessionSettings:
    """Everything a session takes from the configuration it was created with.

    `upstreams` is in the order of the configuration and never empty; the first one gets what `routing` has no
    opinion on.  `routing_plugin` is what the configuration calls it.  Clients choose among `mechanisms`.  `frame_max`
    is in octets, framing included.  `channel_max` counts the channels of a link, including `own_channels` at the top,
    which are trabbits' own.  `heartbeat` is in seconds, 0 is off; the timeouts are in seconds.  `tx_best_effort` allows
    AMQP transactions that several upstreams took part in.  `config_hash` tells configurations apart.
    """

    upstreams: tuple[UpstreamSettings, ...]
    routing: IRoutingStrategy
    mechanisms: tuple[MechanismSettings, ...] = ()
    #: Without a configuration that names it, it goes by its class.
    routing_plugin: str = Factory(lambda self: type(self.routing).__name__, takes_self=True)
    frame_max: int = 131072
    channel_max: int = 2047
    heartbeat: int = 60
    handshake_timeout: float = 5.0
    connection_close_timeout: float = 1.0
    tx_best_effort: bool = False
    #: Seconds that one connection policy may take for its answer.
    policy_timeout: float = 5.0
    config_hash: str = ""
    #: The least frame_max a client may ask for; the specification's frame-min-size but in tests.
    frame_min: int = FRAME_MIN_SIZE
    #: Shared by all sessions of the configuration.
    reply_keys: ReplyKeys = field(factory=ReplyKeys, eq=False)
    #: Shared by all sessions of the configuration.
    announced: AnnouncedVersion = field(factory=AnnouncedVersion, eq=False)
    version: str = __version__

    @property
    def mirrors(self) -> bool:
        """Whether messages may be copied to other upstreams than the one they are routed to."""
        return len(self.upstreams) > 1 and bool(IMirroringStrategy.providedBy(self.routing))

    @property
    def own_channels(self) -> int:
        """How many channels of each link are trabbits' own: one for its requests, one for copies."""
        return 2 if self.mirrors else 1

    @property
    def offered_channel_max(self) -> int:
        """The highest channel number that clients are offered; 0 would mean that there is no limit."""
        return max(1, self.channel_max - self.own_channels)
