"""Log lines: what they hold, what they never hold, and that writing them cannot fail."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from trabbits.log_ids import LogId
from trabbits.logs import LINE_LIMIT, EventLog, LineObserver, SessionLog, _StandardLibraryBridge, make_observer


class Lines:
    """Loggers that write to a buffer, and the buffer's lines."""

    def __init__(self, form: str, *, debug: bool = False) -> None:
        self.stream = io.StringIO()
        self.observer = LineObserver(self.stream, form, debug=debug)
        self.logger = Logger("test", observer=self.observer)
        self.log = EventLog(self.logger)
        self.session = SessionLog(self.logger, "proxy-1")

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def as_json() -> Lines:
    return Lines("json")


@pytest.fixture
def as_text() -> Lines:
    return Lines("text")


def test_a_json_line(as_json: Lines) -> None:
    """A line carries time, level, id, event, the session, every field and the message."""
    as_json.session(LogId.CLIENT_VIOLATION, code=501, text="bad end", channel=3)
    (entry,) = as_json.entries
    moment = datetime.fromisoformat(entry.pop("time"))
    assert moment.utcoffset() is not None
    assert entry == {
        "level": "warn",
        "id": "TR104",
        "event": "client_violation",
        "session": "proxy-1",
        "code": 501,
        "text": "bad end",
        "channel": 3,
        "message": "client broke the protocol on channel 3: 501 bad end",
    }


def test_a_text_line(as_text: Lines) -> None:
    as_text.session(LogId.CLIENT_VIOLATION, code=501, text="bad end", channel=3)
    as_text.log(LogId.STOPPED)
    first, second = as_text.text.splitlines()
    assert first.endswith(" WARN     TR104 [proxy-1] client broke the protocol on channel 3: 501 bad end")
    assert second.endswith(" INFO     TR004 stopped")
    assert "\x1b" not in as_text.text


def test_debug_lowers_the_threshold() -> None:
    """Debug entries, and what libraries say below a warning, show with debug only."""
    for debug in (False, True):
        lines = Lines("json", debug=debug)
        lines.log(LogId.CLIENT_CONNECTED, address="x")
        lines.logger.info("chatter")
        lines.logger.warn("trouble in {place}", place="a library")
        events = [(entry["id"], entry["message"]) for entry in lines.entries]
        shown = [("TR000", "trouble in a library")]
        assert events == ([("TR101", "client connected from x"), ("TR000", "chatter"), *shown] if debug else shown)


def test_failures_are_a_field(as_json: Lines, as_text: Lines) -> None:
    """An exception's traceback is a field in JSON and indented lines in text, given as exception or as failure."""
    try:
        raise KeyError("deep down")
    except KeyError as error:
        as_json.session(LogId.INTERNAL_ERROR, text="oh", error=error)
        as_json.log(LogId.INTERNAL_ERROR, text="oh", error=Failure())
        as_text.log(LogId.INTERNAL_ERROR, text="oh", error=error)
        as_json.logger.failure("a library failed")
    for entry in as_json.entries:
        assert "KeyError: 'deep down'" in entry["traceback"]
        assert entry["level"] == "critical"
    head, *rest = as_text.text.splitlines()
    assert head.endswith("internal error: oh")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_secrets_are_masked(as_json: Lines, as_text: Lines) -> None:
    """Fields whose names promise a secret never show what they hold, at any depth."""
    for lines in (as_json, as_text):
        lines.log(LogId.CLIENT_OPENED, user="u", password="hunter2", properties={"secret": "hunter2"}, token=b"hunter2")
        lines.log(LogId.INTERNAL_ERROR, text={"password": "hunter2"})
        assert "hunter2" not in lines.text


def test_peers_cannot_forge_lines(as_text: Lines) -> None:
    """Line breaks and escape sequences in fields are shown escaped."""
    as_text.log(LogId.INTERNAL_ERROR, text="a\n2026-01-01 INFO forged\r\x1b[2J\u2028\x85")
    assert len(as_text.text.splitlines()) == 1
    assert r"a\n2026-01-01 INFO forged\r\x1b[2J\u2028\x85" in as_text.text


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __format__(self, spec: str) -> str:
        raise RuntimeError("no format")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"channel": Hostile(), "code": Hostile(), "text": Hostile()},
        {"text": {"x": {Hostile(): object()}}, "code": {1, 2}, "channel": [b"\xff", float("nan"), 10**5000]},
        {"time": 1, "level": "x", "id": 2, "event": 3, "session": 4, "message": 5, "format": 6, "log_level": 7},
        {"text": "{evil} {0.__class__}", "code": "{", "channel": "%s"},
        {"text": "\udcff\x00", "code": "ü"},
        {"text": ["x" * 5000] * 1000, "code": {str(n): "y" * 5000 for n in range(1000)}},
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_odd_fields(form: str, fields: dict[str, Any]) -> None:
    """Whatever is passed, there is one line, it is not too long, and it says which event it was."""
    lines = Lines(form)
    lines.session(LogId.CLIENT_VIOLATION, **fields)
    assert len(lines.text.splitlines()) == 1
    assert len(lines.text) <= LINE_LIMIT + 1000
    assert "TR104" in lines.text
    if form == "json":
        (entry,) = lines.entries
        assert (entry["level"], entry["id"], entry["session"]) == ("warn", "TR104", "proxy-1")


def test_a_recursive_value(as_json: Lines) -> None:
    loop: list[Any] = []
    loop.append(loop)
    as_json.log(LogId.INTERNAL_ERROR, text=loop)
    assert len(as_json.entries) == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(st.sampled_from(list(LogId)), st.dictionaries(st.sampled_from(["text", "code", "timeout", "x", "id"]), values))
def test_any_entry_with_any_fields(entry: LogId, fields: dict[str, Any]) -> None:
    """No entry fails to be written, whatever the fields."""
    for form in ("text", "json"):
        lines = Lines(form, debug=True)
        lines.session(entry, **fields)
        assert entry.id in lines.text


class BrokenStream(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("disk full")


def test_a_broken_stream_is_survived() -> None:
    EventLog(Logger("test", observer=LineObserver(BrokenStream(), "json")))(LogId.STOPPED)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminals_get_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and colours on a terminal, unless it is a dumb one or NO_COLOR is set; JSON elsewhere."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def line(stream: io.StringIO, form: str | None = None) -> str:
        observer = make_observer(stream, form)
        verifyObject(ILogObserver, observer)
        EventLog(Logger("test", observer=observer))(LogId.STOPPED)
        return stream.getvalue()

    assert "\x1b[32mINFO    \x1b[0m TR004 stopped" in line(Terminal())
    assert line(Terminal(), "json").startswith("{")
    assert line(io.StringIO()).startswith("{")
    assert "\x1b" not in line(io.StringIO(), "text")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in line(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in line(Terminal())


def test_the_standard_librarys_logging_appears(as_json: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = _StandardLibraryBridge(logging.WARNING)
    monkeypatch.setattr(bridge, "_log", as_json.logger)
    logger = logging.Logger("some.library")
    logger.addHandler(bridge)
    logger.info("chatter")
    logger.warning("trouble {with} %s", "braces")
    logger.error("wrong arguments %d", "x")
    messages = [(entry["level"], entry["message"]) for entry in as_json.entries]
    assert messages == [
        ("warn", "some.library: trouble {with} braces"),
        ("error", "some.library: 'wrong arguments %d'"),
    ]


def test_catalogue() -> None:
    """Ids are unique and well formed, and every text can be filled in."""
    ids = [entry.id for entry in LogId]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"TR\d{3}", each) for each in ids)
    assert len(LogId) == len(LogId.__members__)  # no entry is an alias of another
    assert LogId.CLIENT_OPENED.event == "client_opened"


def test_session_code_needs_only_a_callable() -> None:
    """`SessionLog` is what the core takes as ``Callable[..., None]``."""
    log: Callable[..., None] = Lines("json").session
    log(LogId.STOPPED)
