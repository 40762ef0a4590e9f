"""What is to be sent to one client.

Lives here: `Output`.  Must not know: what is in it, who sends it.
"""

from __future__ import annotations

from collections.abc import Callable


class Output(list[bytes]):
    """Pieces of octets in order.  `clear` says that they were sent, or are in better hands; more may come by that.

    `cleared` is called then, with what was the only piece, or with nothing if there were several.
    """

    __slots__ = ("_cleared",)

    def __init__(self, cleared: Callable[[bytes], None]) -> None:
        super().__init__()
        self._cleared = cleared

    def clear(self) -> None:
        if self:
            alone = self[0] if len(self) == 1 else b""
            super().clear()
            self._cleared(alone)
