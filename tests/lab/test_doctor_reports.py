"""What users of neighbouring tools were told nothing of: `isoctl doctor NAME` finds it, and its way out mends it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from lab.changes import kept
from lab.container_faults import inside
from lab.faults import Fault, Planted, command_in, drop_in
from lab.machine import Lab
from lab.policies import added_policy
from nixeval import evaluate
from test_doctor import doctor

LINK = "ve-deb"
HOSTS_END, ITS_END = "10.233.5.1", "10.233.5.2"
BLOG = "container@blog.service"
WATCHES = "/proc/sys/fs/inotify/max_user_watches"
WATCHER = """
import ctypes, tempfile, time
libc = ctypes.CDLL(None)
fd = libc.inotify_init1(0)
for number in range(60):
    assert libc.inotify_add_watch(fd, tempfile.mkdtemp().encode(), 0x100) >= 0
time.sleep(600)
"""


@pytest.fixture(scope="module", autouse=True)
def deb_has_a_network(lab: Lab) -> Iterator[None]:
    """As networkd or NixOS give it: an address at either end, a router, a name server."""
    for name in ("blog", "deb"):
        lab.run("isoctl", "start", name)
    lab.run("ip", "address", "add", f"{HOSTS_END}/24", "dev", LINK)
    lab.run("ip", "link", "set", LINK, "up")
    lab.in_container("deb", "ip", "address", "add", f"{ITS_END}/24", "dev", "host0")
    lab.in_container("deb", "ip", "link", "set", "host0", "up")
    lab.in_container("deb", "ip", "route", "add", "default", "via", HOSTS_END)
    lab.in_container("deb", "sh", "-c", f"echo nameserver {HOSTS_END} > /etc/resolv.conf")
    yield
    lab.stop_container("deb")


def in_deb(broken: str, mended: str) -> Planted:
    """A command of root's in deb, and the one that undoes it if nothing else did."""

    @contextmanager
    def planted(lab: Lab) -> Iterator[None]:
        lab.in_container("deb", "sh", "-c", broken)
        yield
        lab.in_container("deb", "sh", "-c", mended, check=False)

    return planted


def with_the_address(address: str) -> Callable[[Lab, str], None]:
    """Run what a fix says, with the address that it leaves to whoever reads it."""

    def mend(lab: Lab, fix: str) -> None:
        lab.run("sh", "-c", command_in(fix).replace("ADDRESS", address))

    return mend


@contextmanager
def nobody_knows_its_name(lab: Lab) -> Iterator[None]:
    (hosts,) = inside("blog", "/etc/hosts")
    with kept(lab, hosts):
        lab.host_path(hosts).write_text("127.0.0.1 localhost\n")
        yield


@contextmanager
def tmp_is_full(lab: Lab) -> Iterator[None]:
    """A smaller one than the tenth of the memory that nspawn gives, so that it fills up soon."""
    lab.in_container("blog", "mount", "-o", "remount,size=256M", "/tmp")
    lab.in_container("blog", "sh", "-c", "head -c 256M /dev/zero > /tmp/large; true")
    yield
    lab.in_container("blog", "rm", "-f", "/tmp/large")
    lab.in_container("blog", "mount", "-o", "remount,size=10%", "/tmp")


def remove_what_is_large(lab: Lab, fix: str) -> None:
    assert "/tmp" in lab.run("sh", "-c", command_in(fix)).stdout
    lab.in_container("blog", "rm", "/tmp/large")


@contextmanager
def tmp_is_tiny(lab: Lab) -> Iterator[None]:
    lab.in_container("blog", "mount", "-o", "remount,size=32M", "/tmp")
    yield
    lab.in_container("blog", "mount", "-o", "remount,size=10%", "/tmp")


def give_it_room(lab: Lab, fix: str) -> None:
    assert "SYSTEMD_NSPAWN_TMPFS_TMP=0" in fix
    lab.in_container("blog", "mount", "-o", "remount,size=10%", "/tmp")


@contextmanager
def a_share_in_the_home(lab: Lab) -> Iterator[None]:
    lab.run("mkdir", "-p", "/srv/settings")
    binds = "--bind-ro=/usr --bind=/srv/settings:/home/alice/.local-settings/JetBrains"
    with drop_in(BLOG, f"Environment='EXTRA_NSPAWN_FLAGS={binds}'", restart="blog")(lab):
        yield
    lab.run("rm", "-rf", *inside("blog", "/home/alice/.local-settings"), "/srv/settings")


@contextmanager
def home_is_roots(lab: Lab) -> Iterator[None]:
    (home,) = inside("blog", "/home/alice")
    lab.run("chown", "root:root", home)
    yield
    lab.run("chown", "1000:1000", home)


@contextmanager
def network_manager_takes_the_link(lab: Lab) -> Iterator[None]:
    lab.run("ip", "address", "flush", "dev", LINK)
    yield


def let_it_be(lab: Lab, fix: str) -> None:
    """The lab has no NetworkManager; what gives the link its address is not told to leave it."""
    assert "unmanaged-devices=interface-name:ve-*" in fix
    lab.run("ip", "address", "add", f"{HOSTS_END}/24", "dev", LINK)


@contextmanager
def the_host_asks_another(lab: Lab) -> Iterator[None]:
    (copy,) = inside("blog", "/etc/resolv.conf")
    with kept(lab, copy), kept(lab, "/etc/resolv.conf"):
        lab.host_path(copy).write_text("nameserver 192.0.2.1\n")
        lab.run("touch", "-d", "1 hour ago", copy)
        lab.host_path("/etc/resolv.conf").write_text("nameserver 192.0.2.2\n")
        yield


@contextmanager
def its_root_is_shifted(lab: Lab) -> Iterator[None]:
    """As after a run with PrivateUsers=pick that gave the files away, and one without."""
    lab.run("chown", "1876951040:1876951040", *inside("blog", ""))
    yield
    lab.run("chown", "root:root", *inside("blog", ""))


def shift_it_back(lab: Lab, fix: str) -> None:
    """The command that it names takes what an ordinary root has and those of the lab have not, a /usr."""
    assert "--private-users=0 --private-users-ownership=chown" in command_in(fix)
    lab.run("chown", "root:root", *inside("blog", ""))


@contextmanager
def few_watches(lab: Lab) -> Iterator[None]:
    """Not the real bound, which is the whole machine's: a file over it, which sysctl(8) writes just so."""
    bound = lab.host_path("/run/lab-watches")
    bound.write_text("40\n")
    lab.run("mount", "--bind", "/run/lab-watches", WATCHES)
    app = lab.run("isoctl", "run", "-d", "blog", "python3", "-c", WATCHER, user="alice").stdout.strip()
    try:
        # It has them a moment after it began.
        lab.wait_for(lambda: bool(doctor(lab, "blog")), what="nothing is found")
        yield
    finally:
        lab.run("isoctl", "kill", app, user="alice", check=False)
        lab.run("umount", WATCHES)
        bound.unlink()


@contextmanager
def a_card_is_named(lab: Lab) -> Iterator[None]:
    lab.in_container("blog", "mkdir", "-p", "/run/opengl-driver/lib/dri")
    with added_policy(lab, "blog", "[grants]", 'gpu = ["0000:01:00.0", "/dev/nvidia0"]'):
        yield


@contextmanager
def a_match_of_usb(lab: Lab) -> Iterator[None]:
    with added_policy(lab, "blog", "[grants]", 'devices = ["SUBSYSTEM=usb ID_VENDOR_ID=1050"]'):
        yield


def correct(lab: Lab, fix: str) -> None:
    path = "/etc/isod/containers/blog.toml"
    assert path in fix
    lab.host_path(path).write_text('users = ["alice"]\n')
    lab.run("isoctl", "reload")


@contextmanager
def isod_is_older_than_its_files(lab: Lab) -> Iterator[None]:
    """As after `make install` of the same version; what is installed keeps all but the time of that."""
    lab.run("chmod", "644", "/usr/lib/isoctl/isod/__init__.py")
    yield


@contextmanager
def a_second_installation(lab: Lab) -> Iterator[None]:
    lab.run("mkdir", "-p", "/usr/local/lib/isoctl/isoctl")
    yield
    lab.run("rm", "-rf", "/usr/local/lib/isoctl")


def uninstall_it(lab: Lab, fix: str) -> None:
    assert "`make uninstall PREFIX=/usr/local`" in fix
    lab.run("rm", "-rf", "/usr/local/lib/isoctl")


@contextmanager
def sockets_are_not_enabled(lab: Lab) -> Iterator[None]:
    sockets = ("isod-helper-node.socket", "isod-helper-devices.socket")
    lab.run("systemctl", "stop", *sockets)
    yield
    lab.run("systemctl", "start", *sockets)


REPORTS = {
    "N-5": Fault("root-shifted", its_root_is_shifted, ("blog",), mend=shift_it_back),
    "N18 without a restart": Fault("isod-other-version", isod_is_older_than_its_files),
    "N18 sockets": Fault("helper-stopped", sockets_are_not_enabled),
    "N18 a second one": Fault("two-installations", a_second_installation, mend=uninstall_it),
    "R-20": Fault("device-never", a_match_of_usb, ("blog",), mend=correct),
    "R-22": Fault("inotify-watches", few_watches, ("blog",)),
    "R-26": Fault("device-absent", a_card_is_named, ("blog",), mend=correct),
    "R-23": Fault("hostname-unresolved", nobody_knows_its_name, ("blog",)),
    "R-34 the link taken": Fault("link-unaddressed", network_manager_takes_the_link, ("deb",), mend=let_it_be),
    "R-34 no route": Fault(
        "network-no-route",
        in_deb("ip route del default", f"ip route add default via {HOSTS_END}"),
        ("deb",),
        mend=with_the_address(HOSTS_END),
    ),
    "R-37": Fault(
        "nameserver-dead",
        in_deb("echo nameserver 127.0.0.1 > /etc/resolv.conf", f"echo nameserver {HOSTS_END} > /etc/resolv.conf"),
        ("deb",),
        mend=with_the_address(HOSTS_END),
    ),
    "R-38": Fault("resolv-stale", the_host_asks_another, ("blog",)),
    "R-39 parents": Fault("share-parents", a_share_in_the_home, ("blog",)),
    "R-39 home": Fault("home-unusable", home_is_roots, ("blog",)),
    "R-40 full": Fault("tmp-full", tmp_is_full, ("blog",), mend=remove_what_is_large),
    "R-40 tiny": Fault("tmp-full", tmp_is_tiny, ("blog",), mend=give_it_room),
}


@pytest.mark.breaks("host-files")
@pytest.mark.parametrize("report", REPORTS)
def test_what_was_silent_is_found_and_its_way_out_mends_it(lab: Lab, report: str) -> None:
    """N-5, N18, R-20, R-22, R-23, R-26, R-34, R-37, R-38, R-39, R-40: doctor said "nothing wrong found"."""
    fault = REPORTS[report]
    assert doctor(lab, *fault.where) == []
    with ExitStack() as stack:
        stack.enter_context(fault.planted(lab))
        # isod reads the policy's files at most once a second
        lab.wait_for(lambda: bool(doctor(lab, *fault.where)), what="nothing is found")
        (finding,) = doctor(lab, *fault.where)
        assert finding["code"] == fault.code
        if fault.mend:
            fault.mend(lab, finding["fix"])
        else:
            lab.run("sh", "-c", command_in(finding["fix"]), timeout_sec=90)
        lab.wait_for(lambda: doctor(lab, *fault.where) == [], 60, f"not cleared by {finding['fix']}")


@contextmanager
def mute(lab: Lab, container: str, place: str, mode: str) -> Iterator[None]:
    """Have a file system in a container whose program never answers; its root has this mode (octal)."""
    mount = f"mount -t fuse none {place} -o fd=9,rootmode={mode},user_id=0,group_id=0"
    script = f"test -e /dev/fuse || mknod -m 666 /dev/fuse c 10 229; exec 9<>/dev/fuse; nsenter -m -t $1 {mount}"
    leader = lab.run("machinectl", "show", "-P", "Leader", container).stdout.strip()
    argv = ("sh", "-c", f"{script} && echo mounted && exec sleep 1000", "sh", leader)
    with lab.popen(*argv, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"mounted\n"
        try:
            yield
        finally:
            # From then on it answers with an error.
            server.end()
            lab.run("nsenter", "-m", "-p", "-t", leader, "umount", "-l", place)


@pytest.mark.attack("C21")
def test_a_place_that_never_answers_is_told_and_spoils_nothing_else(lab: Lab) -> None:
    """One whose home is a file system of a program gets all other findings, and soon."""
    (hosts,) = inside("blog", "/etc/hosts")
    with kept(lab, hosts):
        lab.host_path(hosts).write_text("127.0.0.1 localhost\n")
        with mute(lab, "blog", "/home", "40000"):
            found = {finding["code"]: finding["what"] for finding in doctor(lab, "blog")}
            told = lab.run("isoctl", "doctor", "blog", user="alice", check=False)
    assert set(found) == {"hostname-unresolved"}
    # A home of that kind is no fault, and what is not known of it is told.
    assert re.search(r"home.*fuse.*\[not-asked\]", told.stderr)


# What docker leaves, and a program that shows it and takes more, since the lab has no iptables.
DOCKERS = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N DOCKER-USER\n-A FORWARD -i docker0 -j ACCEPT\n"
IPTABLES = """#!/bin/sh
case $1 in
-S) cat /run/lab-rules ;;
-I) shift; echo "-A $*" >> /run/lab-rules ;;
esac
"""


@pytest.mark.breaks("host-files")
def test_a_firewall_that_forwards_nothing_is_found_by_who_may_see_it(lab: Lab) -> None:
    """R-35, R-36: docker set FORWARD to DROP, and curl in a container waited for ever."""
    program = lab.host_path("/usr/sbin/iptables")
    lab.host_path("/run/lab-rules").write_text(DOCKERS)
    program.write_text(IPTABLES)
    program.chmod(0o755)
    lab.run("ip", "link", "add", "docker0", "type", "veth", "peer", "name", "docker0peer")
    try:
        assert doctor(lab) == []
        told = lab.run("isoctl", "doctor", user="alice")
        assert told.stdout == "nothing wrong found\n"
        assert "takes root to see: `sudo isoctl doctor`" in told.stderr
        (finding,) = doctor(lab, user="root")
        assert finding["code"] == "forward-dropped"
        lab.run("sh", "-c", command_in(finding["fix"]))
        assert doctor(lab, user="root") == []
    finally:
        program.unlink()
        lab.run("ip", "link", "del", "docker0")


def followed(names: str) -> str:
    """The script that NixOS runs when the host's resolv.conf changes, for containers of these names."""
    containers = " ".join(f'"{name}" = {{ }};' for name in names.split())
    alice = 'users.users.alice = { isNormalUser = true; uid = 1000; }; betterContainers.base.userName = "alice";'
    module = f"{{ {alice} betterContainers.containers = {{ {containers} }}; }}"
    script = evaluate(f"(t.look.host (t.host [ ({module}) ]).config).resolvConf.isod-resolv-conf.script")
    assert isinstance(script, str)
    return script


@pytest.mark.attack("C02")
@pytest.mark.breaks("host-files")
def test_a_resolv_conf_that_changes_is_followed_on_nixos(lab: Lab) -> None:
    """R-38: in containers of every kind; none of them makes another wait, nor leads the copy out of its root."""
    lab.start("priv")
    lab.run("isoctl", "start", "evil")
    lab.in_container(
        "blog", "sh", "-c", "rm /etc/resolv.conf; ln -s /../../../../etc/motd-of-the-host /etc/resolv.conf"
    )
    names = ("blog", "priv", "evil")
    copies = [copy for name in names for copy in inside(name, "/etc/resolv.conf")]
    leader = lab.run("machinectl", "show", "-P", "Leader", "evil").stdout.strip()
    with kept(lab, "/etc/resolv.conf"), kept(lab, *copies[1:]):
        lab.host_path("/etc/resolv.conf").write_text("nameserver 192.0.2.77\n")
        lab.run("kill", "-STOP", leader)
        try:
            lab.run("sh", "-ec", followed("ghost blog priv evil"), timeout_sec=60)
        finally:
            lab.run("kill", "-CONT", leader)
        for name in names[:2]:
            assert lab.in_container(name, "cat", "/etc/resolv.conf").stdout == "nameserver 192.0.2.77\n"
        assert not lab.host_path("/etc/motd-of-the-host").exists()
    lab.in_container("blog", "sh", "-c", "rm -f /etc/resolv.conf /etc/motd-of-the-host; touch /etc/resolv.conf")


@pytest.mark.attack("C50")
@pytest.mark.breaks("host-files")
def test_no_service_of_all_containers_waits_for_a_resolv_conf_inside(lab: Lab) -> None:
    """Root inside has /etc be of a program that never answers: machined had a process there that did not end."""
    machined = f"{lab.run('systemctl', 'show', '-P', 'ControlGroup', 'systemd-machined').stdout.strip()}/cgroup.procs"
    lab.run("isoctl", "start", "evil")
    with mute(lab, "evil", "/etc", "40000"), kept(lab, "/etc/resolv.conf"):
        before = lab.run("cat", f"/sys/fs/cgroup{machined}").stdout
        lab.host_path("/etc/resolv.conf").write_text("nameserver 192.0.2.78\n")
        lab.run("sh", "-ec", followed("evil"), timeout_sec=60)
        assert lab.run("cat", f"/sys/fs/cgroup{machined}").stdout == before
