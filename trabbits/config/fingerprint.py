"""Telling configurations apart without showing them.

Lives here: `config_hash`.  Must not know: what the keys mean, or who compares.
"""

from __future__ import annotations

import json
import secrets
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel, SecretStr

from trabbits.config.addresses import Address
from trabbits.config.model import Config
from trabbits.config.plugin_use import PluginUse
from trabbits.config.secret_files import SecretFile

#: Of this process alone: whoever sees a hash, in a log or through the admin API, cannot try passwords against it.
_KEY = secrets.token_bytes(32)


def config_hash(config: Config, key: bytes = _KEY) -> str:
    """16 hexadecimal digits: the same for configurations that mean the same, others for any that differ.

    Passwords count.  Hashes of different processes cannot be compared.
    """
    text = json.dumps(_plain(config), sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), key=key, digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, PluginUse):
        return [value.plugin, _options(value)]
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, SecretFile):
        return [value.path, value.secret.get_secret_value()]
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _options(use: PluginUse) -> Any:
    """Those that the plugin gets, or as they were written if they became something that has no JSON."""
    options = _plain(use.validated)
    try:
        json.dumps(options, sort_keys=True)
    except (TypeError, ValueError):
        return use.options
    return options
