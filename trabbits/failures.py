"""What may be told of somebody else's code that failed, or answered with nonsense.

Lives here: `where_it_failed`, `kind_of_failure` and `dismissed`.  Must not know: who failed at what.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from types import CoroutineType
from typing import Final

#: How far causes are followed: an exception may be its own.
_CAUSES_MAX: Final = 20


def where_it_failed(error: BaseException) -> str:
    """An unexpected exception of somebody else's code: not its text, which may hold anything, secrets included."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def kind_of_failure(error: BaseException) -> str:
    """The kind of the exception at the bottom of it: the one that the others were raised from."""
    for _ in range(_CAUSES_MAX):
        if error.__cause__ is None:
            break
        error = error.__cause__
    return type(error).__name__


def dismissed(answer: object) -> str:
    """What somebody else's code answered that is no answer, by its kind: ``a Deferred``.

    Nobody is going to await it: a coroutine is closed, so that Python does not complain.
    """
    if answer is None:
        return "None"
    if isinstance(answer, CoroutineType):
        answer.close()
    kind = type(answer).__name__
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"
