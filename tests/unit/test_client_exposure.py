"""`isoctl exposure`: reading what a hostile container may have written, and what it means, the worst first."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from typing import Any

import pytest

from isoctl.exposure import probe, protocols
from isoctl.exposure.host import Owner, Owners
from isoctl.exposure.judge import CODES, Container, Exposure, Severity, judge
from isoctl.exposure.report import Report, parse

HERE, ELSEWHERE = "net:[1]", "net:[2]"
BLOG = Container("blog", "container@blog.service", {"wayland": "secured", "gpu": "render"})
WELL = f"""a profile's greeting
start
id\t1000
net\t{ELSEWHERE}
tool\tpython3
status\tCapEff\t0000000000000000
status\tCapBnd\t00000000fdecafff
map\t0\t65536\t65536
mount\tno\t30 20 8:1 /var/lib/machines/blog / rw - ext4 /dev/sda1 rw
mount\tyes\t31 30 0:50 / /tmp rw - tmpfs tmpfs rw
mount\tyes\t32 30 0:9 / /proc rw - proc proc rw
mount\tno\t33 30 0:60 /run /run/isoctl ro - tmpfs isod rw
try\to\t0\t/dev/null
hit\to\t0\tok\t-1\t
try\to\t0\t/dev/dri/card0
hit\to\t0\t13\t-1\t
done
"""


class FakeOwners(Owners):
    """isoctl on a host of its own, where sockets belong to whom a test says."""

    def __init__(self, **units: Owner) -> None:
        self.network = HERE
        self._units = units

    def of(self, inode: str, *, seqpacket: bool = False) -> Owner:  # noqa: ARG002 - the real one's
        return self._units.get(f"i{inode}", Owner())


def exposures(*lines: str, network: str = ELSEWHERE, **units: Owner) -> list[Exposure]:
    """What more there is if a well-kept container's probe also says this."""
    text = WELL.replace(ELSEWHERE, network).replace("done\n", "\n".join((*lines, "done", "")))
    return judge(parse(text.encode()), BLOG, FakeOwners(**units))


def code_and_severity(found: list[Exposure]) -> list[tuple[str, Severity]]:
    return [(item.code, item.severity) for item in found]


def wayland_answer(*interfaces: str) -> bytes:
    answer = b""
    for number, name in enumerate(interfaces):
        raw = name.encode() + b"\0"
        body = struct.pack("=II", number, len(raw)) + raw + bytes(-len(raw) % 4) + struct.pack("=I", 1)
        answer += struct.pack("=IHH", 2, 0, 8 + len(body)) + body
    return answer + struct.pack("=IHHI", 3, 0, 12, 1)


def nix_answer(version: int, trust: int | None) -> bytes:
    name = b"2.24.1"
    said = struct.pack("<QQQ", 0x6478696F, version, len(name)) + name + bytes(-len(name) % 8)
    return said + (struct.pack("<Q", trust) if trust is not None else b"")


def test_a_well_kept_container_exposes_nothing() -> None:
    assert exposures() == []


DISPLAY = "/run/isoctl/1000/wayland-0"
NIX = "/nix/var/nix/daemon-socket/socket"
X0 = "@/tmp/.X11-unix/X0"
OTHER = Owner("container@shop.service", is_container=True)


@pytest.mark.parametrize(
    ("code", "severity", "lines"),
    [
        ("capability-app", Severity.CRITICAL, ("status\tCapEff\t0000000000200000",)),
        ("root-is-root", Severity.HIGH, ("map\t0\t0\t4294967295",)),
        ("mount-writable", Severity.HIGH, ("mount\tyes\t40 30 8:1 /srv/my\\040data /data rw - ext4 /dev/sda1 rw",)),
        ("mount-writable", Severity.CRITICAL, ("mount\tyes\t40 30 8:1 /home /host rw - ext4 /dev/sda1 rw",)),
        ("device", Severity.CRITICAL, ("try\to\t0\t/dev/sda", "hit\to\t0\tok\t-1\t")),
        ("device", Severity.CRITICAL, ("try\to\t0\t/dev/input/event3", "hit\to\t0\tok\t-1\t")),
        ("device", Severity.HIGH, ("try\to\t0\t/dev/dri/card0", "hit\to\t0\tok\t-1\t")),
        ("device", Severity.MEDIUM, ("try\to\t0\t/dev/dri/renderD128", "hit\to\t0\tok\t-1\t")),
        ("device", Severity.MEDIUM, ("try\to\t0\t/dev/hwrng", "hit\to\t0\tok\t-1\t")),
        ("host-socket", Severity.CRITICAL, ("try\tu\t0\t/run/docker.sock", "hit\tu\t0\tok\t0\t")),
        ("host-socket", Severity.HIGH, ("try\tu\t0\t/run/user/1000/bus", "hit\tu\t0\tok\t0\t")),
        ("x-server", Severity.CRITICAL, ("try\tu\t0\t/tmp/.X11-unix/X0", "hit\tu\t0\tok\t0\t01")),
        ("nix-daemon", Severity.CRITICAL, (f"try\tu\t0\t{NIX}", f"hit\tu\t0\tok\t0\t{nix_answer(0x126, 1).hex()}")),
        ("nix-daemon", Severity.MEDIUM, (f"try\tu\t0\t{NIX}", f"hit\tu\t0\tok\t0\t{nix_answer(0x126, 2).hex()}")),
        ("nix-daemon", Severity.MEDIUM, (f"try\tu\t0\t{NIX}", "hit\tu\t0\tok\t0\t")),
        ("wayland", Severity.CRITICAL,
         (f"try\tu\t0\t{DISPLAY}", f"hit\tu\t0\tok\t0\t{wayland_answer('wl_shm', 'weston_capture_v1').hex()}")),
        ("wayland", Severity.MEDIUM,
         (f"try\tu\t0\t{DISPLAY}", f"hit\tu\t0\tok\t0\t{wayland_answer('zwlr_layer_shell_v1').hex()}")),
        ("wayland", Severity.LOW, (f"try\tu\t0\t{DISPLAY}", f"hit\tu\t0\tok\t0\t{wayland_answer('wl_shm').hex()}")),
        # with a network of its own all the same: somebody outside listens there
        ("abstract-socket", Severity.MEDIUM, ("try\ta\t7\t@odd", "hit\ta\t7\tok\t0\t")),
    ],
)  # fmt: skip
def test_each_thing_that_is_reachable_is_one_exposure(code: str, severity: Severity, lines: tuple[str, ...]) -> None:
    (found,) = exposures(*lines)
    assert (found.code, found.severity) == (code, severity)
    assert found.fix


def test_the_hosts_x_server_by_policy_is_exposed_also_where_nothing_was_measured() -> None:
    (found,) = judge(parse(WELL.encode()), BLOG._replace(grants={"x11": "host"}), FakeOwners())
    assert (found.code, found.severity) == ("x-server", Severity.CRITICAL)
    assert 'grants.x11 = "isolated"' in found.fix


@pytest.mark.parametrize(
    "lines",
    [
        # what did not open, did not answer, or is a process of the container's own
        ("try\to\t0\t/dev/kvm", "hit\to\t0\t1\t-1\t"),
        ("try\tu\t0\t/run/user/1000/bus", "hit\tu\t0\tok\t55\t"),
        ("try\ta\t7\t@own", "hit\ta\t7\tok\t55\t"),
        ("try\ta\t7\t@gone", "hit\ta\t7\t111\t-1\t"),
        ("own\t7", "try\ta\t7\t@own"),
        # listed alone, in a network of its own
        ("try\ta\t7\t@listed",),
        ("try\t4\t8\t127.0.0.1:8000", "hit\t4\t8\tok\t-1\t"),
    ],
)
def test_what_is_the_containers_own_is_none(lines: tuple[str, ...]) -> None:
    assert exposures(*lines) == []


@pytest.mark.attack("C25")
def test_with_the_hosts_network_its_sockets_are_exposed() -> None:
    lines = (
        *(f"try\ta\t7\t{X0}", "hit\ta\t7\tok\t0\t00"),
        *("try\ta\t8\t@own", "hit\ta\t8\tok\t0\t"),
        *("try\tA\t9\t@shops", "hit\tA\t9\tok\t0\t"),
        *("try\t4\t10\t127.0.0.1:631", "hit\t4\t10\tok\t-1\t"),
        *("own\t11", "try\t4\t11\t127.0.0.1:8000", "hit\t4\t11\tok\t-1\t"),
        "try\ta\t12\t@listed",
    )
    found = exposures(*lines, network=HERE, i8=Owner("container@blog.service", is_container=True), i9=OTHER)
    assert code_and_severity(found) == [
        ("other-container", Severity.HIGH),
        ("x-server", Severity.HIGH),
        ("abstract-socket", Severity.MEDIUM),
        ("loopback", Severity.MEDIUM),
        ("network-shared", Severity.MEDIUM),
    ]
    told = " ".join(item.what for item in found)
    assert "container@shop.service" in told
    assert "@listed, which was not tried" in told
    assert "127.0.0.1:631 accepts" in told
    assert X0 in told


def test_rights_of_root_inside_count_where_it_is_the_kernels_root() -> None:
    alike = ("map\t0\t0\t4294967295", "status\tCapBnd\t00000000fdedafff")
    assert [item.code for item in exposures(*alike)] == ["capability-extra", "root-is-root"]
    assert "CAP_SYS_MODULE" in exposures(*alike)[0].what
    # a user namespace makes them rights over the container alone
    assert exposures("status\tCapBnd\t000001ffffffffff") == []


def test_the_worst_comes_first_and_nothing_twice() -> None:
    device = ("try\to\t0\t/dev/sda", "hit\to\t0\tok\t-1\t")
    found = exposures("try\to\t0\t/dev/kvm", "hit\to\t0\tok\t-1\t", *device, *device, "map\t0\t0\t4294967295")
    assert code_and_severity(found) == [
        ("device", Severity.CRITICAL),
        ("root-is-root", Severity.HIGH),
        ("device", Severity.MEDIUM),
    ]
    assert {item.code for item in found} <= set(CODES)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"start",
        b"start\nid\tx\nid\nmap\t1\nmount\tyes\tx\ntry\tz\t1\tx\nhit\to\t0\tok\t-1\t\n",
        b"start\ntry\to\t0\t/dev/sda\nhit\to\t1\tok\t-1\t\nhit\to\t0\tok\tx\t\nhit\to\t0\tok\t1\tzz\n",
        b"start\nstatus\tCapEff\t-\nstatus\nmount\tyes\t" + b"x" * 300_000 + b"\n",
        b"start\n" + b"\xff\xfe\t\x00\x1b[31m\n" * 100,
        b"no beginning\nid\t0\n",
    ],
)
def test_malformed_lines_are_left_out(text: bytes) -> None:
    report = parse(text)
    assert report.uid == -1
    assert [target for target in report.targets if target.result] == []


def test_a_flood_is_bounded() -> None:
    report = parse(b"start\n" + b"try\ta\t1\t@x\nown\t1\nmap\t0\t0\t1\nmount\tno\t1 2 3:4 / /x rw - a b c\n" * 20_000)
    assert max(len(report.targets), len(report.mounts), len(report.maps)) <= 4096


@pytest.mark.parametrize("cut", [0, 3, 8, 15, 16, 20, 30])
def test_broken_answers_of_servers_mean_nothing(cut: int) -> None:
    assert set(protocols.wayland_interfaces(wayland_answer("wl_shm")[:cut])) <= {"wl_shm"}
    assert protocols.nix_trusts(nix_answer(0x126, 1)[:cut]) is None
    assert protocols.nix_trusts(b"\xff" * cut) is None
    assert protocols.wayland_interfaces(b"\xff" * cut) == {}


def test_answers_of_servers() -> None:
    assert protocols.wayland_interfaces(wayland_answer("wl_shm", "wl_seat", "wl_shm")) == {"wl_seat": 1, "wl_shm": 1}
    assert protocols.nix_trusts(nix_answer(0x122, None)) is None
    assert [protocols.nix_trusts(nix_answer(0x126, trust)) for trust in (0, 1, 2)] == [None, True, False]
    assert [protocols.x11_accepts(answer) for answer in (b"\1", b"\0", b"")] == [True, False, False]


def run_probe(shell: str, tool: str, tmp_path: Any) -> Report:
    """The probe on this machine, with one tool to connect with."""
    argv = probe.command()
    # what is not on PATH is not found; the rest of the probe needs a few programs of coreutils
    for name in ("id", "readlink", "ls", tool):
        # of Python the one that runs this: what PATH has may be a script
        if found := sys.executable if name == "python3" else shutil.which(name):
            (tmp_path / name).symlink_to(os.path.realpath(found))
    script = argv[2].replace("PATH=$PATH:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin", f"PATH={tmp_path}")
    done = subprocess.run(
        [shutil.which(shell) or shell, "-c", script, *argv[3:]],
        env={"PATH": str(tmp_path)}, capture_output=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.stderr == b""
    return parse(done.stdout)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("tool", ["python3", "perl", "none"])
def test_the_probe_finds_what_listens_here(shell: str, tool: str, tmp_path: Any) -> None:
    if not shutil.which(shell) or (tool != "none" and not shutil.which(tool)):
        pytest.skip(f"{shell} or {tool} is not here")
    with (
        socket.socket(socket.AF_UNIX) as stream,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets,
        socket.socket() as loopback,
    ):
        stream.bind(f"\0a name {tmp_path.name}".encode())
        packets.bind(f"\0packets {tmp_path.name}".encode())
        loopback.bind(("127.0.0.1", 0))
        for listener in (stream, packets, loopback):
            listener.listen()
        report = run_probe(shell, tool, tmp_path)
        port = loopback.getsockname()[1]
    assert report.complete
    assert report.tool == ("" if tool == "none" else tool)
    assert report.network.startswith("net:[")
    assert report.maps
    assert any(mount.place == "/proc" for mount in report.mounts)
    found = {(target.op, target.address): target for target in report.targets}
    expected = "" if tool == "none" else "ok"
    for op, address in (
        ("a", f"@a name {tmp_path.name}"),
        ("A", f"@packets {tmp_path.name}"),
        ("4", f"127.0.0.1:{port}"),
        ("o", "/dev/null"),
    ):
        assert found[op, address].result == expected
    if expected:
        assert found["a", f"@a name {tmp_path.name}"].peer > 0


def test_what_is_sent_into_the_container_is_small() -> None:
    assert sum(len(word) for word in probe.command()) < 16 * 1024
    assert json.dumps(probe.command()).isascii()


@pytest.mark.attack("C25")
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_sockets_that_come_and_go_hide_no_other(shell: str, tmp_path: Any) -> None:
    """The tables of the kernel change while they are read, and whoever wants to can see to that."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not here")
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for pair in [socket.socketpair() for _ in range(60)]:
                for end in pair:
                    end.close()

    churn = threading.Thread(target=come_and_go)
    churn.start()
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.bind(f"\0still {tmp_path.name}".encode())
            stream.listen()
            for turn in range(5):
                (tmp_path / str(turn)).mkdir()
                targets = run_probe(shell, "none", tmp_path / str(turn)).targets
                assert [target.op for target in targets if target.address == f"@still {tmp_path.name}"] == ["a"]
    finally:
        over.set()
        churn.join()
