"""The process in which Jsonnet runs: a request on standard input, an answer on standard output, both JSON.

Lives here: `answer`, the native functions, imports.  Must not know: anything of trabbits, because this file is run
alone, and the interpreter starts the faster the less it loads.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

_PLACE = r"(\(?\d+:\d+\)?(?:-\(?[\d:]+\)?)?)"
_STATIC_ERROR = re.compile(rf"STATIC ERROR: (.*?):{_PLACE}: (.*)", re.DOTALL)
_TRACE_LINE = re.compile(rf"\t(.+?):{_PLACE}\t")
_STACK_LIMIT = 500


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate `request`: `json` or `error` with its `place`, and the `variables` that were read."""
    evaluation = _Evaluation(
        request["source"], request["environment"], request["size_limit"], imports=request.get("imports", True)
    )
    return evaluation.run(request["text"]) | {"variables": evaluation.variables}


class _Evaluation:
    def __init__(self, source: str, environment: Mapping[str, str], size_limit: int, *, imports: bool) -> None:
        self.variables: dict[str, str] = {}
        # Jsonnet wants UTF-8, and file names need not be.
        self._source = os.fsencode(source).decode(errors="replace")
        self._files = {self._source}
        self._environment = environment
        self._size_limit = size_limit
        self._room = size_limit
        self._imports = imports

    def run(self, text: str) -> dict[str, str]:
        import _jsonnet

        try:
            result: str = _jsonnet.evaluate_snippet(
                self._source,
                text,
                max_stack=_STACK_LIMIT,
                import_callback=self._import,
                # The names of parameters have one character each: the binding of Jsonnet 0.22 reads longer ones after
                # it has freed them (google/jsonnet#1321).
                native_callbacks={"env": (("n", "d"), self._env), "must_env": (("n",), self._must_env)},
            )
        except RuntimeError as error:
            return self._explained(str(error).rstrip("\n"))
        except ValueError as error:  # NUL, half of a surrogate pair, octets that are no text
            return _failure("", f"not usable: {error}")
        if len(result) > self._size_limit:
            return _failure("", f"the result is larger than {self._size_limit} characters")
        return {"json": result}

    def _env(self, name: Any, default: Any) -> Any:
        value = self._variable("env", name)
        return default if value is None else value

    def _must_env(self, name: Any) -> str:
        value = self._variable("must_env", name)
        if value is None:
            raise ValueError(f"the environment variable {name} is not set")
        return value

    def _variable(self, function: str, name: Any) -> str | None:
        if not isinstance(name, str):
            raise ValueError(f"{function} expects the name of an environment variable")
        value = self._environment.get(name)
        if value is None:
            return None
        # The binding crashes on anything else.
        if "\0" in value or not _is_unicode(value):
            raise ValueError(f"the environment variable {name} is not UTF-8")
        if value:
            self.variables[value] = name
        return value

    def _import(self, folder: str, name: str) -> tuple[str, bytes]:
        if not self._imports:
            raise ValueError("files cannot be imported here")
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as file:
                octets = file.read(self._room + 1)
        except OSError as error:
            raise ValueError(error.strerror) from None
        if len(octets) > self._room:
            raise ValueError(f"all files together are larger than {self._size_limit} octets")
        try:
            octets.decode()
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None
        self._room -= len(octets)
        self._files.add(path)
        return path, octets

    def _explained(self, text: str) -> dict[str, str]:
        """Jsonnet's error: its first lines are the message, the indented ones where it happened, innermost first."""
        if match := _STATIC_ERROR.fullmatch(text):
            return _failure(f"{match[1]}:{match[2]}", match[3])
        message, tab, trace = text.removeprefix("RUNTIME ERROR: ").partition("\n\t")
        places = _TRACE_LINE.finditer(tab + trace)
        # Not the places in Jsonnet's own library.
        place = next((f"{found[1]}:{found[2]}" for found in places if found[1] in self._files), "")
        return _failure(place, message)


def _failure(place: str, message: str) -> dict[str, str]:
    return {"place": place, "error": message}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _limit_memory(octets: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (octets, octets))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main() -> None:
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    _limit_memory(request["memory_limit"])
    json.dump(answer(request), sys.stdout)


if __name__ == "__main__":
    _main()
