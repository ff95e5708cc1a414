"""What the README says that can be held against the sources without a host."""

import ast
import re
import sys
from pathlib import Path

import pytest

from isod.host.floor import MODULES
from lab import readme
from lab.readme import Block

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
# pydantic brings its core along
NOT_ASKED_FOR = {
    "pydantic_core",
    "isod",
    "isod_contract",
    "isod_kernel",
    "isod_wire",
    "isod_session",
    "isod_helper",
    "isoctl",
}


def imported() -> set[str]:
    """The top-level packages that the programs import, anywhere in their code."""
    names: set[str] = set()
    for path in (*(REPOSITORY / "daemon").rglob("*.py"), *(REPOSITORY / "client").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names


def installed_first() -> list[str]:
    """The packages of the one line that all begin with."""
    (line, *_) = re.findall(r"^apt install (.*)$", README, re.MULTILINE)
    return [word for word in line.split() if not word.startswith("-")]


def test_the_packages_to_install_are_what_the_programs_import() -> None:
    words = installed_first()
    wanted = {word.removeprefix("python3-").replace("-", "_") for word in words if word.startswith("python3-")}
    needed = {name for name in imported() - NOT_ASKED_FOR if name not in sys.stdlib_module_names}
    assert needed == wanted
    # and isod itself names each that is not there
    assert {"pydantic", *MODULES} == needed


def test_what_a_newcomer_types_is_installed_by_then() -> None:
    """N20: mmdebstrap, git and make were typed and not installed; the fresh host of the lab has no more than this."""
    assert {"mmdebstrap", "git", "make"} <= {*installed_first()}


@pytest.mark.parametrize("block", readme.blocks(README), ids=lambda block: f"{block.section}: {block.text[:30]}")
def test_each_block_says_who_types_it_where_it_is_rendered(block: Block) -> None:
    """N20: "as=root" on a fence is shown by no renderer."""
    first = block.text.splitlines()[0]
    if path := block.word("file"):
        assert first == f"# {path}, written by root"
    elif block.user:
        assert first.startswith(f"# as {block.user}")
    else:
        assert first.startswith(("# as ", "bindsym")) or block.section == "isoctl"


def test_sections_that_promise_something_are_all_run() -> None:
    """By tests/lab: test_readme, test_upgrade, and test_old_pydantic for what is on Ubuntu."""
    run = {block.section for block in readme.blocks(README) if block.is_run}
    assert run == {
        *("Install", "Supported hosts", "Upgrade", "Without NixOS", "Use", "Put things in", "Configure", "D-Bus"),
        "Uninstall",
    }
    assert [block for block in readme.blocks(README) if block.section in run and not block.is_run] == []


def test_what_the_page_promises_stands_before_what_is_to_be_typed() -> None:
    """Its first screen: what it is, what it promises and does not, then how to try it."""
    words = ("Run applications", "**Promised**", "**Not promised**", "make demo", "make test", "## Install", "## Use")
    places = [README.index(word) for word in words]
    assert places == sorted(places)


def test_the_way_to_a_first_run_is_short() -> None:
    """At most twelve commands from a fresh Debian 13, the clone and the run itself included."""
    blocks = [block for block in readme.blocks(README) if block.section in {"Install", "Without NixOS"} and block.user]
    text = re.sub(r"<<'END'.*?^END$", "", "\n".join(block.text for block in blocks), flags=re.MULTILINE | re.DOTALL)
    typed = [line for line in text.splitlines() if not line.startswith("#")]
    assert len([*typed, "git clone", "cd", "isoctl run blog id"]) <= 12


def test_every_file_that_it_names_is_there() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (REPOSITORY / path).exists() or path.startswith("http"), path
