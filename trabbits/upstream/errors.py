"""What can go wrong with a link, told so that an operator knows where to look.

Lives here: the exceptions of ``upstream/``.  Each carries the upstream's name and the node, and `text` is a whole
sentence.  Must not know: what a client is told about it (``session/`` decides).
"""

from __future__ import annotations

from trabbits.session.opening import unavailable


class UpstreamError(Exception):
    """Something failed on the side of an upstream: `upstream` is its name, `node` its ``host:port``."""

    def __init__(self, upstream: str, node: str, text: str) -> None:
        super().__init__(text)
        self.upstream = upstream
        self.node = node
        self.text = text


class LinkUnreachable(UpstreamError):
    """No link: refused TCP connection, unknown host name, timeout, closed socket, or not AMQP at all."""

    #: Another node may well have a link for the same client.
    unavailable = True

    def __init__(self, upstream: str, node: str, text: str, *, client_spoke: bool = False) -> None:
        super().__init__(upstream, node, text)
        #: The node hung up on what the client said of itself: whose fault that is, nobody can tell.
        self.client_spoke = client_spoke


class LinkRefused(UpstreamError):
    """The upstream said no in the handshake, with connection.close.

    `code`, `text`, `class_id` and `method_id` are exactly those of the connection.close (section 1.4.2.9), so
    that a client can be told what it would have been told without a proxy.
    """

    def __init__(self, upstream: str, node: str, code: int, text: str, class_id: int = 0, method_id: int = 0) -> None:
        super().__init__(upstream, node, text)
        self.code = code
        self.class_id = class_id
        self.method_id = method_id

    @property
    def unavailable(self) -> bool:
        """Whether this speaks of the node and not of the client, which another node may well accept."""
        return unavailable(self.code, self.text)

    def __str__(self) -> str:
        return f"upstream '{self.upstream}' ({self.node}) refused the link: {self.code} {self.text}"


class RequestFailed(UpstreamError):
    """A request that trabbits made for itself has no answer: timeout, or the link went away."""


class RequestRefused(UpstreamError):
    """A request that trabbits made for itself was answered with channel.close `code` `text`; the link lives on."""

    def __init__(self, upstream: str, node: str, code: int, text: str) -> None:
        super().__init__(upstream, node, text)
        self.code = code

    def __str__(self) -> str:
        return f"upstream '{self.upstream}' ({self.node}) refused a request: {self.code} {self.text}"


class UnexpectedFrame(Exception):
    """An upstream sent octets that are no AMQP 0-9-1, or a misplaced frame.  Never leaves ``upstream/``."""
