"""The manual pages: they render without a complaint, and say what they are there to say."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from isoctl.verbs import VERBS
from isod.policy import ContainerPolicy
from isod.resources import kinds
from isod.settings import DaemonSettings, Limits
from isod_contract.records import RECORDS

PAGES = Path(__file__).resolve().parents[2] / "docs/man"
NAMES = ("isoctl.1", "isod.8", "isod.toml.5")


def rendered(name: str) -> str:
    """The page as a reader of a plain terminal sees it."""
    argv = ["groff", "-ww", "-man", "-Tutf8", "-P-cbou", PAGES / name]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_there_are_no_other_pages() -> None:
    assert sorted(path.name for path in PAGES.iterdir()) == sorted(NAMES)


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_a_page_renders_without_a_warning(name: str) -> None:
    text = rendered(name)
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
        assert re.search(f"^{heading}$", text, re.MULTILINE), heading
    # a line of the source that was taken for a request vanishes without a word
    for line in (PAGES / name).read_text().splitlines():
        assert not line.startswith(("'", ". "))


def entries(section: str) -> dict[str, tuple[str, str]]:
    """Key, note in brackets and text of each entry of a section of isod.toml(5)."""
    page = (PAGES / "isod.toml.5").read_text()
    (body,) = re.findall(rf"^\.SH {re.escape(section)}\n(.*?)(?=^\.SH)", page, re.MULTILINE | re.DOTALL)
    found = re.findall(r'^\.BR (\S+)(?: " \((.*)\)")?\n(.*)$', body, re.MULTILINE)
    return {key: (note.replace('""', '"'), text) for key, note, text in found}


def defaults(model: type[BaseModel], *without: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        value = field.get_default(call_default_factory=True)
        if name not in without:
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            yield name, shown if isinstance(value, (bool, int, str)) else "none"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("KEYS OF A CONTAINER", dict(defaults(ContainerPolicy, "grants"))),
        ("KEYS OF ISOD.TOML", dict(defaults(DaemonSettings, "limits"))),
        ("[limits]", dict(defaults(Limits))),
        ("[grants]", {key: f'"{kind.default}"' for key, kind in kinds().items()}),
    ],
)
def test_every_policy_key_has_its_default(section: str, expected: dict[str, str]) -> None:
    written = entries(section)
    assert written.keys() == expected.keys()
    for key, default in expected.items():
        note, text = written[key]
        assert note == f"default {default}" or (default == "none" and not note and "By default" in text), key
        assert len(text) > 5


def test_isod_8_has_every_record_and_isoctl_1_every_verb_and_flag() -> None:
    daemon = (PAGES / "isod.8").read_text().replace("\\-", "-")
    assert [record.name for record in RECORDS if f".B {record.name}\n" not in daemon] == []
    client = (PAGES / "isoctl.1").read_text().replace("\\-", "-")
    for verb in VERBS:
        (section,) = re.findall(rf"^\.SS ({verb.name}\b.*?)(?=^\.S[SH])", client, re.MULTILINE | re.DOTALL)
        assert [alias for alias in verb.aliases if alias not in section.splitlines()[0]] == []
        assert [flag.spellings for flag in verb.flags() if f".B {', '.join(flag.spellings)}" not in section] == []
