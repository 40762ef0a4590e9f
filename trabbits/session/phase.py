"""Where in its life a session is."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """The phases of a session; the values are for people."""

    HANDSHAKE = "beginning"
    #: Links are on their way; their upstreams have not all accepted user and password.
    AUTHENTICATING = "authenticating"
    #: They have; the client says what it wants.
    TUNING = "tuning"
    #: It has; the connection policies are asked whether it may come in.
    ADMITTING = "asking policies"
    #: The upstreams are asked for the virtual host.
    CONNECTING = "opening links"
    RUNNING = "open"
    #: We sent connection.close and wait for close-ok.
    CLOSING = "closing"
    #: The client sent connection.close; its close-ok waits for the links.
    CLIENT_CLOSING = "closed by the client"
    CLOSED = "closed"


#: There may be links that are not open yet.
BEFORE_OPEN = frozenset({Phase.AUTHENTICATING, Phase.TUNING, Phase.ADMITTING, Phase.CONNECTING})
#: Nothing is relayed any more.
ENDING = frozenset({Phase.CLOSING, Phase.CLIENT_CLOSING, Phase.CLOSED})
