"""Every command of the README, typed as it stands there, in its order, on a host that has nothing of ours yet."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from lab import readme
from lab.machine import Lab
from lab.newcomer import files_of_host, follow, newcomers_host
from lab.readme import Block

BLOCKS = readme.blocks(readme.text())
RUN = [block for block in BLOCKS if block.is_run and not block.word("on")]
LAST = "Uninstall"
ALL_FILES: set[str] = set()

# the installation is what this is about; a cold cache has two trees to make
pytestmark = [pytest.mark.breaks("host-files", "isod"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A Debian with the packages of the README, a clone, and nothing installed from it."""
    with newcomers_host() as booted:
        # what a host has on its disk, and the lab not: directories that allow id-mapped mounts
        booted.run("sh", "-c", "mkdir /home/alice/project && mount -t tmpfs -o uid=1000,gid=1000 x /home/alice/project")
        give_container_a_source(booted)
        ALL_FILES.update(files_of_host(booted.root))
        yield booted


def give_container_a_source(lab: Lab) -> None:
    """Have the container's apt find one package without a network."""
    guest = lab.host_path("/srv/guest")
    package = guest / "srv/foot"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr/bin").mkdir(parents=True)
    (package / "usr/bin/foot").write_text("#!/bin/sh\necho foot\n")
    (package / "usr/bin/foot").chmod(0o755)
    control = "Package: foot\nVersion: 1\nArchitecture: all\nMaintainer: x <x@localhost>\nDescription: x\n"
    (package / "DEBIAN/control").write_text(control)
    subprocess.run(["chroot", guest, "dpkg-deb", "--build", "/srv/foot", "/srv/foot.deb"], check=True)
    size = (guest / "srv/foot.deb").stat().st_size
    digest = subprocess.run(["sha256sum", guest / "srv/foot.deb"], capture_output=True, text=True, check=True)
    index = f"{control}Filename: ./foot.deb\nSize: {size}\nSHA256: {digest.stdout.split()[0]}\n"
    (guest / "srv/Packages").write_text(index)
    (guest / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv ./\n")


@pytest.mark.parametrize(
    "block",
    [block for block in RUN if block.section != LAST],
    ids=lambda block: f"{block.section}-{block.text.splitlines()[-1].split()[0]}",
)
def test_it_does_what_it_says(lab: Lab, block: Block) -> None:
    follow(lab, block)


def test_what_was_put_in_is_there(lab: Lab) -> None:
    """N12: nobody said how to get a program, a directory or a network into a container."""
    assert lab.run("isoctl", "run", "blog", "foot", user="alice").stdout == "foot\n"
    made = lab.host_path("/home/alice/project/made-inside").stat()
    assert (made.st_uid, made.st_gid) == (1000, 1000)
    lab.wait_for(lambda: "host0" in lab.run("isoctl", "run", "blog", "cat", "/proc/net/route", user="alice").stdout, 30)


def test_then_alice_has_what_was_promised(lab: Lab) -> None:
    listed = lab.run("isoctl", "list", user="alice").stdout
    assert "blog" in listed
    done = lab.run("isoctl", "run", "blog", "sh", "-c", "uname -n; id -un; echo $XDG_RUNTIME_DIR", user="alice")
    assert (done.stdout, done.stderr) == ("blog\nalice\n/run/user/1000\n", "")
    assert lab.run("isoctl", "run", "blog", "true", user="bob", check=False).returncode == 125
    # "Troubleshooting": what was installed by this page alone is well
    assert lab.run("isoctl", "doctor", "blog", user="alice", check=False).stdout == "nothing wrong found\n"


def test_the_container_of_this_page_is_a_boundary_against_its_own_root(lab: Lab) -> None:
    """N13: the README's own container was what SECURITY.md calls no boundary."""
    measured = json.loads(lab.run("isoctl", "exposure", "--json", "blog", user="alice", check=False).stdout)
    assert not {"root-is-root", "network-shared"} & {found["code"] for found in measured["exposures"]}
    assert lab.run("isoctl", "run", "blog", "cat", "/proc/self/uid_map").stdout.split()[1] != "0"


@pytest.mark.parametrize("block", [block for block in RUN if block.section == LAST], ids=lambda block: block.section)
def test_it_goes_as_it_came(lab: Lab, block: Block) -> None:
    """N19: nothing but policy and logs is left, and containers start without it."""
    # A systemd inside that still boots would not take nspawn's signal to stop, and be killed after 90 s.
    lab.run("systemctl", "-M", "blog", "is-system-running", "--wait", check=False)
    process = lab.popen("isoctl", "run", "blog", "sleep", "infinity", user="alice", stdout=subprocess.DEVNULL)
    lab.wait_for(lambda: lab.run("pgrep", "-f", "sleep infinity", check=False).returncode == 0)
    follow(lab, block)
    with process:
        # it waits for an isod that does not come
        process.signal_inner(signal.SIGKILL)
    left = {name for name in files_of_host(lab.root) - ALL_FILES if not re.search(r"\.pyc$|network", name)}
    assert left == {"etc/isod/containers/blog.toml", "etc/systemd/nspawn/blog.nspawn"}
    assert not lab.host_path("/run/isod").exists()
    assert "isod" not in lab.run("cat", "/proc/self/mountinfo").stdout
    units = lab.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "iso*", "container@*").stdout
    # The one container that runs goes on, by the unit that it was started by.
    assert [line.split()[0] for line in units.splitlines()] == ["container@blog.service"]
    assert "isoctl" not in lab.run("getent", "group").stdout
    assert lab.run("systemctl", "is-active", "container@blog.service", check=False).stdout == "active\n"
    # Up to its TimeoutStopSec= where systemd inside does not end in time.
    lab.run("systemctl", "stop", "container@blog.service", timeout_sec=150)
    lab.run("systemctl", "start", "systemd-nspawn@blog.service")
    assert lab.run("machinectl", "list", "--no-legend").stdout.split()[0] == "blog"
