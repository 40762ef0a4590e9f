"""The API's UNIX socket: its own user's only, never taken from a process that lives, gone with the process.

Lives here: `bind`, `remove`, what is said of a path that cannot be had.  Must not know: what is served there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

#: Octets of a path that the kernel takes, its final NUL included (unix(7)).
PATH_LIMIT = 108
BACKLOG = 128
#: Seconds that whoever holds the socket may take to accept; a process that stands still holds it nevertheless.
CONNECT_TIMEOUT = 1.0
#: Seconds to wait for another process that looks at a socket in the same folder.
LOCK_TIMEOUT = 5.0
#: Characters shown of a command line.
_COMMAND_LIMIT = 200

REMEDY = "name another socket with --api-socket, or none with --api-socket ''"


class SocketTaken(OSError):
    """The path cannot be had; the text says who or what is there, and what to do."""

    def __str__(self) -> str:
        return str(self.args[0])


@frozen
class Bound:
    """A socket that listens, and which file it is, so that another one at the same path is left alone."""

    socket: socket.socket
    path: Path
    device: int
    inode: int


def bind(path: Path) -> Bound:
    """Listen at `path`; a file of a socket where nobody listens any more is replaced.  Raises OSError."""
    # Absolute, because a daemon changes its directory.
    path = path.absolute()
    if len(os.fsencode(path)) >= PATH_LIMIT:
        raise SocketTaken(f"{path}: the path is longer than {PATH_LIMIT - 1} octets; {REMEDY}")
    try:
        with _folder_locked(path):
            _make_room(path)
            return _bind(path)
    except SocketTaken:
        raise
    except OSError as error:
        raise SocketTaken(f"{path}: {error.strerror}; {REMEDY}") from None


def _bind(path: Path) -> Bound:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    # The mode that the file is made with: there is no moment in which others could connect.
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(before)
    try:
        listening.listen(BACKLOG)
        found = os.lstat(path)
    except BaseException:
        listening.close()
        path.unlink(missing_ok=True)
        raise
    return Bound(listening, path, found.st_dev, found.st_ino)


def remove(bound: Bound) -> None:
    """Remove the file if it is still ours."""
    try:
        found = os.lstat(bound.path)
        if (found.st_dev, found.st_ino) == (bound.device, bound.inode):
            bound.path.unlink()
    except OSError:
        return  # somebody else removed it, or we may not any more


def _make_room(path: Path) -> None:
    """Remove a socket that nobody listens at; anything else stays and is an error."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketTaken(f"{path} is there already, and is no socket; {REMEDY}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(CONNECT_TIMEOUT)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except FileNotFoundError:
            return  # its process has just ended
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT) and not isinstance(error, TimeoutError):
                raise
            raise SocketTaken(f"{path} is in use by a process that accepts nothing at the moment; {REMEDY}") from None
        raise SocketTaken(f"{path} is in use by {_holder(probe)}: stop it first, or {REMEDY}")


def _holder(connected: socket.socket) -> str:
    """The process at the other end, for people."""
    try:
        pid, _, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except (OSError, AttributeError):
        return "another process"
    if pid <= 0:
        return "another process"  # of another PID namespace
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return f"process {pid}"
    command = b" ".join(words).decode(errors="backslashreplace")
    command = "".join(sign if sign.isprintable() else "?" for sign in command)
    if len(command) > _COMMAND_LIMIT:
        command = f"{command[:_COMMAND_LIMIT]}…"
    return f"process {pid} ({command})" if command else f"process {pid}"


@contextmanager
def _folder_locked(path: Path) -> Iterator[None]:
    """Between looking at a socket and replacing it nobody else does; the lock is gone with the process."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    break  # this file system has no such locks
            if time.monotonic() > deadline:
                raise SocketTaken(f"{path.parent} is locked by another process; {REMEDY}")
            time.sleep(0.01)
        yield
    finally:
        os.close(folder)
