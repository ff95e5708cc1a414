"""What a newcomer reads first is plain: sentences that can be held in the head, and "they" for users (section D)."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS_MAX = 40
FIRST_READ = (
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    *(f"docs/man/{page}" for page in ("isoctl.1", "isod.8", "isod.toml.5")),
)
DOCUMENTS = [
    *FIRST_READ,
    *("CHANGELOG.md", "docs/api.md", "docs/nixos.md", "docs/nixos-options.md", "docs/threat-model.md"),
    *(f"docs/adr/{path.name}" for path in (REPOSITORY / "docs/adr").glob("*.md")),
]


def sentences(path: str) -> list[str]:
    """The sentences of a page in Markdown or man(7), without its code and tables."""
    text = (REPOSITORY / path).read_text()
    if path.endswith(".md"):
        text = re.sub(r"^```.*?^```", "\n\n", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^(#|\||    |<!--).*$", "\n\n", text, flags=re.MULTILINE)
        text = re.sub(r"^(- |\d+\. )", "\n\n", text, flags=re.MULTILINE)
    else:
        text = re.sub(r"^\.EX.*?^\.EE", "\n\n", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^\.(\\\"|TP|PP|IP|SH|SS|SY|YS|TH|br).*$", "\n\n", text, flags=re.MULTILINE)
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        found += re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split()))
    return found


@pytest.mark.parametrize("path", FIRST_READ)
def test_no_sentence_is_longer_than_a_reader_holds(path: str) -> None:
    assert [sentence for sentence in sentences(path) if len(sentence.split()) > WORDS_MAX] == []


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_user_is_they(path: str) -> None:
    text = (REPOSITORY / path).read_text()
    assert re.findall(r".*\b(?:[Hh]e|[Hh]is|[Hh]im|[Hh]imself)\b.*", text) == []
