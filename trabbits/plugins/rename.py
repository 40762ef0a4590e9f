"""Queues get other names at one upstream, without the clients knowing.

Lives here: `Rename`, its patterns, and which of them could not be undone.  Must not know: frames, sessions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from attrs import frozen
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from trabbits.interfaces import IQueueAttributeRewriter, IQueueRenamer, QueueAttributes, QueueDeclare
from trabbits.plugins.declaring import Plugin, PluginOptions

_UNCHANGED = QueueAttributes()
_WILD = "*"
#: What names have at most, in octets.
_SIZE_MAX = 255
#: Beginnings of names that are the broker's, or trabbits' own.
_RESERVED = ("amq.", "trabbits.gen-")


@frozen
class _Shape:
    """What names look like: `before` and `after` around any text, or `before` alone if there is no such text."""

    before: str
    after: str | None

    @classmethod
    def of(cls, text: str) -> _Shape:
        before, wild, after = text.partition(_WILD)
        return cls(before, after if wild else None)

    def text_of(self, name: str) -> str | None:
        """What stands for the asterisk in `name`; None if it does not look like this."""
        if self.after is None:
            return "" if name == self.before else None
        room = len(name) - len(self.before) - len(self.after)
        if room < 0 or not (name.startswith(self.before) and name.endswith(self.after)):
            return None
        return name[len(self.before) : len(name) - len(self.after)]

    def name_of(self, text: str) -> str:
        """The inverse."""
        return self.before + text + (self.after or "")

    def overlaps(self, other: _Shape) -> bool:
        """Whether a name may look like both."""
        if self.after is None:
            return other.text_of(self.before) is not None
        if other.after is None:
            return self.text_of(other.before) is not None
        # Any text may stand between, so one beginning and one end that are part of the other make such a name.
        begin = self.before.startswith(other.before) or other.before.startswith(self.before)
        return begin and (self.after.endswith(other.after) or other.after.endswith(self.after))


@implementer(IQueueRenamer)
class Rename:
    """Renames queues by the first pattern that matches: pairs of what the client calls them and what the upstream does.

    Both have one asterisk, for any text, or none.  Names that none matches stay.
    """

    def __init__(self, patterns: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(_Shape.of(match), _Shape.of(to)) for match, to in patterns]

    def rewrite(self, declare: QueueDeclare) -> QueueAttributes:
        return _UNCHANGED

    def renamed(self, queue: str) -> str:
        for match, to in self._pairs:
            text = match.text_of(queue)
            if text is not None:
                return to.name_of(text)
        return queue

    def original(self, queue: str) -> str:
        for match, to in self._pairs:
            text = to.text_of(queue)
            if text is not None:
                original = match.name_of(text)
                # A pattern before this one may have taken the name.
                return original if original and self.renamed(original) == queue else queue
        return queue


def _expected(what: str) -> PydanticCustomError:
    return PydanticCustomError("expected", "expected {what}", {"what": what})


def _part(text: str) -> str:
    if _WILD in text:
        raise _expected("text without an asterisk: it is the same for all names")
    return text


def _pattern(text: str) -> str:
    if text.count(_WILD) > 1:
        raise _expected("at most one asterisk, which stands for any text")
    if len(text.encode()) > _SIZE_MAX:
        raise _expected(f"at most {_SIZE_MAX} octets (AMQP's limit for names of queues)")
    return text


def _possible(text: str) -> str:
    if text.startswith(_RESERVED):
        raise _expected(f"a name that does not begin with {' or '.join(_RESERVED)}: such queues are not the clients'")
    return text


class RenamePattern(PluginOptions):
    """Queues that the upstream calls differently."""

    match: Annotated[str, Field(min_length=1), AfterValidator(_pattern)]
    """What clients call them; an asterisk stands for any text."""
    to: Annotated[str, Field(min_length=1), AfterValidator(_pattern), AfterValidator(_possible)]
    """What the upstream calls them; the asterisk stands for the same text."""


def _reversible(patterns: list[RenamePattern]) -> list[RenamePattern]:
    for place, pattern in enumerate(patterns):
        if (_WILD in pattern.match) != (_WILD in pattern.to):
            raise _expected(f"an asterisk in both match and to, or in neither (it is only in one of those at {place})")
        for first, other in enumerate(patterns[:place]):
            if _Shape.of(other.to).overlaps(_Shape.of(pattern.to)):
                what = "patterns that can be undone (those at {} and {} may make the same name of different ones)"
                raise _expected(what.format(first, place))
    return patterns


class RenameOptions(PluginOptions):
    """The same for all queues (`prefix`, `suffix`), or `patterns`."""

    prefix: Annotated[str, AfterValidator(_part), AfterValidator(_possible)] = ""
    """What stands before the names of all queues."""
    suffix: Annotated[str, AfterValidator(_part)] = ""
    """What stands behind the names of all queues."""
    patterns: Annotated[list[RenamePattern], AfterValidator(_reversible)] = []
    """In place of both: the first one that matches gives the name; queues that none matches keep theirs."""

    @model_validator(mode="after")
    def _one_way(self) -> RenameOptions:
        if bool(self.patterns) == bool(self.prefix or self.suffix):
            raise _expected("prefix or suffix (or both), or else patterns")
        if len(f"{self.prefix}{self.suffix}".encode()) >= _SIZE_MAX:
            raise _expected(f"less than {_SIZE_MAX} octets in prefix and suffix (AMQP's limit for names of queues)")
        return self


def _make(options: RenameOptions) -> Rename:
    if options.patterns:
        return Rename((pattern.match, pattern.to) for pattern in options.patterns)
    return Rename([(_WILD, f"{options.prefix}{_WILD}{options.suffix}")])


rename = Plugin(
    "rename",
    IQueueAttributeRewriter,
    RenameOptions,
    lambda options, _: _make(options),
    "queues have other names at the upstream",
)
