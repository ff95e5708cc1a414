"""An upgrade by the README's own words, from an isod of about 50 commits ago, while apps run."""

import subprocess
from collections.abc import Iterator

import pytest

from lab import readme
from lab.machine import Lab
from lab.newcomer import follow, newcomers_host, publish_working_tree
from lab.product import repository
from lab.readme import Block

COMMITS_AGO = 50
# What the old version's own README says; its words for the file of policy are the same to this day.
FIRST = ("Install", "Without NixOS")

pytestmark = [pytest.mark.breaks("host-files", "isod"), pytest.mark.timeout(600)]


def git(*argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=repository(), capture_output=True, text=True, check=True).stdout


def old_revision() -> str:
    """The commit of so long ago, or the oldest that this clone has."""
    try:
        commits = git("rev-list", "--first-parent", f"--max-count={COMMITS_AGO + 1}", "HEAD").split()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this is no clone of the repository, so there is no older version: {error}")
    return commits[-1]


def steps(text: str, *sections: str) -> list[Block]:
    """What root types in these sections, on Debian."""
    found = [block for block in readme.blocks(text) if block.user == "root" and not block.word("on")]
    return [block for block in found if block.section in sections]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    old = old_revision()
    with newcomers_host(first=old) as booted:
        for block in steps(git("show", f"{old}:README.md"), *FIRST):
            follow(booted, block)
        yield booted


def test_apps_live_through_an_upgrade_and_all_is_well_afterwards(lab: Lab) -> None:
    """N18: the upgrade worked, but no page told how, and nothing told that it was not done."""
    # on a pipe, and detached
    words = ("read line; echo got $line; exit 7",)
    piped = lab.popen(
        *("isoctl", "run", "blog", "sh", "-c", *words),
        user="alice", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    detached = lab.run("isoctl", "run", "-d", "blog", "sleep", "600", user="alice").stdout.strip()
    lab.wait_for(lambda: lab.run("isoctl", "ps", user="alice").stdout.count("running") == 2, 30)
    before = lab.run("systemctl", "show", "-P", "InvocationID", "container@blog.service").stdout
    isod = lab.run("systemctl", "show", "-P", "InvocationID", "isod.service").stdout

    publish_working_tree(lab)
    for block in steps(readme.text(), "Upgrade"):
        follow(lab, block)

    assert lab.run("systemctl", "show", "-P", "InvocationID", "isod.service").stdout != isod
    assert lab.run("systemctl", "show", "-P", "InvocationID", "container@blog.service").stdout == before
    with piped:
        out, err = piped.communicate(b"through\n", 30)
    assert (out, err, piped.returncode) == (b"got through\n", b"", 7)
    assert detached in lab.run("isoctl", "ps", "--json", user="alice").stdout
    lab.run("isoctl", "kill", detached, user="alice")
    # a new app, and each socket of this version, though the old one may not have had it
    assert lab.run("isoctl", "run", "blog", "id", "-un", user="alice").stdout == "alice\n"
    # The page of then may have made a container that does not know its own name, which is found now: as doctor says.
    if "[hostname-unresolved]" in lab.run("isoctl", "doctor", "blog", user="alice", check=False).stdout:
        lab.run("isoctl", "run", "blog", "sh", "-c", 'echo "127.0.1.1 $(hostname)" >> /etc/hosts')
    assert lab.run("isoctl", "doctor", "blog", user="alice", check=False).stdout == "nothing wrong found\n"
    restarted = lab.run("isoctl", "restart", "blog", user="alice", check=False)
    assert (restarted.returncode, restarted.stdout) == (0, "")
    assert lab.run("isoctl", "run", "blog", "true", user="alice").returncode == 0
