"""The walls of what parses hostile clients' bytes: the unit's template, what the program checks, what it is given.

That systemd and the kernel make these walls is tested on a booted host (tests/lab/gui/test_x_sandbox.py).
"""

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from closed import until_open_are
from isod_contract.names import x_server_unit
from isod_contract.sandbox import MEMORY_BYTES_MAX, properties, x_server
from isod_session import confinement, handover
from isod_session.handover import Handover

HOST = {"ipc": "ipc:[1]", "net": "net:[1]", "mnt": "mnt:[1]", "pid": "pid:[1]", "shm": "1"}
# A socket can be connected to wherever it is seen: the Nix daemon takes every user of the host for whom they are.
NIX = ["-/nix/var/nix/daemon-socket", "-/nix/var/nix/gc-socket"]


def unit(tmp_path: Path, *nodes: str, systemd: int = 257, path: str = "/usr/libexec/isod-xserver") -> dict[str, Any]:
    given = properties(x_server(path, "blog", nodes), systemd=systemd, root=tmp_path)
    found: dict[str, Any] = {}
    for name, _, value in given:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


@pytest.mark.attack("C40")
def test_the_unit_shares_nothing_with_the_user(tmp_path: Path) -> None:
    """A1, A7: each of these was the host's."""
    walls = unit(tmp_path)
    for name in ("PrivateUsers", "PrivateIPC", "PrivateNetwork", "PrivateDevices", "NoNewPrivileges"):
        assert walls[name] is True
    assert (walls["PrivatePIDs"], walls["ProtectHome"], walls["ProtectProc"]) == ("yes", "tmpfs", "invisible")
    assert {place for place, _ in walls["TemporaryFileSystem"]} == {"/run", "/var", "/tmp", "/dev/shm"}
    assert walls["MemoryMax"] == MEMORY_BYTES_MAX
    assert walls["LimitDATA"] < MEMORY_BYTES_MAX
    assert (walls["LogRateLimitIntervalUSec"], walls["LogRateLimitBurst"]) == (30_000_000, 200)
    assert walls["LimitCORE"] == walls["CapabilityBoundingSet"] == walls["RestrictNamespaces"] == 0
    assert walls["SystemCallFilter"] == [
        [True, ["@system-service"]],
        [False, ["@privileged", "@resources"]],
        [True, ["@setuid"]],
    ]


@pytest.mark.attack("C40")
def test_the_hosts_systemd_needs_no_user_namespace_for_the_rest(tmp_path: Path) -> None:
    """Where user.max_user_namespaces is 0 there is none for root either."""
    program = x_server("/usr/libexec/isod-xserver", "blog", ())
    by_user, by_host = (properties(program, systemd=257, by_host=by_host, root=tmp_path) for by_host in (False, True))
    assert [item for item in by_user if item not in by_host] == [("PrivateUsers", "b", True)]
    assert [item for item in by_host if item not in by_user] == []
    # Without a pid namespace it is what keeps the user's other processes from being read.
    older = properties(program, systemd=256, by_host=True, root=tmp_path)
    assert ("PrivateUsers", "b", True) in older


@pytest.mark.attack("C40")
def test_without_a_pid_namespace_it_may_signal_nobody(tmp_path: Path) -> None:
    walls = unit(tmp_path, systemd=256)
    assert "PrivatePIDs" not in walls
    is_allowed, calls = walls["SystemCallFilter"][-1]
    assert not is_allowed
    assert {"kill", "tgkill", "pidfd_send_signal", "ptrace", "process_vm_readv", "prlimit64"} <= set(calls)


@pytest.mark.attack("C41")
def test_devices_are_the_granted_ones_alone(tmp_path: Path) -> None:
    """A8."""
    walls = unit(tmp_path)
    assert (walls["DevicePolicy"], "DeviceAllow" in walls, "BindPaths" in walls) == ("closed", False, False)
    walls = unit(tmp_path, "/dev/dri/renderD128")
    assert walls["PrivateDevices"] is True
    assert walls["DeviceAllow"] == [["/dev/dri/renderD128", "rw"]]
    assert walls["BindPaths"] == [["/dev/dri/renderD128", "/dev/dri/renderD128", True, 0]]


def test_other_directories_of_the_host_are_hidden_but_for_the_programs_own(tmp_path: Path) -> None:
    for name in ("usr", "etc", "nix", "home", "srv", "data", "opt", "proc", "my disk"):
        (tmp_path / name).mkdir()
    (tmp_path / "lib").symlink_to("usr/lib")
    assert unit(tmp_path)["InaccessiblePaths"] == ["-/data", "-/my disk", "-/opt", "-/srv", *NIX]
    assert unit(tmp_path, path="/opt/x/isod-xserver")["InaccessiblePaths"] == ["-/data", "-/my disk", "-/srv", *NIX]
    assert unit(tmp_path / "gone")["InaccessiblePaths"] == NIX


def test_units_of_different_users_have_different_names() -> None:
    assert x_server_unit("blog") == "isoctl-x11-blog.service"
    assert x_server_unit("blog", 1000) == "isoctl-x11-1000-blog.service"


# -- what the program checks


def process(tmp_path: Path, **changed: str) -> Path:
    """A /proc/self of a confined process, but for what is changed."""
    (tmp_path / "ns").mkdir()
    for name in ("ipc", "net", "mnt", "pid"):
        (tmp_path / "ns" / name).symlink_to(changed.get(name, f"{name}:[2]"))
    status = {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0", "CapPrm": "0", "CapBnd": "0"} | changed
    (tmp_path / "uid_map").write_text(changed.get("uid_map", "      1000       1000          1\n"))
    (tmp_path / "status").write_text("".join(f"{name}:\t{value}\n" for name, value in status.items()))
    return tmp_path


@pytest.mark.attack("C40")
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, None),
        ({"ipc": "ipc:[1]"}, "no ipc namespace of its own"),
        ({"net": "net:[1]"}, "no net namespace of its own"),
        ({"mnt": "mnt:[1]"}, "no mnt namespace of its own"),
        ({"pid": "pid:[1]"}, "it can signal the user's other processes"),
        ({"pid": "pid:[1]", "uid_map": "0 0 4294967295\n"}, "it can read the user's other processes"),
        ({"uid_map": "0 0 4294967295\n"}, None),
        ({"NoNewPrivs": "0"}, "NoNewPrivs is 0"),
        ({"Seccomp": "0"}, "Seccomp is 0"),
        ({"CapEff": "1ff"}, "it has capabilities (CapEff)"),
        ({"CapBnd": "1ff"}, "it has capabilities (CapBnd)"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wall_that_systemd_left_out_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], told: str | None
) -> None:
    """A1: systemd starts a unit without namespaces where the kernel refuses them, and says nothing."""
    monkeypatch.setattr(confinement, "_PLACES", ())
    found = confinement.missing(HOST, may_have_nodes=True, proc=str(process(tmp_path, **changed)))
    assert found[-1:] == ([told] if told else [])
    assert len(found) == len(changed) - ("uid_map" in changed and told is None)


def test_what_is_not_told_of_the_host_counts_as_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_PLACES", ())
    assert len(confinement.missing({}, may_have_nodes=True, proc=str(process(tmp_path)))) == 3


@pytest.mark.attack("C40")
def test_files_and_shared_memory_of_the_host_are_missed_walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home/alice").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(confinement, "_PLACES", (str(tmp_path / "home"), str(tmp_path / "gone")))
    host = HOST | {"shm": str(Path("/dev/shm").stat().st_dev)}
    found = confinement.missing(host, may_have_nodes=True, proc=str(process(tmp_path / "proc")))
    assert found == ["the host's /dev/shm", f"it sees what is in {tmp_path}/home"]


def test_this_process_is_not_confined() -> None:
    assert confinement.missing(confinement.identity_of_host(), may_have_nodes=False)


# -- what it is given


def sockets() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)


def test_what_is_handed_over_arrives() -> None:
    ours, theirs = sockets()
    reader, writer = os.pipe()
    with ours, theirs:
        given = Handover(container="blog", host=HOST, has_gpu=True, path="/bin", fds=(reader, writer, reader))
        handover.send(ours, given)
        taken = handover.receive(theirs)
        assert (taken.container, taken.host, taken.has_gpu, taken.path) == ("blog", HOST, True, "/bin")
        assert os.path.sameopenfile(taken.wayland, writer)
        assert not os.get_inheritable(taken.listen)
        for fd in (taken.listen, taken.wayland, taken.clipboard, reader, writer):
            os.close(fd)
        handover.report(theirs, handover.READY)
        assert ours.recv(100) == handover.READY.encode()
    handover.report(theirs, "nobody hears it")


@pytest.mark.parametrize("count", [0, 2, 4])
def test_another_number_of_descriptors_is_no_handover_and_leaks_none(count: int) -> None:
    ours, theirs = sockets()
    before = len(os.listdir("/proc/self/fd"))
    with ours, theirs:
        socket.send_fds(ours, [json.dumps({}).encode()], [0] * count)
        with pytest.raises(ValueError, match=re.escape("standard input")):
            handover.receive(theirs)
        until_open_are(before)
