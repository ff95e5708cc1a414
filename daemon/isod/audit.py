"""The audit: one journal record a fact, with a fixed sentence; what callers say stands in fields of its own."""

from collections.abc import Callable

from isod.journal import Journal, as_json, escaped
from isod_contract.records import Record

IDENTIFIER = "isod"
_TEXT_CHARS_MAX = 4096
_INFO, _NOTICE, _WARNING = "6", "5", "4"
_PRIORITIES = {"refused": _NOTICE, "failed": _WARNING}


class JournalAudit:
    """AuditSink that writes to journald. Never blocks and never raises."""

    def __init__(self, *, journal: Journal, on_fault: Callable[[str], None] = lambda _: None) -> None:
        """Take the journal, and whom to tell of a record that could not be built, which is a fault of ours."""
        self._journal = journal
        self._on_fault = on_fault

    def record(self, kind: Record, **fields: object) -> None:
        """Write one record; a field named `app` becomes ISOCTL_APP, None is left out, sequences become JSON.

        `environment` takes names of variables only, never values.
        """
        try:
            self._journal.send(journal_fields(kind, fields, self._journal.dropped))
        except Exception as error:  # noqa: BLE001 - an audit that fails must not fail what it is about
            self._on_fault(f"{kind.name}: {type(error).__name__}: {error}")


def journal_fields(kind: Record, fields: dict[str, object], dropped: int = 0) -> dict[str, str]:
    """Give the journal's fields of one record; `dropped` records were lost before it."""
    written = {
        "MESSAGE": kind.message,
        "MESSAGE_ID": kind.message_id,
        "PRIORITY": _PRIORITIES.get(str(fields.get("outcome")), _INFO),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "ISOCTL_KIND": kind.name,
    }
    if dropped:
        written["ISOCTL_DROPPED"] = str(dropped)
    written.update({f"ISOCTL_{name.upper()}": _text(value) for name, value in fields.items() if value is not None})
    return written


def _text(value: object) -> str:
    match value:
        case bool():
            return "1" if value else "0"
        case list() | tuple() | dict() | set() | frozenset():
            # Whole, whatever its size, since half of a JSON text says nothing; the gate bounds argv.
            return as_json(value if isinstance(value, (list, tuple, dict)) else sorted(value))
    return escaped(str(value)[:_TEXT_CHARS_MAX])
