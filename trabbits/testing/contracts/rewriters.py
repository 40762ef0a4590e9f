"""The contract of queue rewriters.

Lives here: `QueueAttributeRewriterTestsMixIn` and `QueueRenamerTestsMixIn`, and what of it holds for those of
exchanges and bindings (``topology.py``) as well.  Must not know: what any rewriter changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, ClassVar, Final

from attrs import evolve
from zope.interface.interface import InterfaceClass

from trabbits.interfaces import IQueueAttributeRewriter, IQueueRenamer, QueueAttributes, QueueDeclare
from trabbits.testing.contracts.plugin import PluginTestsMixIn
from trabbits.testing.contracts.rules import ODD_TEXTS, ODD_VALUES, OpenMapping, require, require_prompt
from trabbits.wire.table import check_table, encode_table

_FLAGS: Final = tuple(
    dict(zip(("durable", "exclusive", "auto_delete"), values, strict=True))
    for values in product((True, False), repeat=3)
)
#: Arguments that RabbitMQ knows, as clients give them.
_ARGUMENTS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"x-queue-type": "classic"},
    {"x-queue-type": "quorum", "x-quorum-initial-group-size": 3},
    {"x-queue-type": "stream", "x-max-age": "7D"},
    {"x-message-ttl": 60_000, "x-expires": 1_800_000},
    {"x-max-length": 10, "x-overflow": "reject-publish-dlx"},
    {"x-max-priority": 10, "x-queue-mode": "lazy", "x-single-active-consumer": True},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
    {"x-queue-master-locator": b"min-masters"},
)
_KNOWN: Final = tuple(sorted({name for arguments in _ARGUMENTS for name in arguments}))


LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
#: Names that begin like this are the brokers' and trabbits' own.
_RESERVED: Final = ("amq.", "trabbits.gen-")


def require_attributes(asked: str, answer: object, wanted: type[Any], *flags: str) -> None:
    """The answer is of this class, its flags are true, false or None, and its arguments are a mapping."""
    require(isinstance(answer, wanted), f"{asked} answered {answer!r:.200}, no {wanted.__name__}")
    for name in flags:
        value = getattr(answer, name)
        require(value is None or isinstance(value, bool), f"{asked} answered {name} {value!r}, no bool or None")
    arguments = getattr(answer, "arguments", None)
    require(isinstance(arguments, Mapping), f"{asked} answered arguments {arguments!r:.200}")


def require_arguments(asked: str, wanted: Mapping[Any, Any]) -> None:
    """AMQP has room for the names, and for the values that are not None."""
    for name, value in wanted.items():
        fits = isinstance(name, str) and 0 < len(name.encode("utf-8", "surrogatepass")) <= 255
        require(fits, f"{asked} wants an argument named {name!r:.100}")
        if value is None:
            continue
        try:
            check_table(encode_table({name: value}))
        except Exception as error:
            text = f"{asked} wants {name} to be {value!r:.100}, which AMQP cannot carry"
            raise AssertionError(text) from error


class QueueAttributeRewriterTestsMixIn(PluginTestsMixIn):
    """For what provides `IQueueAttributeRewriter`.  `declares` are those that it has rules about."""

    interface: ClassVar[InterfaceClass] = IQueueAttributeRewriter
    declares: Sequence[QueueDeclare] = ()

    def test_answers_are_attributes(self) -> None:
        """The answer to any declare is a `QueueAttributes` whose fields have the types that they should have."""
        rewriter = self.make_plugin(self.make_reactor())
        for declare in self._all_declares():
            asked, answer = f"rewrite({declare!r:.200})", rewriter.rewrite(declare)
            require_attributes(asked, answer, QueueAttributes, "durable", "auto_delete", "exclusive")

    def test_arguments_can_be_sent(self) -> None:
        """What is added to the arguments has a name and a value that AMQP has room for."""
        rewriter = self.make_plugin(self.make_reactor())
        for declare in self._all_declares():
            require_arguments(f"rewrite({declare!r:.200})", rewriter.rewrite(declare).arguments)

    def test_the_same_declare_gets_the_same_answer(self) -> None:
        """A client that declares its queue again must not be told with 406 that it is another one."""
        rewriter = self.make_plugin(self.make_reactor())
        declares = list(self._all_declares())
        first = [repr(rewriter.rewrite(declare)) for declare in declares]
        again = [repr(rewriter.rewrite(declare)) for declare in reversed(declares)]
        for declare, one, other in zip(declares, first, reversed(again), strict=True):
            require(one == other, f"rewrite({declare!r:.200}) was {one} and is {other} now")

    def test_the_declare_is_left_alone(self) -> None:
        """It is what the other upstreams are asked for, and what the rewriters after this one get."""
        rewriter = self.make_plugin(self.make_reactor())
        for declare in self._all_declares():
            given = OpenMapping(declare.arguments)
            rewriter.rewrite(evolve(declare, arguments=given))
            require(given.unchanged, f"it changes the arguments of {declare!r:.200}")
            given_as_dict = dict(declare.arguments)
            rewriter.rewrite(evolve(declare, arguments=given_as_dict))
            require(
                repr(given_as_dict) == repr(dict(declare.arguments)), f"it changes the arguments of {declare!r:.200}"
            )

    def test_rewriting_does_not_block(self) -> None:
        """A declare that was never seen takes no time to speak of."""
        rewriter = self.make_plugin(self.make_reactor())
        example = next(iter(self.declares), QueueDeclare("orders", durable=True))
        declares = [evolve(example, queue=f"{example.queue}.{number}") for number in range(5)]
        require_prompt("rewrite()", self.time_limit, [partial(rewriter.rewrite, each) for each in declares])

    def _all_declares(self) -> Iterator[QueueDeclare]:
        yield from self.declares
        # Rewriters are not asked about queues that the server names.
        for name in filter(None, ODD_TEXTS):
            yield QueueDeclare(name, durable=True)
        for flags, arguments in product(_FLAGS, _ARGUMENTS):
            yield QueueDeclare("orders", arguments=OpenMapping(arguments), **flags)
        yield QueueDeclare("orders", durable=True, arguments=OpenMapping(dict.fromkeys(filter(None, ODD_TEXTS), 1)))
        names: dict[str, Any] = dict.fromkeys(_KNOWN)
        for each in self.declares:
            names.update(each.arguments)
        for name, value in product(names, ODD_VALUES):
            yield QueueDeclare("orders", durable=True, arguments=OpenMapping({name: value}))


class QueueRenamerTestsMixIn(QueueAttributeRewriterTestsMixIn):
    """For what provides `IQueueRenamer`, besides what holds for any rewriter.

    `names` are names of clients' queues that have to be usable.
    """

    names: Sequence[str] = ("orders", "invoices.eu", "Rechnungen-für-März")

    def test_it_says_that_it_renames(self) -> None:
        """trabbits looks for the interface, not for the methods."""
        require(IQueueRenamer.providedBy(self.make_plugin(self.make_reactor())), "it does not provide IQueueRenamer")

    def test_names_are_texts(self) -> None:
        """For any name, both methods answer with a text that is not empty, and always the same."""
        renamer = self.make_plugin(self.make_reactor())
        names = list(self._all_names())
        for method in (renamer.renamed, renamer.original):
            first = [method(name) for name in names]
            again = [method(name) for name in reversed(names)]
            for name, answer, other in zip(names, first, reversed(again), strict=True):
                asked = f"{method.__name__}({name!r})"
                require(isinstance(answer, str) and bool(answer), f"{asked} answered {answer!r:.100}, which is no name")
                require(answer == other, f"{asked} was {answer!r} and is {other!r} now")

    def test_usable_names_come_back(self) -> None:
        """What the upstream says about a queue reaches the client with the client's own name."""
        renamer = self.make_plugin(self.make_reactor())
        for name in self.names:
            new = renamer.renamed(name)
            size = len(new.encode())
            require(size <= 255, f"{name!r} becomes a name of {size} octets; there is room for 255")
            require(not new.startswith(_RESERVED), f"{name!r} becomes {new!r}, which begins with a reserved prefix")
            back = renamer.original(new)
            require(back == name, f"{name!r} becomes {new!r}, and that becomes {back!r}")

    def test_renaming_does_not_block(self) -> None:
        """A name that was never seen takes no time to speak of."""
        renamer = self.make_plugin(self.make_reactor())
        names = [f"{self.names[0]}.{number}" for number in range(5)]
        require_prompt("renamed()", self.time_limit, [partial(renamer.renamed, name) for name in names])
        require_prompt("original()", self.time_limit, [partial(renamer.original, name) for name in names])

    def _all_names(self) -> Iterator[str]:
        yield from self.names
        for text in ODD_TEXTS:
            # Names that are no UTF-8 never get here.
            if text and not LONE_SURROGATE.search(text):
                yield text
