"""What a peer can do wrong on the wire, as one exception that carries its own remedy.

Lives here: `Violation`.  Must not know: who the peer is and what is done about it (``session/`` decides).
"""

from __future__ import annotations

from trabbits.wire.constants import REPLY_NAMES


class Violation(Exception):
    """The remote peer broke AMQP.

    `code` is the reply code to answer with, `text` says what was wrong (without the code's name), `channel`
    is where (0: the connection), `class_id` and `method_id` name the failing method or are 0.  It is the
    sender of the octets who is at fault, never us.
    """

    def __init__(self, code: int, text: str, *, channel: int = 0, class_id: int = 0, method_id: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.channel = channel
        self.class_id = class_id
        self.method_id = method_id

    @property
    def reply_text(self) -> str:
        """The text as RabbitMQ spells it: ``NAME - what was wrong``."""
        return f"{REPLY_NAMES.get(self.code, 'ERROR')} - {self.text}"

    def __str__(self) -> str:
        return f"{self.code} {self.reply_text}"
