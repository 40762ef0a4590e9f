"""systemd's side of the door: notifications (sd_notify) and inherited sockets (socket activation).

Lives here: the two protocols.  Must not know: when and why something is told, or what listens on the sockets.
Source: sd_notify(3), sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from twisted.internet import endpoints
from twisted.python.systemd import ListenFDs

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class ActivationError(OSError):
    """A socket that systemd passed on cannot be used."""

    def __str__(self) -> str:
        return str(self.args[0])


class Notifier:
    """Tells systemd about this process.  False when nobody wants to know.

    `address` is a UNIX socket's path, with @ in front for an abstract one.  `watchdog`: seconds within which something
    has to be heard again and again.
    """

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        self.watchdog = watchdog
        self._address: str | None = None
        if address:
            self._address = f"\0{address[1:]}" if address[0] == "@" else address

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Notifier:
        """As systemd says; its variables are removed, because they are not for children of ours."""
        address = environment.pop("NOTIFY_SOCKET", None)
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", None)
        watchdog = None
        if microseconds.isascii() and microseconds.isdigit() and pid in (None, str(os.getpid())):
            watchdog = int(microseconds) / 1_000_000 or None
        return cls(address, watchdog)

    def __bool__(self) -> bool:
        return self._address is not None

    def notify(self, **state: object) -> None:
        """Send assignments such as ``READY=1``.  Does not wait.  Raises OSError."""
        if self._address is None:
            return
        text = "\n".join(f"{name}={str(value).replace(chr(10), ' ')}" for name, value in state.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(), self._address)


def inherited_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd passed to this process; its variables are removed.

    Raises `ActivationError` for anything that is not a listening stream socket of a family that we speak.
    """
    variables = {name: environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    numbers = ListenFDs.fromEnvironment(variables).inheritedDescriptors()
    if not numbers and environment is os.environ:
        # Importing Twisted's endpoints takes the variables away, for endpoints like "systemd:index=0".
        numbers = endpoints._SystemdParser._sddaemon.inheritedDescriptors()
    return [_listening_socket(number) for number in numbers]


def _listening_socket(number: int) -> socket.socket:
    itself = f"file descriptor {number}, passed on by systemd,"
    try:
        found = socket.socket(fileno=number)
    except OSError as error:
        raise ActivationError(f"{itself} is not a socket: {error.strerror}") from None
    if found.family not in _FAMILIES or found.type != socket.SOCK_STREAM:
        raise ActivationError(f"{itself} is not a stream socket of IPv4, IPv6 or UNIX (ListenStream=)")
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ActivationError(f"{itself} does not listen (Accept=no is needed)")
    found.setblocking(False)
    found.set_inheritable(False)
    return found
