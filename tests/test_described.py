"""Models whose fields are described by the docstrings below them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import AliasChoices, ConfigDict, Field, create_model

from trabbits.described import Described


class Base(Described):
    model_config = ConfigDict(populate_by_name=True)

    own: int = 0
    """Told by the base.

        With lines of its own."""
    replaced: int = 0
    """Told by the base."""


class Inner(Described):
    x: int
    """Told inside."""


class Model(Base):
    replaced: int = 1
    """Told by the model."""
    said: int = Field(0, description="Told by the field.")
    """Told to readers of the source only."""
    silent: int = 0
    inner: Inner | None = None
    """Has fields of its own."""
    old: int = Field(0, validation_alias=AliasChoices("new", "newer"))
    """Goes by another name."""
    shown: int = Field(0, serialization_alias="seen")
    """Is seen by another name."""

    def method(self) -> None:
        local: int = 0
        """Not a field."""
        del local


def descriptions(schema: dict[str, Any]) -> dict[str, str | None]:
    return {name: value.get("description") for name, value in schema["properties"].items()}


def test_fields_are_described() -> None:
    assert descriptions(Model.model_json_schema()) == {
        "own": "Told by the base.\n\nWith lines of its own.",
        "replaced": "Told by the model.",
        "said": "Told by the field.",
        "silent": None,
        "inner": "Has fields of its own.",
        "new": "Goes by another name.",
        "shown": "Is seen by another name.",
    }
    assert descriptions(Model.model_json_schema()["$defs"]["Inner"]) == {"x": "Told inside."}


@pytest.mark.parametrize(("by_alias", "mode"), [(False, "validation"), (True, "serialization")])
def test_fields_are_described_under_each_name(by_alias: bool, mode: Any) -> None:
    told = descriptions(Model.model_json_schema(by_alias, mode=mode))
    assert told["seen" if by_alias else "shown"] == "Is seen by another name."
    assert told["old"] == "Goes by another name."


def test_a_class_inside_a_function() -> None:
    class Local(Described):
        here: int = 0
        """Told here."""
        text: str = """
not indented"""
        """Told behind."""

    assert descriptions(Local.model_json_schema()) == {"here": "Told here.", "text": "Told behind."}


def test_a_class_without_source_has_no_descriptions() -> None:
    made = create_model("Made", __base__=Base, more=(int, 0))
    assert descriptions(made.model_json_schema()) == {
        "own": "Told by the base.\n\nWith lines of its own.",
        "replaced": "Told by the base.",
        "more": None,
    }
