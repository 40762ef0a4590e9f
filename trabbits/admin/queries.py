"""What stands behind the question mark of a request.

Lives here: `Query`.  Must not know: what the parameters are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trabbits.admin.errors import Refused

#: Digits of a number: enough for everything that can be counted here.
_DIGITS = 9


class Query:
    """A request's parameters.  `Refused` unless each is one of `known`, there once, and UTF-8."""

    def __init__(self, given: Mapping[bytes, Sequence[bytes]], known: Sequence[str]) -> None:
        self._values: dict[str, str] = {}
        for octets, values in given.items():
            try:
                name = octets.decode()
                value = values[-1].decode()
            except UnicodeDecodeError:
                raise Refused(400, "the query is not UTF-8") from None
            if name not in known:
                expected = f"expected one of {', '.join(known)}" if known else "none is expected"
                raise Refused(400, f"unknown parameter {name[:60]!r}, {expected}")
            if len(values) > 1:
                raise Refused(400, f"the parameter {name} is there {len(values)} times")
            self._values[name] = value

    def text(self, name: str, default: str = "") -> str:
        """A parameter as it is."""
        return self._values.get(name, default)

    def number(self, name: str, least: int) -> int | None:
        """A whole number; None without the parameter."""
        value = self._values.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS and int(value) >= least):
            raise Refused(400, f"{name}: expected a whole number of at least {least}, with up to {_DIGITS} digits")
        return int(value)

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of these."""
        value = self._values.get(name, default)
        if value not in choices:
            raise Refused(400, f"{name}: expected one of {', '.join(each for each in choices if each)}")
        return value
