"""container@.service as it is shipped, which runs nearly all containers of the lab, and what an administrator adds."""

import re

import pytest

from lab.changes import kept
from lab.faults import drop_in
from lab.machine import Lab

SHIPPED = "/usr/lib/systemd/system/container@.service"
STOCK = "/usr/lib/systemd/system/systemd-nspawn@.service"
PROGRAMS = "/usr/libexec/isod /usr/libexec/isod-prepare /usr/libexec/isod-helper /usr/libexec/isod-session"


def restart(lab: Lab, container: str) -> None:
    lab.stop_container(container)
    lab.start(container)


def test_the_shipped_unit_is_the_one_that_runs_the_labs_containers(lab: Lab) -> None:
    for container in ("blog", "priv", "net", "never"):
        assert lab.run("systemctl", "show", "-P", "FragmentPath", lab.unit(container)).stdout.strip() == SHIPPED


def words(lab: Lab, unit: str) -> tuple[set[str], str]:
    """Give the settings of a unit's file, flags of nspawn and units that are wanted each by itself, and its text."""
    text = lab.host_path(unit).read_text()
    found = set()
    for line in text.replace("\\\n", " ").splitlines():
        name, equals, value = line.partition("=")
        if not equals or name.startswith("#") or name in ("Documentation", "Description"):
            continue
        split = name in ("ExecStart", "Wants", "After")
        found |= {f"{name}={word}" for word in value.split()} if split else {f"{name}={value}"}
    return found, text


def test_what_systemds_own_unit_has_is_there_or_refused_with_a_reason(lab: Lab) -> None:
    """R-19, as a kind: a setting of systemd's unit that nobody thought of is missed by whoever needs it."""
    stock, _ = words(lab, STOCK)
    own, text = words(lab, SHIPPED)
    head = text[: text.index("[Unit]")]
    refused = {
        "--settings=override": ["ExecStart=--settings=override"],
        "-U, --network-veth": ["ExecStart=-U", "ExecStart=--network-veth"],
        "loop, device-mapper": [entry for entry in stock if re.search("loop|block-blkext|mapper|dm_mod", entry)],
    }
    for reason, settings in refused.items():
        assert f"#   {reason} " in head
        stock -= set(settings)
    assert stock - own == set()


def test_fuse_is_there_where_the_host_has_it(lab: Lab) -> None:
    """R-19: a file system of the container's own needs the node."""
    lab.run("sh", "-c", "test -e /dev/fuse || mknod -m 666 /dev/fuse c 10 229")
    restart(lab, "shared")
    allowed = lab.run("systemctl", "show", "-P", "DeviceAllow", "container@shared.service").stdout
    assert "/dev/fuse rwm" in allowed
    if lab.run("sh", "-c", "exec 3<>/dev/fuse", check=False).returncode == 0:
        assert lab.run("isoctl", "run", "shared", "sh", "-c", "exec 3<>/dev/fuse", user="alice").returncode == 0


def test_a_nspawn_file_holds_with_all_that_it_says(lab: Lab) -> None:
    """N-2: nspawn left out every bind of the file, silently, since isod had one on the command line."""
    path = "/etc/systemd/nspawn/shared.nspawn"
    lab.run("sh", "-c", "mkdir -p /srv/n2 && echo hello > /srv/n2/file")
    more = "Bind=/srv/n2:/mnt/rw\nBindReadOnly=/srv/n2:/mnt/ro\nTemporaryFileSystem=/mnt/tmp\n"
    with kept(lab, path):
        file = lab.host_path(path)
        file.write_text(file.read_text().replace("[Files]\n", "[Files]\n" + more))
        restart(lab, "shared")
        script = "cat /mnt/rw/file /mnt/ro/file; stat -f -c %T /mnt/tmp"
        assert lab.run("isoctl", "run", "shared", "sh", "-c", script, user="alice").stdout == "hello\n" * 2 + "tmpfs\n"
    restart(lab, "shared")
    lab.run("rm", "-r", "/srv/n2")


@pytest.mark.parametrize(
    ("bind", "reason"),
    [
        ("/srv/bobs-secret-place", "a directory that is shared with it is not there"),
        ("/sys/kernel:/mnt/shared:idmap", "lies on a file system that can't map owners (idmap)"),
    ],
)
def test_what_can_not_be_shared_is_told_to_users_in_a_sentence(lab: Lab, bind: str, reason: str) -> None:
    """R-31, issue 13.14: alice got "failed; see systemctl status", and root alone nspawn's sentence."""
    path = "/etc/systemd/nspawn/priv.nspawn"
    lab.stop_container("priv")
    with kept(lab, path):
        file = lab.host_path(path)
        file.write_text(file.read_text().replace("[Files]\n", f"[Files]\nBind={bind}\n"))
        done = lab.run("isoctl", "run", "priv", "true", user="alice", check=False)
        assert done.returncode == 125
        assert reason in done.stderr
        assert "bobs-secret" not in done.stderr
    lab.run("systemctl", "reset-failed", lab.unit("priv"), check=False)
    assert lab.run("isoctl", "run", "priv", "true", user="alice").returncode == 0


def test_an_administrators_flags_take_nothing_of_isods_away(lab: Lab) -> None:
    """Issue 12.9: EXTRA_NSPAWN_FLAGS of his replaced isod's, and nothing that policy grants arrived."""
    with drop_in("container@shared.service", 'Environment="EXTRA_NSPAWN_FLAGS=--setenv=N9=given"', restart="shared")(
        lab
    ):
        assert "N9=given" in lab.in_container("shared", "cat", "/proc/1/environ").stdout
        # What isod mounts there is made by its part of the unit.
        assert lab.host_path("/run/isod/container/shared/run").is_dir()
        command = lab.run("systemctl", "show", "-P", "ExecStart", "container@shared.service").stdout
        assert "/run/isod" not in command
    restart(lab, "shared")


@pytest.mark.breaks("isod", "host-files")
@pytest.mark.parametrize("container", ["shared", "deb"])
def test_containers_start_where_isods_programs_are_gone_and_its_drop_in_is_not(lab: Lab, container: str) -> None:
    """F12: a package that was removed by halves kept every container of the host from starting."""
    lab.run("sh", "-c", f"mkdir /run/kept && systemctl stop isod && mv {PROGRAMS} /run/kept")
    try:
        restart(lab, container)
        assert lab.run("systemctl", "is-active", lab.unit(container)).stdout == "active\n"
    finally:
        lab.run("sh", "-c", "mv /run/kept/* /usr/libexec && rmdir /run/kept && systemctl start isod")
    # There again, what it refuses counts again.
    restart(lab, container)
    assert lab.run("isoctl", "run", container, "true", user="alice").returncode == 0


@pytest.mark.attack("C51")
@pytest.mark.parametrize(
    "undo",
    [
        "umount /run/isoctl",
        "umount -l /run/isoctl",
        "umount -R /run/isoctl",
        "mount -o remount,bind,rw /run/isoctl",
        "umount -l /run/isoctl/launch",
        "mount -o remount,bind,rw /run/isoctl/launch",
    ],
)
def test_root_in_a_user_namespace_undoes_no_mount_of_isods(lab: Lab, undo: str) -> None:
    """Issue 12.9: one call did it, and what stood there before, or could be written, was what apps met."""
    lab.run("isoctl", "run", "priv", "true", user="alice")
    before = lab.in_container("priv", "grep", "isoctl", "/proc/self/mountinfo").stdout
    assert before
    assert lab.in_container("priv", "sh", "-c", undo, check=False).returncode != 0
    assert lab.in_container("priv", "grep", "isoctl", "/proc/self/mountinfo").stdout == before
    assert lab.in_container("priv", "touch", "/run/isoctl/x", check=False).returncode != 0
    assert lab.run("isoctl", "run", "priv", "true", user="alice").returncode == 0
