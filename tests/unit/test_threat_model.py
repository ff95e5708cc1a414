"""docs/threat-model.md: every class of attack has a rule, a place in the code where it holds, and tests or a reason."""

import re
from pathlib import Path

import pytest

from generate_threat_model import attack_tests

ROOT = Path(__file__).resolve().parents[2]
FOUND = re.findall(
    r"^## (C\d\d) (.*?)(?=^## |\Z)", (ROOT / "docs/threat-model.md").read_text(), re.MULTILINE | re.DOTALL
)
SECTIONS = dict(FOUND)
CLASSES = list(SECTIONS)
# The classes that the page began with; those found since have numbers from 40 on, some left free.
FIRST = [f"C{number:02}" for number in range(1, 35)]
TESTS = attack_tests()
# Names that a page gives in code quotes right after the file that has them.
MODULE = re.compile(r"^- `([^`]+)`: (.+)$", re.MULTILINE)


def test_every_class_has_a_section_in_order() -> None:
    numbers = [name for name, _ in FOUND]
    assert numbers[: len(FIRST)] == FIRST
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("name", CLASSES)
def test_a_rule_names_where_it_holds(name: str) -> None:
    """A reviewer goes from a rule to its code; what is named there must be there."""
    modules = [(path, text) for path, text in MODULE.findall(SECTIONS[name]) if not path.startswith("tests/")]
    assert modules
    for path, text in modules:
        source = (ROOT / path).read_text()
        for symbol in re.findall(r"`([\w.]+)`", text):
            for part in symbol.split("."):
                assert part in source, f"{path} has no {part}"


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_tests_or_says_why_not(name: str) -> None:
    assert bool(TESTS.get(name)) != ("Not tested" in SECTIONS[name])


def test_every_advisory_that_is_named_is_written_as_one() -> None:
    """A wrong id sends a reviewer to somebody else's hole."""
    text = (ROOT / "docs/threat-model.md").read_text()
    for word in re.findall(r"\bCVE\S*", text):
        assert re.fullmatch(r"CVE-\d{4}-\d{4,7}[.,]?", word), word
