"""Containers started with and without isod, and what their starts, stops and contents leave of the host."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from lab.machine import Lab

NIX = "/nix/var/nix"
NIX_DIRECTORIES = [f"{NIX}/{kind}/per-user" for kind in ("profiles", "gcroots")]


def isoctl(lab: Lab, *arguments: str, user: str = "alice", **options: object) -> subprocess.CompletedProcess[str]:
    return lab.run("isoctl", *arguments, user=user, check=False, **options)


def starts(lab: Lab) -> int:
    return len(lab.journal(unit="isod.service", ISOCTL_KIND="container-start"))


def listed(lab: Lab, container: str) -> str:
    rows = json.loads(isoctl(lab, "list", "--json").stdout)
    return next(str(row["state"]) for row in rows if row["name"] == container)


@pytest.fixture(scope="module")
def fresh() -> Iterator[Lab]:
    """A host on which isod never ran: nothing of what it makes is there."""
    with Lab.boot() as lab:
        lab.run("systemctl", "disable", "--now", "isod.service", "isod-helper.socket")
        lab.run("sh", "-c", "umount -q /run/isod/container/*; rm -rf /run/isod")
        yield lab


@pytest.mark.parametrize("container", ["blog", "priv", "plain", "deb"])
def test_a_container_starts_without_isod_which_later_takes_it_over(fresh: Lab, container: str) -> None:
    """R01: the drop-in must never be what keeps a container from starting."""
    fresh.run("systemctl", "stop", "isod.service")
    assert fresh.run("systemctl", "is-active", "isod", check=False).stdout == "inactive\n"
    fresh.start(container)
    leader = fresh.leader(container)
    # A unit of somebody's own has no drop-in.
    assert fresh.host_path(f"/run/isod/container/{container}/run").is_dir() == (container != "plain")

    fresh.run("systemctl", "start", "isod-helper.socket", "isod.service")
    before = starts(fresh)
    fresh.wait_for(lambda: listed(fresh, container) == "running", 20)
    done = isoctl(fresh, "run", container, "--", "sh", "-c", "id -un; stat -c '%a %U' $XDG_RUNTIME_DIR")
    assert (done.returncode, done.stdout, done.stderr) == (0, "alice\n700 alice\n", "")
    assert starts(fresh) == before
    assert fresh.leader(container) == leader
    assert isoctl(fresh, "stop", container).returncode == 0
    assert listed(fresh, container) == "stopped"


def test_isod_is_started_by_the_first_who_asks(fresh: Lab) -> None:
    """Nothing but D-Bus activation is needed."""
    fresh.run("systemctl", "stop", "isod.service")
    assert isoctl(fresh, "run", "blog", "echo", "hi").stdout == "hi\n"


def host_state(lab: Lab) -> dict[str, str]:
    """Give inode and owner of every socket and of the users' directories on the host, but for the container's own."""
    script = (
        r"find /run /tmp -xdev -type s -printf '%p %i %u %m\n'; find /run/user -type s -printf '%p %i %u %m\n'; "
        r"stat -c '%n %i %U %a' /run/user/1000 /run/user/1001"
    )
    lines = lab.run("sh", "-c", script).stdout.splitlines()
    pairs = (line.partition(" ")[::2] for line in lines)
    return {path: rest for path, rest in pairs if not path.startswith(("/run/isod/container/", "/run/systemd/nspawn"))}


def test_the_hosts_sockets_survive_twenty_stops_of_a_container(lab: Lab) -> None:
    """I-24, R4 of the requirements: with the host's directory bound, a container's end emptied it on the host."""
    lab.start("blog")
    before = host_state(lab)
    assert "/run/user/1000/bus" in before
    for number in range(20):
        assert isoctl(lab, "run", "blog", "true").returncode == 0
        if number % 4 == 3:
            lab.run("machinectl", "kill", "--signal=KILL", "--kill-whom=leader", "blog")
            lab.wait_for(lambda: listed(lab, "blog") in ("stopped", "failed"), 20)
            lab.run("systemctl", "reset-failed", "container@blog", check=False)
        else:
            done = isoctl(lab, "stop", "blog")
            assert (done.returncode, done.stderr) == (0, "")
    after = host_state(lab)
    assert {path: after.get(path) for path in before} == before
    assert lab.run("busctl", "--user", "list", user="alice").returncode == 0


@pytest.fixture
def victim(lab: Lab) -> Iterator[str]:
    """A directory of the host's root that a wrong step would give away; the same path is in the containers too."""
    path = "/srv/victim"
    lab.run("sh", "-c", f"mkdir -p {path}/alice {path}/1000; chmod 750 {path} {path}/*; touch {path}/file")
    yield path
    lab.run("rm", "-r", path)


def owners(lab: Lab, path: str) -> str:
    return lab.run("find", path, "-printf", "%p %u %g %m %y\n").stdout


@pytest.mark.attack("C01")
@pytest.mark.parametrize("last", ["", "/alice"])
@pytest.mark.parametrize("directory", NIX_DIRECTORIES)
def test_a_symlink_among_the_nix_directories_ends_in_unsafe_path(
    lab: Lab, victim: str, directory: str, last: str
) -> None:
    """S01, snapd CVE-2021-44731: in a NixOS container these directories are the host's."""
    lab.start("evil")
    parent = directory if last else directory.rpartition("/")[0]
    script = f"mkdir -p {NIX}/profiles {NIX}/gcroots {parent} {victim}/alice; ln -s {victim}{last} {directory}{last}"
    lab.in_container("evil", "sh", "-c", script)
    before = owners(lab, victim)
    try:
        done = isoctl(lab, "run", "evil", "true")
        assert done.returncode == 125
        assert "unsafe path" in done.stderr
        assert directory in done.stderr
        assert owners(lab, victim) == before
    finally:
        lab.in_container("evil", "rm", "-r", "/nix")
    assert isoctl(lab, "run", "evil", "true").returncode == 0


@pytest.mark.attack("C01")
@pytest.mark.parametrize("target", ["/run/user", "/run/user/1000"])
@pytest.mark.parametrize("kind", ["symlink", "absolute-loop", "file"])
def test_a_trap_at_run_user_without_logind_ends_in_unsafe_path(lab: Lab, victim: str, target: str, kind: str) -> None:
    """S01: without logind isod itself makes the directory, so what lies there decides over the host's files."""
    lab.start("nologind")
    trap = {
        "symlink": f"ln -s {victim} {target}",
        "absolute-loop": f"ln -s {target} {target}",
        "file": f"touch {target}",
    }[kind]
    lab.in_container("nologind", "sh", "-c", f"mkdir -p /run/user {victim}/1000; rm -rf {target}; {trap}")
    before = owners(lab, victim)
    try:
        done = isoctl(lab, "run", "nologind", "true")
        assert done.returncode == 125
        assert "unsafe path" in done.stderr
        assert target in done.stderr
        assert owners(lab, victim) == before
    finally:
        lab.in_container("nologind", "rm", "-rf", target)
    assert isoctl(lab, "run", "nologind", "true").returncode == 0


def test_the_nix_directories_are_the_users_own(lab: Lab) -> None:
    """R7 of the requirements: Home Manager's unit fails where they are missing."""
    lab.stop_container("nixlike")
    for _ in range(2):
        assert isoctl(lab, "run", "nixlike", "true").returncode == 0
        for directory in NIX_DIRECTORIES:
            inside = lab.in_container("nixlike", "stat", "-c", "%U %a", directory, f"{directory}/alice").stdout
            assert inside == "root 755\nalice 755\n"
            kind = directory.split("/")[4]
            outside = f"{NIX}/{kind}/per-container/nixlike/per-user/alice"
            assert lab.run("stat", "-c", "%u %g %a", outside).stdout == "1000 1000 755\n"
        # A wrong mode is put right; the owner's own files stay.
        lab.in_container("nixlike", "chmod", "700", f"{NIX_DIRECTORIES[0]}/alice", user="alice")
    done = isoctl(lab, "run", "nixlike", "--", "sh", "-c", f"touch {NIX_DIRECTORIES[0]}/alice/profile && echo made")
    assert done.stdout == "made\n"


def test_the_nix_directories_of_a_user_namespace_have_its_uids(lab: Lab) -> None:
    lab.start("priv")
    lab.in_container("priv", "mkdir", "-p", f"{NIX}/profiles", f"{NIX}/gcroots")
    try:
        assert isoctl(lab, "run", "priv", "true").stderr == ""
        for directory in NIX_DIRECTORIES:
            inside = lab.in_container("priv", "stat", "-c", "%U %G %a", directory, f"{directory}/alice").stdout
            assert inside == "root root 755\nalice alice 755\n"
    finally:
        lab.in_container("priv", "rm", "-r", "/nix")


@pytest.mark.parametrize("container", ["blog", "priv", "nologind"])
def test_without_nix_nothing_of_nix_is_made(lab: Lab, container: str) -> None:
    assert isoctl(lab, "run", container, "true").returncode == 0
    assert lab.in_container(container, "test", "-e", "/nix", check=False).returncode == 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        ("true", "/var/lib/machines/phantom, where its files must be, is not there"),
        ("touch /var/lib/machines/phantom.raw", "an image such as /var/lib/machines/phantom.raw is not for this unit"),
        ("mkdir /var/lib/machines/phantom", "/var/lib/machines/phantom has no /etc/os-release"),
        (
            "cd /var/lib/machines; mkdir -p phantom/etc phantom/usr/bin; touch phantom/etc/os-release",
            "has no init to boot",
        ),
    ],
)
def test_a_container_that_cannot_boot_says_what_its_files_lack(lab: Lab, make: str, told: str) -> None:
    """N16: "container 'phantom' stopped: container@phantom.service is inactive"."""
    policy = lab.host_path("/etc/isod/containers/phantom.toml")
    policy.write_text('users = ["alice"]\n')
    lab.run("sh", "-c", make)
    try:
        lab.run("isoctl", "reload")
        before = lab.run("isoctl", "doctor", "phantom", user="alice", check=False)
        done = lab.run("isoctl", "run", "phantom", "true", user="alice", check=False)
        after = lab.run("isoctl", "doctor", "phantom", user="alice", check=False)
    finally:
        policy.unlink()
        lab.run("sh", "-c", "rm -rf /var/lib/machines/phantom*; systemctl reset-failed container@phantom.service; true")
        lab.run("isoctl", "reload")
    assert done.returncode == 125
    assert told in done.stderr
    for doctor in (before, after):
        assert told in doctor.stdout
        assert doctor.stdout.count("\n") == 1
