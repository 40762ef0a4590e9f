"""A listening socket that shares its port: how it stops to get new connections without losing one.

The kernel spreads new connections over all sockets that listen on a port (SO_REUSEPORT). Closing one of them resets
the connections that it holds and nobody has accepted, and there is no call that says "no more for this one". A filter
on the socket does: it drops segments that ask for a new connection. Their clients ask again a second later, when the
socket is closed, and then another process answers. Connections whose handshake has begun are completed meanwhile.

Lives here: the filter.  Must not know: who listens.
"""

from __future__ import annotations

import socket
import struct
import sys
from array import array

#: include/uapi/asm-generic/socket.h
_SO_ATTACH_FILTER = 26

#: Classic BPF, each instruction with its operation, both jumps, and its operand.  For TCP sockets of both IP versions
#: the data begins at the TCP header.
_INSTRUCTIONS = (
    (0x30, 0, 0, 13),  # load the octet with the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else take all of it
)


def refuse_new_connections(listening: socket.socket) -> bool:
    """Let the kernel drop what asks for a new connection; whether it does.

    The socket must be ours alone: the filter stays with it, in whatever process it is.
    """
    if sys.platform != "linux" or listening.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _INSTRUCTIONS)
    program = array("B", code)
    try:
        listening.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("@HP", len(_INSTRUCTIONS), program.buffer_info()[0]),
        )
    except OSError:
        return False
    return True
