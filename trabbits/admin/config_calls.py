"""What the API does with configurations: show, compare, replace, reload.

Lives here: the calls' work, from a body's octets to an answer's content.  Must not know: HTTP beyond statuses, or how a
configuration is put to use.
"""

from __future__ import annotations

import difflib
import json
from typing import Any, Literal

from twisted.internet.defer import DeferredLock

from trabbits.admin.errors import Refused, problems_json, wrong_config
from trabbits.admin.interface import Changed, NoFile, Process, Stopping
from trabbits.admin.secrets import comparable, unmasked
from trabbits.config import ConfigError, Loaded, config_hash, masked

LANGUAGES: dict[str, Literal["json", "jsonnet"]] = {"application/json": "json", "application/jsonnet": "jsonnet"}
#: Configurations that wait until one is checked.
WAITING = 16


class ConfigCalls:
    """Configurations given over the API are checked one at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = DeferredLock()

    def current(self) -> dict[str, Any]:
        """The running one, masked."""
        return masked(self._process.config)

    async def replace(self, octets: bytes, content_type: str, expected: str = "") -> dict[str, Any]:
        """Change to the one in a body; with `expected`, only if the running one still has this hash."""
        loaded = await self._checked(octets, content_type)
        self._expect(expected)
        # From here on in one go: whatever happens, it is applied completely or not at all.
        return await self._outcome(lambda: self._process.apply(self._with_secrets(loaded)))

    async def difference(self, octets: bytes, content_type: str) -> str:
        """What the one in a body would change, as a unified diff; empty when it means the same."""
        loaded = self._with_secrets(await self._checked(octets, content_type))
        running = self._process.config
        if config_hash(loaded.config) == self._process.config_hash:
            return ""
        lines = difflib.unified_diff(
            _lines(masked(running)), _lines(comparable(loaded.config, running)), "running", "given"
        )
        return "".join(lines)

    async def reload(self) -> dict[str, Any]:
        """Read the file again."""
        return await self._outcome(self._process.reload)

    async def _checked(self, octets: bytes, content_type: str) -> Loaded:
        kind = content_type.partition(";")[0].strip().lower()
        language = LANGUAGES.get(kind)
        if language is None:
            known = " or ".join(LANGUAGES)
            raise Refused(415, f"the body is {kind or 'of an unknown type'}, expected Content-Type {known}")
        try:
            text = octets.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Refused(400, "the body is not UTF-8") from None
        if not text.strip():
            raise Refused(400, "the body is empty")
        if len(self._turn.waiting) >= WAITING:
            raise Refused(503, "too many configurations wait to be checked", headers={"Retry-After": "5"})
        try:
            loaded: Loaded = await self._turn.run(self._process.parse, text, language)
        except ConfigError as error:
            raise wrong_config(error) from None
        return loaded

    def _with_secrets(self, loaded: Loaded) -> Loaded:
        try:
            return unmasked(loaded, self._process.config)
        except ConfigError as error:
            raise wrong_config(error) from None

    def _expect(self, expected: str) -> None:
        current = self._process.config_hash
        if expected and expected != "*" and f'"{current}"' not in [tag.strip() for tag in expected.split(",")]:
            raise Refused(412, f"the running configuration is another one ({current})")

    async def _outcome(self, change: Any) -> dict[str, Any]:
        try:
            result = change()
            changed: Changed = result if isinstance(result, Changed) else await result
        except ConfigError as error:
            raise wrong_config(error) from None
        except NoFile:
            raise Refused(409, "trabbits was started without a configuration file (--config)") from None
        except Stopping:
            raise Refused(503, "trabbits is stopping") from None
        return {
            "hash": changed.hash,
            "changed": changed.changed,
            "outdated": changed.outdated,
            "warnings": problems_json(changed.warnings),
        }


def _lines(content: dict[str, Any]) -> list[str]:
    return json.dumps(content, indent=2, ensure_ascii=False).splitlines(keepends=True)
