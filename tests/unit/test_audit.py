"""Audit records and history: what stands in the journal, what a user gets back, and that nothing can be forged."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.audit import JournalAudit, journal_fields
from isod.history import JournalHistory
from isod.journal import Journal, encode
from isod.paced_audit import PacedAudit
from isod.ports import Caller
from isod_contract.errors import LimitExceeded
from isod_contract.options import HistoryFilter
from isod_contract.records import DECISION, LAUNCH, RECORDS, SESSION, Record

ALICE, ROOT = Caller(":1.2", 1000, "alice"), Caller(":1.1", 0, "root")
FORGERIES = ["\n<0>forged", "x\nMESSAGE=forged\nPRIORITY=0", "\x1b[2J", "\u202eevil", "a\u2028b", "\x00", "\ud800"]


def parsed(data: bytes) -> dict[str, bytes]:
    """Read a record as journald does (JOURNAL_NATIVE_PROTOCOL)."""
    fields = {}
    while data:
        line, data = data.split(b"\n", 1)
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + size], data[8 + size + 1 :]
        assert name.decode() not in fields
        fields[name.decode()] = value
    return fields


@pytest.mark.attack("C16")
@pytest.mark.parametrize("text", FORGERIES)
def test_no_text_of_a_caller_makes_a_field_or_a_line_of_its_own(text: str) -> None:
    """S16: sudo CVE-2023-28486."""
    fields = journal_fields(LAUNCH, {"argv": (text,), "caller_unit": text, "uid": 1000, "container": text})
    found = parsed(encode(fields))
    assert found.keys() == fields.keys()
    assert found["MESSAGE"].decode() == LAUNCH.message
    assert found["PRIORITY"] == b"6"
    for value in found.values():
        assert value.decode().isprintable()
    if "\ud800" not in text:
        assert json.loads(found["ISOCTL_ARGV"]) == [text]


@given(st.dictionaries(st.sampled_from(["argv", "rule", "error", "user"]), st.one_of(st.text(), st.lists(st.text()))))
def test_whatever_is_recorded_is_one_record(values: dict[str, Any]) -> None:
    fields = journal_fields(DECISION, values)
    assert parsed(encode(fields)).keys() == fields.keys()


def test_each_kind_has_its_own_id_and_sentence() -> None:
    assert len({record.message_id for record in RECORDS}) == len({record.message for record in RECORDS}) == len(RECORDS)
    assert all(len(bytes.fromhex(record.message_id)) == 16 for record in RECORDS)


@pytest.mark.parametrize(("outcome", "priority"), [("allowed", "6"), ("refused", "5"), ("failed", "4"), (None, "6")])
def test_what_went_wrong_stands_out(outcome: str | None, priority: str) -> None:
    assert journal_fields(DECISION, {"outcome": outcome})["PRIORITY"] == priority


def test_an_audit_that_fails_fails_nothing_and_is_told() -> None:
    class Broken:
        dropped = 0

        def send(self, _fields: dict[str, str]) -> None:
            raise RuntimeError("disk")

    faults: list[str] = []
    JournalAudit(journal=Broken(), on_fault=faults.append).record(DECISION, uid=1)  # type: ignore[arg-type]
    assert faults == ["decision: RuntimeError: disk"]


# -- the socket


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.setblocking(False)
        yield listening


def received(listening: socket.socket) -> list[dict[str, bytes]]:
    records = []
    while True:
        try:
            data, ancillary, *_ = socket.recv_fds(listening, 1 << 20, 1)
        except BlockingIOError:
            return records
        if ancillary:
            with os.fdopen(ancillary[0], "rb") as file:
                file.seek(0)
                data = file.read()
        records.append(parsed(data))


@pytest.mark.attack("C16")
async def test_records_wait_in_order_for_a_journald_that_is_away(tmp_path: Path) -> None:
    journal = Journal(path=str(tmp_path / "socket"))
    try:
        for number in range(3):
            journal.send({"NUMBER": str(number)})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(tmp_path / "socket"))
            listening.setblocking(False)
            found: list[dict[str, bytes]] = []
            async with asyncio.timeout(5):
                while len(found) < 3:
                    await asyncio.sleep(0.01)
                    found += received(listening)
        assert [record["NUMBER"] for record in found] == [b"0", b"1", b"2"]
    finally:
        journal.close()


async def test_a_record_of_any_size_arrives_whole(tmp_path: Path, journald: socket.socket) -> None:
    journal = Journal(path=str(tmp_path / "socket"))
    try:
        argv = ["x" * 100_000, "y" * 300_000]
        JournalAudit(journal=journal).record(LAUNCH, argv=argv)
        [record] = received(journald)
        assert json.loads(record["ISOCTL_ARGV"]) == argv
    finally:
        journal.close()


async def test_what_had_to_be_dropped_is_counted_in_the_next_record(tmp_path: Path) -> None:
    journal = Journal(path=str(tmp_path / "socket"))
    try:
        audit = JournalAudit(journal=journal)
        for _ in range(3000):
            audit.record(DECISION, uid=1)
        assert journal.dropped > 0
        assert journal_fields(DECISION, {}, journal.dropped)["ISOCTL_DROPPED"] == str(journal.dropped)
    finally:
        journal.close()


# -- history


class Reader:
    """A journal that ignores what it is asked to filter by, as an attacker would like."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = list(entries)
        self.matches: list[dict[str, str]] = []
        self.closed = False

    def add_match(self, **match: str) -> None:
        self.matches.append(match)

    def seek_tail(self) -> None:
        pass

    def get_previous(self) -> dict[str, Any]:
        return self.entries.pop() if self.entries else {}

    def close(self) -> None:
        self.closed = True


def entry(uid: int = 1000, **fields: Any) -> dict[str, Any]:
    return {
        "__REALTIME_TIMESTAMP": 5,
        "MESSAGE_ID": LAUNCH.message_id,
        "_UID": "0",
        "_SYSTEMD_UNIT": "isod.service",
        "ISOCTL_UID": str(uid),
        "ISOCTL_CONTAINER": "blog",
        **fields,
    }


async def read(entries: list[dict[str, Any]], caller: Caller = ALICE, **wanted: Any) -> list[dict[str, Any]]:
    reader = Reader(entries)
    history = JournalHistory(open_reader=lambda: reader)
    try:
        return await history.read(caller, HistoryFilter(**wanted))
    finally:
        history.close()
        assert reader.closed


async def test_a_user_gets_his_own_records_oldest_first_and_root_all() -> None:
    entries = [entry(ISOCTL_APP="a"), entry(uid=1001, ISOCTL_APP="b"), entry(ISOCTL_APP="c")]
    assert [record["app"] for record in await read(entries)] == ["a", "c"]
    assert [record["app"] for record in await read(entries, ROOT)] == ["a", "b", "c"]
    assert [record["app"] for record in await read(entries, ROOT, limit=2)] == ["b", "c"]


@pytest.mark.parametrize("forged", [{"_UID": "1000"}, {"_SYSTEMD_UNIT": "user@1000.service"}, {"_UID": None}])
async def test_a_record_that_a_user_wrote_himself_is_not_history(forged: dict[str, Any]) -> None:
    """Any user can write ISOCTL_* fields and isod's message ids to the journal."""
    assert await read([entry(**forged)]) == []
    assert await read([entry(**forged)], ROOT) == []


async def test_filters_narrow_and_never_widen() -> None:
    entries = [
        entry(ISOCTL_APP="a" * 32),
        entry(ISOCTL_APP="b" * 32, ISOCTL_CONTAINER="shared"),
        entry(uid=1001, ISOCTL_APP="b" * 32, ISOCTL_CONTAINER="shared"),
        entry(__REALTIME_TIMESTAMP=9, ISOCTL_APP="c" * 32),
    ]
    assert [record["app"][0] for record in await read(entries, container="shared")] == ["b"]
    assert [record["app"][0] for record in await read(entries, app="b" * 32)] == ["b"]
    assert [record["app"][0] for record in await read(entries, since_usec=6)] == ["c"]


async def test_what_is_not_as_isod_writes_it_is_left_out() -> None:
    broken = {
        "ISOCTL_ARGV": "[1, ",
        "ISOCTL_EXIT_CODE": "seven",
        "ISOCTL_EXIT_SIGNAL": str(2**40),
        "ISOCTL_DURATION_USEC": "-1",
        "ISOCTL_TIME_USEC": "0",
        "ISOCTL_KIND": "forged",
        "ISOCTL_OTHER": "x",
    }
    assert await read([entry(**broken)]) == [{"time_usec": 5, "kind": "launch", "uid": 1000, "container": "blog"}]


async def test_an_endless_journal_is_read_for_three_seconds_only() -> None:
    class Endless(Reader):
        def get_previous(self) -> dict[str, Any]:
            return entry(uid=1001)

    clock = iter(range(1_000_000))
    history = JournalHistory(open_reader=lambda: Endless([]), clock=lambda: next(clock))
    try:
        assert await history.read(ALICE, HistoryFilter()) == []
    finally:
        history.close()


async def test_one_user_reads_at_most_twice_at_once() -> None:
    import threading

    go_on = threading.Event()

    class Slow(Reader):
        def seek_tail(self) -> None:
            assert go_on.wait(10)

    history = JournalHistory(open_reader=lambda: Slow([]))
    try:
        reads = [asyncio.create_task(history.read(ALICE, HistoryFilter())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(LimitExceeded):
            await history.read(ALICE, HistoryFilter())
        go_on.set()
        assert await asyncio.gather(*reads) == [[], []]
        assert await history.read(ALICE, HistoryFilter()) == []
    finally:
        go_on.set()
        history.close()


@pytest.mark.attack("C46")
async def test_one_user_who_fills_the_queue_leaves_room_for_the_others(tmp_path: Path) -> None:
    """A3: while journald is away, forty launches with long arguments took all of the queue, and others' were lost."""
    journal = Journal(path=str(tmp_path / "socket"))
    try:
        audit = JournalAudit(journal=journal)
        for _ in range(100):
            audit.record(LAUNCH, uid=1, argv=["x" * 200_000])
        for _ in range(3000):
            audit.record(DECISION, uid=2)
        dropped = journal.dropped
        assert dropped > 0
        for _ in range(20):
            audit.record(LAUNCH, uid=3, argv=["y" * 20_000])
        assert journal.dropped == dropped
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(tmp_path / "socket"))
            listening.setblocking(False)
            found: list[dict[str, bytes]] = []
            async with asyncio.timeout(20):
                while journal._queue:
                    await asyncio.sleep(0.01)
                    found += received(listening)
        owners = [record["ISOCTL_UID"] for record in found if "ISOCTL_UID" in record]
        assert owners.count(b"3") == 20
        # all of it is free again
        assert (journal._queue_bytes, journal._queued) == (0, {})
    finally:
        journal.close()


@pytest.mark.attack("C46")
async def test_of_what_anybody_may_cause_a_user_makes_a_record_a_second() -> None:
    """A3: nine users without any policy called RegisterSession, and a launch of alice's was in no journal."""
    now_sec = 0.0
    told: list[tuple[str, object, object]] = []

    class Sink:
        def record(self, kind: Record, **fields: object) -> None:
            told.append((kind.name, fields["uid"], fields.get("suppressed")))

    paced = PacedAudit(Sink(), clock=lambda: now_sec, interval_sec=0.02)
    for _ in range(100):
        paced.record(SESSION, uid=1, outcome="registered")
        paced.record(DECISION, uid=1, outcome="refused")
    paced.record(DECISION, uid=2, outcome="refused")
    assert told == [("session", 1, None), ("decision", 2, None)]
    # One kind does not hide the other, however often it comes.
    async with asyncio.timeout(5):
        while len(told) < 4:
            await asyncio.sleep(0.005)
    assert told[2:] == [("decision", 1, 99), ("session", 1, 98)]
    now_sec = 1.0
    paced.record(DECISION, uid=1, outcome="refused")
    assert told[4:] == [("decision", 1, None)]
    paced.record(DECISION, uid=1, outcome="refused")
    assert paced.again(DECISION, 1)
    assert not paced.again(SESSION, 1)
    paced.close()
    assert told[5:] == [("decision", 1, 1)]
