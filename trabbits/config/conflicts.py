"""Rules that involve more than one key of a configuration.

Lives here: `conflicts`.  Must not know: pydantic, or where the values come from.

They are found in plain values and not in the finished model, because a model with any other mistake in it is never
finished, and all mistakes are told at once.  So everything here expects any value in any place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from trabbits.config.addresses import parse_address


@frozen
class Conflict:
    """At `location`, `what` was expected.  `value` is what is there; None where it says nothing."""

    location: tuple[str | int, ...]
    what: str
    value: Any = None


def conflicts(raw: Any) -> Iterator[Conflict]:
    """Every such mistake in a configuration of plain values."""
    admin = raw.get("admin") if isinstance(raw, dict) else None
    if isinstance(admin, dict) and admin.get("listen") is not None and admin.get("token") is None:
        yield Conflict(("admin", "token"), 'a token, without which "listen" would let everybody in')
    tls = raw.get("tls") if isinstance(raw, dict) else None
    if isinstance(tls, dict) and tls.get("client_certificate") is not None and tls.get("client_ca") is None:
        yield Conflict(("tls", "client_ca"), "a file of certificates, without which no client's can be verified")
    upstreams = raw.get("upstreams") if isinstance(raw, dict) else None
    if not isinstance(upstreams, list):
        return
    for index in _repeated([item.get("name") if isinstance(item, dict) else None for item in upstreams]):
        location = ("upstreams", index, "name")
        yield Conflict(location, "a name that no other upstream has", upstreams[index]["name"])
    for index, upstream in enumerate(upstreams):
        if isinstance(upstream, dict):
            yield from _in_upstream(upstream, ("upstreams", index))


def _in_upstream(upstream: dict[str, Any], location: tuple[str | int, ...]) -> Iterator[Conflict]:
    address, cluster, health_check = (upstream.get(key) for key in ("address", "cluster", "health_check"))
    if address is None and cluster is None:
        yield Conflict(location, '"address" (one node) or "cluster" (several)')
    elif address is not None and cluster is not None:
        yield Conflict((*location, "cluster"), 'only one of "address" and "cluster"')
    if isinstance(cluster, dict) and isinstance(nodes := cluster.get("nodes"), list):
        addresses = [node.get("address") if isinstance(node, dict) else node for node in nodes]
        for index in _repeated(list(map(_normal, addresses))):
            place = (*location, "cluster", "nodes", index)
            yield Conflict(place, "an address that no other node has", addresses[index])
    if isinstance(credentials := upstream.get("credentials"), dict):
        for user, mapped in credentials.items():
            if isinstance(mapped, dict):
                yield from _in_mapped(mapped, (*location, "credentials", user))
    if isinstance(health_check, dict) and health_check.get("enabled", True) is True:
        for key in ("username", "password"):
            if health_check.get(key) is None:
                what = f'a {key}, which an enabled health check logs in with (or "enabled": false)'
                yield Conflict((*location, "health_check", key), what)


def _in_mapped(mapped: dict[str, Any], location: tuple[str | int, ...]) -> Iterator[Conflict]:
    given = [key for key in ("password", "password_file") if mapped.get(key) is not None]
    if not given:
        yield Conflict(location, '"password" or "password_file"')
    if len(given) == 2:
        yield Conflict((*location, "password_file"), 'only one of "password" and "password_file"')
    if mapped.get("client_password") is not None and mapped.get("client_password_file") is not None:
        what = 'only one of "client_password" and "client_password_file"'
        yield Conflict((*location, "client_password_file"), what)


def _normal(address: Any) -> Any:
    """One text for all ways to write an address."""
    try:
        return str(parse_address(address)).lower() if isinstance(address, str) else None
    except ValueError:
        return address


def _repeated(values: list[Any]) -> Iterator[int]:
    """Where a text stands that was there before; what is no text is passed over."""
    seen: set[str] = set()
    for index, value in enumerate(values):
        if isinstance(value, str):
            if value in seen:
                yield index
            seen.add(value)
