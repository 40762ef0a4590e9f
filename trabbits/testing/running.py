"""An embedded broker, or a complete trabbits, for as long as a test needs it.

Lives here: `RunningBroker`, `running_broker` and `running_trabbits`.  Must not know: pytest, trial.

A broker runs in a thread of its own, with a reactor of its own, so a test may block as it likes.  Everything else in
that thread goes through one door, `RunningBroker.call`.  Every wait has a bound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.pollreactor import PollReactor
from twisted.python.failure import Failure

from trabbits.testing.broker import Broker, Faults
from trabbits.testing.broker.faults import Fault, Moment
from trabbits.testing.broker.line import Line
from trabbits.testing.broker.server import BrokerServer
from trabbits.testing.processes import StartError, free_port
from trabbits.testing.trabbits_process import TrabbitsProcess

HOST: Final = "127.0.0.1"
#: Seconds for anything in a broker's thread.
PATIENCE: Final = 10.0
#: Ports that may be taken by somebody else between choosing and listening.
_ATTEMPTS: Final = 20

T = TypeVar("T")


class Address(Protocol):
    """Anything that listens on this machine: a `RunningBroker`, a `TrabbitsProcess`, a `RabbitNode`."""

    @property
    def port(self) -> int: ...


class RunningBroker:
    """An embedded broker on a free port of 127.0.0.1.  `options` are those of `Broker`; a clock and faults it has.

    What happens to it from the test's thread goes through `call`; the other methods do that for you.
    """

    def __init__(self, name: str = "embedded", **options: Any) -> None:
        self.name = name
        self.port = 0
        self._reactor: Any = PollReactor()
        self._broker = Broker(name, clock=self._reactor.seconds, faults=Faults(), **options)
        self._server = BrokerServer(self._broker, self._reactor)
        self._thread = threading.Thread(target=self._run, name=f"broker {name}", daemon=True)

    @property
    def address(self) -> str:
        """``host:port``, as a configuration has it."""
        return f"{HOST}:{self.port}"

    def url(self, virtual_host: str = "/", user: str = "guest", password: str = "guest") -> str:
        """The AMQP URL of a virtual host of this broker."""
        return f"amqp://{quote(user, '')}:{quote(password, '')}@{self.address}/{quote(virtual_host, '')}"

    def start(self) -> RunningBroker:
        """Start, and return when it listens.  Raises `StartError` where it cannot."""
        self._thread.start()
        try:
            self.accept_connections()
        except (CannotListenError, TimeoutError) as error:
            self.stop()
            raise StartError(f"the broker {self.name!r} does not listen: {error}") from error
        return self

    def stop(self) -> None:
        """Drop all clients and end the thread."""
        if self._thread.is_alive():
            try:
                self.call(self._end)
            finally:
                self._reactor.callFromThread(self._reactor.stop)
                self._thread.join(PATIENCE)
                # Twisted takes it that a reactor is there until the process ends.
                self._reactor.waker.connectionLost(None)

    def call(self, function: Callable[[Broker], T], timeout: float = PATIENCE) -> T:
        """Let `function` look at the broker, or change it, in its thread; what it returns.  A Deferred is waited for.

        What it raises is raised here.  `TimeoutError` after so many seconds, `RuntimeError` if the broker does not run.
        Values of the broker that are taken out go on changing: return copies.
        """
        if not self._thread.is_alive():
            raise RuntimeError(f"the broker {self.name!r} does not run")
        done: Future[Any] = Future()
        self._reactor.callFromThread(self._call, function, done)
        try:
            result: T = done.result(timeout)
        except TimeoutError:
            if done.done():
                raise  # the function's own
            raise TimeoutError(f"no answer of the broker {self.name!r} within {timeout:g} s: {function}") from None
        return result

    def wait_for(self, condition: Callable[[Broker], T], timeout: float = PATIENCE) -> T:
        """The first true answer of `condition`, asked again and again; `TimeoutError` after so many seconds."""
        deadline = time.monotonic() + timeout
        while not (answer := self.call(condition)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout:g} s at the broker {self.name!r}: {condition}")
            time.sleep(0.005)
        return answer

    def depth(self, queue: str, virtual_host: str = "/") -> int:
        """How many messages of a queue are ready.  Raises `KeyError`."""
        return self.call(lambda broker: len(broker.vhost(virtual_host).queues[queue].ready))

    # Faults

    def plan(self, fault: Fault, at: Moment | None = None, connections: int | None = None) -> None:
        """Let this happen to connections to come; see `Faults.plan`."""
        self._faults(lambda faults: faults.plan(fault, at, connections))

    def strike(self, fault: Fault, where: Callable[[Line], bool] = lambda _: True) -> int:
        """Let this happen now to connections that there are; see `Faults.strike`."""
        return self._faults(lambda faults: faults.strike(fault, where))

    def recover(self) -> None:
        """Nothing goes wrong any more; see `Faults.clear`.  It accepts connections, and publishers are not blocked."""
        self._faults(lambda faults: faults.clear())
        self.unblock()
        self.accept_connections()

    def refuse_connections(self) -> None:
        """Stop listening: who connects is refused by the operating system.  Connections that there are stay."""
        self.call(self._refuse)

    def accept_connections(self) -> None:
        """Listen, on the same port as before."""
        self.call(self._listen)

    def block(self, reason: str = "blocked by a test") -> None:
        """Block publishers, as an alarm does (connection.blocked)."""
        self.call(lambda broker: broker.block(reason))

    def unblock(self) -> None:
        """End what `block` began."""
        self.call(lambda broker: broker.unblock())

    def _faults(self, function: Callable[[Faults], T]) -> T:
        def with_faults(broker: Broker) -> T:
            assert broker.faults is not None
            return function(broker.faults)

        return self.call(with_faults)

    # In the broker's thread

    def _run(self) -> None:
        self._reactor.run(installSignalHandlers=False)

    def _call(self, function: Callable[[Broker], Any], done: Future[Any]) -> None:
        try:
            result = function(self._broker)
            self._server.factory.settle()
        except BaseException as error:
            done.set_exception(error)
            return
        if isinstance(result, Deferred):
            result.addCallbacks(done.set_result, lambda failure: _fail(done, failure))
        else:
            done.set_result(result)

    def _end(self, _: Broker) -> Any:
        return self._server.stop()

    def _refuse(self, _: Broker) -> Any:
        return self._server.stop_listening()

    def _listen(self, _: Broker) -> None:
        if self._server.listening:
            return
        if self.port:
            self._server.listen(HOST, self.port)
            return
        # A port that no connection of somebody else's takes while this one does not listen.
        for attempt in range(_ATTEMPTS):
            try:
                self.port = self._server.listen(HOST, free_port())
                return
            except CannotListenError:
                if attempt == _ATTEMPTS - 1:
                    raise


def _fail(done: Future[Any], failure: Failure) -> None:
    assert failure.value is not None
    done.set_exception(failure.value)


@contextmanager
def running_broker(name: str = "embedded", **options: Any) -> Iterator[RunningBroker]:
    """An embedded broker while the block runs; `options` are those of `Broker`."""
    broker = RunningBroker(name, **options)
    try:
        yield broker.start()
    finally:
        broker.stop()


@contextmanager
def running_trabbits(
    config: Mapping[str, Any] | None = None,
    *,
    upstreams: Mapping[str, Address | str] | None = None,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[TrabbitsProcess]:
    """A trabbits on a free port while the block runs, as a process of its own.

    `upstreams` are addresses, or what has a port on this machine, by the name of the upstream; what else is to be said
    about them stands in the configuration, under the same names.  `args` are appended to the command line of ``trabbits
    run``, `env` to the environment.  Raises `StartError` with the log if it does not start.
    """
    proxy = TrabbitsProcess(with_upstreams(config, upstreams), args, env)
    try:
        yield proxy.start()
    finally:
        proxy.close()


def with_upstreams(
    config: Mapping[str, Any] | None, upstreams: Mapping[str, Address | str] | None
) -> Mapping[str, Any] | None:
    """A configuration with the addresses of these upstreams, in their order; what it says of them stays."""
    if upstreams is None:
        return config
    given = dict(config or {})
    own = {each["name"]: each for each in given.get("upstreams", [])}
    named = [
        {**own.pop(name, {}), "name": name, "address": at if isinstance(at, str) else f"{HOST}:{at.port}"}
        for name, at in upstreams.items()
    ]
    given["upstreams"] = [*named, *own.values()]
    return given
