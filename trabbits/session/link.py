"""One AMQP connection from a session to one node of one upstream, as the session sees it.

Lives here: what the session keeps per link: its octets on their way, its scanner, what was agreed.
Must not know: sockets (``upstream/``), and what the links of a session have to do with each other.
"""

from __future__ import annotations

from collections.abc import Callable

from trabbits.session.observation import Observation
from trabbits.session.renaming import QueueNames
from trabbits.session.topology import Topology
from trabbits.session.unusable import UnusableMethod
from trabbits.wire.resplit import resplit
from trabbits.wire.scanner import Destination, Scanner


class Link:
    """A link that is open, or was.

    `frame_max` counts the framing.  `own_channel` is the channel that is trabbits' own on this link, which no client
    may use, and nor the one below it if the session `mirrors`: `mirror_channel`, 0 where there is none.
    """

    __slots__ = (
        "blocked",
        "control",
        "frame_max",
        "full",
        "index",
        "mirror_channel",
        "name",
        "names",
        "node",
        "observation",
        "open",
        "out",
        "own_channel",
        "resplits",
        "scanner",
        "topology",
    )

    def __init__(
        self,
        name: str,
        node: str,
        *,
        frame_max: int,
        own_channel: int,
        client_frame_max: int,
        method: Callable[[Link, int, int, bytes], Destination | None],
        observation: Observation,
        index: int = 0,
        patching: bool = False,
        names: QueueNames | None = None,
        topology: Topology | None = None,
        mirrors: bool = False,
    ) -> None:
        #: The upstream's name, for people.
        self.name = name
        #: The node's ``host:port``, for people.
        self.node = node
        #: The place of the upstream in the configuration: only for orders that must be stable.
        self.index = index
        #: What the upstream calls the client's queues, None where it calls them so, too.
        self.names = names
        #: What the upstream is asked for in place of the client's exchanges and bindings, None where they stay.
        self.topology = topology
        self.frame_max = frame_max
        self.own_channel = own_channel
        #: Not at an upstream that allows so few channels that the client would be left without any.
        self.mirror_channel = own_channel - 1 if mirrors and own_channel > 2 else 0
        self.open = True
        #: Kept by the surroundings: whether the node does not take what it is sent, so that the client is not read.
        self.full = False
        #: Why the node takes no publishes (connection.blocked), empty while it does.
        self.blocked = ""
        self.observation = observation
        #: Octets on their way to the node: whole frames only.
        self.out: list[bytes] = []
        #: Whole frames that belong to trabbits' own conversation with the node (channel 0, own channel).
        self.control: list[bytes] = []
        #: Whether bodies must be cut again because the node takes smaller frames than the client was allowed.
        self.resplits = frame_max < client_frame_max
        self.scanner = Scanner(
            # A node may not exceed what was agreed with it, which is never more than the client takes.
            frame_max,
            lambda index_, channel, frame: method(self, index_, channel, frame),
            patching=patching,
        )

    @property
    def client_channel_max(self) -> int:
        """The highest channel number that is not trabbits' own."""
        return (self.mirror_channel or self.own_channel) - 1

    def send(self, frame: bytes) -> None:
        """Send the node a frame that does not come from the client as it is, or not by a common route.

        Queues have the client's names in it.  Raises `UnusableName` for one that the upstream cannot have.
        """
        if self.names is not None:
            frame = self.names.frame_for_link(frame)
        self.observation.sent_to_link(self.name, frame)
        self.out.append(frame)

    def check(self, frame: bytes) -> None:
        """Whether the node can get a method frame that is not the client's; raises `UnusableMethod` if not."""
        if len(frame) > self.frame_max:
            at = f"upstream '{self.name}' would get more than the client sent"
            raise UnusableMethod(f"{at}, and a method of {len(frame)} octets is too large for it")
        if self.names is not None:
            self.names.frame_for_link(frame)

    def message(self, publish: bytes, header: bytes) -> tuple[bytes, bytes]:
        """A basic.publish and its content header as the node gets them.  Raises `UnusableName`."""
        names = self.names
        if names is None:
            return publish, header
        return names.frame_for_link(publish), names.header_for_link(publish, header)

    def begin(self, publish: bytes, header: bytes) -> None:
        """Send what `message` gave; `header` may be empty: then it is to come."""
        self.observation.sent_to_link(self.name, publish)
        self.out.append(publish)
        if header:
            self.out.append(header)

    def queue_name(self, queue: bytes) -> bytes:
        """What the upstream calls the client's `queue`.  Raises `UnusableName`."""
        return queue if self.names is None else self.names.renamed(queue)

    def take(self) -> bytes:
        """Everything that waits for the node, as one piece; raises `Violation` when a frame cannot be cut."""
        octets = b"".join(self.out)
        self.out.clear()
        return resplit(octets, self.frame_max) if self.resplits else octets

    def __repr__(self) -> str:
        return f"<Link {self.name} {self.node}{'' if self.open else ' gone'}>"
