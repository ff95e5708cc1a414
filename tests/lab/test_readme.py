"""Every command of the README, typed as it stands there, in its order, on a host that has nothing of ours yet."""

import re
import shlex
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from lab.machine import Lab
from lab.product import repository
from lab.stage import GUEST
from lab.tree import guest_tree

# sections that promise something about this host, and so have only blocks that are run here
CHECKED = ("Install", "Without NixOS", "Use", "Configure", "D-Bus")
# In the place of the real one, which needs a network: the tree that it makes of the same options, made before.
MMDEBSTRAP = f"""#!/bin/sh
for directory; do :; done
mkdir "$directory" && exec mount --rbind /{GUEST} "$directory"
"""

# the installation is what this is about; a cold cache has two trees to make
pytestmark = [pytest.mark.breaks("host-files", "isod"), pytest.mark.timeout(600)]


class Block(NamedTuple):
    section: str
    info: str
    text: str


def blocks() -> list[Block]:
    """All blocks of code, fenced and indented, with the section that they are in."""
    found: list[Block] = []
    section = ""
    lines = iter((repository() / "README.md").read_text().splitlines())
    for line in lines:
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("```"):
            text = "\n".join(iter(lines.__next__, "```"))
            found.append(Block(section, line.removeprefix("```"), text))
        elif line.startswith("    "):
            found.append(Block(section, "", line.strip()))
    return found


RUN = [block for block in blocks() if re.search(r"as=|file=", block.info)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A Debian with the packages of the README, the checkout, and nothing installed from it."""
    (command,) = re.findall(r"^mmdebstrap (.*) \S+$", (repository() / "README.md").read_text(), re.MULTILINE)
    with Lab.boot(guest=guest_tree(shlex.split(command))) as booted:
        assert booted.run("sh", "-c", "command -v isoctl", check=False).stdout == ""
        shim = booted.host_path("/usr/local/bin/mmdebstrap")
        shim.write_text(MMDEBSTRAP)
        shim.chmod(0o755)
        ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__")
        shutil.copytree(repository(), booted.host_path("/root/checkout"), ignore=ignored)
        yield booted


def test_sections_that_promise_something_are_all_run() -> None:
    assert {block.section for block in RUN} == set(CHECKED)
    assert [block for block in blocks() if block.section in CHECKED and block not in RUN] == []


@pytest.mark.parametrize("block", RUN, ids=lambda block: f"{block.section}-{block.text.split()[0]}")
def test_it_does_what_it_says(lab: Lab, block: Block) -> None:
    kind, _, target = block.info.partition(" ")[2].partition("=")
    if kind == "file":
        lab.host_path(target).write_text(block.text + "\n")
        return
    cwd = "/root/checkout" if target == "root" else None
    done = lab.run("bash", "-euxo", "pipefail", "-c", block.text, user=target, cwd=cwd, check=False, timeout_sec=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_then_alice_has_what_was_promised(lab: Lab) -> None:
    listed = lab.run("isoctl", "list", user="alice").stdout
    assert "blog" in listed
    done = lab.run("isoctl", "run", "blog", "sh", "-c", "uname -n; id -un; echo $XDG_RUNTIME_DIR", user="alice")
    assert (done.stdout, done.stderr) == ("blog\nalice\n/run/user/1000\n", "")
    assert lab.run("isoctl", "run", "blog", "true", user="bob", check=False).returncode == 125
    # "Troubleshooting": what was installed by this page alone is well
    assert lab.run("isoctl", "doctor", "blog", user="alice", check=False).stdout == "nothing wrong found\n"
