"""What an upstream cannot be asked for: the client hears 406 on its channel, and nothing is sent to any upstream.

Lives here: `UnusableMethod`.  Must not know: what made the method unusable.
"""

from __future__ import annotations

from trabbits.wire import constants as amqp
from trabbits.wire.errors import Violation


class UnusableMethod(Violation):
    """A method that does not fit a frame, or has no room for a name, once it is what its upstream is to get.

    The relays refuse it before anything is sent, and close the channel.
    """

    def __init__(self, text: str) -> None:
        super().__init__(amqp.PRECONDITION_FAILED, text)
