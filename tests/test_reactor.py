"""trabbits' reactor where it differs from Twisted's: what reads there may raise whatever it likes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trabbits.reactor import ProxyReactor


class Reader:
    """Reads from one end of a pipe, in its own way; `lost` is why it was disconnected."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._end, self.other_end = os.pipe()
        self._read = read
        self.lost: Any = None

    def fileno(self) -> int:
        return self._end

    def logPrefix(self) -> str:
        return "reader"

    def doRead(self) -> Any:
        os.read(self._end, 100)
        return self._read()

    def connectionLost(self, reason: Any) -> None:
        self.lost = reason.value

    def close(self) -> None:
        os.close(self._end)
        os.close(self.other_end)


@pytest.fixture
def reactor() -> Iterator[Any]:
    reactor: Any = ProxyReactor()
    yield reactor
    for each in reactor.removeAll():
        each.connectionLost(None)
    reactor._poller.close()


def raises() -> None:
    raise LookupError("what?")


def exits() -> None:
    sys.exit("what?")


@pytest.mark.parametrize(("read", "kind"), [(raises, LookupError), (exits, SystemExit)])
def test_what_a_reader_raises_disconnects_it_and_no_other(
    reactor: Any, read: Callable[[], Any], kind: type[BaseException]
) -> None:
    bad, good = Reader(read), Reader(lambda: None)
    for each in (bad, good):
        reactor.addReader(each)
        os.write(each.other_end, b"x")
    reactor.doPoll(0)
    assert isinstance(bad.lost, kind)
    assert good.lost is None
    assert good in reactor.getReaders()
    reactor.removeReader(good)
    for each in (bad, good):
        each.close()
