"""What trabbits announces itself as: the RabbitMQ that stands behind it.

Clients draw conclusions from a server's product and version (kombu, for one, chooses the meaning of basic.qos by them),
so they must be told what they really talk to: the product RabbitMQ, in the lowest version of all upstreams.
connection.start comes before any link, so it is the version as last seen.
Must not know: how links are opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PRODUCT: Final = "RabbitMQ"
#: Announced until an upstream has told its version: the oldest that trabbits is tested with.
DEFAULT_VERSION: Final = "3.10.0"


class AnnouncedVersion:
    """The version to announce.  One object serves all sessions of a configuration."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    @property
    def version(self) -> str:
        """The lowest version seen, as its upstream spells it."""
        return min(self._versions.values(), key=_parts, default=DEFAULT_VERSION)

    def note(self, upstream: str, properties: Mapping[str, Any]) -> None:
        """The server properties that an upstream sent in connection.start."""
        version = properties.get("version")
        if properties.get("product") == PRODUCT and isinstance(version, str) and _parts(version):
            self._versions[upstream] = version


def _parts(version: str) -> tuple[int, ...]:
    """``3.10.8`` -> (3, 10, 8); what is behind a number ends it (``4.0.0-rc.1``)."""
    parts: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            parts.append(int(digits))
        if digits != part:
            break
    return tuple(parts)
