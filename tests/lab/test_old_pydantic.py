"""A host whose pydantic is too old, as Ubuntu 24.04's is: refused before anything is copied, and the README's way out.

Ubuntu's archive needs a key that a Debian machine does not have, so the host is Debian with that one difference.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import readme
from lab.machine import Lab
from lab.newcomer import CLONE, files_of_host, follow, newcomers_host
from lab.readme import Block
from lab.tree import cache_dir

UBUNTUS = "1.10.14"
BLOCKS = [block for block in readme.blocks(readme.text()) if block.user == "root"]

pytestmark = [pytest.mark.breaks("host-files", "isod"), pytest.mark.timeout(600)]


def wheels(python: str) -> Path:
    """Download pydantic for the lab's Python, once: there is no network in the lab."""
    directory = cache_dir() / f"wheels-{python}"
    if not directory.is_dir():
        new = directory.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", new, "--only-binary=:all:"),
                *("--python-version", python, "--platform", f"manylinux2014_{os.uname().machine}", "pydantic>=2"),
            ],
            check=True,
        )
        new.rename(directory)
    return directory


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with newcomers_host() as booted:
        packages = booted.host_path("/usr/lib/python3/dist-packages")
        shutil.rmtree(packages / "pydantic")
        (packages / "pydantic").mkdir()
        (packages / "pydantic/__init__.py").touch()
        (packages / "pydantic/version.py").write_text(f"VERSION = '{UBUNTUS}'\n")
        for information in packages.glob("pydantic-*.dist-info"):
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pydantic\nVersion: {UBUNTUS}\n")
            shutil.move(information, packages / f"pydantic-{UBUNTUS}.dist-info")
        version = booted.run("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").stdout.strip()
        shutil.copytree(wheels(version), booted.host_path("/srv/wheels"))
        booted.host_path("/etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv/wheels\n")
        yield booted


def test_make_install_refuses_it_before_it_copies_anything(lab: Lab) -> None:
    """N2: the Install block could not work, and the first word of it came from the journal of a failed unit."""
    before = files_of_host(lab.root)
    done = lab.run("make", "install", "enable", "PREFIX=/usr", cwd=CLONE, check=False)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("make install: ")]
    assert f"pydantic 2 is needed ({UBUNTUS})" in line
    assert "virtual environment" in line
    assert "README, Supported hosts" in line
    assert files_of_host(lab.root) == before


def test_the_way_out_that_the_readme_gives_leads_to_a_first_run(lab: Lab) -> None:
    def apply(blocks: list[Block]) -> None:
        for block in blocks:
            follow(lab, block)

    apply([block for block in BLOCKS if block.word("on") == "ubuntu"])
    apply([block for block in BLOCKS if block.section == "Without NixOS"])
    assert lab.run("isoctl", "run", "blog", "id", "-un", user="alice").stdout == "alice\n"
    assert lab.run("isoctl", "doctor", "blog", user="alice", check=False).stdout == "nothing wrong found\n"


def test_doctor_quotes_what_isod_refused(lab: Lab) -> None:
    """N2, N10: doctor said "isod.service is failed", and to enable it."""
    lab.run("mv", "/opt/isod/lib", "/opt/isod/lib.away")
    lab.run("systemctl", "restart", "isod.service", check=False)
    try:
        done = lab.run("isoctl", "doctor", user="alice", check=False)
    finally:
        lab.run("mv", "/opt/isod/lib.away", "/opt/isod/lib")
        lab.run("systemctl", "restart", "isod.service")
    (line,) = done.stdout.splitlines()
    assert f"pydantic 2 is needed ({UBUNTUS})" in line
    assert "[python-modules]" in line
