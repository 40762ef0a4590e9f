"""Secrets that a configuration keeps in files of their own.

Lives here: `SecretFile`, reading, and the annotated type for pydantic.  Must not know: what a secret is for.

Files are read when the configuration is: what stands in them is part of it.  A validation context with `secret_files`
bounds which ones.
"""

from __future__ import annotations

from typing import Annotated, Any

from attrs import frozen
from pydantic import PlainSerializer, PlainValidator, SecretStr, ValidationInfo, WithJsonSchema

from trabbits.config.errors import expected

#: Octets; a larger file is somebody's mistake.
SIZE_LIMIT = 4096


@frozen
class SecretFile:
    """A file, and the line that stands in it."""

    path: str
    secret: SecretStr

    def __str__(self) -> str:
        return self.path


def _secret_file(value: Any, info: ValidationInfo) -> SecretFile:
    if isinstance(value, SecretFile):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise expected("the name of a file", hide=True)
    allowed = (info.context or {}).get("secret_files")
    if allowed is not None and value not in allowed:
        raise expected("a file that the running configuration names: no others are read this way", hide=True)
    try:
        with open(value, "rb") as file:
            octets = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such name"
        raise expected(f"a file that can be read ({reason})", hide=True) from None
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    line = text.removesuffix("\n").removesuffix("\r")
    if not line or len(octets) > SIZE_LIMIT or any(each in line for each in "\n\r\0"):
        raise expected(f"a file of one line of UTF-8 text, at most {SIZE_LIMIT} octets", hide=True)
    return SecretFile(value, SecretStr(line))


SecretFileField = Annotated[
    SecretFile,
    PlainValidator(_secret_file),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": ["/run/credentials/trabbits.service/orders"]}),
]
