"""The operational log: what isod itself does and what goes wrong, for whoever runs it; the audit is apart.

Events are named `noun.verb`. Under systemd they go to the journal with their values as ISOCTL_* fields, elsewhere to
standard error. The standard library's logging, which isod_wire uses, ends up in the same place.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from isod.journal import Journal, as_json, escaped

_PRIORITIES = {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2", "exception": "3"}
_TEXT_CHARS_MAX = 4096
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
IDENTIFIER = "isod"


def under_systemd() -> bool:
    """Tell whether our standard error is the journal's, so that the journal is where a log belongs."""
    return "JOURNAL_STREAM" in os.environ


def configure(*, journal: Journal | None, level: str = "info") -> None:
    """Send the log to a journal, or to standard error without one; `level` is debug, info, warning or error."""
    threshold = getattr(logging, level.upper())
    write = _to_journal(journal) if journal else _to_stderr
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, _Written(write)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Handler(write)]
    root.setLevel(threshold)


def logger() -> Any:
    """Give a logger: `logger().info("policy.loaded", containers=3)`."""
    return structlog.get_logger()


_Write = Callable[[str, dict[str, Any]], None]
"""(level, event and values)"""


class _Written:
    """The last processor: writes an event, so that nothing is left to do for the logger."""

    def __init__(self, write: _Write) -> None:
        """Take where to write to."""
        self._write = write

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> str:
        """Write one event."""
        self._write(method, dict(event))
        return ""


class _Handler(logging.Handler):
    """Passes records of the standard library's logging on."""

    def __init__(self, write: _Write) -> None:
        """Take where to write to."""
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            event: dict[str, Any] = {"event": record.getMessage(), "logger": record.name}
            event.update({key: value for key, value in vars(record).items() if key not in _OWN})
            if record.exc_info:
                event["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            self._write(record.levelname.lower(), event)
        except Exception:  # noqa: BLE001 - as every handler: a log that fails must not fail what it is about
            self.handleError(record)


def _to_journal(journal: Journal) -> _Write:
    def write(level: str, event: dict[str, Any]) -> None:
        fields = {
            "MESSAGE": _sentence(event),
            "PRIORITY": _PRIORITIES.get(level, "5"),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "ISOCTL_EVENT": _text(event["event"]),
        }
        for key, value in event.items():
            name = f"ISOCTL_{key.upper()}"
            if key != "event" and name.isascii() and name.replace("_", "").isalnum():
                # A traceback is ours, and is read as lines; all else is one line whatever it holds.
                fields[name] = str(value) if key == "exception" else _text(value)
        journal.send(fields)

    return write


def _to_stderr(level: str, event: dict[str, Any]) -> None:
    lines = [f"{level}: {_sentence(event)}"]
    if "exception" in event:
        lines.append(str(event["exception"]))
    sys.stderr.write("\n".join(lines) + "\n")


def _sentence(event: dict[str, Any]) -> str:
    values = (f"{key}={_text(value)}" for key, value in event.items() if key not in {"event", "exception", "logger"})
    return " ".join([_text(event["event"]), *values])


def _text(value: object) -> str:
    text = as_json(value) if isinstance(value, (list, tuple, dict)) else str(value)
    return escaped(text[:_TEXT_CHARS_MAX])
