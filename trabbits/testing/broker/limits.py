"""What the broker offers and what it keeps at most.

Lives here: `Limits`.  Must not know: who keeps to them.
"""

from __future__ import annotations

from attrs import frozen

from trabbits.wire.constants import FRAME_MIN_SIZE


@frozen(kw_only=True)
class Limits:
    """Sizes in octets, times in seconds.

    `frame_max`, `channel_max` and `heartbeat` are offered to clients.  `message_size` is the largest body.  Above
    `memory` octets in queues, transactions and answers that wait for their clients, all together, the broker raises its
    alarm: publishers are told (connection.blocked) and not read from until there is room again.  `output` bounds what
    waits for one connection before deliveries to it pause.  `handshake` is the time until connection.open, `closing`
    that until connection.close-ok.  `frame_min` is the least `frame_max` that clients may ask for, the specification's
    frame-min-size but in tests.
    """

    frame_max: int = 131072
    frame_min: int = FRAME_MIN_SIZE
    channel_max: int = 2047
    heartbeat: int = 60
    message_size: int = 128 * 1024 * 1024
    memory: int = 256 * 1024 * 1024
    output: int = 256 * 1024
    handshake: float = 10.0
    closing: float = 5.0
