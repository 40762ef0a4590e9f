"""Log lines: how trabbits writes events of the catalogue, and how they look.

Lives here: `EventLog`, `SessionLog` (what the rest of the program calls), the two line formats, and
`start_logging`.  Must not know: what any event means (``trabbits.log_ids``), or who logs.

Text is for people at a terminal; everything else gets JSON, one object a line.  Writing a line never raises
and its length is bounded, whatever the fields hold.  Fields whose names promise a
secret are masked here a second time, although nobody should pass them.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, TextIO, cast

from twisted.logger import (
    ILogObserver,
    Logger,
    LogLevel,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from trabbits.log_ids import Entry, LogId, PluginLine

#: Characters kept of one field, of one message, and of one traceback.
FIELD_LIMIT = 2000
TRACEBACK_LIMIT = 16000
#: Entries kept of a list or table, and characters of a whole line: beyond, its fields are left out.
WIDTH_LIMIT = 100
LINE_LIMIT = 64000

_SECRETS = frozenset({"password", "passwd", "secret", "token", "response", "credentials", "authorization"})
_MASK = "********"
#: Names that Twisted's events or our JSON lines use themselves.
_RESERVED = frozenset({"time", "level", "id", "event", "session", "message", "source", "traceback", "format", "self"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_COLOURS = {"debug": "2", "info": "32", "warn": "33", "error": "31", "critical": "1;31"}


class EventLog:
    """Logs events of the catalogue: ``log(LogId.LISTENING, address="0.0.0.0:6672", port=6672)``.

    Calling never raises.  A field named `error` that holds an exception adds its traceback to the line.
    """

    def __init__(self, logger: Logger, session_id: str | None = None) -> None:
        self._logger = logger
        self._session_id = session_id

    def __call__(self, log_id: Entry, **fields: Any) -> None:
        error = fields.get("error")
        if isinstance(error, Failure):
            failure, fields["error"] = error, error.getErrorMessage()
        elif isinstance(error, BaseException):
            failure, fields["error"] = Failure(error), _safe_repr(error)
        else:
            failure = None
        # `log_system` is what Twisted's own text observers put in brackets, should an operator choose those.
        system = f"{log_id.id} {self._session_id}" if self._session_id else log_id.id
        event: dict[str, Any] = {"log_entry": log_id, "log_fields": fields, "log_system": system}
        if self._session_id:
            event["log_session"] = self._session_id
        if failure is not None:
            event["log_failure"] = failure
        level = LogLevel.levelWithName(log_id.level)
        self._logger.emit(level, "{log_message}", log_message=catalogue_message(log_id, fields), **event)


class SessionLog(EventLog):
    """An `EventLog` all of whose lines carry the session's id."""

    def __init__(self, logger: Logger, session_id: str) -> None:
        super().__init__(logger, session_id)


class _Fields(dict[str, Any]):
    """The fields of a message; one that is missing shows as a question mark rather than losing the line."""

    def __missing__(self, name: str) -> Any:
        return _Missing()


class _Missing:
    def __format__(self, spec: str) -> str:
        return "?"


def catalogue_message(log_id: Entry, fields: Mapping[str, Any]) -> str:
    """The entry's text with its fields filled in; every oddity in the fields is survived."""
    shown = {name: _shown(name, value) for name, value in fields.items()}
    try:
        return _cut(log_id.format.format_map(_Fields(shown)), FIELD_LIMIT)
    except Exception:  # a number's format given a text, an exotic __format__: show what we have
        return _cut(f"{log_id.event} {shown!r}", FIELD_LIMIT)


def _shown(name: str, value: Any) -> Any:
    value = plain(value, name=name)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def plain(value: Any, *, name: str = "", depth: int = 4) -> Any:
    """`value` reduced to what JSON can hold, bounded in depth, width and length, with secrets masked."""
    if name.lower() in _SECRETS:
        return _MASK
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else _safe_repr(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str):
        return _cut(str(value), FIELD_LIMIT)
    if isinstance(value, bytes | bytearray | memoryview):
        return _cut(bytes(value[: FIELD_LIMIT + 1]).decode("utf-8", "backslashreplace"), FIELD_LIMIT)
    if depth > 0 and isinstance(value, Mapping):
        items = [(_key(key), item) for key, item in islice(value.items(), WIDTH_LIMIT)]
        return {key: plain(item, name=key, depth=depth - 1) for key, item in items}
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth=depth - 1) for item in islice(value, WIDTH_LIMIT)]
    return _safe_repr(value)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else _safe_repr(key)


def _safe_repr(value: Any) -> str:
    try:
        return _cut(repr(value), FIELD_LIMIT)
    except Exception as error:
        return f"<{type(value).__name__}: repr raised {type(error).__name__}>"


def json_line(event: Mapping[str, Any]) -> str:
    """One event as one JSON object, without the newline."""
    entry, level, fields = _entry(event), _level(event), event.get("log_fields", {})
    line: dict[str, Any] = {
        "time": _rfc3339(event.get("log_time")),
        "level": level,
        "id": entry.id,
        "event": entry.event,
    }
    if "log_session" in event:
        line["session"] = event["log_session"]
    if entry is LogId.LIBRARY:
        line["source"] = str(event.get("log_namespace", ""))
    for name, value in fields.items():
        line[f"{name}_" if name in _RESERVED else name] = plain(value, name=name)
    line["message"] = _message(event)
    if (traceback := _traceback(event)) is not None:
        line["traceback"] = traceback
    text = json.dumps(line)
    if len(text) > LINE_LIMIT:
        kept = ("time", "level", "id", "event", "session", "source", "message", "traceback")
        text = json.dumps({name: line[name] for name in kept if name in line} | {"truncated": True})
    return text


def text_line(event: Mapping[str, Any], *, colour: bool = False) -> str:
    """One event as a line for people, followed by the indented traceback if there is one; no newline at the end."""
    level = _level(event)
    moment = datetime.fromtimestamp(_timestamp(event.get("log_time"))).astimezone()
    shown_level = f"{level.upper():<8}"
    if colour:
        shown_level = f"\x1b[{_COLOURS.get(level, '0')}m{shown_level}\x1b[0m"
    session = f" [{event['log_session']}]" if "log_session" in event else ""
    # Field values come from peers: a line break or an escape sequence in them must not forge lines.
    message = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), _message(event))
    line = f"{moment.isoformat(' ', 'milliseconds')} {shown_level} {_entry(event).id}{session} {message}"
    if (traceback := _traceback(event)) is not None:
        line += "".join(f"\n    {part}" for part in traceback.splitlines())
    return line


def _entry(event: Mapping[str, Any]) -> Entry:
    entry = event.get("log_entry")
    return entry if isinstance(entry, LogId | PluginLine) else LogId.LIBRARY


def _level(event: Mapping[str, Any]) -> str:
    return getattr(event.get("log_level"), "name", "info")


def _timestamp(value: Any) -> float:
    return value if isinstance(value, float) else time.time()


def _rfc3339(value: Any) -> str:
    return datetime.fromtimestamp(_timestamp(value), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(event: Mapping[str, Any]) -> str:
    text = event.get("log_message")
    if not isinstance(text, str):
        text = formatEvent(cast("dict[str, Any]", event))
    if not text and isinstance(failure := event.get("log_failure"), Failure):
        text = failure.getErrorMessage()
    return _cut(text, FIELD_LIMIT)


def _traceback(event: Mapping[str, Any]) -> str | None:
    failure = event.get("log_failure")
    if failure is None:
        return None
    try:
        text = str(failure.getTraceback())
    except Exception as error:
        return f"(no traceback: {type(error).__name__})"
    # The end names the error: keep that part.
    return text if len(text) <= TRACEBACK_LIMIT else f"…\n{text[-TRACEBACK_LIMIT:]}"


def is_detail(event: Mapping[str, Any]) -> bool:
    """Whether an event is logged with ``--debug`` only.  Of libraries, everything below *warn* is."""
    level = event.get("log_level", LogLevel.info)
    if _entry(event) is LogId.LIBRARY:
        return bool(level < LogLevel.warn)
    return bool(level < LogLevel.info)


@implementer(ILogObserver)
class LineObserver:
    """Writes events to a text stream, one line each, and drops those that are less than `threshold`.

    Lines of libraries below *warn* count as *debug*: Twisted reports every factory and port that it starts.
    """

    def __init__(self, stream: TextIO, form: str, *, debug: bool = False, colour: bool = False) -> None:
        self._stream = stream
        self._form = form
        self._debug = debug
        self._colour = colour

    def __call__(self, event: dict[str, Any]) -> None:
        try:
            if not self._debug and is_detail(event):
                return
            line = json_line(event) if self._form == "json" else text_line(event, colour=self._colour)
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except Exception:
            # A full disk or a closed pipe must not take the proxy down, and there is nowhere left to say so.
            return


class _StandardLibraryBridge(logging.Handler):
    """Passes what libraries log with Python's own `logging` on to Twisted's."""

    _log = Logger("logging")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = LogLevel.levelWithName({"WARNING": "warn"}.get(record.levelname, record.levelname.lower()))
        except Exception:
            level = LogLevel.info
        self._log.emit(level, "{log_message}", log_message=_cut(_formatted(record), FIELD_LIMIT))


def _formatted(record: logging.LogRecord) -> str:
    try:
        return f"{record.name}: {record.getMessage()}"
    except Exception:
        return f"{record.name}: {record.msg!r}"


def make_observer(stream: TextIO, form: str | None = None, *, debug: bool = False) -> LineObserver:
    """An observer that writes to `stream`; without a `form` ("text", "json"), text on terminals and JSON elsewhere."""
    terminal = _is_terminal(stream)
    colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
    return LineObserver(stream, form or ("text" if terminal else "json"), debug=debug, colour=colour)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except Exception:
        return False


def bridge_standard_logging() -> None:
    """Let libraries that use Python's `logging` (warnings and worse) appear among our lines."""
    root = logging.getLogger()
    if not any(isinstance(present, _StandardLibraryBridge) for present in root.handlers):
        root.addHandler(_StandardLibraryBridge(logging.WARNING))


def start_logging(stream: TextIO, form: str | None = None, *, debug: bool = False) -> LineObserver:
    """Begin logging to `stream` for the whole process.  Call it once, early."""
    observer = make_observer(stream, form, debug=debug)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    bridge_standard_logging()
    return observer
