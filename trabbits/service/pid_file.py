"""The pid file: written at once and whole, refused when another process lives by it, removed at the end.

Lives here: `PidFileService`.  Must not know: anything else about the process.
"""

# mypy: disallow-untyped-calls=False
# Twisted's services have no annotations.

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.application.service import Service

#: Seconds to wait for another process that is looking at a pid file in the same folder.
LOCK_TIMEOUT = 5.0
#: Octets of a pid file that are read; a larger one is something else.
_SIZE_LIMIT = 64


class PidFileTaken(OSError):
    """The file names a process that lives, or is no pid file at all."""

    def __str__(self) -> str:
        return str(self.args[0])


class PidFileService(Service):
    """Keeps the process id in a file for as long as the proxy runs.

    It comes first of all that start: whoever loses the race for the file has not taken a client from anybody.
    """

    name = "pid file"

    def __init__(self, path: Path) -> None:
        # Absolute, because a daemon changes its directory.
        self._path = path.absolute()
        self._ours = False

    def privilegedStartService(self) -> None:
        """Write the file.  Raises OSError."""
        with self._folder_locked():
            self._check()
            self._write()
        self._ours = True

    def startService(self) -> None:
        super().startService()
        if not self._ours:
            self.privilegedStartService()

    def stopService(self) -> None:
        """Remove the file, if it is still ours."""
        super().stopService()
        ours, self._ours = self._ours, False
        try:
            if ours and self._content().strip() == str(os.getpid()):
                self._path.unlink()
        except OSError:
            return  # somebody else removed it, or we may not any more

    def _check(self) -> None:
        try:
            content = self._content().strip()
        except FileNotFoundError:
            return
        if not content:
            return  # left behind by someone who came no further
        if not (content.isascii() and content.isdigit() and 0 < int(content) < 2**31):
            raise PidFileTaken(f"{self._path} holds something else than a process id; name another file")
        pid = int(content)
        if pid != os.getpid() and _lives(pid):
            raise PidFileTaken(
                f"process {pid} runs already ({self._path}): stop it first, or remove the file if that is another"
            )

    def _content(self) -> str:
        with open(self._path, "rb") as file:
            return file.read(_SIZE_LIMIT).decode(errors="replace")

    def _write(self) -> None:
        try:
            handle, temporary = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        except OSError as error:  # it names the temporary file, which means nothing to anybody
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        try:
            with os.fdopen(handle, "w") as file:
                file.write(f"{os.getpid()}\n")
            os.chmod(temporary, 0o644)
            os.replace(temporary, self._path)
        except BaseException:
            os.unlink(temporary)
            raise

    @contextmanager
    def _folder_locked(self) -> Iterator[None]:
        """Between looking at the file and writing it nobody else does; the lock is gone with the process."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        try:
            self._lock(folder)
            yield
        finally:
            os.close(folder)

    def _lock(self, folder: int) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    return  # this file system has no such locks
            if time.monotonic() > deadline:
                raise PidFileTaken(f"{self._path.parent} is locked by another process")
            time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
