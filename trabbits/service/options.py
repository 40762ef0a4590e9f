"""How the process was started, and the configuration that it was started with.

Lives here: `Options` and `read_config`.  Must not know: how options were given, or what becomes of them.
"""

from __future__ import annotations

from attrs import frozen

from trabbits.config import Loaded, default_config, load_config


@frozen
class Options:
    """How the process was started.

    `config` is a path; without one, a broker on this machine is used.  `host` is the address to listen on,
    empty for all IPv4 addresses; port 0 lets the system choose.  With `reuse_port`, another process of the same user
    may listen there, too.  Metrics are served on `metrics_port` of `host`; None serves none.
    `api_socket` is the path of the admin API's UNIX socket; with an empty one there is none, with None no API at all.
    """

    config: str | None = None
    host: str = ""
    port: int = 6672
    reuse_port: bool = True
    metrics_port: int | None = 16692
    api_socket: str | None = None
    pid_file: str | None = None
    debug: bool = False
    log_format: str | None = None


def read_config(options: Options) -> Loaded:
    """The configuration that `options` name.  Raises `trabbits.config.ConfigError`."""
    if options.config is None:
        return Loaded(default_config(), (), "(defaults)")
    return load_config(options.config)
