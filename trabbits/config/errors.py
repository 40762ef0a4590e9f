"""What is wrong with a configuration: `Problem`, `ConfigError`, and how pydantic's findings become them.

Lives here: wording.  Must not know: files, or what the keys are for.

A refused configuration is explained for the person who wrote it: every problem at once, each with the path of
the place and with what was expected there.  Values are shown only where they cannot be secrets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Protocol, get_args, get_origin

from attrs import frozen
from pydantic import AliasChoices, BaseModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

Location = Sequence[str | int]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SECRET_KEY = re.compile(r"passw|secret|token|credential|auth(?!entication$)", re.IGNORECASE)


@frozen
class Problem:
    """One thing that is wrong: `path` such as ``upstreams[1].name`` (empty: the whole), and what was expected."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(Exception):
    """A configuration that cannot be used.  `source` names the file; `problems` is never empty.

    `warnings` are not wrong by themselves, but often explain what is.
    """

    def __init__(self, source: str, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        super().__init__(source, tuple(problems), tuple(warnings))
        self.source = source
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.source}: {count} {'error' if count == 1 else 'errors'} in the configuration"
        lines = [*map(str, self.problems), *(f"warning: {warning}" for warning in self.warnings)]
        return "\n".join([head, *(f"  {line}" for line in lines)])


def expected(what: str, *, hide: bool = False) -> PydanticCustomError:
    """The error that a validator raises: `what` belongs there.  `hide` keeps the value out of the text."""
    return PydanticCustomError("expected", "expected {what}", {"what": what, "hide": hide})


def path_text(location: Location) -> str:
    """``("upstreams", 1, "name")`` as ``upstreams[1].name``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{_quoted(part)}]"
    return text


def found(value: Any) -> str:
    """A value as an error may show it: scalars themselves, of lists and objects only what they are."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case int() | float():
            try:
                text = repr(value)
            except ValueError:  # an integer beyond Python's limit of digits
                return "a very large number"
            return text if len(text) <= 40 else f"{text[:40]}…"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
    return f"a {type(value).__name__}"


def _quoted(text: str) -> str:
    text = text if len(text) <= 60 else f"{text[:60]}…"
    shown = (c if c.isprintable() and c not in '"\\' else c.encode("unicode_escape").decode("ascii") for c in text)
    return '"' + "".join(shown).replace('"', '\\"') + '"'


class Showing(Protocol):
    """Decides what an error may tell of a configuration: `trabbits.config.origin.Origin`."""

    def found(self, location: Location, value: Any) -> str:
        """`value`, which is wrong."""

    def path(self, location: Location) -> str:
        """Where it is."""

    def foreign(self, text: str) -> str:
        """A text that somebody else's code made of values of the configuration."""


def problems_of(error: ValidationError, model: type[BaseModel], showing: Showing) -> list[Problem]:
    """Pydantic's findings about `model`, in our words."""
    findings = error.errors(include_url=False)
    return [Problem(showing.path(_place(item["loc"])), _message(model, item, showing)) for item in findings]


def _place(location: Location) -> Location:
    """Pydantic appends this where a key of a dictionary is wrong."""
    return location[:-1] if len(location) > 1 and location[-1] == "[key]" else location


_EXPECTED = {
    "string_type": "a string",
    "string_unicode": "a string of valid Unicode",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of at least {min_length}",
    "string_too_short": "a string that is not empty",
    "string_too_long": "a string of at most {max_length} characters",
}


def _message(model: type[BaseModel], error: ErrorDetails, showing: Showing) -> str:
    if error["type"] == "told":
        told = Told(**error["ctx"])
        is_secret = any(isinstance(part, str) and _SECRET_KEY.search(part) for part in error["loc"])
        text, is_shown = told.text, told.is_shown and not is_secret
        text = showing.foreign(text) if told.is_foreign else text
    else:
        text, is_shown = _described(model, error)
    return f"{text}, found {showing.found(error['loc'], error['input'])}" if is_shown else text


@frozen
class Told:
    """An error that a plugin's options explain: the `text`, whether the value may follow, and whether the text is
    the plugin's own, which may contain anything.
    """

    text: str
    is_shown: bool = False
    is_foreign: bool = False

    def error(self) -> PydanticCustomError:
        """To be raised, or to be part of a ValidationError."""
        return PydanticCustomError(
            "told", "{text}", {"text": self.text, "is_shown": self.is_shown, "is_foreign": self.is_foreign}
        )


def told(model: type[BaseModel], error: ErrorDetails) -> Told:
    """The same error in our words, for a configuration that `model` is a part of without saying so."""
    if error["type"] == "told":
        return Told(**error["ctx"])
    text, is_shown = _described(model, error)
    is_foreign = error["type"] not in _EXPECTED and error["type"] not in ("missing", "extra_forbidden")
    return Told(text, is_shown, is_foreign)


def _described(model: type[BaseModel], error: ErrorDetails) -> tuple[str, bool]:
    """What was expected, and whether the value that is there may be shown behind it."""
    location, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if kind == "missing":
        return "missing, but required", False
    if kind == "extra_forbidden":
        return _unknown_key(str(location[-1]), _section_at(model, location[:-1])), False
    if kind == "expected":  # raised by our own validators through `expected`
        if "what" not in context:
            return error["msg"], False
        expected = str(context["what"])
        if context.get("hide"):
            return f"expected {expected}", False
    elif kind in _EXPECTED:
        # A plugin's bound of a float is one, too: 100.0.
        plain = {key: int(each) if _is_whole(each) else each for key, each in context.items()}
        expected = _EXPECTED[kind].format_map(plain)
        if kind == "too_short":
            is_list = context.get("field_type") == "List"
            return f"expected {expected if is_list else _EXPECTED['string_too_short']}", False
    elif kind == "value_error":
        return f"expected {context['error']}", False
    else:
        return f"expected something else ({error['msg']})", False
    return f"expected {expected}", not _is_secret(model, location)


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _unknown_key(key: str, section: type[BaseModel] | None) -> str:
    fields = section.model_fields if section is not None else {}
    for name, field in fields.items():
        if key in _older_names(field):
            return f"this is an older name of {_quoted(name)}: only one of the two"
    known = list(fields)
    if near := difflib.get_close_matches(key, known, n=1):
        return f"unknown key, did you mean {_quoted(near[0])}?"
    return f"unknown key, expected one of {', '.join(sorted(known))}" if known else "unknown key"


def _older_names(field: FieldInfo) -> list[Any]:
    alias = field.validation_alias
    return list(alias.choices) if isinstance(alias, AliasChoices) else [alias]


def _is_secret(model: type[BaseModel], location: Location) -> bool:
    if any(isinstance(part, str) and _SECRET_KEY.search(part) for part in location):
        return True
    if not location:
        return False
    annotation, is_exact = _annotation_at(model, location)
    return _holds_secret(annotation) if is_exact else _contains_secret(annotation, set())


def _holds_secret(annotation: Any) -> bool:
    return _is_secret_type(annotation) or any(map(_holds_secret, get_args(annotation)))


def _contains_secret(annotation: Any, seen: set[Any]) -> bool:
    """Whether there is one anywhere below."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        return any(_contains_secret(field.annotation, seen) for field in annotation.model_fields.values())
    return _is_secret_type(annotation) or any(_contains_secret(part, seen) for part in get_args(annotation))


def _is_secret_type(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Secret | SecretStr | SecretBytes)


def _annotation_at(model: type[BaseModel], location: Location, *, into_dicts: bool = False) -> tuple[Any, bool]:
    """The type that is declared for the value at `location`, or for something around it, and which of the two.

    A dictionary counts as something around its values, unless it is asked for them.
    """
    annotation: Any = model
    is_exact = True
    for part in location:
        if isinstance(part, int):
            continue  # a list's elements: its type names theirs
        if into_dicts and get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        section = _section_in(annotation)
        fields = section.model_fields if section is not None else {}
        names = (name for name, field in fields.items() if part == name or part in _older_names(field))
        if (name := next(names, None)) is not None:
            annotation = fields[name].annotation
        else:  # a key of a dictionary, or one of several models
            is_exact = False
    return annotation, is_exact


def _section_at(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    annotation, is_exact = _annotation_at(model, location, into_dicts=True)
    return _section_in(annotation) if is_exact else None


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if (section := _section_in(part)) is not None:
            return section
    return None
