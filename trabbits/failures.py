"""What may be told of somebody else's code that failed or answered with nonsense, and a fence around it.

Lives here: `fence` and `let_through`, `where_it_failed`, `error_text`, `kind_of_failure` and `dismissed`.
Must not know: who failed at what.

Somebody else's code may raise anything: ``sys.exit()`` is no Exception, and neither are the panics of extensions in
Rust.  None of it may end more than what it concerns.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CoroutineType
from typing import Final

#: How far causes are followed: an exception may be its own.
_CAUSES_MAX: Final = 20
#: Characters of an error's text.
ERROR_TEXT_MAX: Final = 1000


class HeldBack(Exception):
    """What a fence made of `error`, which would have ended the process."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def fence() -> Iterator[None]:
    """Around somebody else's code: everything it raises is an Exception, but for what `let_through` raises again."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        let_through(error)
        raise HeldBack(error).with_traceback(error.__traceback__) from None


def let_through(error: BaseException) -> None:
    """Raise `error` again if it is no failure of the code that it came from.

    That is KeyboardInterrupt, which is the operator's, and GeneratorExit, which is Python's.  For ``except
    BaseException`` around somebody else's code on paths where a `fence` would cost too much: this costs nothing as long
    as nothing is raised.
    """
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        raise error


def where_it_failed(error: BaseException) -> str:
    """An unexpected exception of somebody else's code: not its text, which may hold anything, secrets included."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(_raised(error)).__name__}{place}"


def error_text(error: BaseException) -> str:
    """The same with its text, in one line of at most `ERROR_TEXT_MAX` characters: where no secrets are at stake."""
    name, text = type(_raised(error)).__name__, message_of(error)
    return shortened(f"{name}: {text}" if text else name, ERROR_TEXT_MAX)


def message_of(error: BaseException) -> str:
    """The text alone, in one line; empty for an exception that fails to say what it is."""
    try:
        with fence():
            return shortened(" ".join(str(_raised(error)).split()), ERROR_TEXT_MAX)
    except Exception:
        return ""


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of it, the last one telling that there is more."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _raised(error: BaseException) -> BaseException:
    return error.error if isinstance(error, HeldBack) else error


def kind_of_failure(error: BaseException) -> str:
    """The kind of the exception at the bottom of it: the one that the others were raised from."""
    for _ in range(_CAUSES_MAX):
        if error.__cause__ is None:
            break
        error = error.__cause__
    return type(_raised(error)).__name__


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
