"""What the connection policies say about one client, from their first question to its last octet.

Lives here: `Admission` asks them in turn and tells those that admitted the client when it has left; `Metering` keeps
to what the ones say that bound how fast it sends.
Must not know: what any policy decides by, or what a session does with the answer.

A policy may be anybody's code.  Whatever it does ends this client's attempt at most: what it raises, what it
answers, and that it never answers.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from inspect import isawaitable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from trabbits.failures import dismissed, error_text, let_through
from trabbits.interfaces import IConnectionPolicy, IDataPolicy, Refusal, Visitor
from trabbits.log_ids import LogId
from trabbits.session.refusals import is_refusal
from trabbits.wire import constants as amqp

#: A policy with the name that the configuration has for it.
NamedPolicy = tuple[str, IConnectionPolicy]

_FAILED = "INTERNAL_ERROR - policy '{}' failed; the log of trabbits has more"


class Admission:
    """The policies' word on one client.

    `ask` calls exactly one of `admitted` and `refused` (code, text), unless `stop` or `left` is called before.
    `changed` is called after that if it did not happen within `ask`.  `unexpected` takes failures that are nobody's.
    """

    def __init__(
        self,
        policies: Sequence[NamedPolicy],
        timeout: float,
        clock: IReactorTime,
        log: Callable[..., None],
        *,
        admitted: Callable[[], None],
        refused: Callable[[int, str], None],
        changed: Callable[[], None],
        unexpected: Callable[[Failure], None],
    ) -> None:
        self._to_ask: Iterator[NamedPolicy] = iter(policies)
        self._timeout = timeout
        self._clock = clock
        self._log = log
        self._admitted = admitted
        self._refused = refused
        self._changed = changed
        self._unexpected = unexpected
        self._visitor: Visitor | None = None
        #: Those that let the client in and have to hear that it left.
        self._hosts: list[NamedPolicy] = []
        #: The answer that is awaited, whose it is, and the end of its time.
        self._pending: tuple[Deferred[Any], str, Any] | None = None

    @property
    def visitor(self) -> Visitor | None:
        """The client, once policies were asked about it."""
        return self._visitor

    def ask(self, visitor: Visitor) -> None:
        """Ask every policy in turn, until one refuses."""
        self._visitor = visitor
        self._go_on(visitor)

    def stop(self) -> None:
        """The answer is not needed any more."""
        self._to_ask = iter(())
        if self._pending is not None:
            (answer, name, timer), self._pending = self._pending, None
            timer.cancel()
            self._cancel(name, answer)

    def left(self) -> None:
        """The client has gone, or is refused; may be called again."""
        self.stop()
        hosts, self._hosts = self._hosts, []
        for name, policy in hosts:
            assert self._visitor is not None
            try:
                policy.left(self._visitor)
            except BaseException as error:
                let_through(error)
                self._failed(name, error)

    def _go_on(self, visitor: Visitor) -> None:
        for name, policy in self._to_ask:
            try:
                answer = policy.admit(visitor)
            except BaseException as error:
                let_through(error)
                self._refuse_for(name, error)
                return
            if isawaitable(answer):
                if not self._wait(name, policy, visitor, answer):
                    return
            elif not self._judge(name, policy, visitor, answer):
                return
        self._admitted()

    def _wait(self, name: str, policy: IConnectionPolicy, visitor: Visitor, answer: Awaitable[Refusal | None]) -> bool:
        """Wait for an answer, which may be there already; whether the next policy is to be asked at once."""
        waiting = answer if isinstance(answer, Deferred) else Deferred.fromCoroutine(_result_of(answer))
        at_once = True
        goes_on = False

        def came(result: Any) -> None:
            nonlocal goes_on
            # An answer that comes after its time, or after the client has gone, changes nothing.
            if self._pending is None or self._pending[0] is not waiting:
                return
            timer, self._pending = self._pending[2], None
            timer.cancel()
            if isinstance(result, Failure):
                self._refuse_for(name, cast(BaseException, result.value))
            elif self._judge(name, policy, visitor, result):
                if at_once:
                    goes_on = True
                else:
                    self._go_on(visitor)
            if not at_once:
                self._changed()

        self._pending = (waiting, name, self._clock.callLater(self._timeout, self._timed_out))
        waiting.addBoth(came)
        waiting.addErrback(self._unexpected)
        at_once = False
        return goes_on

    def _timed_out(self) -> None:
        assert self._pending is not None
        (answer, name, _), self._pending = self._pending, None
        text = f"did not answer within {self._timeout:g} s"
        self._log(LogId.POLICY_FAILED, plugin=name, text=f"it {text}")
        # Whatever comes of it is not listened to any more.
        self._cancel(name, answer)
        self._refuse(amqp.INTERNAL_ERROR, f"INTERNAL_ERROR - policy '{name}' {text}")
        self._changed()

    def _cancel(self, name: str, answer: Deferred[Any]) -> None:
        try:
            answer.cancel()
        except BaseException as error:
            let_through(error)
            self._failed(name, error)

    def _judge(self, name: str, policy: IConnectionPolicy, visitor: Visitor, answer: object) -> bool:
        """Whether the policy lets the client in; if not, it is refused."""
        if answer is None:
            self._hosts.append((name, policy))
            return True
        if not is_refusal(answer):
            kind = "that cannot be sent" if isinstance(answer, Refusal) else "neither None nor a Refusal"
            self._refuse_for(name, TypeError(f"it answered {dismissed(answer)}, {kind}"))
            return False
        self._log(
            LogId.POLICY_REFUSED,
            plugin=name,
            user=visitor.user,
            vhost=visitor.virtual_host,
            address=visitor.address,
            code=answer.code,
            text=answer.text,
        )
        self._refuse(answer.code, answer.text)
        return False

    def _refuse_for(self, name: str, error: BaseException) -> None:
        self._failed(name, error)
        self._refuse(amqp.INTERNAL_ERROR, _FAILED.format(name))

    def _refuse(self, code: int, text: str) -> None:
        self._to_ask = iter(())
        self._refused(code, text)
        self.left()

    def _failed(self, name: str, error: BaseException) -> None:
        self._log(LogId.POLICY_FAILED, plugin=name, text=error_text(error), error=error)


class Metering:
    """Passes on how much a client sends to the policies that bound it, and holds it back as long as they say.

    `broken` (code, text) is called when a policy failed; nothing is metered after that.
    """

    def __init__(
        self,
        policies: Sequence[NamedPolicy],
        clock: IReactorTime,
        log: Callable[..., None],
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
        broken: Callable[[int, str], None],
    ) -> None:
        self._policies = data_policies(policies)
        self._clock = clock
        self._log = log
        self._pause = pause
        self._resume = resume
        self._broken = broken
        self._timer: Any = None

    def received(self, visitor: Visitor, octets: int) -> None:
        """The client sent so much."""
        longest = 0.0
        for name, policy in self._policies:
            try:
                seconds = float(policy.received(visitor, octets))
                if not 0 <= seconds < math.inf:
                    raise ValueError(f"it answered {seconds} seconds")
            except BaseException as error:
                let_through(error)
                self.stop()
                self._log(LogId.POLICY_FAILED, plugin=name, text=error_text(error), error=error)
                self._broken(amqp.INTERNAL_ERROR, _FAILED.format(name))
                return
            longest = max(longest, seconds)
        if not longest:
            return
        if self._timer is None:
            self._pause()
            self._timer = self._clock.callLater(longest, self._over)
        elif self._timer.getTime() < self._clock.seconds() + longest:
            # What had been read already when the pause began.
            self._timer.reset(longest)

    def stop(self) -> None:
        """The client is not held back any more, and nothing is metered."""
        self._policies = []
        if self._timer is not None:
            self._timer.cancel()
            self._over()

    def _over(self) -> None:
        self._timer = None
        self._resume()


def data_policies(policies: Sequence[NamedPolicy]) -> list[tuple[str, IDataPolicy]]:
    """Those that bound how fast clients send."""
    return [(name, policy) for name, policy in policies if IDataPolicy.providedBy(policy)]


async def _result_of(answer: Awaitable[Refusal | None]) -> Refusal | None:
    return await answer
