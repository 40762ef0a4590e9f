"""The API over TCP: a port of its own.

Lives here: `listening_socket`.  Must not know: when there is one, and what is served there.
"""

from __future__ import annotations

import socket

from trabbits.config.model import AdminConfig
from trabbits.tls import Unusable

BACKLOG = 128


def listening_socket(config: AdminConfig) -> socket.socket:
    """A socket that listens where `config` says.  Raises `Unusable`."""
    address = config.listen
    assert address is not None
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        # Names are for numbers of this machine: nobody waits for them.
        place = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)[0][4]
        listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise Unusable("admin.listen", f"cannot listen on {address}: {error.strerror}") from None
    return listening
