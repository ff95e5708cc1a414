"""Reports of users of neighbouring tools, and what was found beside them: what failed here has a test that names it."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
# What is not built has its test where it will be: keyring, sound, USB devices' own nodes, udev's data, nested podman.
FAILED = (
    *("N-1", "N-2", "N-3", "N-4", "N-5", "N-6"),
    *("R-3", "R-10", "R-12", "R-15", "R-19", "R-20", "R-21", "R-22", "R-23", "R-26"),
    *("R-30", "R-31", "R-33", "R-34", "R-35", "R-36", "R-37", "R-38", "R-39", "R-40", "R-42", "R-45", "R-46"),
)


@pytest.mark.parametrize("report", FAILED)
def test_what_failed_is_named_by_a_test(report: str) -> None:
    named = re.compile(rf"(?<![\w-]){report}(?!\d)")
    texts = (path for path in TESTS.rglob("*.py") if path != Path(__file__))
    assert any(named.search(path.read_text()) for path in texts)
