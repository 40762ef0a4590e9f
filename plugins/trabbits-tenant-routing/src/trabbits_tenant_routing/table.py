"""Which tenant has which upstream, from a file that may change at any time."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from attrs import define, field, frozen

#: A file that is larger than this is a mistake.
SIZE_LIMIT = 64 * 1024 * 1024


@frozen
class Reading:
    """What the file said: `upstreams` by tenant. `stamp` changes whenever somebody writes or replaces the file."""

    upstreams: Mapping[str, str]
    stamp: object


@define
class TenantTable:
    """The newest good reading of the file at `path`; `known` are the upstreams that there are, all if it is empty."""

    path: Path
    reading: Reading
    known: Collection[str] = ()
    #: What was wrong with the file the last time; empty if nothing was.
    problem: str = field(default="", init=False)

    @property
    def upstreams(self) -> Mapping[str, str]:
        """The upstream of each tenant."""
        return self.reading.upstreams

    def look(self) -> Reading | None:
        """Read the file if it has changed, None if it has not. May block, so it is for a thread. Raises ValueError."""
        return None if _stamp(self.path) == self.reading.stamp else read_table(self.path, self.known)


def read_table(path: Path, known: Collection[str]) -> Reading:
    """Read and check the file. Raises ValueError, with a text for people."""
    # The stamp comes first: what is written meanwhile will be seen at the next look.
    stamp = _stamp(path)
    try:
        with path.open("rb") as file:
            octets = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(octets) > SIZE_LIMIT:
        raise ValueError(f"{path} is larger than {SIZE_LIMIT} octets")
    try:
        upstreams = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(upstreams, dict):
        raise ValueError(f"{path} holds no JSON object")
    for tenant, upstream in upstreams.items():
        if not isinstance(upstream, str) or (known and upstream not in known):
            raise ValueError(f"{path}: tenant {tenant!r} has {upstream!r}, which is no upstream")
    return Reading(upstreams, stamp)


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
