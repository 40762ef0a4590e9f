"""The requests that trabbits makes on a link for itself.

Lives here: `OwnChannel`, the link's top channel, opened at first use and again after the upstream closed it, and
`answered_within`.  Must not know: client channels, octets.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks
from twisted.python.failure import Failure
from txamqp.client import ChannelClosed, Closed

from trabbits.upstream.errors import RequestRefused, UnexpectedFrame

if TYPE_CHECKING:
    from trabbits.upstream.protocol import LinkProtocol


class OwnChannel:
    """One request at a time on the link's own channel.

    An answer that comes too late still belongs to its request: the next one goes out only after it, so that answers
    are never mistaken for each other.
    """

    def __init__(self, link: LinkProtocol) -> None:
        self._link = link
        self._turn = DeferredLock()

    def request(self, call: Callable[[Any], Deferred[Any]], timeout: float, what: str) -> Deferred[Any]:
        """The answer message to `call`, which gets the open txamqp channel.

        Fails with RequestRefused (channel.close) or RequestFailed (link gone, no answer within `timeout` seconds).
        """

        def in_turn() -> Deferred[Any]:
            if answer.called:
                raise self._link.request_failed(f"did not get to {what} in time")
            return self._call(call, what)

        def start(_: Any) -> Deferred[Any]:
            return self._turn.run(in_turn)

        ready: Deferred[Any] = Deferred()
        answer = answered_within(self._link, ready.addCallback(start), timeout, what)
        ready.callback(None)
        return answer

    @inlineCallbacks
    def _call(self, call: Callable[[Any], Deferred[Any]], what: str) -> Generator[Any, Any, Any]:
        link = self._link
        try:
            channel = link.channels.get(link.own_channel)
            if link.closed:
                raise link.request_failed(f"is gone, no {what}")
            if channel is None:
                channel = yield link.channel(link.own_channel)
                yield channel.channel_open()
            return (yield call(channel))
        except ChannelClosed as closed:
            message = closed.args[0]
            raise RequestRefused(link.upstream_name, link.node, message.reply_code, message.reply_text) from None
        except Closed:
            raise link.request_failed(f"ended before it answered {what}") from None
        except UnexpectedFrame as unexpected:
            link.break_off(f"broke AMQP: {unexpected}")
            raise link.request_failed(f"broke AMQP: {unexpected}") from None


def answered_within(link: LinkProtocol, work: Deferred[Any], timeout: float, what: str) -> Deferred[Any]:
    """The result of `work`, or RequestFailed after `timeout` seconds.

    `work` itself is never cancelled (txamqp would take the late answer for that of the next request); what it gives
    after the timeout, or after the caller cancelled, is dropped.
    """

    def give_up() -> None:
        answer.errback(link.request_failed(f"did not answer {what} within {timeout:g}s"))

    def settle(result: Any) -> None:
        if answer.called:
            return
        timer.cancel()
        if isinstance(result, Failure) and result.check(Closed):
            result = Failure(link.request_failed(f"ended before it answered {what}"))
        answer.callback(result)

    timer = link.clock.callLater(timeout, give_up)
    answer: Deferred[Any] = Deferred(lambda _: timer.cancel())
    work.addBoth(settle)
    return answer
