"""Why the answer of a routing strategy cannot be followed, in words for the client and the log.

Lives here: `problem_of`.  Must not know: where messages go if it can.
"""

from __future__ import annotations

from collections.abc import Sequence

from trabbits.failures import dismissed
from trabbits.interfaces import Mirrored


def problem_of(answer: object, upstreams: Sequence[str], *, mirrors: bool) -> str:
    """What is wrong with it, empty if nothing is.

    `upstreams` are the configured ones, in their order; `mirrors` says whether the strategy may ask for copies.
    """
    if answer is None:
        return ""
    if not isinstance(answer, Mirrored):
        return _no_upstream("it answered with", answer, upstreams)
    if not mirrors:
        return "it answered with Mirrored, which is only for strategies that provide IMirroringStrategy"
    problems = [_no_upstream("it wants copies for", name, upstreams) for name in answer.copies]
    if answer.upstream is not None:
        problems.insert(0, _no_upstream("it answered with Mirrored for", answer.upstream, upstreams))
    return next(filter(None, problems), "")


def _no_upstream(before: str, name: object, upstreams: Sequence[str]) -> str:
    if not isinstance(name, str):
        return f"{before} {dismissed(name)}, which is not the name of an upstream"
    if name not in upstreams:
        return f"{before} {name!r:.100}, which is no upstream of the configuration ({', '.join(upstreams)})"
    return ""
