"""What the admin API answers, as values for the screen.

Lives here: `Source`, the calls that the console makes, and the decoding of their answers.  Must not know: the screen,
or threads; every call blocks.

An answer may come from a newer or an older trabbits: a field that is missing or of another type is shown as empty and
never ends the console.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from attrs import define

from trabbits.api_client import ApiClient, EventStream, path_of
from trabbits.console.text import epoch

Json = Mapping[str, Any]


@define(frozen=True)
class Client:
    """One row of the table."""

    id: str
    address: str
    user: str
    virtual_host: str
    banner: str
    #: Seconds since the epoch; None when the server didn't say.
    connected_at: float | None
    status: str
    shutdown_reason: str
    methods: int
    frames: int


@define(frozen=True)
class Page:
    """Rows from `offset` on of what a listing holds; `total` counts all that the filter lets through."""

    offset: int
    rows: tuple[Client, ...]
    total: int


@define(frozen=True)
class Summary:
    """The numbers of the header.  None: the server doesn't tell."""

    version: str
    clients: int
    active: int | None
    ever: int | None
    #: Counters by what they count, for the rates.
    counters: Mapping[str, int]


#: So many clients on their way out are counted when the server doesn't tell how many there are.
_COUNTED = 50


class Source:
    """The calls to the admin API that the console needs.  All may raise ApiError and ApiUnreachable."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    @property
    def place(self) -> str:
        """Where the server is, for the header."""
        return self._api.place

    def summary(self) -> Summary:
        """The totals."""
        index = mapping(self._api.get("/"))
        stats = mapping(index.get("stats"))
        version, ever = text_of(index.get("version")), number_or_none(stats.get("connections_total"))
        active = number_or_none(stats.get("active_clients"))
        if active is None:
            clients, active = self._count()
            counters = _sums(self.upstreams(), ("publishes", "deliveries"))
        else:
            clients = active + (number_or_none(stats.get("shutting_down_clients")) or 0)
            methods, frames = stats.get("total_methods"), _sums([stats], ("received_frames", "sent_frames"))
            counters = {"methods": number_or_none(methods) or 0, "frames": sum(frames.values())}
        return Summary(version, clients, active, ever, counters)

    def _count(self) -> tuple[int, int | None]:
        """All clients, and the active ones of them: those on their way out come first, if there are any."""
        answer = self._api.request("GET", "/clients", query={"limit": _COUNTED, "sort": "-status"})
        rows = [mapping(entry) for entry in listing(answer.content)]
        leaving = sum(row.get("status") == "shutting_down" for row in rows)
        return answer.total, None if leaving == _COUNTED else answer.total - leaving

    def clients(self, offset: int, limit: int, sort: str, query: str) -> Page:
        """A part of the listing."""
        answer = self._api.request(
            "GET", "/clients", query={"limit": limit, "offset": offset, "sort": sort, "q": query or None}
        )
        rows = tuple(client_of(mapping(entry)) for entry in listing(answer.content))
        return Page(offset, rows, max(answer.total, len(rows)))

    def client(self, id: str) -> Json:
        """Everything about one client."""
        return mapping(self._api.get(path_of("clients", id)))

    def shut_down(self, id: str, reason: str) -> Json:
        """Ask for the shutdown of one client."""
        return mapping(self._api.delete(path_of("clients", id), reason=reason or None))

    def upstreams(self) -> list[Json]:
        """Upstreams and their nodes."""
        return [mapping(entry) for entry in listing(self._api.get("/upstreams"))]

    def probe(self, id: str) -> EventStream:
        """The protocol events of one client."""
        return self._api.stream(path_of("clients", id, "probe"))

    def logs(self) -> EventStream:
        """The server's log."""
        return self._api.stream("/logs")


def client_of(entry: Json) -> Client:
    """A row from an entry of the listing (or from the detail, which begins with the same fields)."""
    return Client(
        id=text_of(entry.get("id")),
        address=text_of(entry.get("client_address")),
        user=text_of(entry.get("user")),
        virtual_host=text_of(entry.get("virtual_host")),
        banner=text_of(entry.get("client_banner")),
        connected_at=epoch(entry.get("connected_at")),
        status=text_of(entry.get("status")),
        shutdown_reason=text_of(entry.get("shutdown_reason")),
        methods=number_or_none(entry.get("total_methods")) or 0,
        frames=number_or_none(entry.get("total_frames")) or 0,
    )


def mapping(value: object) -> Json:
    """The value if it is an object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def listing(value: object) -> list[Any]:
    """The value if it is an array, an empty one otherwise."""
    return value if isinstance(value, list) else []


def text_of(value: object) -> str:
    """The value if it is text, nothing otherwise."""
    return value if isinstance(value, str) else ""


def number_or_none(value: object) -> int | None:
    """The value if it is a number."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) else None


def _sums(entries: list[Json], names: tuple[str, ...]) -> dict[str, int]:
    return {name: sum(number_or_none(entry.get(name)) or 0 for entry in entries) for name in names}
