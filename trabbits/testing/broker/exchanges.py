"""Exchanges and their bindings: which queues and exchanges a message goes to.

Lives here: the types of exchanges.  Must not know: names, permissions, alternate exchanges (``vhost.py``), queues.

Source: AMQP 0-9-1 section 3.1.3 (exchange types); https://www.rabbitmq.com/docs/e2e.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from trabbits.testing.broker.tables import Table, Value
from trabbits.testing.broker.topics import TopicTree

if TYPE_CHECKING:
    from typing import TypeAlias

    from trabbits.testing.broker.queue import Queue

    Destination: TypeAlias = Queue | "Exchange"


@frozen
class Binding:
    """One binding.  `octets` is the raw argument table: bindings are the same when it, destination and key are."""

    destination: Destination
    key: str
    octets: bytes = b""
    arguments: Table = field(factory=dict, eq=False)


class Exchange:
    """An exchange, and the base of its types."""

    kind: str = ""
    #: Whether `route` looks at a message's headers.
    by_headers: bool = False

    def __init__(
        self,
        name: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Table | None = None,
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments: Table = arguments or {}
        self.bindings: dict[Binding, None] = {}

    def bind(self, binding: Binding) -> None:
        """Add a binding; one that is there already changes nothing."""
        if binding not in self.bindings:
            self.bindings[binding] = None
            self._added(binding)

    def unbind(self, binding: Binding) -> bool:
        """Take a binding away; whether it was there."""
        if binding not in self.bindings:
            return False
        del self.bindings[binding]
        self._removed(binding)
        return True

    def forget(self, destination: Destination) -> bool:
        """Take away all bindings to `destination`; whether there were any."""
        gone = [binding for binding in self.bindings if binding.destination is destination]
        for binding in gone:
            self.unbind(binding)
        return bool(gone)

    def route(self, key: str, headers: Mapping[str, Value]) -> Iterable[Destination]:
        """Where a message goes.  `headers` are looked at if the exchange is `by_headers`."""
        raise NotImplementedError

    def _added(self, binding: Binding) -> None:
        """A binding was added."""

    def _removed(self, binding: Binding) -> None:
        """A binding was taken away."""


class Direct(Exchange):
    """To what is bound with the very routing key."""

    kind = "direct"

    def __init__(self, name: str, **options: object) -> None:
        super().__init__(name, **options)  # type: ignore[arg-type]  # passed on as they are
        self._by_key: dict[str, dict[Binding, None]] = {}

    def route(self, key: str, headers: Mapping[str, Value]) -> Iterable[Destination]:
        return [binding.destination for binding in self._by_key.get(key, ())]

    def _added(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.key, {})[binding] = None

    def _removed(self, binding: Binding) -> None:
        bound = self._by_key[binding.key]
        del bound[binding]
        if not bound:
            del self._by_key[binding.key]


class Fanout(Exchange):
    """To everything that is bound."""

    kind = "fanout"

    def route(self, key: str, headers: Mapping[str, Value]) -> Iterable[Destination]:
        return [binding.destination for binding in self.bindings]


class Topic(Exchange):
    """To what is bound with a pattern that matches the routing key."""

    kind = "topic"

    def __init__(self, name: str, **options: object) -> None:
        super().__init__(name, **options)  # type: ignore[arg-type]  # passed on as they are
        self._tree: TopicTree[Destination] = TopicTree()

    def route(self, key: str, headers: Mapping[str, Value]) -> Iterable[Destination]:
        return self._tree.match(key)

    def _added(self, binding: Binding) -> None:
        self._tree.add(binding.key, binding.destination)

    def _removed(self, binding: Binding) -> None:
        self._tree.remove(binding.key, binding.destination)


class Headers(Exchange):
    """To what is bound with arguments that the message's headers match."""

    kind = "headers"
    by_headers = True

    def route(self, key: str, headers: Mapping[str, Value]) -> Iterable[Destination]:
        return [binding.destination for binding in self.bindings if headers_match(binding.arguments, headers)]


def headers_match(arguments: Mapping[str, Value], headers: Mapping[str, Value]) -> bool:
    """Whether a message with these headers goes where a binding with these arguments leads.

    Arguments that begin with ``x-`` are not compared, unless ``x-match`` is ``all-with-x`` or ``any-with-x``.
    An argument of no value asks for a header of any value.
    """
    how = matching(arguments)
    results = (
        name in headers and (wanted.kind == "void" or _same(wanted, headers[name]))
        for name, wanted in arguments.items()
        if name != "x-match" and (how.endswith("-with-x") or not name.startswith("x-"))
    )
    return any(results) if how.startswith("any") else all(results)


def _same(wanted: Value, found: Value) -> bool:
    """Whether values are equal, whatever their types; only that true is no number (as in Erlang)."""
    return bool(wanted.value == found.value) and (wanted.kind == "bool") == (found.kind == "bool")


#: The values of ``x-match``.
MATCHES: Final[frozenset[str]] = frozenset({"all", "any", "all-with-x", "any-with-x"})


def matching(arguments: Mapping[str, Value]) -> str:
    """The binding's ``x-match``."""
    how = arguments.get("x-match")
    return str(how.value) if how is not None else "all"


TYPES: Final[dict[str, type[Exchange]]] = {each.kind: each for each in (Direct, Fanout, Topic, Headers)}
