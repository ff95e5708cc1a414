"""Which path inside a container is what a caller has on the host: by the kernel's lists of mounts, and their rights."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from isod.directory_ports import HostDirectory
from isod.host import mount_table, rootfs
from isod.host.host_directories import HostDirectories, translated
from isod.host.mount_table import Mount, parse_mounts, read_mounts
from isod_contract.errors import InvalidArgument

ROOT = Mount(1, 0, "8:1", "/", "/", "ext4")
HOME = Mount(2, 1, "8:2", "/@home", "/home", "ext4")
INSIDE = [
    Mount(100, 50, "8:1", "/var/lib/machines/blog", "/", "ext4"),
    Mount(101, 100, "0:5", "/", "/proc", "ext4"),
    Mount(102, 100, "8:2", "/@home/alice/src", "/mnt/work", "ext4"),
    Mount(103, 102, "8:2", "/@home/alice/src/a", "/mnt/work/hidden", "ext4"),
    Mount(104, 102, "0:7", "/", "/mnt/work/b", "ext4"),
]


@pytest.mark.parametrize(
    ("path", "mount", "expected"),
    [
        ("/home/alice/src", HOME, "/mnt/work"),
        ("/home/alice/src/x y", HOME, "/mnt/work/x y"),
        ("/home/alice/src/a/z", HOME, "/mnt/work/hidden/z"),
        # Others begin with the same letters.
        ("/home/alice/src2", HOME, ""),
        ("/home/alice", HOME, ""),
        # Something else is mounted there.
        ("/home/alice/src/b", HOME, ""),
        ("/home/alice/src/b/c", HOME, ""),
        ("/home/alice/src/hidden", HOME, ""),
        # The container's own root, seen from the host.
        ("/var/lib/machines/blog", ROOT, "/"),
        ("/var/lib/machines/blog/srv", ROOT, "/srv"),
        ("/srv", ROOT, ""),
        # A path that is not on the mount which the descriptor names.
        ("/elsewhere", HOME, ""),
    ],
)
def test_a_directory_is_found_by_file_system_and_place(path: str, mount: Mount, expected: str) -> None:
    assert translated(path, mount, INSIDE) == expected


def test_the_same_path_is_preferred_and_what_covers_it_is_seen() -> None:
    same = Mount(105, 100, "8:2", "/@home/alice", "/home/alice", "ext4")
    assert translated("/home/alice/src", HOME, [*INSIDE, same]) == "/home/alice/src"
    over = Mount(106, 105, "0:9", "/", "/home/alice", "ext4")
    assert translated("/home/alice/src", HOME, [*INSIDE, same, over]) == "/mnt/work"
    # A mount that lists itself as its parent, or none: no end of a search is needed.
    assert translated("/x", ROOT, []) == ""
    assert translated("/x", ROOT, [Mount(1, 1, "8:1", "/", "/", "ext4")]) == "/x"


def _hostile(kind: str, count: int) -> list[Mount]:
    """What root in a container makes of one shared directory, which is found at the end or nowhere."""
    mounts = [Mount(1, 0, "8:1", "/srv", "/", "ext4")]
    for number in range(2, count + 2):
        parent = number - 1 if kind in ("stacked", "nested") else 1
        place = {"stacked": "/x", "nested": "/n" * min(number, 40), "beside": f"/{number}"}[kind]
        mounts.append(Mount(number, parent, "8:2", "/@home/alice", place, "ext4"))
    if kind != "stacked":
        mounts += [Mount(mount.number + count, mount.number, "0:9", "/", mount.place, "tmpfs") for mount in mounts[1:]]
    return mounts


@pytest.mark.attack("C21")
@pytest.mark.parametrize(("kind", "count"), [("stacked", 400), ("beside", 3000), ("nested", 400)])
def test_mounts_by_root_inside_cost_no_more_than_their_number(kind: str, count: int) -> None:
    """400 over one place took 7 s, in which the container's files were not answered for, and the others slowly."""
    mounts = _hostile(kind, count)
    before = time.thread_time()
    found = translated("/home/alice/src", HOME, mounts)
    # Some milliseconds, and it was seconds.
    assert time.thread_time() - before < 0.8
    assert found == ("/x/src" if kind == "stacked" else "")


@pytest.mark.attack("C21")
def test_a_list_of_mounts_that_is_no_tree_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read at once: numbers in it may be of other mounts by then. One that has no end is refused."""
    root = Mount(1, 0, "8:2", "/@home", "/", "ext4")
    circle = [root, *(Mount(one, other, "8:2", "/@home", "/", "ext4") for one, other in ((2, 1), (3, 2), (2, 3)))]
    assert translated("/home/alice", HOME, circle) in ("/alice", "")
    monkeypatch.setattr(mount_table, "_MOUNTS_MAX", 0)
    with pytest.raises(OSError, match="more than 0 mounts"):
        read_mounts(os.getpid())


@pytest.mark.attack("C21")
def test_no_name_hides_a_mount() -> None:
    """The kernel writes a carriage return in a name as it is; what was read as two lines was no mount."""
    odd = r"2 1 0:5 /a\rb /etc\rx rw - fuse.y\rz src rw".replace(r"\r", "\r")
    (mount,) = parse_mounts(odd.encode() + b"\nnonsense\nx y 0:5 / / rw - ext4 a rw\n")
    assert mount == Mount(2, 1, "0:5", "/a\rb", "/etc\rx", "fuse.y\rz")


def test_a_descriptor_is_located_and_closed(tmp_path: Path) -> None:
    odd = tmp_path / "a b\\c"
    odd.mkdir()
    fd = os.open(odd, os.O_PATH)
    found = HostDirectories().locate(fd, os.getpid())
    assert found.path == str(odd)
    (mount,) = [mount for mount in read_mounts(os.getpid()) if mount.number == found.mount]
    assert translated(found.path, mount, read_mounts(os.getpid())) == str(odd)
    file = os.open(__file__, os.O_RDONLY)
    with pytest.raises(InvalidArgument, match="is no directory"):
        HostDirectories().locate(file, os.getpid())


@pytest.fixture(params=["zombie", "gone"])
def ended(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give the pid of a process that has ended."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if request.param == "gone":
        os.waitpid(pid, 0)
    yield pid
    if request.param == "zombie":
        os.waitpid(pid, 0)


async def test_of_a_caller_who_has_ended_nothing_is_known_and_nothing_refused(ended: int) -> None:
    """What they gave for where it is not shared is used, as before: one may call and not wait for the answer."""
    pidfd = os.pidfd_open(os.getpid())
    guest = SimpleNamespace(pidfd=pidfd, machine="blog", offload=SimpleNamespace(run=_run))
    try:
        assert await HostDirectories().path_inside(guest, HostDirectory("/srv", 1, ended)) == ""
    finally:
        os.close(pidfd)


async def _run(look: Callable[[], str]) -> str:
    return look()


@pytest.mark.attack("C30")
def test_who_may_not_look_into_a_directory_is_not_told_what_is_there(tmp_path: Path) -> None:
    """`-e NAME=/home/bob/private/x` was warned of where that is not there, and not where it is."""
    private = tmp_path / "home/private"
    private.mkdir(parents=True)
    (private / "x").write_text("")
    (tmp_path / "home/link").symlink_to("private/x")
    (tmp_path / "home/dangling").symlink_to("private/y")
    owner, other = os.geteuid(), os.geteuid() + 1
    for path in (tmp_path, tmp_path / "home"):
        path.chmod(0o755)
    root_fd = os.open(tmp_path, os.O_PATH)

    def lacks(path: str, uid: int = other) -> bool:
        return rootfs.lacks(root_fd, path, uid)

    try:
        for mode in (0o700, 0o701, 0o710, 0o766):
            private.chmod(mode)
            told = {lacks(f"/home/private/{name}") for name in ("x", "y", "x/z", "y/z", "../nosuch")}
            assert told == {False}, oct(mode)
            # Nor by a link of one's own that leads there.
            assert {lacks("/home/link"), lacks("/home/dangling")} == {False}
            assert lacks("/home/private/y", owner)
        private.chmod(0o711)
        assert not lacks("/home/private/x")
        assert lacks("/home/private/y")
        assert lacks("//home/./private/y/z")
        assert not lacks("/home/private/x/z")
    finally:
        os.close(root_fd)
