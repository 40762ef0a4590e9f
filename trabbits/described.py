"""Models whose fields are described by the docstrings below them.

Lives here: `Described`.  Must not know: what the models are for.

pydantic does the same by itself (``use_attribute_docstrings``), but reads and parses the source of each class when it
is made, which took a tenth of a proxy's start.  Here it is read when somebody asks for a schema.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import AliasChoices, BaseModel, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema


class Described(BaseModel):
    """The docstring of a field is its description in the JSON Schema, unless its `Field` has one.

    A class with a `__get_pydantic_json_schema__` of its own begins with what this one returns.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Called by pydantic."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        texts = docstrings(cls)
        for name, field in cls.model_fields.items():
            key = next((key for key in _keys(name, field) if key in properties), None)
            if key is not None and name in texts and field.description is None:
                properties[key]["description"] = texts[name]
        return schema


@cache
def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings of a model's fields, inherited ones included; none where there is no source to be read."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= dict(_written_below(each))
    return found


def _written_below(model: type) -> Iterator[tuple[str, str]]:
    try:
        source = inspect.getsource(model)
        # A class inside a function is indented.
        tree = ast.parse(f"if True:\n{source}" if source[0].isspace() else source)
    except (OSError, TypeError, SyntaxError):  # made by a call, or in an interactive session
        return
    made = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    for field, text in pairwise(made.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(value))):
                yield name, inspect.cleandoc(value)


def _keys(name: str, field: FieldInfo) -> Iterator[str]:
    """What a field may be called in a schema."""
    aliases = field.validation_alias
    for each in (*(aliases.choices if isinstance(aliases, AliasChoices) else [aliases]), field.serialization_alias):
        if isinstance(each, str):
            yield each
    yield name
