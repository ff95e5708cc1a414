"""One user's uids are one user's share: of records, of calls, of answers, of the journal's queue."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from isod.journal import Journal
from isod.paced_audit import PacedAudit
from isod.subordinate_ids import SubordinateIds
from isod_contract.records import DECISION, Record

RANGES = """# of newusers(8)
alice:100000:65536
1001:165536:65536

bob:231072:65536
bob:300000:1
"""


def shares(path: Path, uids: Iterable[int]) -> list[int]:
    return [SubordinateIds(path).accountable(uid) for uid in uids]


def test_each_range_is_one_and_all_else_is_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text(RANGES)
    edges = [0, 1000, 99_999, 100_000, 165_535, 165_536, 231_071, 231_072, 296_607, 296_608, 300_000, 300_001]
    wanted = [0, 1000, 99_999, 100_000, 100_000, 165_536, 165_536, 231_072, 231_072, 296_608, 300_000, 300_001]
    assert shares(path, edges) == wanted


@pytest.mark.parametrize(
    "text",
    ["alice:0:65536", "alice:-5:10", "alice:100000", "alice:100000:0", "alice:100000:x", "alice:4294967295:2",
     "alice:\u0661\u0660:5", "a:b:c:d", ":::", "\0"],
)  # fmt: skip
def test_a_line_that_gives_nobody_a_range_is_ignored(tmp_path: Path, text: str) -> None:
    """Root above all never shares with anybody."""
    path = tmp_path / "subuid"
    path.write_text(text)
    uids = [0, 5, 10, 11, 100_000, 100_001, 2**32 - 1]
    assert shares(path, uids) == uids


def test_a_file_that_is_too_long_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    """1 MiB: the number at its end would be cut to another one."""
    path = tmp_path / "subuid"
    beginning, last = "alice:100000:65536\n", "bob:300000:65536"
    filling = "#" * (1024 * 1024 - len(beginning) - len("\n") - len(last) + 2) + "\n"
    path.write_text(beginning + filling + last + "\n")
    assert shares(path, [100_005, 300_005]) == [100_000, 300_005]


def test_ranges_that_overlap_are_one(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text("alice:100000:1000\nbob:100500:1000\ncarol:101500:10\n")
    assert shares(path, [100_000, 100_999, 101_499, 101_500]) == [100_000, 100_000, 100_000, 101_500]


def test_it_is_read_again_when_it_changed_and_may_be_missing(tmp_path: Path) -> None:
    path, now_sec = tmp_path / "subuid", 0.0
    ids = SubordinateIds(path, clock=lambda: now_sec)
    assert ids.accountable(100_005) == 100_005
    path.write_text(RANGES)
    assert ids.accountable(100_005) == 100_005
    now_sec = 10.0
    assert ids.accountable(100_005) == 100_000
    path.unlink()
    now_sec = 20.0
    assert ids.accountable(100_005) == 100_005


@pytest.mark.attack("C46")
async def test_a_user_with_many_uids_makes_a_record_a_second_with_all_of_them(tmp_path: Path) -> None:
    """Second attack, 4: each of 65,536 subordinate uids was a user with a record a second of their own."""
    path = tmp_path / "subuid"
    path.write_text(RANGES)
    told: list[object] = []

    class Sink:
        def record(self, _kind: Record, **fields: object) -> None:
            told.append((fields["uid"], fields.get("suppressed")))

    paced = PacedAudit(Sink(), clock=lambda: 0.0, accountable=SubordinateIds(path).accountable)
    for uid in range(100_000, 101_000):
        paced.record(DECISION, uid=uid, outcome="refused")
        paced.again(DECISION, uid)
    paced.record(DECISION, uid=1000, outcome="refused")
    assert told == [(100_000, None), (1000, None)]
    paced.close()
    assert told[2:] == [(100_999, 998 + 999)]


@pytest.mark.attack("C46")
async def test_a_user_with_many_uids_gets_one_share_of_the_queue_for_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text(RANGES)
    journal = Journal(path=str(tmp_path / "socket"), accountable=SubordinateIds(path).accountable)
    try:
        for uid in range(100_000, 104_000):
            journal.send({"ISOCTL_UID": str(uid), "MESSAGE": "refused"})
        assert journal.dropped == 4000 - 1024
    finally:
        journal.close()
