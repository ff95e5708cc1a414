"""A user's own audit records, read back from the journal."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from systemd import journal

from isod.ports import Caller
from isod_contract import limits
from isod_contract.errors import LimitExceeded
from isod_contract.options import HistoryFilter
from isod_contract.records import HISTORY_FIELDS, RECORDS

_UNIT = "isod.service"
_TIME = "__REALTIME_TIMESTAMP"
_READ_SEC = 3.0
_READS_PER_UID = 2
_KINDS = {record.message_id: record.name for record in RECORDS}
_BOUNDS = {"u": (0, 2**32 - 1), "t": (0, 2**64 - 1), "i": (-(2**31), 2**31 - 1)}

OpenReader = Callable[[], Any]
"""Gives a new systemd.journal.Reader whose values are text and whose times are microseconds."""


def open_reader() -> Any:
    """Give a reader of the system journal, which is where journald puts what root's services send."""
    reader = journal.Reader(
        flags=journal.SYSTEM_ONLY, converters={_TIME: int, "MESSAGE_ID": bytes.decode, "_UID": bytes.decode}
    )
    reader.data_threshold = 0  # by default longer fields are cut, and half of argv's JSON can't be read
    return reader


class JournalHistory:
    """Reads audit records; each user gets those about themselves, root all."""

    def __init__(self, *, open_reader: OpenReader = open_reader, clock: Callable[[], float] = time.monotonic) -> None:
        """Take where to read, and a monotonic clock in seconds."""
        self._open_reader = open_reader
        self._clock = clock
        self._reading: Counter[int] = Counter()
        # Of its own, so that a slow journal keeps no other thread of isod busy.
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="history")

    async def read(self, caller: Caller, wanted: HistoryFilter) -> list[dict[str, Any]]:
        """Give the newest records that match, oldest first, with the fields of HISTORY_FIELDS.

        Takes at most three seconds, and then gives what it found. Raises LimitExceeded where a user reads too much at
        once.
        """
        if self._reading[caller.uid] >= _READS_PER_UID:
            raise LimitExceeded(reason="your history is being read already")
        self._reading[caller.uid] += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._read, caller, wanted)
        finally:
            self._reading[caller.uid] -= 1

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self, caller: Caller, wanted: HistoryFilter) -> list[dict[str, Any]]:
        required = _required(caller, wanted)
        limit = min(wanted.limit or limits.HISTORY_RECORDS_DEFAULT, limits.HISTORY_RECORDS_MAX)
        reader = self._open_reader()
        try:
            for message_id in _KINDS:
                reader.add_match(MESSAGE_ID=message_id)
            for name, value in required.items():
                reader.add_match(**{name: value})
            reader.seek_tail()
            found: list[dict[str, Any]] = []
            for entry in self._backwards(reader, wanted.since_usec or 0):
                # The journal has filtered already; that nobody sees another's records must not hang on that alone.
                if all(str(entry.get(name)) == value for name, value in required.items()):
                    found.append(_record(entry))
                if len(found) >= limit:
                    break
        finally:
            reader.close()
        return found[::-1]

    def _backwards(self, reader: Any, since_usec: int) -> Iterator[Mapping[str, Any]]:
        until_sec = self._clock() + _READ_SEC
        while self._clock() < until_sec:
            entry = reader.get_previous()
            if not entry or entry[_TIME] < since_usec:
                return
            yield entry


def _required(caller: Caller, wanted: HistoryFilter) -> dict[str, str]:
    """Give the fields that a record must have.

    Any user can write ISOCTL_* fields to the journal; those that begin with _ are journald's own word
    (systemd.journal-fields(7), "Trusted Journal Fields").
    """
    required = {"_UID": "0", "_SYSTEMD_UNIT": _UNIT}
    if not caller.is_root:
        required["ISOCTL_UID"] = str(caller.uid)
    if wanted.container is not None:
        required["ISOCTL_CONTAINER"] = wanted.container
    if wanted.app is not None:
        required["ISOCTL_APP"] = wanted.app
    return required


def _record(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give a record's fields with their types; what is not as isod writes it is left out."""
    record: dict[str, Any] = {"time_usec": entry[_TIME], "kind": _KINDS.get(str(entry.get("MESSAGE_ID")), "")}
    for name, signature in HISTORY_FIELDS.items():
        value = entry.get(f"ISOCTL_{name.upper()}")
        if name in record or value is None:
            continue
        checked = _value(signature, str(value))
        if checked is not None:
            record[name] = checked
    return record


def _value(signature: str, text: str) -> Any:
    if signature == "s":
        return text
    try:
        if signature == "as":
            return [str(item) for item in json.loads(text)]
        number = int(text)
    except (ValueError, TypeError):
        return None
    least, most = _BOUNDS[signature]
    return number if least <= number <= most else None
