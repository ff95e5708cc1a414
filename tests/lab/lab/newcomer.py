"""A host as a newcomer has it: what the README has them install, a clone of the repository, and nothing of ours yet."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import readme
from lab.machine import Lab
from lab.product import repository
from lab.readme import Block
from lab.stage import GUEST
from lab.tree import guest_tree

CLONE = "/root/isoctl"
UPSTREAM = "/root/upstream"
# In the place of the real one, which needs a network: the tree that it makes of the same options, made before. The real
# one must be there all the same.
_MMDEBSTRAP = f"""#!/bin/sh
[ -x /usr/bin/mmdebstrap ] || exit 127
for directory; do :; done
mkdir "$directory" && cp --archive --reflink=auto /{GUEST}/. "$directory"
"""
_IGNORED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", ".fuzz", "__pycache__")


@contextmanager
def newcomers_host(first: str = "") -> Iterator[Lab]:
    """Boot it; `first` is the revision that the clone has, by default that of the working tree."""
    with Lab.boot(tree="fresh", guest=guest_tree(readme.guest_options(readme.text()))) as booted:
        assert booted.run("sh", "-c", "command -v isoctl", check=False).stdout == ""
        # the lab has no use for it, a host has
        booted.run("sh", "-c", "find /etc/systemd/system -name 'systemd-networkd*' -lname /dev/null -delete")
        booted.run("systemctl", "daemon-reload")
        shim = booted.host_path("/usr/local/bin/mmdebstrap")
        shim.write_text(_MMDEBSTRAP)
        shim.chmod(0o755)
        upstream = booted.host_path(UPSTREAM)
        upstream.mkdir()
        if first:
            archive = subprocess.run(["git", "archive", first], cwd=repository(), capture_output=True, check=True)
            subprocess.run(["tar", "-x", "-C", upstream], input=archive.stdout, check=True)
        else:
            shutil.copytree(repository(), upstream, ignore=_IGNORED, dirs_exist_ok=True)
        commit(booted, "--initial-branch=main", "init")
        booted.run("git", "clone", "--quiet", UPSTREAM, CLONE)
        yield booted


def publish_working_tree(lab: Lab) -> None:
    """Have upstream what stands in the working tree, as a commit more."""
    upstream = lab.host_path(UPSTREAM)
    for entry in upstream.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(repository(), upstream, ignore=_IGNORED, dirs_exist_ok=True)
    commit(lab)


def commit(lab: Lab, *init: str) -> None:
    """Commit all that stands upstream; with words for `git init` in a new repository."""
    if init:
        *options, verb = init
        lab.run("git", verb, "--quiet", *options, cwd=UPSTREAM)
    name = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    lab.run("git", "add", "--all", cwd=UPSTREAM)
    lab.run("git", *name, "commit", "--quiet", "--message", "A state", cwd=UPSTREAM)


def follow(lab: Lab, block: Block) -> None:
    """Do what a block says, as who it says."""
    if target := block.word("file"):
        path = lab.host_path(target)
        assert path.parent.is_dir()
        path.write_text(block.text + "\n")
        return
    cwd = CLONE if block.user == "root" else None
    argv = ("bash", "-euxo", "pipefail", "-c", block.text)
    done = lab.run(*argv, user=block.user, cwd=cwd, check=False, timeout_sec=100)
    assert done.returncode == 0, done.stdout + done.stderr


def files_of_host(root: Path) -> set[str]:
    """Give all files and links of the host but those of users, logs, containers and package lists."""
    found: set[str] = set()
    for top in ("etc", "usr", "var/lib", "run/isod", "run/systemd/system", "opt"):
        for directory, _, names in os.walk(root / top):
            found |= {os.path.relpath(os.path.join(directory, name), root) for name in names}
    passed = ("var/lib/machines/", "var/lib/apt/", "var/lib/dpkg/", "var/lib/systemd/")
    return {name for name in found if not name.startswith(passed)}
