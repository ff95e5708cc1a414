"""What doctor reads in a container's files and tables, hostile ones too: it says what it can't see, and never waits."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isod.host import rootfs
from isod.host.answering import Answering, Budget
from isod.host.inside_places import PlacesOf
from isod.host.mount_table import is_proc_masked, parse_mounts, read_mounts
from isod.host.network_tables import covers, gateways, leads_out, unheard
from isod.ports import Account
from isod.survey_ports import Places

UID = os.geteuid()
ROOT = "1 0 0:1 / / rw - ext4 /dev/sda rw\n"
HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
LINK = "host0\t0005E90A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
DEFAULT = "host0\t00000000\t0105E90A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"


class Looked:
    """A container's root below a directory, of which this process's user is root inside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mounts = ROOT
        self.sockets = ("", "")
        self.hosts_file = ""
        # One above the user who runs the tests, who so is root inside.
        self.account: Account | None = Account("alice", 1, 1, "/home/alice", "/bin/sh")
        self.write("etc/hosts", "127.0.0.1 localhost blog\n")

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def places(self) -> Places:
        root_fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            guest: Any = SimpleNamespace(root_fd=root_fd, machine="blog", uid_shift=UID)
            return PlacesOf(guest, parse_mounts(self.mounts.encode())).look(self.account, self.sockets, self.hosts_file)
        finally:
            os.close(root_fd)


@pytest.fixture
def looked(tmp_path: Path) -> Looked:
    return Looked(tmp_path)


def test_a_home_that_is_not_the_accounts_is_found(looked: Looked) -> None:
    """R-39, N-5."""
    assert looked.places().home == "is not there"
    looked.write("home/alice/x", "")
    assert looked.places().home == "belongs to root inside"
    (looked.path / "home/alice").chmod(0o1777)
    assert looked.places().home == ""  # as /tmp is of system accounts
    (looked.path / "home/alice").chmod(0o755)
    looked.account = Account("alice", 0, 0, "/home/alice", "/bin/sh")
    assert looked.places().home == ""  # root's own


def test_a_home_behind_a_link_is_looked_at(looked: Looked) -> None:
    """As systems have it whose /home is a link into /var; a link of the account's own leads out of nothing."""
    looked.write("var/home/alice/x", "")
    (looked.path / "home").symlink_to("var/home")
    assert looked.places().home == "belongs to root inside"
    (looked.path / "var/home/alice/x").unlink()
    (looked.path / "var/home/alice").rmdir()
    (looked.path / "var/home/alice").symlink_to("/../../../../../../../../")
    assert looked.places().home == "belongs to root inside"
    (looked.path / "var/home/alice").unlink()
    (looked.path / "var/home/alice").symlink_to("/var/home/alice")
    assert "the account's home" in str(looked.places().unseen)


def test_a_root_of_another_machine_is_looked_at(looked: Looked) -> None:
    looked.mounts = ROOT.replace("ext4", "nfs4")
    assert looked.places().home == "is not there"


def test_roots_directories_above_mounts_in_the_home_are_found(looked: Looked) -> None:
    """R-39: the IDE can't make its settings, since nspawn made ~/.config as root."""
    looked.write("home/alice/.config/JetBrains/x", "")
    looked.write("home/alice/a b/c/x", "")
    looked.mounts += "2 1 0:2 / /home/alice/.config/JetBrains rw - ext4 /dev/sdb rw\n"
    looked.mounts += "3 1 0:2 / /home/alice/a\\040b/c rw - ext4 /dev/sdb rw\n"
    looked.mounts += "4 1 0:2 / /home/alicex/y/z rw - ext4 /dev/sdb rw\n"
    assert looked.places().parents == ("/home/alice/.config", "/home/alice/a b")


def test_one_is_told_nothing_of_homes_of_others(looked: Looked) -> None:
    """Who may use a container that others use too asks about their own account."""
    looked.write("home/alice/.profile", "")
    looked.write("home/bob/secret/x/y", "")
    looked.mounts += "2 1 0:2 / /home/bob/secret/x rw - fuse.sshfs /dev/sdb rw\n"
    places = looked.places()
    assert (places.parents, places.unseen, places.unasked) == ((), (), ())
    assert "bob" not in str(places)


@pytest.mark.attack("C21")
@pytest.mark.parametrize("kind", ["fuse", "fuse.sshfs", "nfs4", "autofs", "9p", "cifs", "overlay"])
def test_what_may_never_answer_is_not_asked_and_told(looked: Looked, kind: str) -> None:
    looked.mounts += f"2 1 0:2 / /home rw - {kind} x rw\n3 1 0:3 / /tmp rw - {kind} x rw\n"
    looked.mounts += "4 2 0:4 / /home/alice/a/b rw - tmpfs x rw\n"
    places = looked.places()
    assert places.unseen == ()
    assert [text.partition(" (")[0] for text in places.unasked] == [
        "/tmp",
        "the account's home",
        "mounts in the account's home",
    ]
    assert all(kind in text for text in places.unasked)
    assert (places.home, places.unresolved_name) == ("", "")


@pytest.mark.attack("C21")
@pytest.mark.parametrize("target", ["/mnt/x/hosts", "../mnt/x/hosts", "../../../mnt/y/../x/hosts", "/srv/on/hosts"])
def test_a_link_leads_to_nothing_that_may_never_answer(looked: Looked, target: str) -> None:
    """Root inside has /etc/hosts be a link into a file system of its own, which the path itself does not tell."""
    looked.mounts += "2 1 0:2 / /mnt/x rw - fuse x rw\n"
    looked.write("mnt/x/hosts", "127.0.0.1 blog\n")
    looked.write("mnt/y/hosts", "")
    looked.write("srv/z", "")
    (looked.path / "srv/on").symlink_to("../mnt/x")
    for name in ("etc/hosts", "home"):
        (looked.path / name).unlink(missing_ok=True)
    (looked.path / "etc/hosts").symlink_to(target)
    (looked.path / "home").symlink_to("/srv/on")
    unasked = looked.places().unasked
    assert [text.partition(" (")[0] for text in unasked] == ["the account's home", "/etc/hosts"]
    assert all("of type fuse" in text for text in unasked)


def test_links_that_lead_to_answers_are_followed(looked: Looked) -> None:
    """As those of resolved, NixOS and systems with a home below /var."""
    looked.mounts += "2 1 0:2 / /run rw - tmpfs x rw\n3 1 0:3 / /mnt rw - fuse x rw\n"
    looked.write("run/resolve/stub", "nameserver 192.0.2.7\n")
    looked.write("etc/static", "")
    (looked.path / "etc/resolv.conf").symlink_to("../run/./resolve//now")
    (looked.path / "run/resolve/now").symlink_to("/../../run/resolve/stub")
    places = looked.places()
    assert places.resolver is not None
    assert places.resolver.servers == ("192.0.2.7",)


@pytest.mark.attack("C21")
def test_paths_that_root_inside_made_long_cost_one_budget(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 mounts and links of 500 names cost isod seconds and 500 descriptors a path; a container has 14 of them."""
    deep = looked.path
    for _ in range(40):
        deep /= "d"
    deep.mkdir(parents=True)
    long = "/".join(["/", *["d"] * 40, *[".."] * 40] * 12)
    for name in ("etc/hosts", "etc/resolv.conf", "home"):
        (looked.path / name).unlink(missing_ok=True)
        (looked.path / name).symlink_to(long)
    looked.mounts += "".join(f"{number} 1 0:9 / /m/{number} rw - tmpfs x rw\n" for number in range(2, 10_000))
    descriptors: list[int] = []

    def counted(root_fd: int, name: str, flags: int) -> int:
        descriptors.append(fd := rootfs_openat2(root_fd, name, flags))
        return fd

    rootfs_openat2 = rootfs.openat2
    monkeypatch.setattr(rootfs, "openat2", counted)
    before_sec = time.thread_time()
    unasked = looked.places().unasked
    # Some tens of milliseconds, and it was seconds for each.
    assert time.thread_time() - before_sec < 1.5
    assert "more than 2048 steps" in str(unasked)
    assert max(descriptors) - min(descriptors) < 100
    assert len(descriptors) <= 2048


@pytest.mark.attack("C21")
def test_a_way_that_only_leads_down_holds_few_descriptors(looked: Looked) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    deep = looked.path.joinpath(*["d"] * 100)
    deep.mkdir(parents=True)
    (looked.path / "etc/hosts").unlink()
    (looked.path / "etc/hosts").symlink_to("/" + "/".join(["d"] * 100))
    assert looked.places().unasked == ("/etc/hosts (its links lead more than 64 directories down)",)
    assert len(os.listdir("/proc/self/fd")) == fds


@pytest.mark.attack("C21")
@pytest.mark.parametrize("home", ["//", "/home/alice", "/home/alice/", "/.", "//home", "", "x"])
def test_mounts_far_below_a_home_end_the_look(looked: Looked, home: str) -> None:
    """Root inside writes the home into /etc/passwd: for "//" it had no end."""
    looked.account = Account("alice", 1, 1, home, "/bin/sh")
    way = "/home/alice" + "/b" * 1500
    looked.mounts += "".join(f"{number} 1 0:9 / {way}/{number} rw - tmpfs x rw\n" for number in range(2, 200))
    before_sec = time.thread_time()
    places = looked.places()
    assert time.thread_time() - before_sec < 1.5
    if home in ("//", "/home/alice"):
        assert "mounts in the account's home (its links and mounts take more than" in str(places.unasked)


@pytest.mark.attack("C21")
def test_what_is_mounted_after_the_list_was_read_is_not_asked() -> None:
    """Whatever the path says by then: what it leads to is known by its mount."""
    root_fd = os.open("/", os.O_PATH)
    try:
        files = Answering(root_fd, [], Budget())
        with pytest.raises(OSError, match="what is mounted on the way changes"), files.opened("/proc/self/status"):
            pass
        with Answering(root_fd, read_mounts(os.getpid()), Budget()).opened("/"):
            pass
    finally:
        os.close(root_fd)


@pytest.mark.attack("C21")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink() or os.mkfifo(path),
        lambda path: path.unlink() or path.mkdir(),
        lambda path: path.unlink() or path.symlink_to("/etc/hosts"),
        lambda path: path.write_bytes(b"\xff\0" * 100_000),
    ],
    ids=["fifo", "directory", "loop", "noise"],
)
def test_a_hostile_table_of_names_spoils_nothing_else(looked: Looked, spoil: Callable[[Path], object]) -> None:
    looked.write("home/alice/x", "")
    spoil(looked.path / "etc/hosts")
    places = looked.places()
    assert places.home == "belongs to root inside"
    assert places.resolver is not None
    assert places.unresolved_name or "/etc/hosts" in str(places.unseen)


@pytest.mark.parametrize(
    ("hosts", "switch", "name", "missing"),
    [
        ("127.0.0.1 localhost\n", "hosts: files dns\n", "", "blog"),
        ("127.0.0.1 localhost\n", "hosts: files dns\n", "# a\n\nworkshop\n", "workshop"),
        ("127.0.0.1 localhost # blog\n", "hosts: files dns\n", "", "blog"),
        ("127.0.1.1 blog.example blog\n", "hosts: files dns\n", "", ""),
        ("", "hosts: files myhostname dns\n", "", ""),
        ("", "passwd: files myhostname\nhosts: files\n", "", "blog"),
        ("", "hosts: resolve [!UNAVAIL=return] files\n", "", ""),
    ],
)
def test_a_name_that_nothing_resolves_is_found(
    looked: Looked, hosts: str, switch: str, name: str, missing: str
) -> None:
    """R-23: `getent hosts $(hostname)` fails, and sudo waits."""
    looked.write("etc/hosts", hosts)
    looked.write("etc/nsswitch.conf", switch)
    looked.write("etc/hostname", name)
    assert looked.places().unresolved_name == missing


@pytest.mark.parametrize(
    ("text", "sockets", "silent"),
    [
        ("nameserver 127.0.0.1\n", "", ("127.0.0.1",)),
        (None, "", ("127.0.0.1",)),
        ("nameserver ::1\nnameserver 127.0.0.53\n", "", ("::1", "127.0.0.53")),
        ("nameserver 127.0.0.53\n", "3500007F:0035", ()),
        ("nameserver 127.0.0.1\n", "3500007F:0035", ("127.0.0.1",)),
        ("nameserver 127.0.0.1\n", "00000000:0035", ()),
        ("nameserver 127.0.0.1\n", "0100007F:1035", ("127.0.0.1",)),
        ("nameserver 192.0.2.1\n", "", ()),
        ("nameserver nonsense\n", "", ()),
    ],
)
def test_a_name_server_of_its_own_that_is_not_there_is_found(
    looked: Looked, text: str | None, sockets: str, silent: tuple[str, ...]
) -> None:
    """R-37: the host's resolver on the host's loopback, copied into a network of its own."""
    if text is not None:
        looked.write("etc/resolv.conf", text)
    looked.sockets = (f"  sl  local_address rem_address\n 0: {sockets} 00000000:0000 07\n" if sockets else "", "")
    resolver = looked.places().resolver
    assert resolver is not None
    assert resolver.silent == silent


def test_loopback_of_the_sixth_version_is_heard() -> None:
    row = " 0: 00000000000000000000000001000000:0035 0:0 07\n"
    assert unheard(("::1", "127.0.0.1"), "", row) == ("127.0.0.1",)


def test_a_resolv_conf_that_the_host_changed_since_is_found(looked: Looked, tmp_path: Path) -> None:
    """R-38."""
    copy = looked.write("etc/resolv.conf", "nameserver 192.0.2.1\n")
    hosts = tmp_path / "hosts-own"
    hosts.write_text("search example\nnameserver 192.0.2.2\n")
    looked.hosts_file = str(hosts)

    def found() -> tuple[str, ...]:
        resolver = looked.places().resolver
        assert resolver is not None
        return resolver.hosts_servers

    os.utime(copy, (1, 1))
    assert found() == ("192.0.2.2",)
    os.utime(hosts, (0, 0))
    assert found() == ()  # the container's own, and newer
    os.utime(hosts, (2, 2))
    copy.write_text("nameserver 127.0.0.53\n")
    os.utime(copy, (1, 1))
    assert found() == ()  # resolved follows by itself


@pytest.mark.parametrize(
    ("routes", "routes6", "out"),
    [
        (LINK, "", False),
        (LINK + DEFAULT, "", True),
        (LINK + DEFAULT.replace("0003", "0201"), "", False),
        ("nonsense\n" * 3, "x\n", False),
        (LINK, f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 0 0 0 00450003 host0\n", True),
        (LINK, f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 1 0 00200200 lo\n", False),
    ],
)
def test_a_network_without_a_way_out(routes: str, routes6: str, out: bool) -> None:
    """R-34."""
    assert leads_out(HEAD + routes, routes6) is out


def test_the_way_back_is_the_hosts_route_to_the_containers_router() -> None:
    """R-34: NetworkManager took the host's end of the link."""
    (router,) = gateways(HEAD + LINK + DEFAULT)
    assert covers(HEAD + LINK, router)
    assert not covers(HEAD + DEFAULT, router)


@pytest.mark.parametrize(
    ("table", "masked"),
    [
        (ROOT + "2 1 0:5 / /proc rw - proc proc rw\n", False),
        (ROOT + "2 1 0:5 / /proc rw - proc proc rw\n3 2 0:5 /sys /proc/sys ro - proc proc rw\n", True),
        (ROOT + "2 1 0:5 / /proc rw - proc proc rw\n3 2 0:9 / /proc/sys/fs/binfmt_misc rw - binfmt_misc b rw\n", False),
        (
            ROOT + "2 1 0:5 / /proc rw - proc proc rw\n3 2 0:5 /sys /proc/sys ro - proc proc rw\n"
            "4 1 0:6 / /run/proc rw - proc proc rw\n",
            False,
        ),
        (ROOT, False),
        ("nonsense\n - \n1 2\n", False),
    ],
)
def test_whether_a_sandbox_inside_may_have_a_proc(table: str, masked: bool) -> None:
    """R-15."""
    assert is_proc_masked(parse_mounts(table.encode())) is masked


def test_a_mount_with_an_odd_name_is_read_as_the_kernel_writes_it() -> None:
    (mount,) = parse_mounts(b"2 1 0:5 / /a\\040b\\134c\xff rw shared:7 master:1 - fuse.x y rw\n")
    assert (mount.place, mount.kind) == ("/a b\\c\udcff", "fuse.x")
